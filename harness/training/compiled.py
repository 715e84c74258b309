"""A training step of a pack as one compiled graph, for `bench run --compile`.

`torch.compile` cannot look into `torch.func.vmap` around a library's model: it would fall back,
piece by piece, to what it was to replace. So the pass is first traced into plain operations, and
those are compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as trees


class CompiledFunction:
    """A function of a tree of tensors, compiled when it is first called and for the shapes of that call.

    Made once for a kind of packs (`held.COMPILED`): whatever else the function reads must be the
    same for all of them.
    """

    def __init__(self) -> None:
        self._graph: Callable[..., Any] | None = None

    def __call__(self, function: Callable[[Any], Any], given: Any) -> Any:
        """What the function gives, by the graph."""
        tensors, tree = trees.tree_flatten(given)
        if self._graph is None:

            def flat(*leaves: Any) -> Any:
                return function(trees.tree_unflatten(list(leaves), tree))

            # With gradients the trace would hold what autograd detaches, and pass none on. Without,
            # a GPU's fused attention is told to keep nothing for a backward pass, which this one
            # has: attention is traced as plain products.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                self._graph = torch.compile(
                    make_fx(flat)(*(tensor.detach() for tensor in tensors)), dynamic=False
                )
        return self._graph(*tensors)
