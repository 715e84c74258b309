"""`bench doctor`: check this machine, and say for every problem what to do."""

import os
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

import methods
from harness import cache, provenance
from harness.backbones.hub.errors import endpoint
from harness.errors import BenchError
from harness.ledger import Ledger
from harness.ledger.database import display_name, is_url, network_file_system
from harness.scheduling.executors.devices import choose, cores
from harness.wording import plural
from reports.escape import plain

HUB_TIMEOUT = 5.0  # seconds
FREE_DISK = 2 << 30  # bytes; a first model may need more
FREE_MEMORY = 3 << 30  # bytes; a worker with a base-sized model may need as many

PROBES = 15  # matrix products of each precision; the first ones are slower
# The rest of a training step gains less than matrix products do.
WORTH_BFLOAT16 = 0.6

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
    findings = [
        finding
        for check in (
            _versions,
            _plugins,
            _devices,
            _bfloat16,
            _memory,
            _hub,
            _cache,
            lambda: _database(db),
        )
        for finding in _run(check)
    ]
    marks = {"well": ("✓", "green"), "mind": ("!", "yellow"), "ill": ("✗", "red")}
    if as_json:
        out.print_json(data={"schema": 1, "findings": [asdict(finding) for finding in findings]})
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            table.add_row(
                Text(*marks[finding.state]), Text(finding.what, "bold"), Text(finding.text)
            )
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
    yield Finding(
        "versions",
        "well",
        ", ".join([f"{name} {versions[name]}" for name in versions if name not in absent]),
    )
    if absent:
        yield Finding("packages", "ill", f"not installed: {', '.join(absent)}; install bench again")


def _plugins() -> Iterator[Finding]:
    for plugin in methods.plugins_offered():
        reason = plugin.broken()
        problem = f" cannot be used: {reason}" if reason else ""
        text = plain(f"method {plugin.name} of {plugin}{problem}")
        yield Finding("plug-in", "mind" if reason else "well", text)


def _devices() -> Iterator[Finding]:
    import torch

    workers = plural(len(choose(["cpu"], 0, 1000)), "worker")
    yield Finding("processor", "well", f"{plural(cores(), 'core')}; `bench run` starts {workers}")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        text = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        text += "" if free > total / 2 else ": another program is using it"
        yield Finding(f"cuda:{index}", "well" if free > total / 2 else "mind", text)
    if torch.backends.mps.is_available():
        yield Finding("mps", "well", "Apple GPU")
    if not torch.cuda.device_count() and shutil.which("nvidia-smi"):
        yield Finding(
            "cuda",
            "mind",
            f"nvidia-smi is installed but torch {torch.__version__} finds no GPU: "
            "install the CUDA build of torch",
        )


def _bfloat16() -> Iterator[Finding]:
    """Compare matrix products of one thread, with the shapes of a small encoder: `[512, 384] @ [384, 1536]`."""
    import torch

    seconds = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        for dtype in (torch.float32, torch.bfloat16):
            rows, weights = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
            times = []
            for _ in range(PROBES):
                start = time.perf_counter()
                rows @ weights
                times.append(time.perf_counter() - start)
            seconds[dtype] = statistics.median(times)
    finally:
        torch.set_num_threads(threads)
    ratio = seconds[torch.bfloat16] / seconds[torch.float32]
    advice = (
        "a run with `--dtype bfloat16` is faster on the processor"
        if ratio < WORTH_BFLOAT16
        else "keep --dtype float32 on the processor"
    )
    text = f"a matrix product takes {ratio:.2g} of its time in float32: {advice}"
    yield Finding("bfloat16", "well", text)


def _memory() -> Iterator[Finding]:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    text = f"{free / 2**30:.1f} GiB free; a worker with a base-sized model may need 3"
    yield Finding("memory", "well" if free > FREE_MEMORY else "mind", text)


def _hub() -> Iterator[Finding]:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield Finding("hub", "mind", "HF_HUB_OFFLINE is set: only cached models and data work")
        return

    request = urllib.request.Request(endpoint(), method="HEAD")  # noqa: S310  # the user's own setting
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT):  # noqa: S310
            yield Finding("hub", "well", f"{endpoint()} answers")
    except urllib.error.HTTPError as error:
        text = f"{endpoint()} answers with status {error.code}"
        yield Finding("hub", "well" if error.code < 500 else "mind", text)
    except OSError as error:
        yield Finding(
            "hub",
            "mind",
            f"{endpoint()} does not answer ({getattr(error, 'reason', error)}); "
            "`--model tiny --tasks toy` needs no network",
        )


def _cache() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for name, folder in (("cache", cache.folder()), ("models", Path(HF_HUB_CACHE))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                writable = True
        except OSError:
            writable = False
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if not writable:
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
            yield Finding(
                "database",
                "ill",
                f"{db} is on a network file system ({kind}), where file locks are unreliable: "
                "name a file on a local disk with --db",
            )
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
        yield Finding(
            "database",
            "ill",
            f"{display_name(db)} is damaged ({damage[0]}): restore a backup; "
            "`bench db verify` lists every problem",
        )
    else:
        yield Finding(
            "database",
            "well",
            f"{display_name(db)} is readable and has {plural(jobs, 'job')}; "
            "`bench db verify` checks every hash",
        )
