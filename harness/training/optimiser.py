"""AdamW with clipping, for one source and for the stacked sources of a pack.

Source: Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2, with the constants that PyTorch
takes by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.core.parameters import TrainableParameters

CLIP = 1.0  # greatest norm of a job's gradient
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class SingleAdamW:
    """The library's optimiser over one source."""

    def __init__(self, trainable: TrainableParameters, weight_decay: float) -> None:
        self._trainable, self._looked = trainable, False
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in trainable.named_parameters():
            groups[decays(name, parameter)].append(parameter)
        tables = [
            {"params": groups[decay], "weight_decay": weight_decay * decay}
            for decay in (True, False)
        ]
        self._adam = torch.optim.AdamW(tables, betas=BETAS, eps=EPSILON, fused=True)

    def step(self, rate: float) -> None:
        """One update by the gradients at hand, which are then forgotten."""
        if not self._looked:
            check_gradients(
                {name: parameter.grad for name, parameter in self._trainable.named_parameters()}
            )
            self._looked = True
        for group in self._adam.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self._trainable.parameters(), CLIP)
        self._adam.step()
        self._adam.zero_grad()


class StackedAdamW:
    """One update of many sources, each with a rate, a decay and a clip of its own.

    Args:
        tensors: the parameters of all of them, `{name: [places, ...]}`.
        weight_decay: of each.
    """

    def __init__(self, tensors: Mapping[str, Tensor], weight_decay: Sequence[float]) -> None:
        self._tensors, self._steps, self._looked = tensors, 0, False
        self._decay = {name: decays(name, tensor[0]) for name, tensor in tensors.items()}
        self._weight_decay = torch.tensor(weight_decay, dtype=torch.float64)
        self._first = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}

    def told(self, rates: Sequence[float]) -> Tensor:
        """What the next update must know of the host, `[3, places]`: size of the step, what decay leaves, correction.

        Args:
            rates: the learning rate of each place.
        """
        self._steps += 1
        rate = torch.tensor(rates, dtype=torch.float64)  # [places]
        first, second = (1 - beta**self._steps for beta in BETAS)
        some = next(iter(self._tensors.values()))
        return torch.stack(
            [rate / first, 1 - rate * self._weight_decay, torch.full_like(rate, second**0.5)]
        ).to(some.dtype)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], told: Tensor) -> None:
        """One update.

        Args:
            gradients: of the tensors, in their order.
            told: of this update, on their device.
        """
        if not self._looked:
            check_gradients(dict(zip(self._tensors, gradients, strict=True)))
            self._looked = True
        seen = [gradient for gradient in gradients if gradient is not None]
        step_size, kept, correction = told  # [places] each
        scale = _clip(seen)
        for (name, tensor), raw in zip(self._tensors.items(), seen, strict=True):
            axes = (-1, *[1] * (tensor.dim() - 1))
            gradient = raw * scale.view(axes)
            first, second = self._first[name], self._second[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            if self._decay[name]:
                tensor.mul_(kept.view(axes))
            root = second.sqrt().div_(correction.view(axes)).add_(EPSILON)
            tensor.sub_(first / root * step_size.view(axes))


def _clip(gradients: Sequence[Tensor]) -> Tensor:
    """What every place's gradient is multiplied with, `[places]`."""
    norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    scale: Tensor = CLIP / (torch.linalg.vector_norm(torch.stack(norms), dim=0) + 1e-6)
    return scale.clamp_max(1.0)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether a source's parameter decays; biases and the scales of norms never do."""
    axes = parameter.dim() - name.startswith("_per_vertex.")  # less the vertex axis
    return axes >= 2 and "bias" not in name


def check_gradients(gradients: Mapping[str, Tensor | None]) -> None:
    """See that every trained tensor has a gradient: one without stands where the backbone does not look.

    Raises:
        ValueError: some have none.
    """
    absent = [name for name, gradient in gradients.items() if gradient is None]
    if absent:
        shown = ", ".join(
            name.removeprefix("_shared.").removeprefix("_per_vertex.").replace("/", ".")
            for name in absent[:3]
        )
        raise ValueError(
            f"{len(absent)} trained tensors get no gradient on this backbone: {shown}{', ...' * (len(absent) > 3)}"
        )
