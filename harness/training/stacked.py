"""Parameters, rows and step inputs of a pack, stacked: the first axis is the member of the pack."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backbones.loading import Backbone
from harness.training.loop import StepRequest
from harness.training.rows.batching import collate, to_device
from harness.training.rows.truncation import Encoded
from methods.core.attention import full_mask
from methods.core.parameters import TrainableParameters

Batch = dict[str, Tensor]
MaskValues = dict[float, Tensor]  # of dropout, for each probability: `[pack_size, values]`


class StepInputs(NamedTuple):
    """Inputs of one training step, copied to the device.

    Attributes:
        indices: which rows of its own job each member trains on, `[pack_size, rows]`.
        optimiser_values: from `StackedAdamW.step_values`, `[3, pack_size]`.
        points: points of the simplex, `[pack_size, rows or 1, layers, vertices]`; None: the method has none.
        pair: the two vertices that the penalty compares, `[pack_size, 2]`.
        masks: of the backbone's dropout and of the method's dropout.
    """

    indices: Tensor
    optimiser_values: Tensor
    points: Tensor | None
    pair: Tensor | None
    masks: tuple[MaskValues, MaskValues]


class StackedParameters:
    """The parameters of all members, `{name: [pack_size, ...]}`; each job's own parameters become views of them.

    Args:
        template: parameters with the names and shapes of the pack.
        of_jobs: the parameters of each job.
        size: the pack size.
    """

    def __init__(
        self, template: TrainableParameters, of_jobs: Sequence[TrainableParameters], size: int
    ) -> None:
        self._of_jobs = of_jobs
        self.tensors: dict[str, Tensor] = {}
        for name, parameter in template.named_parameters():
            tensor = parameter.new_zeros((size, *parameter.shape))
            for member in range(size):
                self._view(tensor, member, name).copy_(self._of_member(member, name).detach())
            for member, trainable in enumerate(of_jobs):
                trainable.get_parameter(name).data = self._view(tensor, member, name)
            self.tensors[name] = tensor.requires_grad_()

    def _of_member(self, member: int, name: str) -> Tensor:
        """Return the parameter of a member's job; members without a job copy the first job."""
        return self._of_jobs[member if member < len(self._of_jobs) else 0].get_parameter(name)

    def _view(self, tensor: Tensor, member: int, name: str) -> Tensor:
        """Return the part of a member's entry that its job uses: heads are padded, and the padding stays 0."""
        return tensor[member][tuple(slice(count) for count in self._of_member(member, name).shape)]

    def release(self, member: int) -> None:
        """Copy the parameters of a job that has ended, since the entry of its member keeps changing."""
        for parameter in self._of_jobs[member].parameters():
            parameter.data = parameter.data.clone()


class StackedRows:
    """The rows of all jobs, padded once to the pack's length and kept on the device."""

    def __init__(self, backbone: Backbone, rows: Sequence[Sequence[Encoded]], length: int) -> None:
        self._causal, self._device = backbone.architecture.causal, backbone.device
        self._jobs, self._offsets = len(rows), [0, *accumulate(map(len, rows))]
        self._rows = collate(backbone, [row for job_rows in rows for row in job_rows], length)

    def first_rows(self, members: Sequence[int]) -> Tensor:
        """Return the index of each member's first row, `[members, 1]`; without a job, that of member 0."""
        indices = [[self._offsets[member if member < self._jobs else 0]] for member in members]
        return to_device(torch.tensor(indices), self._device)

    def indices(self, members: Sequence[int], rows: Sequence[Sequence[int]]) -> Tensor:
        """Return indices among the rows of all jobs, `[members, rows]`, of rows given by their index in each job."""
        in_job = to_device(torch.tensor([list(indices) for indices in rows]), self._device)
        return in_job + self.first_rows(members)

    def step_inputs(
        self,
        steps: Sequence[StepRequest],
        optimiser_values: Tensor,
        masks: tuple[MaskValues, MaskValues],
    ) -> StepInputs:
        """Return the inputs of one step of each member, on the device."""
        indices = torch.tensor([list(step.indices) for step in steps])
        return StepInputs(
            indices=to_device(indices, self._device),
            optimiser_values=to_device(optimiser_values, self._device),
            points=self.stacked([step.points for step in steps]),
            pair=self.stacked([step.pair for step in steps]),
            masks=masks,
        )

    def stacked(self, tensors: Sequence[Tensor | None]) -> Tensor | None:
        """Return the members' tensors stacked on the device; None if the members have no tensors."""
        present = [tensor for tensor in tensors if tensor is not None]
        return to_device(torch.stack(present), self._device) if present else None

    def batch(self, indices: Tensor) -> Batch:
        """Return the rows with these indices `[members, rows]`: `{name: [members, rows, tokens]}`.

        The attention mask is the full one, `[members, rows, 1, tokens, tokens]`.
        """
        batch = {name: tensor[indices] for name, tensor in self._rows.items()}
        mask = full_mask(batch["attention_mask"].flatten(0, 1), causal=self._causal)
        return batch | {"attention_mask": mask.unflatten(0, indices.shape)}
