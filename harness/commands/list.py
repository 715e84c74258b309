"""What `list` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import methods
from harness.backbones import checkpoints
from harness.jobs import BackboneSpec
from harness.study import compatibility
from harness.study.compatibility import Support
from harness.study.grid_options import DEFAULTS
from harness.tasks import GROUPS, REGISTRY, Task
from methods import Method, Plugin
from reports.escape import plain


def list_methods(model: str | None, *, as_json: bool) -> None:
    """Methods with their options; with a model, what it allows.

    Raises:
        Unavailable: the model cannot be had.
    """
    out = Console()
    classes, broken = _with_plugins()
    found = _support(model, list(classes)) if model else {}
    if as_json:
        typed = [
            {
                "name": name,
                "summary": cls.summary,
                "paper": cls.paper,
                "options": _options(name),
                **_typed(found.get(name)),
            }
            | ({"distribution": plugin.distribution, "version": plugin.version} if plugin else {})
            for name, (cls, plugin) in classes.items()
        ]
        told = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "reason": reason,
            }
            for plugin, reason in broken.items()
        ]
        out.print_json(json.dumps({"schema": 1, "methods": typed, "broken": told}))
        return
    for name, (cls, plugin) in classes.items():
        aliases = [alias for alias, (meant, _) in methods.ALIASES.items() if meant == name]
        beside = f"of {plugin}" if plugin else f"also {', '.join(aliases)}" if aliases else ""
        _print_head(out, name, beside)
        lines = [(cls.summary, ""), (cls.paper, "dim")]
        lines.append(
            (
                ", ".join(
                    f"{option}={methods.show(value)}" for option, value in _options(name).items()
                ),
                "cyan",
            )
        )
        if name in found:
            one = found[name]
            text = (
                one.refused or f"{one.trained:,} parameters trained, {one.stored:,} bytes to store"
            )
            lines.append((f"on {model}: {text}", "yellow" if one.refused else "green"))
        for text, style in lines:
            out.print(Padding(Text(plain(text), style), (0, 0, 0, 2)))
    for plugin, reason in broken.items():
        _print_head(out, plugin.name, f"of {plugin}")
        out.print(Padding(Text(plain(f"broken: {reason}"), "red"), (0, 0, 0, 2)))


def _print_head(out: Console, name: str, beside: str) -> None:
    out.print(
        Text.assemble((plain(name), "bold"), (plain(f"  ({beside})" if beside else ""), "dim"))
    )


def _with_plugins() -> tuple[dict[str, tuple[type[Method], Plugin | None]], dict[Plugin, str]]:
    """Every method with the plug-in that it comes from, if it does; and the plug-ins that are broken, with the reason."""
    classes: dict[str, tuple[type[Method], Plugin | None]] = {
        name: (cls, None) for name, cls in methods.REGISTRY.items()
    }
    broken: dict[Plugin, str] = {}
    with ThreadPoolExecutor() as pool:  # each waits for a process of its own
        reasons = list(pool.map(Plugin.broken, methods.plugins_offered()))
    for plugin, reason in zip(methods.plugins_offered(), reasons, strict=True):
        try:
            classes |= {} if reason else {plugin.name: (plugin.load(), plugin)}
        except ValueError as error:  # it could be imported there, and cannot be here
            reason = str(error)
        broken |= {plugin: reason} if reason else {}
    return classes, broken


def _typed(found: Support | None) -> dict[str, Any]:
    if found is None:
        return {}
    return (
        {"refused": found.refused}
        if found.refused
        else {"trained": found.trained, "stored": found.stored}
    )


def _options(name: str) -> dict[str, Any]:
    """Every option with its default, also those that the other defaults leave unused."""
    method = methods.build(name)
    owners = [method, getattr(method, "base", method)]
    idle = {
        option: getattr(owner, option)
        for owner in owners
        for option in sorted(owner.unused)
        if method.closed_form is None
    }
    return {
        option: value for option, value in (method.options() | idle).items() if option != "targets"
    }


def _support(model: str, names: Sequence[str]) -> dict[str, Support]:
    """What each method would train on a backbone, as it is by default."""
    spec = BackboneSpec(name=model, revision=checkpoints.revision_of(model))
    built = [methods.build(name) for name in names]
    return dict(zip(names, compatibility.find(spec, built, max_length=0), strict=True))


def list_tasks(*, as_json: bool) -> None:
    """Tasks by group."""
    out = Console()
    if as_json:
        typed = [_task(task) for task in REGISTRY.values()]
        out.print_json(
            json.dumps(
                {
                    "schema": 1,
                    "groups": {name: list(members) for name, members in GROUPS.items()},
                    "tasks": typed,
                }
            )
        )
        return
    for group in dict.fromkeys(_groups(task) for task in REGISTRY.values()):
        table = Table(box=None, pad_edge=False, show_header=True)
        table.add_column(f"{group}" if group else "by its name only", no_wrap=True)
        for column in ("label", "metrics", "rows", "what"):
            table.add_column(
                column, no_wrap=column == "label", justify="right" if column == "rows" else "left"
            )
        for task in REGISTRY.values():
            if _groups(task) == group:
                label = "number" if task.regression else f"{len(task.labels)} classes"
                rows = f"{task.train_rows:,}" if task.train_rows else ""
                table.add_row(task.name, label, ", ".join(task.metrics), rows, task.title)
        out.print(table)
        out.print()
    out.print(
        "Your own: --task-file FILE.toml, or --data FILE --text COLUMN --label COLUMN",
        highlight=False,
    )


def _groups(task: Task) -> str:
    return ", ".join(group for group, members in GROUPS.items() if task.name in members)


def _task(task: Task) -> dict[str, Any]:
    same = {
        "name": task.name,
        "title": task.title,
        "labels": task.labels,
        "metrics": task.metrics,
        "train_rows": task.train_rows,
    }
    return same | {"groups": _groups(task).split(", "), "seen_by": sorted(task.seen_by)}


def list_models(*, as_json: bool) -> None:
    """The embedded model, the default, and what lies in the Hub's cache with safetensors."""
    out = Console()
    found = {"tiny": "embedded, for the toy tasks and for checks"}
    found[DEFAULTS["model"]] = "the default; fetched from the Hub when first used"
    found |= dict.fromkeys(_cached(), "in the cache of the Hub")
    if as_json:
        out.print_json(
            json.dumps(
                {
                    "schema": 1,
                    "models": [{"name": name, "where": where} for name, where in found.items()],
                }
            )
        )
        return
    table = Table("model", "where", box=None, pad_edge=False)
    for name, where in found.items():
        table.add_row(name, where)
    out.print(table)
    out.print(
        "Any encoder that transformers reads as a sequence classifier will do: a name on the Hub, or a folder.",
        highlight=False,
    )


def _cached() -> list[str]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    models = [repo for repo in repositories if repo.repo_type == "model"]
    return sorted(
        repo.repo_id
        for repo in models
        if any(f.file_name.endswith(".safetensors") for r in repo.revisions for f in r.files)
    )
