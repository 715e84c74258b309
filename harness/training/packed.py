"""Several training loops in one forward pass over one frozen backbone.

The parameters of all jobs are stacked: every parameter gets a leading axis with one entry per member
of the pack, and each job's own parameters are views of its entry. `torch.func.vmap` over that axis
runs parameters and model for all members at once. Each job has its own loss, clipping, learning rate,
weight decay, random streams, early stopping and end.

The geometry of a pack follows from the plan and not from the jobs that are still training: a member
whose job has ended, or that never had one, repeats the request of another and its result is unused.
With equal geometry a job's numbers are equal to the bit, whatever trains beside it. Another geometry
changes rounding, so it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from harness.backbones.loading import Backbone
from harness.geometry import EVAL_MICRO_BATCHES, Geometry
from harness.training.adapted_model import AdaptedModel
from harness.training.batching import Encoded, collate, to_device
from harness.training.cuda_graphs import CapturedStep, Recorder
from harness.training.dev_scoring import EvalRequest
from harness.training.loop import FitResult, StepRequest, TrainingLoop
from harness.training.optimiser import StackedAdamW
from methods.core.attention import attention_under_vmap, full_mask
from methods.core.dropout import MaskCounter, PrecomputedMasks, sample_masks
from methods.core.parameters import TrainableParameters

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction

Batch = dict[str, Tensor]
MaskValues = dict[float, Tensor]  # of dropout, for each probability: `[pack_size, values]`


class Pack:
    """Jobs of one kind that train in one forward pass.

    Args:
        adapted: the backbone with as many outputs as the heads in the pack have, the slots that all
            jobs share, and trainable parameters of which only names and shapes are used.
        geometry: pack size, micro-batch and length.
        compiled: runs the forward passes of compiled training steps; evaluations are not compiled.
        recorder: captures training steps as CUDA graphs.
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        geometry: Geometry,
        compiled: CompiledFunction | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._adapted, self._geometry = adapted, geometry
        self._compiled, self._recorder = compiled, recorder
        self._parameters = _ParametersAndPenalty(adapted.trainable)

    def fit(self, loops: Sequence[TrainingLoop]) -> list[FitResult]:
        """Run training loops side by side, at most as many as the pack size."""
        size = self._geometry.pack_size
        filled = [*loops, *[loops[0]] * (size - len(loops))]
        stack = _StackedParameters(
            self._adapted.trainable, [loop.adapted.trainable for loop in loops], size
        )
        optimiser = StackedAdamW(stack.tensors, [loop.options["weight_decay"] for loop in filled])
        rows = _PackedRows(
            self._adapted.backbone, [loop.rows for loop in loops], self._geometry.length
        )
        masks = _DropoutMasks(self, loops, rows)
        step = _TrainingStep(self, stack, rows, filled, optimiser)
        take_step = CapturedStep(step, self._recorder) if self._recorder else step
        results: dict[int, FitResult] = {}
        pending: dict[int, StepRequest | EvalRequest] = {}  # by member
        latest: dict[int, StepRequest] = {}  # step request of each member
        generators = [loop.requests() for loop in loops]

        def advance(member: int, value: Tensor | None) -> None:
            try:
                request = generators[member].send(value)  # type: ignore[arg-type]  # None begins a generator
            except StopIteration as end:
                pending.pop(member, None)
                results[member] = end.value
                stack.release(member)
            else:
                pending[member] = request
                if isinstance(request, StepRequest):
                    latest[member] = request

        for member in range(len(loops)):
            advance(member, None)
        while pending:
            evaluations = {m: r for m, r in pending.items() if isinstance(r, EvalRequest)}
            # Serve evaluation requests first, one kind at a time.
            if evaluations:
                kind = _kind(next(iter(evaluations.values())))
                same_kind = {m: r for m, r in evaluations.items() if _kind(r) == kind}
                for member, logits in self._evaluate(stack, rows, same_kind).items():
                    advance(member, logits[:, : loops[member].adapted.backbone.outputs])
                continue
            steps = [latest.get(member, latest[0]) for member in range(size)]
            rates = [step.rate if member in pending else 0.0 for member, step in enumerate(steps)]
            mask_jobs = [
                member if member in pending else next(iter(pending)) for member in range(size)
            ]
            losses = take_step(
                rows.step_inputs(steps, optimiser.step_values(rates), masks.draw(mask_jobs))
            )
            for member in list(pending):
                advance(member, losses[member])
        return [results[member] for member in range(len(loops))]

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        batch: Batch,
        points: Tensor | None = None,
        pair: Tensor | None = None,
        masks: tuple[MaskValues, MaskValues] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[pack_size, rows, outputs]` and penalties `[pack_size]` of one pass.

        Args:
            parameters: stacked, `{name: [pack_size, ...]}`.
            batch: `{name: [pack_size, rows, tokens]}`.
            points: of the simplex, `[pack_size, rows or 1, layers, vertices]`.
            pair: two vertices that the penalty compares, `[pack_size, 2]`.
            masks: of the backbone's dropout and of the methods' own.
        """
        backbone, slots = self._adapted.backbone, self._adapted.slots

        def forward_member(inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
            tensors, penalty = functional_call(
                self._parameters, inputs["parameters"], (inputs.get("points"), inputs.get("pair"))
            )
            slots.install(tensors)
            hidden, added = (
                PrecomputedMasks(inputs[kind]) if inputs[kind] else None
                for kind in ("hidden", "added")
            )
            with backbone.dropout(hidden), slots.dropout(added):
                logits: Tensor = backbone.model(**inputs["batch"])
            return logits, penalty

        hidden, added = masks or ({}, {})
        inputs = {
            "batch": batch,
            "points": points,
            "pair": pair,
            "hidden": hidden,
            "added": added,
            "parameters": {f"trainable.{name}": tensor for name, tensor in parameters.items()},
        }
        inputs = {name: value for name, value in inputs.items() if value is not None}
        with attention_under_vmap():
            compiled = self._compiled if torch.is_grad_enabled() else None
            mapped = vmap(forward_member)
            logits, penalty = compiled(mapped, inputs) if compiled else mapped(inputs)
        return logits.to(backbone.trained_in), penalty

    @torch.no_grad()
    def _evaluate(
        self, stack: _StackedParameters, rows: _PackedRows, requests: Mapping[int, EvalRequest]
    ) -> dict[int, Tensor]:
        """Return the logits `[rows, outputs]` of each request, on the CPU.

        Rows go through the model in parts of a size that the geometry fixes; a part that is not full
        repeats the last row.
        """
        count = EVAL_MICRO_BATCHES * self._geometry.micro_batch
        idle = next(iter(requests.items()))
        filled = [
            (member, requests[member]) if member in requests else idle
            for member in range(self._geometry.pack_size)
        ]
        parts = []
        for start in range(0, max(len(request.indices) for request in requests.values()), count):
            positions = [
                [min(start + offset, len(request.indices) - 1) for offset in range(count)]
                for _, request in filled
            ]
            indices = [
                [request.indices[position] for position in part]
                for part, (_, request) in zip(positions, filled, strict=True)
            ]
            points = [
                request.points
                if request.points is None or len(request.points) == 1
                else request.points[part]
                for part, (_, request) in zip(positions, filled, strict=True)
            ]
            batch = rows.batch(rows.indices([member for member, _ in filled], indices))
            parts.append(self.forward(stack.tensors, batch, rows.stacked(points))[0].cpu())
        logits = torch.cat(parts, dim=1)
        return {
            member: logits[member, : len(request.indices)] for member, request in requests.items()
        }


class StepInputs(NamedTuple):
    """Inputs of one training step, copied to the device.

    Attributes:
        indices: rows of each member among its own, `[pack_size, rows]`.
        rates: from `StackedAdamW.step_values`, `[3, pack_size]`.
        points: of the simplex, `[pack_size, rows or 1, layers, vertices]`; None: the method has none.
        pair: two vertices that the penalty compares, `[pack_size, 2]`.
        masks: of the backbone's dropout and of the methods' own.
    """

    indices: Tensor
    rates: Tensor
    points: Tensor | None
    pair: Tensor | None
    masks: tuple[MaskValues, MaskValues]


class _TrainingStep:
    """One step of all members, which can be captured: it reads nothing back and changes memory in place only."""

    def __init__(
        self,
        pack: Pack,
        stack: _StackedParameters,
        rows: _PackedRows,
        loops: Sequence[TrainingLoop],
        optimiser: StackedAdamW,
    ) -> None:
        self._pack, self._stack, self._rows = pack, stack, rows
        self._loops, self._optimiser = loops, optimiser
        self._first = rows.first(range(len(loops)))

    def __call__(self, inputs: StepInputs) -> Tensor:
        """Take the step and return the losses `[pack_size]` before it."""
        tensors = self._stack.tensors
        batch = self._rows.batch(inputs.indices + self._first)
        logits, penalties = self._pack.forward(
            tensors, batch, inputs.points, inputs.pair, inputs.masks
        )
        losses = torch.stack(
            [  # job by job: in one call, the position in the pack would change the last digit
                loop.loss(logits[member], inputs.indices[member]) + penalties[member]
                for member, loop in enumerate(self._loops)
            ]
        )
        self._optimiser.step(
            torch.autograd.grad(losses.sum(), list(tensors.values()), allow_unused=True),
            inputs.rates,
        )
        return losses.detach()


class _ParametersAndPenalty(nn.Module):
    """Computes the tensors of the slots and the penalty in one call, as `functional_call` requires."""

    def __init__(self, trainable: TrainableParameters) -> None:
        super().__init__()
        self.trainable = trainable

    def forward(
        self, points: Tensor | None, pair: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        like, penalty = next(self.trainable.parameters()), self.trainable.penalty(pair)
        if not isinstance(penalty, Tensor):
            penalty = like.new_full((), penalty)
        return self.trainable(points), penalty.to(like)


class _StackedParameters:
    """The parameters of all jobs with a leading axis of members; each job's own parameters become views.

    Args:
        shape: parameters with the names and shapes of the pack.
        each: the parameters of each job.
        size: the pack size.
    """

    def __init__(
        self, shape: TrainableParameters, each: Sequence[TrainableParameters], size: int
    ) -> None:
        self._each = each
        self.tensors: dict[str, Tensor] = {}
        for name, parameter in shape.named_parameters():
            tensor = parameter.new_zeros((size, *parameter.shape))
            for member in range(size):
                self._view(tensor, member, name).copy_(self._own(member, name).detach())
            for member, trainable in enumerate(each):
                trainable.get_parameter(name).data = self._view(tensor, member, name)
            self.tensors[name] = tensor.requires_grad_()

    def _own(self, member: int, name: str) -> Tensor:
        return self._each[member if member < len(self._each) else 0].get_parameter(name)

    def _view(self, tensor: Tensor, member: int, name: str) -> Tensor:
        """Return a job's part of its entry: heads are padded to the widest, and the padding stays 0."""
        return tensor[member][tuple(slice(count) for count in self._own(member, name).shape)]

    def release(self, member: int) -> None:
        """Copy the parameters of a job that has ended, since its entry keeps changing."""
        for parameter in self._each[member].parameters():
            parameter.data = parameter.data.clone()


class _PackedRows:
    """The rows of all jobs, padded once to the pack's length and kept on the device."""

    def __init__(self, backbone: Backbone, rows: Sequence[Sequence[Encoded]], length: int) -> None:
        self._causal, self._device = backbone.architecture.causal, backbone.device
        self._jobs, self._first = len(rows), [0, *accumulate(map(len, rows))]
        self._rows = collate(backbone, [row for job_rows in rows for row in job_rows], length)

    def first(self, members: Sequence[int]) -> Tensor:
        """Return the index of each member's first row, `[members, 1]`; without a job that of member 0."""
        first = [[self._first[member if member < self._jobs else 0]] for member in members]
        return to_device(torch.tensor(first), self._device)

    def indices(self, members: Sequence[int], rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the indices among all rows of some of each member's rows, `[members, rows]`."""
        within = to_device(torch.tensor([list(part) for part in rows]), self._device)
        return within + self.first(members)

    def step_inputs(
        self,
        steps: Sequence[StepRequest],
        rates: Tensor,
        masks: tuple[MaskValues, MaskValues],
    ) -> StepInputs:
        """Return the inputs of one step of each member, on the device."""
        indices = torch.tensor([list(step.indices) for step in steps])
        return StepInputs(
            indices=to_device(indices, self._device),
            rates=to_device(rates, self._device),
            points=self.stacked([step.points for step in steps]),
            pair=self.stacked([step.pair for step in steps]),
            masks=masks,
        )

    def stacked(self, tensors: Sequence[Tensor | None]) -> Tensor | None:
        """Return the members' tensors stacked on the device; None if they have none."""
        present = [tensor for tensor in tensors if tensor is not None]
        return to_device(torch.stack(present), self._device) if present else None

    def batch(self, indices: Tensor) -> Batch:
        """Return rows by their indices `[members, rows]`: `{name: [members, rows, tokens]}`, with the full mask."""
        batch = {name: tensor[indices] for name, tensor in self._rows.items()}
        mask = full_mask(batch["attention_mask"].flatten(0, 1), causal=self._causal)
        return batch | {"attention_mask": mask.unflatten(0, indices.shape)}


class _DropoutMasks:
    """Dropout masks of every member, drawn from the streams of its own job.

    A trial forward pass counts how many values of a mask a step needs.
    """

    def __init__(self, pack: Pack, loops: Sequence[TrainingLoop], rows: _PackedRows) -> None:
        self._streams = [loop.masks() for loop in loops]
        hidden, added = MaskCounter(), MaskCounter()
        adapted, count = pack._adapted, pack._geometry.micro_batch
        batch = rows.batch(rows.indices([0], [[0] * count]))
        points = adapted.trainable.weights(count, torch.Generator())
        with (
            torch.no_grad(),
            adapted.backbone.dropout(hidden if loops[0].options["dropout"] else None),
            adapted.slots.dropout(added),
        ):
            adapted.slots.install(adapted.trainable(points))
            adapted.backbone({name: tensor[0] for name, tensor in batch.items()})
        self._entries = hidden.entries, added.entries

    def draw(self, mask_jobs: Sequence[int]) -> tuple[MaskValues, MaskValues]:
        """Draw the masks of one step: of the backbone's dropout, and of the methods' own.

        Args:
            mask_jobs: for each member, the job from whose streams to draw.

        Returns:
            For each probability, `[pack_size, values]`.
        """
        drawn: list[MaskValues] = []
        for kind, entries in enumerate(self._entries):
            streams = {job: self._streams[job][kind] for job in dict.fromkeys(mask_jobs)}
            by_job = {
                job: sample_masks(entries, stream)
                for job, stream in streams.items()
                if stream is not None
            }
            drawn.append({p: torch.stack([by_job[job][p] for job in mask_jobs]) for p in entries})
        return drawn[0], drawn[1]


def _kind(request: EvalRequest) -> str:
    """Return the kind of a request; those of one kind share a forward pass."""
    if request.points is None:
        return "centroid"
    return "one point" if len(request.points) == 1 else "one point per row"


@torch.no_grad()
def may_pack(adapted: AdaptedModel, length: int) -> bool:
    """Return whether the backbone gives the same logits in a pass over several jobs as in plain calls.

    It does not for models that build a different mask for each layer or read the mask's values; their
    jobs train alone.

    Raises:
        OutOfMemoryError: the device currently has no memory for a pack of two rows.
    """
    rows = [synthetic_row(length), synthetic_row(length // 2 + 1)]
    backbone, trainable = adapted.backbone, adapted.trainable
    pack = Pack(adapted, Geometry(2, 2, length))
    parameters = {
        name: torch.stack([tensor, tensor]) for name, tensor in trainable.named_parameters()
    }
    try:
        packed_rows = _PackedRows(backbone, [rows], length)
        packed_logits, _ = pack.forward(
            parameters, packed_rows.batch(packed_rows.indices([0, 0], [[0, 1], [0, 1]]))
        )
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if "deterministic" in str(error).lower():  # a limit of the device, not of packing
            raise
        return False
    adapted.slots.install(trainable())
    plain_logits = backbone(collate(backbone, rows))
    tolerance = {"bfloat16": 0.05, "tf32": 0.01}.get(backbone.spec.dtype, 1e-4)
    tolerance *= max(1.0, float(plain_logits.abs().max()))
    return all(bool((logits - plain_logits).abs().max() <= tolerance) for logits in packed_logits)


def synthetic_row(tokens: int) -> Encoded:
    """Return an encoded row of this many arbitrary tokens."""
    return {
        "input_ids": [5 + position % 3 for position in range(tokens)],
        "attention_mask": [1] * tokens,
    }
