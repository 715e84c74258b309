"""AdamW with clipping, for one source and for the stacked sources of a pack.

Source: Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2, with the constants that PyTorch takes by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.source import Source

CLIP = 1.0  # greatest norm of a job's gradient
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Alone:
    """The library's optimiser over one source."""

    def __init__(self, source: Source, weight_decay: float) -> None:
        self._source, self._looked = source, False
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in source.named_parameters():
            groups[decays(name, parameter)].append(parameter)
        tables = [{"params": groups[decay], "weight_decay": weight_decay * decay} for decay in (True, False)]
        self._adam = torch.optim.AdamW(tables, betas=BETAS, eps=EPSILON, fused=True)

    def step(self, rate: float) -> None:
        """One update by the gradients at hand, which are then forgotten."""
        if not self._looked:
            see_gradients(self._source.named_parameters())
            self._looked = True
        for group in self._adam.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self._source.parameters(), CLIP)
        self._adam.step()
        self._adam.zero_grad()


class Stacked:
    """One update of many sources, each with a rate, a decay and a clip of its own.

    Args:
        tensors: the parameters of all of them, `{name: [places, ...]}`.
        weight_decay: of each.
    """

    def __init__(self, tensors: Mapping[str, Tensor], weight_decay: Sequence[float]) -> None:
        self._tensors, self._steps = tensors, 0
        self._decay = {name: decays(name, tensor[0]) for name, tensor in tensors.items()}
        self._weight_decay = torch.tensor(weight_decay, dtype=torch.float64)
        self._first = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """One update by the gradients at hand, which are then forgotten."""
        if not self._steps:
            see_gradients(self._tensors.items())
        self._steps += 1
        some = next(iter(self._tensors.values()))
        rate = torch.tensor(rates, dtype=torch.float64)  # [places]
        correction = [1 - beta**self._steps for beta in BETAS]
        step_size = (rate / correction[0]).to(some)
        kept = (1 - rate * self._weight_decay).to(some)
        scale = self._clip()
        for name, tensor in self._tensors.items():
            axes = (-1, *[1] * (tensor.dim() - 1))
            gradient = tensor.grad * scale.view(axes)  # type: ignore[operator]  # see_gradients saw it
            first, second = self._first[name], self._second[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            if self._decay[name]:
                tensor.mul_(kept.view(axes))
            root = second.sqrt().div_(correction[1] ** 0.5).add_(EPSILON)
            tensor.sub_(first / root * step_size.view(axes))
            tensor.grad = None

    def _clip(self) -> Tensor:
        """What every place's gradient is multiplied with, `[places]`."""
        norms = [torch.linalg.vector_norm(tensor.grad.flatten(1), dim=1) for tensor in self._tensors.values()]  # type: ignore[union-attr]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        scale: Tensor = CLIP / (norm + 1e-6)
        return scale.clamp_max(1.0)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether a source's parameter decays; biases and the scales of norms never do."""
    axes = parameter.dim() - name.startswith("_drawn.")  # less the vertex axis
    return axes >= 2 and "bias" not in name


def see_gradients(named: Iterable[tuple[str, Tensor]]) -> None:
    """See that every trained tensor has a gradient: one without stands where the backbone does not look.

    Raises:
        ValueError: some have none.
    """
    absent = [name for name, parameter in named if parameter.grad is None]
    if absent:
        shown = ", ".join(name.removeprefix("_given.").removeprefix("_drawn.").replace("/", ".") for name in absent[:3])
        raise ValueError(
            f"{len(absent)} trained tensors get no gradient on this backbone: {shown}{', ...' * (len(absent) > 3)}"
        )
