"""Which devices there are and how many jobs run at once."""

from __future__ import annotations

import os
import re

from harness.errors import Unavailable, UsageError

MEMORY_A_WORKER = 3 << 30  # bytes that a worker with a base-sized model may need


def parse(text: str) -> str | list[str]:
    """`auto`, or a list such as `cpu`, `mps`, `cuda:0,1`, as far as it can be checked without torch.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip().lower()
    if text in ("auto", "cpu", "mps"):
        return text if text == "auto" else [text]
    if match := re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", text):
        return [f"cuda:{number}" for number in dict.fromkeys((match[1] or "0").split(","))]
    raise UsageError(f"--devices must be auto, cpu, mps, cuda or cuda:0,1, got {text!r}")


def choose(asked: str | list[str], jobs_at_once: int, pending: int) -> list[str]:
    """The device of each worker slot.

    Args:
        asked: what `parse` gave.
        jobs_at_once: slots for each device; 0: chosen here.
        pending: how many jobs there are to run.

    Raises:
        Unavailable: a device is not there.
    """
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    mps = torch.backends.mps.is_available()
    if asked == "auto":
        devices = found or (["mps"] if mps else ["cpu"])
    else:
        devices = list(asked)
        missing = [
            d
            for d in devices
            if (d.startswith("cuda") and d not in found) or (d == "mps" and not mps)
        ]
        if missing:
            have = ", ".join([*found, *(["mps"] if mps else []), "cpu"])
            raise Unavailable(f"there is no device {', '.join(missing)} here; there is {have}")
    each = jobs_at_once or (_cores() if devices == ["cpu"] else 1)
    return (devices * each)[: max(1, min(len(devices) * each, pending))]


def _cores() -> int:
    """Worker processes for the CPU: one a core, as far as memory goes; each works with one thread.

    With one thread a result does not hang on how many workers there are.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return cores
    return max(1, min(cores, memory // MEMORY_A_WORKER))
