"""What `list` prints."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import methods
from harness import checkpoints
from harness.options import DEFAULTS
from harness.tasks import GROUPS, REGISTRY, Task


def list_methods(model: str | None, *, as_json: bool) -> None:
    """Methods with their options; with a model, what it allows.

    Raises:
        Unavailable: the model cannot be had.
    """
    out = Console()
    support = _support(model) if model else {}
    names = {name: _options(name) for name in methods.REGISTRY}
    if as_json:
        typed = [
            {"name": name, "summary": cls.summary, "paper": cls.paper, "options": names[name], **support.get(name, {})}
            for name, cls in methods.REGISTRY.items()
        ]
        out.print_json(json.dumps({"schema": 1, "methods": typed}))
        return
    for name, cls in methods.REGISTRY.items():
        aliases = [alias for alias, (meant, _) in methods.ALIASES.items() if meant == name]
        out.print(f"[bold]{name}[/bold]" + (f"  [dim](also {', '.join(aliases)})[/dim]" if aliases else ""))
        lines = [(cls.summary, ""), (cls.paper, "dim")]
        lines.append((", ".join(f"{option}={value}" for option, value in names[name].items()), "cyan"))
        if name in support:
            found = support[name]
            text = found.get("refused") or f"{found['trained']:,} parameters trained, {found['stored']:,} bytes to store"
            lines.append((f"on {model}: {text}", "yellow" if "refused" in found else "green"))
        for text, style in lines:
            out.print(Padding(Text(text, style), (0, 0, 0, 2)))


def _options(name: str) -> dict[str, Any]:
    return {option: value for option, value in methods.build(name).options().items() if option != "targets"}


def _support(model: str) -> dict[str, dict[str, Any]]:
    """What each method would train on a backbone, found by attaching it."""
    import torch

    from harness import backbones, training
    from harness.jobs import BackboneSpec
    from harness.worker import slot_bytes

    spec = BackboneSpec(name=model, revision=checkpoints.revision_of(model))
    backbone = backbones.load(spec, "cpu")
    found: dict[str, dict[str, Any]] = {}
    for name in methods.REGISTRY:
        method = methods.build(name)
        try:
            slots = method.slots(backbone)
        except ValueError as reason:
            found[name] = {"refused": str(reason)}
            continue
        with torch.no_grad():
            source = method.source(slots, training.Streams((name, 1, 0, 0)))
        trained = sum(parameter.numel() for parameter in source.parameters())
        found[name] = {"trained": trained, "stored": sum(slot_bytes(slot.shape) for slot in slots)}
        slots.remove()
    return found


def list_tasks(*, as_json: bool) -> None:
    """Tasks by group."""
    out = Console()
    if as_json:
        typed = [_task(task) for task in REGISTRY.values()]
        out.print_json(
            json.dumps({"schema": 1, "groups": {name: list(members) for name, members in GROUPS.items()}, "tasks": typed})
        )
        return
    for group in dict.fromkeys(_groups(task) for task in REGISTRY.values()):
        table = Table(box=None, pad_edge=False, show_header=True)
        table.add_column(f"{group}" if group else "by its name only", no_wrap=True)
        for column in ("label", "metrics", "rows", "what"):
            table.add_column(column, no_wrap=column == "label", justify="right" if column == "rows" else "left")
        for task in REGISTRY.values():
            if _groups(task) == group:
                label = "number" if task.regression else f"{len(task.labels)} classes"
                rows = f"{task.train_rows:,}" if task.train_rows else ""
                table.add_row(task.name, label, ", ".join(task.metrics), rows, task.title)
        out.print(table)
        out.print()
    out.print("Your own: --task-file FILE.toml, or --data FILE --text COLUMN --label COLUMN", highlight=False)


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
        out.print_json(json.dumps({"schema": 1, "models": [{"name": name, "where": where} for name, where in found.items()]}))
        return
    table = Table("model", "where", box=None, pad_edge=False)
    for name, where in found.items():
        table.add_row(name, where)
    out.print(table)
    out.print(
        "Any encoder that transformers reads as a sequence classifier will do: a name on the Hub, or a folder.", highlight=False
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
        repo.repo_id for repo in models if any(f.file_name.endswith(".safetensors") for r in repo.revisions for f in r.files)
    )
