"""`bench doctor`: check this machine, and say for every problem what to do."""

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
from harness.ledger.database import display_name, is_url, network_file_system
from harness.wording import plural
from reports.escape import plain

HUB_TIMEOUT = 5.0  # seconds
FREE_DISK = 2 << 30  # bytes; a first model may need more
FREE_MEMORY = 3 << 30  # bytes; a worker with a base-sized model may need as many

State = Literal["well", "mind", "ill"]  # fine; may be a problem; a run would fail


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    state: State
    text: str


def examine(db: str, *, as_json: bool) -> int:
    """Run every check and print the findings.

    Returns:
        The exit code: 1 if a finding would make a run fail.
    """
    out = Console()
    checks = (_versions, _plugins, _devices, _memory, _hub, _cache, lambda: _database(db))
    findings = [finding for check in checks for finding in _run(check)]
    if as_json:
        out.print_json(
            json.dumps({"schema": 1, "findings": [asdict(finding) for finding in findings]})
        )
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        marks = {"well": ("✓", "green"), "mind": ("!", "yellow"), "ill": ("✗", "red")}
        for finding in findings:
            mark = Text(*marks[finding.state])
            table.add_row(mark, Text(finding.what, "bold"), Text(finding.text))
        out.print(table)
    return 1 if any(finding.state == "ill" for finding in findings) else 0


def _run(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield a check's findings; an exception that it raises is a finding too."""
    try:
        yield from check()
    except Exception as error:  # the other checks still run
        name = getattr(check, "__name__", "check").strip("_")
        reason = str(error).splitlines()[0] if str(error) else ""
        yield Finding(name, "ill", f"{type(error).__name__}: {reason}")


def _versions() -> Iterator[Finding]:
    versions = provenance.environment()
    absent = [name for name, version in versions.items() if version == "absent"]
    present = [f"{name} {versions[name]}" for name in versions if name not in absent]
    yield Finding("versions", "well", ", ".join(present))
    if absent:
        yield Finding("packages", "ill", f"not installed: {', '.join(absent)}; install bench again")


def _plugins() -> Iterator[Finding]:
    import methods

    for plugin in methods.plugins_offered():
        reason = plugin.broken()
        text = f"method {plugin.name} of {plugin}"
        text += f" cannot be used: {reason}" if reason else ""
        yield Finding("plug-in", "mind" if reason else "well", plain(text))


def _devices() -> Iterator[Finding]:
    import torch

    from harness.scheduling.executors.devices import choose

    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    workers = len(choose(["cpu"], 0, 1000))
    yield Finding(
        "processor",
        "well",
        f"{plural(cores, 'core')}; `bench run` starts {plural(workers, 'worker')}",
    )
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        text = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        if free > total / 2:
            yield Finding(f"cuda:{index}", "well", text)
        else:
            yield Finding(f"cuda:{index}", "mind", f"{text}: another program is using it")
    if torch.backends.mps.is_available():
        yield Finding("mps", "well", "Apple GPU")
    if not torch.cuda.device_count() and shutil.which("nvidia-smi"):
        text = f"nvidia-smi is installed but torch {torch.__version__} finds no GPU"
        yield Finding("cuda", "mind", f"{text}: install the CUDA build of torch")


def _memory() -> Iterator[Finding]:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    text = f"{free / 2**30:.1f} GiB free; a worker with a base-sized model may need 3"
    yield Finding("memory", "well" if free > FREE_MEMORY else "mind", text)


def _hub() -> Iterator[Finding]:
    from harness.backbones.hub.errors import endpoint

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield Finding("hub", "mind", "HF_HUB_OFFLINE is set: only cached models and data work")
        return
    import urllib.request

    request = urllib.request.Request(endpoint(), method="HEAD")  # noqa: S310  # the user's own setting
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT):  # noqa: S310
            yield Finding("hub", "well", f"{endpoint()} answers")
    except urllib.error.HTTPError as error:
        state: State = "well" if error.code < 500 else "mind"
        yield Finding("hub", state, f"{endpoint()} answers with status {error.code}")
    except OSError as error:
        reason = getattr(error, "reason", error)
        text = f"{endpoint()} does not answer ({reason})"
        yield Finding("hub", "mind", f"{text}; `--model tiny --tasks toy` needs no network")


def _cache() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for name, folder in (("cache", cache.folder()), ("models", Path(HF_HUB_CACHE))):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if not os.access(existing, os.W_OK):
            variable = "BENCH_CACHE" if name == "cache" else "HF_HOME"
            text = f"{folder} is not writable: set {variable} to a folder that is"
            yield Finding(name, "mind" if name == "cache" else "ill", text)
        elif free < FREE_DISK:
            yield Finding(name, "mind", f"{folder}: only {free / 2**30:.1f} GiB of disk free")
        else:
            yield Finding(name, "well", f"{folder}, {free / 2**30:.0f} GiB of disk free")


def _database(db: str) -> Iterator[Finding]:
    if not is_url(db):
        path = Path(db)
        if kind := network_file_system(path.absolute().parent):
            text = f"{db} is on a network file system ({kind}), where file locks are unreliable"
            yield Finding("database", "ill", f"{text}: name a file on a local disk with --db")
            return
        if not path.exists():
            yield Finding("database", "well", f"{db} does not exist yet; `bench run` creates it")
            return
    try:
        with Ledger(db) as ledger:
            damage = ledger.integrity_problems()
            jobs = sum(count for *_, count in ledger.counts())
    except BenchError as error:
        yield Finding("database", "ill", str(error).splitlines()[0])
        return
    if damage:
        text = f"{display_name(db)} is damaged ({damage[0]}): restore a backup"
        yield Finding("database", "ill", f"{text}; `bench db verify` lists every problem")
    else:
        text = f"{display_name(db)} is readable and has {plural(jobs, 'job')}"
        yield Finding("database", "well", f"{text}; `bench db verify` checks every hash")
