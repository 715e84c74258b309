"""AdamW with gradient clipping, for one job and for the stacked parameters of a pack.

Source: Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2, with the default constants
of PyTorch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.core.parameters import TrainableParameters

MAX_NORM = 1.0  # of a job's gradient
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class SingleAdamW:
    """PyTorch's optimiser over the parameters of one job."""

    def __init__(self, trainable: TrainableParameters, weight_decay: float) -> None:
        self._trainable = trainable
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in trainable.named_parameters():
            groups[decays(name, parameter)].append(parameter)
        parameter_groups = [
            {"params": groups[decay], "weight_decay": weight_decay * decay}
            for decay in (True, False)
        ]
        self._adam = torch.optim.AdamW(parameter_groups, betas=BETAS, eps=EPSILON, fused=True)

    def step(self, rate: float) -> None:
        """Update the parameters by their gradients, then clear the gradients."""
        if not self._adam.state:  # at the first step
            check_gradients(
                {name: parameter.grad for name, parameter in self._trainable.named_parameters()}
            )
        for group in self._adam.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self._trainable.parameters(), MAX_NORM)
        self._adam.step()
        self._adam.zero_grad()


class StackedAdamW:
    """AdamW over stacked parameters, where each job has its own rate, weight decay and clipping.

    Args:
        tensors: the stacked parameters, `{name: [jobs, ...]}`.
        weight_decay: the weight decay of each job.
    """

    def __init__(self, tensors: Mapping[str, Tensor], weight_decay: Sequence[float]) -> None:
        self._tensors, self._steps = tensors, 0
        self._decay = {name: decays(name, tensor[0]) for name, tensor in tensors.items()}
        self._weight_decay = torch.tensor(weight_decay, dtype=torch.float64)
        self._first = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}

    def step_values(self, rates: Sequence[float]) -> Tensor:
        """Compute, on the host, the values that the next update needs, `[3, jobs]`.

        They are the step size, the factor of weight decay, and the correction of the second moment.

        Args:
            rates: the learning rate of each job.
        """
        self._steps += 1
        rate = torch.tensor(rates, dtype=torch.float64)  # [jobs]
        first, second = (1 - beta**self._steps for beta in BETAS)
        return torch.stack(
            [rate / first, 1 - rate * self._weight_decay, torch.full_like(rate, second**0.5)]
        ).to(next(iter(self._tensors.values())).dtype)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], values: Tensor) -> None:
        """Update the parameters.

        Args:
            gradients: the gradient of each tensor, in the order of the tensors.
            values: from `step_values`, on the device of the tensors.
        """
        if self._steps == 1:
            check_gradients(dict(zip(self._tensors, gradients, strict=True)))
        present = [gradient for gradient in gradients if gradient is not None]
        step_size, decay_factor, correction = values  # [jobs] each
        scale = _clip_factors(present)
        for (name, tensor), raw in zip(self._tensors.items(), present, strict=True):
            axes = (-1, *[1] * (tensor.dim() - 1))
            gradient = raw * scale.view(axes)
            first, second = self._first[name], self._second[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            if self._decay[name]:
                tensor.mul_(decay_factor.view(axes))
            root = second.sqrt().div_(correction.view(axes)).add_(EPSILON)
            tensor.sub_(first / root * step_size.view(axes))


def _clip_factors(gradients: Sequence[Tensor]) -> Tensor:
    """Return the factor that clips each job's gradient, `[jobs]`."""
    norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    scale: Tensor = MAX_NORM / (torch.linalg.vector_norm(torch.stack(norms), dim=0) + 1e-6)
    return scale.clamp_max(1.0)


def decays(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay applies to a parameter: not to biases and scales of norms."""
    axes = parameter.dim() - name.startswith("_per_vertex.")  # without the vertex axis
    return axes >= 2 and "bias" not in name


def check_gradients(gradients: Mapping[str, Tensor | None]) -> None:
    """Check that every trained tensor has a gradient; the backbone does not use a tensor without gradient.

    Raises:
        ValueError: some tensors have no gradient.
    """
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if missing:
        shown = ", ".join(
            name.removeprefix("_shared.").removeprefix("_per_vertex.").replace("/", ".")
            for name in missing[:3]
        )
        raise ValueError(
            f"{len(missing)} trained tensors get no gradient on this backbone: {shown}{', ...' * (len(missing) > 3)}"
        )
