"""A training step of a pack as one CUDA graph, for `bench run --cuda-graphs`.

A step launches some thousand small kernels, and a fast GPU waits for the Python code that launches
them. After a step is captured, one call launches all its kernels. A graph holds kernels and the
addresses that they read and write, so a step must not copy a value to the host and must change memory
only in place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as trees

# Number of steps that run before a step is captured: in them, libraries choose kernels and allocate workspaces.
WARM_UP_STEPS = 3


# A recorder takes a function and records the kernels that it launches, without running them. It returns
# a function that replays the kernels, and the tensor that then holds the function's value.
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]


class CudaGraphRecorder:
    """The recorder of a GPU.

    Raises:
        RuntimeError: the device does not support CUDA graphs.
    """

    def __init__(self, device: str) -> None:
        if not device.startswith("cuda"):
            raise RuntimeError(f"{device} has no CUDA graphs")
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        """Launch the kernels of the block on a side stream, as capturing requires."""
        main_stream = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(main_stream)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            main_stream.wait_stream(self._stream)

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Capture a function as a CUDA graph: see `Recorder`.

        Raises:
            OutOfMemoryError: the device cannot hold the memory of a step, which the graph occupies.
            RuntimeError: the step cannot be captured. The device remains usable.
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
    """A step that runs normally a few times, is then captured, and is replayed from then on.

    Args:
        step: a function from a tree of tensors to a tensor.
        recorder: captures it.
    """

    def __init__(self, step: Callable[[Any], Tensor], recorder: Recorder) -> None:
        self._step, self._recorder, self._steps = step, recorder, 0
        self._replay: Callable[[], object] = lambda: None
        self._inputs: list[Any] = []  # the captured kernels read their memory
        self._result = torch.empty(0)

    def __call__(self, inputs: Any) -> Tensor:
        """Run the step and return its value."""
        self._steps += 1
        if self._steps <= WARM_UP_STEPS:
            return self._step(inputs)
        leaves, tree = trees.tree_flatten(inputs)
        if not self._inputs:
            self._inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            self._replay, self._result = self._recorder(
                lambda: self._step(trees.tree_unflatten(self._inputs, tree))
            )
        for captured_input, leaf in zip(self._inputs, leaves, strict=True):
            if isinstance(captured_input, Tensor):
                captured_input.copy_(leaf)
        self._replay()
        return self._result.clone()
