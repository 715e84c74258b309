"""`bench list`: print the methods, the tasks or the models."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import methods
from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.jobs import BackboneSpec
from harness.study import compatibility
from harness.study.compatibility import Support
from harness.study.presets import DEFAULTS
from harness.tasks import GROUPS, REGISTRY, Task
from harness.wording import plural
from methods import Method, Plugin
from reports.document import metric_title
from reports.escape import plain


class ListedMethod(NamedTuple):
    """A method as it is listed."""

    name: str
    cls: type[Method]
    plugin: Plugin | None  # where it comes from; None: bench
    support: Support | None  # what the model allows; None: no model was named
    options: Mapping[str, Any]  # with their defaults

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the JSON output."""
        fields: dict[str, Any] = {
            "name": self.name,
            "summary": self.cls.summary,
            "paper": self.cls.paper,
            "options": self.options,
        }
        if self.support is not None:
            trained = {"trained": self.support.trained, "stored": self.support.stored}
            fields |= {"refused": self.support.refused} if self.support.refused else trained
        if self.plugin is not None:
            fields |= _plugin_as_json(self.plugin)
        return fields

    def print(self, out: Console, model: str | None) -> None:
        """Print its name, its summary, its paper and what the model allows."""
        aliases = [alias for alias, (name, _) in methods.ALIASES.items() if name == self.name]
        source = f"of {self.plugin}" if self.plugin else f"also {', '.join(aliases)}"
        _print_name(out, self.name, source if self.plugin or aliases else "")
        _print_indented(out, self.cls.summary)
        _print_indented(out, self.cls.paper, "dim")
        if self.support is None:
            return
        if self.support.refused:
            _print_indented(out, f"on {model}: {self.support.refused}", "yellow")
        else:
            trained = plural(self.support.trained, "trained parameter")
            stored = plural(self.support.stored, "byte")
            _print_indented(out, f"on {model}: {trained}, {stored} to store", "green")


def list_methods(model: str | None, *, as_json: bool) -> None:
    """Print the methods with their options; with a model, also what it allows.

    Raises:
        Unavailable: The model is not available.
    """
    out = Console()
    classes, broken = _load_classes()
    supports = _supports(model, list(classes)) if model else {}
    listed = [
        ListedMethod(name, cls, plugin, supports.get(name), _short_options(name))
        for name, (cls, plugin) in classes.items()
    ]
    if as_json:
        failures = [
            {"name": plugin.name, **_plugin_as_json(plugin), "reason": reason}
            for plugin, reason in broken.items()
        ]
        entries = [method.as_json() for method in listed]
        out.print_json(data={"schema": 1, "methods": entries, "broken": failures})
        return
    for method in listed:
        method.print(out, model)
        options = [f"{name}={methods.show(value)}" for name, value in method.options.items()]
        _print_indented(out, ", ".join(options), "cyan")
    for plugin, reason in broken.items():
        _print_name(out, plugin.name, f"of {plugin}")
        _print_indented(out, f"broken: {reason}", "red")
    out.print("`bench list methods NAME` explains the options of a method.", highlight=False)


def show_method(name: str, model: str | None, *, as_json: bool) -> None:
    """Print a method with a line about each of its options.

    Raises:
        UsageError: There is no such method, or its plug-in is broken.
        Unavailable: The model is not available.
    """
    out = Console()
    try:
        canonical, preset = methods.resolve_alias(name)
        plugin = methods.plugin_of(methods.build(name))
        texts = methods.option_help(canonical, preset.get("base", "prefix"))
    except ValueError as error:
        raise UsageError(str(error)) from error
    support = _supports(model, [name])[name] if model else None
    defaults = _options(name)
    listed = ListedMethod(canonical, methods.class_of(name), plugin, support, defaults)
    if as_json:
        explanations = [
            {
                "name": option,
                "default": value,
                "type": _kind(value),
                "explanation": texts.get(option, ""),
            }
            for option, value in defaults.items()
        ]
        out.print_json(data={"schema": 1, **listed.as_json(), "explanations": explanations})
        return
    listed.print(out, model)
    table = Table("option", "default", "type", "explanation", box=None, pad_edge=False)
    for option, value in defaults.items():
        cells = (option, methods.show(value), _kind(value), texts.get(option, ""))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    out.print(Padding(table, (0, 0, 0, 2)))
    example = f"--set {canonical}.{next(iter(defaults))}=VALUE"
    out.print(f"Set an option with {example}; several values make variants.", highlight=False)


def _plugin_as_json(plugin: Plugin) -> dict[str, str]:
    return {"distribution": plugin.distribution, "version": plugin.version}


def _print_name(out: Console, name: str, source: str) -> None:
    suffix = f"  ({source})" if source else ""
    out.print(Text.assemble((plain(name), "bold"), (plain(suffix), "dim")))


def _print_indented(out: Console, text: str, style: str = "") -> None:
    out.print(Padding(Text(plain(text), style), (0, 0, 0, 2)))


def _load_classes() -> tuple[dict[str, tuple[type[Method], Plugin | None]], dict[Plugin, str]]:
    """Return every method with its plug-in, if it comes from one; and why other plug-ins are broken."""
    classes: dict[str, tuple[type[Method], Plugin | None]] = {
        name: (cls, None) for name, cls in methods.REGISTRY.items()
    }
    broken: dict[Plugin, str] = {}
    plugins = methods.plugins_offered()
    with ThreadPoolExecutor() as pool:  # each check waits for its own process
        reasons = list(pool.map(Plugin.broken, plugins))
    for plugin, reason in zip(plugins, reasons, strict=True):
        try:
            classes |= {} if reason else {plugin.name: (plugin.load(), plugin)}
        except ValueError as error:  # it can be imported in a process of its own, but not here
            reason = str(error)
        broken |= {plugin: reason} if reason else {}
    return classes, broken


def _options(name: str) -> Mapping[str, Any]:
    """Return every option with its default, including those that have no effect at the other defaults."""
    method = methods.build(name)
    unused = {
        option: getattr(owner, option)
        for owner in [method, getattr(method, "base", method)]
        for option in sorted(owner.unused)
        if method.closed_form is None
    }
    return method.options() | unused


def _short_options(name: str) -> Mapping[str, Any]:
    """Return the options without patterns of module names, which are longer than all others together."""
    return {option: value for option, value in _options(name).items() if option != "targets"}


def _kind(value: object) -> str:
    """Return the type of an option's value in words."""
    return {bool: "true or false", int: "whole number", float: "number"}.get(type(value), "text")


def _supports(model: str, names: Sequence[str]) -> dict[str, Support]:
    """Return what a model allows of each method with its defaults."""
    spec = BackboneSpec(name=model, revision=checkpoints.revision_of(model))
    return dict(
        zip(
            names,
            compatibility.find(spec, [methods.build(name) for name in names], max_length=0),
            strict=True,
        )
    )


# -- tasks
# ----------------------------------------------------------------------------------------------------


def list_tasks(*, as_json: bool) -> None:
    """Print the tasks by group."""
    out = Console()
    if as_json:
        tasks = [_task_as_json(task) for task in REGISTRY.values()]
        out.print_json(data={"schema": 1, "groups": dict(GROUPS), "tasks": tasks})
        return
    for groups in dict.fromkeys(_groups(task) for task in REGISTRY.values()):
        table = Table(box=None, pad_edge=False, show_header=True)
        table.add_column(groups or "in no group", no_wrap=True)
        table.add_column("label", no_wrap=True)
        table.add_column("metrics")
        table.add_column("rows", justify="right")
        table.add_column("what")
        for task in REGISTRY.values():
            if _groups(task) == groups:
                label = plural(len(task.labels), "class", "classes") if task.labels else task.kind
                rows = f"{task.train_rows:,}" if task.train_rows else ""
                names = ", ".join(metric_title(name, task.labels) for name in task.metrics)
                table.add_row(task.name, label, names, rows, task.title)
        out.print(table)
        out.print()
    out.print(
        "Your own task: --task-file FILE.toml, or --data FILE --text COLUMN --label COLUMN",
        highlight=False,
    )


def _groups(task: Task) -> str:
    return ", ".join(group for group, members in GROUPS.items() if task.name in members)


def _task_as_json(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "labels": task.labels,
        "metrics": task.metrics,
        "train_rows": task.train_rows,
        "groups": _groups(task).split(", "),
        "seen_by": sorted(task.seen_by),
    }


# -- models
# ----------------------------------------------------------------------------------------------------


def list_models(*, as_json: bool) -> None:
    """Print the embedded models, the default model, and the models in the Hub's cache that have safetensors."""
    out = Console()
    models = {
        "tiny": "embedded, for the toy tasks and for checks",
        "tiny-gpt": "embedded, for tasks that write text",
        DEFAULTS["model"]: "the default, downloaded from the Hub at first use",
    }
    models |= dict.fromkeys(_cached_models(), "in the cache of the Hub")
    if as_json:
        listed = [{"name": name, "where": where} for name, where in models.items()]
        out.print_json(data={"schema": 1, "models": listed})
        return
    table = Table("model", "where", box=None, pad_edge=False)
    for name, where in models.items():
        table.add_row(name, where)
    out.print(table)
    out.print(
        "Any model that transformers loads as a sequence classifier works, and for tasks that write text any that it "
        "loads as a language model: its name on the Hub, or a folder.",
        highlight=False,
    )


def _cached_models() -> list[str]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(
        repository.repo_id
        for repository in repositories
        if repository.repo_type == "model"
        and any(
            file.file_name.endswith(".safetensors")
            for revision in repository.revisions
            for file in revision.files
        )
    )
