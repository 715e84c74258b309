"""Memory in use, and its peak: on a GPU the memory that torch allocated, else the memory of this process."""

from contextlib import suppress
from pathlib import Path


def reset_peak(device: str) -> None:
    """Reset the peak of memory in use, if the system supports it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # exists on Linux only
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Return the peak in bytes since `reset_peak`, or since the process started if it cannot be reset."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        return _status("VmHWM")
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # since the process started
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes


def resident_bytes() -> int:
    """Return the bytes of this process in memory, or the peak if the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):
        return _status("VmRSS")
    return peak_bytes("cpu")


def _status(name: str) -> int:
    """Return a number of bytes that Linux keeps about this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
