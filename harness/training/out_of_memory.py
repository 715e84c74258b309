"""What happens on out-of-memory.

The pack size is halved first, until jobs train alone; then the micro-batch of a training step is
halved, down to one row. Evaluation calls of a job that trains alone are halved as well. A job fails
only if a single row does not fit. Every reduction is recorded in the job's geometry and reported once.
If the host (not the device) refuses memory, the worker must end: libraries cache objects that they
failed to create.
"""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from harness.geometry import ALONE, Geometry

Result = TypeVar("Result")

# Messages of errors in which torch reports that the host refused memory.
HOST_MESSAGES = ("can't allocate memory", "not enough memory", "could not create a primitive")


def retry_smaller(
    compute: Callable[[int], Result], size: int, smaller: Callable[[int], int]
) -> tuple[Result, int]:
    """Call `compute` with a size that is reduced each time the device runs out of memory.

    Args:
        compute: the computation, given the size.
        size: the first size to try; 0: the default size.
        smaller: returns the next size to try; 0: there is no smaller size.

    Returns:
        The result and the size with which it was computed.

    Raises:
        OutOfMemoryError: the smallest size does not fit either.
    """
    import torch

    while True:
        try:
            return compute(size), size
        except torch.OutOfMemoryError:
            if not (size := smaller(size)):
                raise
        free_memory()


def smaller_pack(geometry: Geometry) -> Geometry:
    """Return the geometry with half the pack size, or that of a job alone if half is below two jobs."""
    half = geometry.pack_size // 2
    return replace(geometry, pack_size=half) if half > 1 else ALONE


def refused_by_host(error: Exception) -> bool:
    """Return whether the error says that the host, not the device, has no memory left."""
    return isinstance(error, MemoryError) or (
        type(error) is RuntimeError and any(message in str(error) for message in HOST_MESSAGES)
    )


def free_memory() -> None:
    """Free the memory of a failed call. Call it after the `except` block: the error holds the call's frames."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # some versions raise it after a graph that was not captured
            torch.cuda.empty_cache()
