"""The devices of this machine, and the number of workers on each."""

import os
import platform
import re
from pathlib import Path
from typing import Final

from harness.errors import Unavailable, UsageError

# Where Linux shows the drivers of NVIDIA (on a server, in a container, on Jetson, under Windows) and of AMD.
GPU_DRIVERS: Final = tuple(
    map(Path, ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd"))
)
MEMORY_PER_WORKER = 3 << 30  # bytes, enough for a model of the size of BERT-base


def parse(text: str) -> str | list[str]:
    """Parse `auto`, or devices such as `cpu`, `mps`, `cuda` and `cuda:0,1`, without importing torch.

    Raises:
        UsageError: the text is not one of these.
    """
    text = text.strip().lower()
    if text in ("auto", "cpu", "mps"):
        return text if text == "auto" else [text]
    if match := re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", text):
        return [f"cuda:{number}" for number in dict.fromkeys((match[1] or "0").split(","))]
    raise UsageError(f"--devices must be auto, cpu, mps, cuda or cuda:0,1, got {text!r}")


def is_cpu(requested: str | list[str]) -> bool:
    """Return whether it is certain, without importing torch, that jobs run on a CPU."""
    no_gpu = platform.system() == "Linux" and not any(map(Path.exists, GPU_DRIVERS))
    return requested == ["cpu"] or (requested == "auto" and no_gpu)


def choose(requested: str | list[str], workers_per_device: int, jobs: int) -> list[str]:
    """Return the device of each worker.

    Args:
        requested: what `parse` returned.
        workers_per_device: 0 means one for a GPU, and one for each core of a CPU.
        jobs: number of jobs to run, beyond which no worker is useful.

    Raises:
        Unavailable: this machine does not have a requested device.
    """
    available = ["cpu"] if is_cpu(requested) else _available()
    if requested == "auto":
        gpus = [device for device in available if device.startswith("cuda")]
        devices = gpus or available[:1]
    else:
        devices = list(requested)
        if missing := [device for device in devices if device not in available]:
            raise Unavailable(
                f"this machine has no device {', '.join(missing)}; it has {', '.join(available)}"
            )
    count = workers_per_device or (_cpu_workers() if devices == ["cpu"] else 1)
    return (devices * count)[: max(1, jobs)]


def _available() -> list[str]:
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*gpus, *["mps"] * torch.backends.mps.is_available(), "cpu"]


def _cpu_workers() -> int:
    """Return the number of workers for the CPU: one per core, but no more than fit into memory.

    Each worker computes with one thread, so a result does not depend on the number of workers.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # some systems do not report it
        return cores()
    return max(1, min(cores(), memory // MEMORY_PER_WORKER))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
