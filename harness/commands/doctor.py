"""`bench doctor`: what this machine can do, and what is wrong with it, each with what to do about it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from harness import cache, provenance
from harness.errors import BenchError
from harness.ledger import Ledger
from harness.ledger.database import is_url, network_file_system, shown
from reports.escape import plain

PATIENCE = 5.0  # seconds to wait for the Hub
ROOM = 2 << 30  # bytes of free disk below which a first model may not fit


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    state: Literal["well", "mind", "ill"]
    text: str


def examine(db: str, *, as_json: bool) -> int:
    """Look at everything; 1 if something would stop a run."""
    out, found = Console(), []
    for look in (_versions, _plugins, _devices, _memory, _hub, _cache, lambda: _database(db)):
        found += list(_safely(look))
    if as_json:
        out.print_json(json.dumps({"schema": 1, "findings": [asdict(one) for one in found]}))
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        marks = {"well": ("✓", "green"), "mind": ("!", "yellow"), "ill": ("✗", "red")}
        for one in found:
            table.add_row(Text(*marks[one.state]), Text(one.what, "bold"), Text(one.text))
        out.print(table)
    return 1 if any(one.state == "ill" for one in found) else 0


def _safely(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; a look that breaks is a finding too."""
    try:
        yield from look()
    except Exception as error:  # a doctor who faints helps nobody
        name = getattr(look, "__name__", "look").strip("_")
        yield Finding(
            name,
            "ill",
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        )


def _versions() -> Iterator[Finding]:
    found = provenance.environment()
    absent = [name for name, number in found.items() if number == "absent"]
    yield Finding(
        "versions",
        "well",
        ", ".join(f"{name} {number}" for name, number in found.items() if number != "absent"),
    )
    if absent:
        yield Finding(
            "packages", "ill", f"{', '.join(absent)} cannot be found: install bench again"
        )


def _plugins() -> Iterator[Finding]:
    import methods

    for plugin in methods.plugins_offered():
        reason = plugin.broken()
        text = f"the method {plugin.name} of {plugin}" + (
            f" cannot be used: {reason}" if reason else ""
        )
        yield Finding("plug-in", "mind" if reason else "well", plain(text))


def _devices() -> Iterator[Finding]:
    import torch

    from harness.scheduling.executors.devices import choose

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    yield Finding(
        "processor",
        "well",
        f"{cores} cores; `bench run` would start {len(choose(['cpu'], 0, 1000))} workers on them",
    )
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        state: Literal["well", "mind"] = "well" if free > total / 2 else "mind"
        busy = "" if state == "well" else ": somebody else is using it"
        text = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free{busy}"
        yield Finding(f"cuda:{index}", state, text)
    if torch.backends.mps.is_available():
        yield Finding("mps", "well", "Apple's GPU")
    if not torch.cuda.device_count() and shutil.which("nvidia-smi"):
        text = f"nvidia-smi is there, and torch {torch.__version__} sees no GPU: install the CUDA build of torch"
        yield Finding("cuda", "mind", text)


def _memory() -> Iterator[Finding]:
    try:
        pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    free = pages * size
    state: Literal["well", "mind"] = "well" if free > 3 << 30 else "mind"
    yield Finding(
        "memory", state, f"{free / 2**30:.1f} GiB free; a worker with a base-sized model may need 3"
    )


def _hub() -> Iterator[Finding]:
    from harness.backbones.hub_errors import endpoint

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield Finding("hub", "mind", "HF_HUB_OFFLINE is set: only what is cached can be used")
        return
    import urllib.request

    request = urllib.request.Request(endpoint(), method="HEAD")  # noqa: S310  # the user's own setting
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
            yield Finding("hub", "well", f"{endpoint()} answers")
    except urllib.error.HTTPError as error:
        state: Literal["well", "mind"] = "well" if error.code < 500 else "mind"
        yield Finding("hub", state, f"{endpoint()} answers ({error.code})")
    except OSError as error:
        text = f"{endpoint()} does not answer ({getattr(error, 'reason', error)}): `--model tiny --tasks toy` needs no network"
        yield Finding("hub", "mind", text)


def _cache() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for name, folder in (("cache", cache.folder()), ("models", Path(HF_HUB_CACHE))):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            variable = "BENCH_CACHE" if name == "cache" else "HF_HOME"
            state: Literal["ill", "mind"] = "mind" if name == "cache" else "ill"
            yield Finding(
                name, state, f"{folder} cannot be written: set {variable} to a folder that can"
            )
        elif free < ROOM:
            yield Finding(name, "mind", f"{folder}: only {free / 2**30:.1f} GiB of disk are free")
        else:
            yield Finding(name, "well", f"{folder}, {free / 2**30:.0f} GiB of disk free")


def _database(db: str) -> Iterator[Finding]:
    if not is_url(db):
        path = Path(db)
        if kind := network_file_system(path.absolute().parent):
            yield Finding(
                "database",
                "ill",
                f"{db} lies on a network file system ({kind}), whose locks cannot be trusted",
            )
            return
        if not path.exists():
            yield Finding("database", "well", f"there is no {db} yet; `bench run` makes it")
            return
    try:
        with Ledger(db) as ledger:
            damage = ledger.damage()
            jobs = sum(count for *_, count in ledger.counts())
    except BenchError as error:
        yield Finding("database", "ill", str(error).splitlines()[0])
        return
    if damage:
        yield Finding(
            "database",
            "ill",
            f"{shown(db)} is damaged ({damage[0]}): restore a copy (`bench db verify` tells more)",
        )
    else:
        yield Finding(
            "database",
            "well",
            f"{shown(db)} is sound, with {jobs} jobs; `bench db verify` looks at every number",
        )
