"""A training step of a pack as one CUDA graph, for `bench run --cuda-graphs`.

A step is some thousand small kernels, and a fast GPU waits for the Python that starts them.
Recorded once, they are started by one call. What is recorded are kernels and the addresses that
they read and write, so a step must ask the host for nothing and change only memory that stays where
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as trees

# steps before the one that is recorded: libraries choose their kernels in them, and make what they
# keep
PLAIN = 3


class Recorder(Protocol):
    """Records what a function starts, without running it."""

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """What plays it back, and the tensor that holds the function's value after each time."""
        ...


class CudaGraphRecorder:
    """The recorder of a GPU.

    Raises:
        RuntimeError: the device is none that has graphs.
    """

    def __init__(self, device: str) -> None:
        if not device.startswith("cuda"):
            raise RuntimeError(f"{device} has no CUDA graphs")
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        """Inside the block kernels go to a stream of their own: none are recorded on the one that is everybody's."""
        usual = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(usual)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            usual.wait_stream(self._stream)

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """As `Capture` says.

        Raises:
            OutOfMemoryError: the device has no room for a step's memory, which a graph keeps.
            RuntimeError: the step cannot be recorded. The device itself is as good as before,
                whatever error it gave.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                result = function()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise RuntimeError(str(error).partition("\n")[0]) from error
        return graph.replay, result


class CapturedStep:
    """A step that is taken as it is written a few times, then recorded, and played back from then on.

    Args:
        step: from what it is told, a tree of tensors, to a tensor.
        capture: records it.
    """

    def __init__(self, step: Callable[[Any], Tensor], capture: Recorder) -> None:
        self._step, self._capture, self._taken = step, capture, 0
        self._replay: Callable[[], object] = lambda: None
        self._read: list[Any] = []  # what the recorded kernels read of what a step is told
        self._result = torch.empty(0)

    def __call__(self, told: Any) -> Tensor:
        """The step's value."""
        self._taken += 1
        if self._taken <= PLAIN:
            return self._step(told)
        leaves, tree = trees.tree_flatten(told)
        if not self._read:
            self._read = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            self._replay, self._result = self._capture(
                lambda: self._step(trees.tree_unflatten(self._read, tree))
            )
        for read, leaf in zip(self._read, leaves, strict=True):
            if isinstance(read, Tensor):
                read.copy_(leaf)
        self._replay()
        return self._result.clone()
