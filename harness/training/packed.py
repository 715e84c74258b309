"""Several training loops in one forward pass over one frozen backbone.

A pack has a fixed number of members, and each member trains at most one job. The parameters of all
members are stacked: every parameter gets a leading axis with one entry per member, and each job's own
parameters are views of its entry. `torch.func.vmap` over that axis runs parameters and model for all
members at once. Each job has its own loss, clipping, learning rate, weight decay, random streams,
early stopping and end.

The geometry of a pack follows from the plan and not from the jobs that are still training: an idle
member, whose job has ended or that never had one, repeats the request of another member, and its
result is unused. With equal geometry a job's numbers are equal to the bit, whatever trains beside it.
Another geometry changes rounding and dropout masks, so the geometry is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from harness.geometry import EVAL_MICRO_BATCHES, Geometry
from harness.training.adapted_model import AdaptedModel
from harness.training.cuda_graphs import CapturedStep, Recorder
from harness.training.dev_scoring import EvalRequest
from harness.training.loop import FitResult, StepRequest, TrainingLoop
from harness.training.optimiser import StackedAdamW
from harness.training.rows.batching import collate
from harness.training.rows.truncation import Encoded
from harness.training.stacked import Batch, MaskValues, StackedParameters, StackedRows, StepInputs
from methods.core.attention import attention_under_vmap
from methods.core.dropout import MaskCounter, PrecomputedMasks, sample_masks
from methods.core.parameters import TrainableParameters

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction


class Pack:
    """Jobs of one kind that train in one forward pass.

    Args:
        adapted: the backbone with the padded number of outputs, the slots that all jobs share, and
            trainable parameters, of which only names and shapes are used.
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
        loop_of_member = [*loops, *[loops[0]] * (size - len(loops))]
        stack = StackedParameters(
            self._adapted.trainable, [loop.adapted.trainable for loop in loops], size
        )
        optimiser = StackedAdamW(
            stack.tensors, [loop.options["weight_decay"] for loop in loop_of_member]
        )
        rows = StackedRows(
            self._adapted.backbone, [loop.rows for loop in loops], self._geometry.length
        )
        masks = _DropoutMasks(self, loops, rows)
        step = _TrainingStep(self, stack, rows, loop_of_member, optimiser)
        take_step = CapturedStep(step, self._recorder) if self._recorder else step
        results: dict[int, FitResult] = {}
        pending: dict[int, StepRequest | EvalRequest] = {}  # by member; idle members have none
        latest: dict[int, StepRequest] = {}  # latest step request of each member
        generators = [loop.requests() for loop in loops]

        def advance(member: int, response: Tensor | None) -> None:
            try:
                request = generators[member].send(response)  # type: ignore[arg-type]  # None begins a generator
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
            rates = [
                step.learning_rate if member in pending else 0.0
                for member, step in enumerate(steps)
            ]
            training = [
                member if member in pending else next(iter(pending)) for member in range(size)
            ]
            losses = take_step(
                rows.step_inputs(steps, optimiser.step_values(rates), masks.sample(training))
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
            points: points of the simplex, `[pack_size, rows or 1, layers, vertices]`.
            pair: the two vertices that the penalty compares, `[pack_size, 2]`.
            masks: of the backbone's dropout and of the method's dropout.
        """
        backbone, slots = self._adapted.backbone, self._adapted.slots

        def forward_member(inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
            tensors, penalty = functional_call(
                self._parameters, inputs["parameters"], (inputs.get("points"), inputs.get("pair"))
            )
            slots.install(tensors)
            backbone_masks, method_masks = (
                PrecomputedMasks(values) if values else None for values in inputs["masks"]
            )
            with backbone.dropout(backbone_masks), slots.dropout(method_masks):
                logits: Tensor = backbone.model(**inputs["batch"])
            return logits, penalty

        inputs = {
            "batch": batch,
            "points": points,
            "pair": pair,
            "masks": masks or ({}, {}),
            "parameters": {f"trainable.{name}": tensor for name, tensor in parameters.items()},
        }
        inputs = {name: value for name, value in inputs.items() if value is not None}
        with attention_under_vmap():
            compiled = self._compiled if torch.is_grad_enabled() else None
            forward_members = vmap(forward_member)
            logits, penalty = (
                compiled(forward_members, inputs) if compiled else forward_members(inputs)
            )
        return logits.to(backbone.trained_in), penalty

    @torch.no_grad()
    def _evaluate(
        self, stack: StackedParameters, rows: StackedRows, requests: Mapping[int, EvalRequest]
    ) -> dict[int, Tensor]:
        """Return the logits `[rows, outputs]` of each request, on the CPU.

        The model receives the rows in parts of a size that the geometry fixes; a part that is not full
        repeats the last row.
        """
        count = EVAL_MICRO_BATCHES * self._geometry.micro_batch
        fallback = next(iter(requests.items()))  # for members without a request
        served = [
            (member, requests[member]) if member in requests else fallback
            for member in range(self._geometry.pack_size)
        ]
        parts = []
        for start in range(0, max(len(request.indices) for request in requests.values()), count):
            positions = [
                [min(start + offset, len(request.indices) - 1) for offset in range(count)]
                for _, request in served
            ]
            indices = [
                [request.indices[position] for position in part]
                for part, (_, request) in zip(positions, served, strict=True)
            ]
            points = [
                request.points
                if request.points is None or len(request.points) == 1
                else request.points[part]
                for part, (_, request) in zip(positions, served, strict=True)
            ]
            batch = rows.batch(rows.indices([member for member, _ in served], indices))
            parts.append(self.forward(stack.tensors, batch, rows.stacked(points))[0].cpu())
        logits = torch.cat(parts, dim=1)
        return {
            member: logits[member, : len(request.indices)] for member, request in requests.items()
        }


class _TrainingStep:
    """One training step of all members.

    It can be captured as a CUDA graph: it copies no value to the host and changes memory in place only.
    """

    def __init__(
        self,
        pack: Pack,
        stack: StackedParameters,
        rows: StackedRows,
        loops: Sequence[TrainingLoop],
        optimiser: StackedAdamW,
    ) -> None:
        self._pack, self._stack, self._rows = pack, stack, rows
        self._loops, self._optimiser = loops, optimiser
        self._first_rows = rows.first_rows(range(len(loops)))

    def __call__(self, inputs: StepInputs) -> Tensor:
        """Take the step and return the losses `[pack_size]` before it."""
        tensors = self._stack.tensors
        batch = self._rows.batch(inputs.indices + self._first_rows)
        logits, penalties = self._pack.forward(
            tensors, batch, inputs.points, inputs.pair, inputs.masks
        )
        losses = torch.stack(
            [  # job by job: in a joint call, the position in the pack would change the last digit
                loop.loss(logits[member], inputs.indices[member]) + penalties[member]
                for member, loop in enumerate(self._loops)
            ]
        )
        self._optimiser.step(
            torch.autograd.grad(losses.sum(), list(tensors.values()), allow_unused=True),
            inputs.optimiser_values,
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
        parameter, penalty = next(self.trainable.parameters()), self.trainable.penalty(pair)
        if not isinstance(penalty, Tensor):
            penalty = parameter.new_full((), penalty)
        return self.trainable(points), penalty.to(parameter)


class _DropoutMasks:
    """Dropout masks of every member, sampled from the random generators of its own job.

    A trial forward pass counts the mask values that a step needs.
    """

    def __init__(self, pack: Pack, loops: Sequence[TrainingLoop], rows: StackedRows) -> None:
        self._generators = [loop.dropout_generators() for loop in loops]
        backbone_counter, method_counter = MaskCounter(), MaskCounter()
        adapted, count = pack._adapted, pack._geometry.micro_batch
        batch = rows.batch(rows.indices([0], [[0] * count]))
        points = adapted.trainable.sample_points(count, torch.Generator())
        with (
            torch.no_grad(),
            adapted.backbone.dropout(backbone_counter if loops[0].options["dropout"] else None),
            adapted.slots.dropout(method_counter),
        ):
            adapted.slots.install(adapted.trainable(points))
            adapted.backbone({name: tensor[0] for name, tensor in batch.items()})
        self._entries = backbone_counter.entries, method_counter.entries

    def sample(self, jobs: Sequence[int]) -> tuple[MaskValues, MaskValues]:
        """Sample the masks of one step: of the backbone's dropout, and of the method's dropout.

        Args:
            jobs: for each member, the index of the job from whose generators its masks are sampled.
        """
        masks: list[MaskValues] = []
        for kind, entries in enumerate(self._entries):
            generators = {job: self._generators[job][kind] for job in dict.fromkeys(jobs)}
            by_job = {
                job: sample_masks(entries, generator)
                for job, generator in generators.items()
                if generator is not None
            }
            masks.append({p: torch.stack([by_job[job][p] for job in jobs]) for p in entries})
        return masks[0], masks[1]


def _kind(request: EvalRequest) -> str:
    """Return the kind of a request; those of one kind share a forward pass."""
    if request.points is None:
        return "centroid"
    return "one point" if len(request.points) == 1 else "one point per row"


@torch.no_grad()
def may_pack(adapted: AdaptedModel, length: int) -> bool:
    """Return whether the backbone gives the same logits in a pass over several jobs as in plain calls.

    Models that build a different mask for each layer, or that read the mask's values, do not. Their
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
        packed_rows = StackedRows(backbone, [rows], length)
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
