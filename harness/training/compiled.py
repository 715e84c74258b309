"""The forward pass of a pack's training step as one compiled graph, for `bench run --compile`.

`torch.compile` cannot trace `torch.func.vmap` around a library's model: it would split the graph and
run the original Python code between the parts. So `make_fx` first traces the pass into plain
operations, and `torch.compile` compiles those.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as trees


class CompiledFunction:
    """A function of a tree of tensors, compiled at its first call for the shapes of that call.

    Each kind of pack has its own (`worker_cache.compiled_function`). Everything that the function reads
    besides its inputs must be equal for all packs of the kind.
    """

    def __init__(self) -> None:
        self._graph: Callable[..., Any] | None = None

    def __call__(self, function: Callable[[Any], Any], inputs: Any) -> Any:
        """Return the value of `function(inputs)`, computed by the compiled graph."""
        tensors, tree = trees.tree_flatten(inputs)
        if self._graph is None:

            def flat(*leaves: Any) -> Any:
                return function(trees.tree_unflatten(list(leaves), tree))

            # Traced with gradients, the graph would contain autograd's detached tensors and pass
            # no gradient on. Traced without, a GPU's fused attention would save nothing for the
            # backward pass, so attention is traced as plain matrix products.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                self._graph = torch.compile(
                    make_fx(flat)(*(tensor.detach() for tensor in tensors)), dynamic=False
                )
        return self._graph(*tensors)
