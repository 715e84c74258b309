"""Several trainings in one forward pass over one frozen backbone.

The sources of all jobs are stacked: every parameter gets an axis of places in front, and each job's
source looks into its own place. `torch.func.vmap` over that axis runs sources and model for all of
them at once; loss, clip, rate and decay are each job's own, and so are its streams, early stop and
end. A pack has a geometry (places, rows, length) that hangs on the jobs' plan and not on who is
left: places whose job has ended, or never was, repeat a question whose answer nobody reads. With
the same geometry a job's numbers are the same to the bit, whoever trains beside it; with another
they differ by rounding, so it is recorded.
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
from methods.core.dropout import MaskCounter, PrecomputedMasks, draw_masks
from methods.core.parameters import TrainableParameters

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction

Batch = dict[str, Tensor]
Entries = dict[float, Tensor]  # of dropout's masks, for each probability: `[places, entries]`


class Pack:
    """A number of places in one forward pass.

    Args:
        adapted: the backbone with as many outputs as the pack's heads have, the slots that all jobs
            share, and a source of which only the structure counts.
        geometry: places, rows and tokens.
        compiled: runs the passes of training steps, where they are to be compiled; looks are not.
        capture: records training steps, where they are to be played back.
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        geometry: Geometry,
        compiled: CompiledFunction | None = None,
        capture: Recorder | None = None,
    ) -> None:
        self._adapted, self._geometry, self._compiled, self._capture = (
            adapted,
            geometry,
            compiled,
            capture,
        )
        self._asking = _Asking(adapted.trainable)

    def fit(self, trainings: Sequence[TrainingLoop]) -> list[FitResult]:
        """Run up to as many trainings as there are places, side by side."""
        places = self._geometry.pack_size
        filled = [
            trainings[place] if place < len(trainings) else trainings[0] for place in range(places)
        ]
        stack = _Stack(
            self._adapted.trainable, [training.adapted.trainable for training in trainings], places
        )
        optimiser = StackedAdamW(
            stack.tensors, [training.options["weight_decay"] for training in filled]
        )
        texts = _Texts(
            self._adapted.backbone, [training.rows for training in trainings], self._geometry.length
        )
        masks = _Masks(self, trainings, texts)
        update = _Update(self, stack, texts, filled, optimiser)
        take = CapturedStep(update, self._capture) if self._capture else update
        results: dict[int, FitResult] = {}
        asked: dict[int, StepRequest | EvalRequest] = {}
        steps: dict[int, StepRequest] = {}  # the newest of each
        lessons = [training.requests() for training in trainings]

        def go_on(place: int, answer: Tensor | None) -> None:
            try:
                asked[place] = lessons[place].send(answer)  # type: ignore[arg-type]  # None begins a generator
            except StopIteration as end:
                asked.pop(place, None)
                results[place] = end.value
                stack.release(place)
            else:
                if isinstance(wish := asked[place], StepRequest):
                    steps[place] = wish

        for place in range(len(trainings)):
            go_on(place, None)
        while asked:
            looks = {place: wish for place, wish in asked.items() if isinstance(wish, EvalRequest)}
            # whoever wants a step waits for who wants to look, in another way than the first as
            # well
            if looks:
                form = _form(next(iter(looks.values())))
                alike = {place: look for place, look in looks.items() if _form(look) == form}
                for place, logits in self._look(stack, texts, alike).items():
                    go_on(place, logits[:, : trainings[place].adapted.backbone.outputs])
                continue
            wishes = [steps.get(place, steps[0]) for place in range(places)]
            rates = [wish.rate if place in asked else 0.0 for place, wish in enumerate(wishes)]
            drawing = [place if place in asked else next(iter(asked)) for place in range(places)]
            losses = take(texts.told(wishes, optimiser.told(rates), masks.draw(drawing)))
            for place in list(asked):
                go_on(place, losses[place])
        return [results[place] for place in range(len(trainings))]

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        batch: Batch,
        points: Tensor | None = None,
        pair: Tensor | None = None,
        masks: tuple[Entries, Entries] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits `[places, rows, outputs]` and penalties `[places]` of all places in one pass."""
        backbone, slots = self._adapted.backbone, self._adapted.slots

        def one(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
            tensors, penalty = functional_call(
                self._asking, given["source"], (given.get("points"), given.get("pair"))
            )
            slots.install(tensors)
            hidden, added = (
                PrecomputedMasks(given[kind]) if given[kind] else None for kind in ("hidden", "added")
            )
            with backbone.dropout(hidden), slots.dropout(added):
                logits: Tensor = backbone.model(**given["batch"])
            return logits, penalty

        hidden, added = masks or ({}, {})
        given = {"batch": batch, "points": points, "pair": pair, "hidden": hidden, "added": added}
        given["source"] = {f"trainable.{name}": tensor for name, tensor in parameters.items()}
        given = {name: value for name, value in given.items() if value is not None}
        with attention_under_vmap():
            compiled = self._compiled if torch.is_grad_enabled() else None
            logits, penalty = compiled(vmap(one), given) if compiled else vmap(one)(given)
        return logits.to(backbone.trained_in), penalty

    @torch.no_grad()
    def _look(
        self, stack: _Stack, texts: _Texts, looks: Mapping[int, EvalRequest]
    ) -> dict[int, Tensor]:
        """Logits `[rows, outputs]` of each look, on the CPU; rows go through in parts of a size that the geometry fixes."""
        rows = EVAL_MICRO_BATCHES * self._geometry.micro_batch
        idle = next(iter(looks.items()))
        wishes = [
            (place, looks[place]) if place in looks else idle
            for place in range(self._geometry.pack_size)
        ]
        parts = []
        for start in range(0, max(len(wish.chosen) for wish in looks.values()), rows):
            numbers = [
                [min(start + at, len(wish.chosen) - 1) for at in range(rows)] for _, wish in wishes
            ]
            chosen = [
                [wish.chosen[at] for at in own]
                for own, (_, wish) in zip(numbers, wishes, strict=True)
            ]
            points = [
                wish.points if wish.points is None or len(wish.points) == 1 else wish.points[own]
                for own, (_, wish) in zip(numbers, wishes, strict=True)
            ]
            batch = texts.batch(texts.numbers([place for place, _ in wishes], chosen))
            parts.append(self.forward(stack.tensors, batch, texts.to_device(points))[0].cpu())
        logits = torch.cat(parts, dim=1)
        return {place: logits[place, : len(wish.chosen)] for place, wish in looks.items()}


class StepInputs(NamedTuple):
    """What the host decided about a step, on the device: all that one step hangs on and the next does not.

    Attributes:
        chosen: rows of each place among its own, `[places, rows]`.
        rates: of the optimiser, `[3, places]`.
        points: of the simplex, `[places, rows or 1, layers, vertices]`; None: there is only one.
        pair: two vertices that the penalty compares, `[places, 2]`.
        masks: of dropout, the backbone's and the methods' own.
    """

    chosen: Tensor
    rates: Tensor
    points: Tensor | None
    pair: Tensor | None
    masks: tuple[Entries, Entries]


class _Update:
    """One step of all places. It asks the host for nothing, and all memory that it changes was there before."""

    def __init__(
        self,
        pack: Pack,
        stack: _Stack,
        texts: _Texts,
        trainings: Sequence[TrainingLoop],
        optimiser: StackedAdamW,
    ) -> None:
        self._pack, self._stack, self._texts, self._trainings, self._optimiser = (
            pack,
            stack,
            texts,
            trainings,
            optimiser,
        )
        self._first = texts.first(range(len(trainings)))

    def __call__(self, told: StepInputs) -> Tensor:
        """Losses `[places]` before the step."""
        tensors = self._stack.tensors
        batch = self._texts.batch(told.chosen + self._first)
        logits, penalties = self._pack.forward(tensors, batch, told.points, told.pair, told.masks)
        losses = torch.stack(
            [  # one by one: in one call over all of them the place would change their last digit
                training.loss(logits[place], told.chosen[place]) + penalties[place]
                for place, training in enumerate(self._trainings)
            ]
        )
        gradients = torch.autograd.grad(losses.sum(), list(tensors.values()), allow_unused=True)
        self._optimiser.step(gradients, told.rates)
        return losses.detach()


class _Asking(nn.Module):
    """A source's tensors and its penalty in one call, as `functional_call` wants it."""

    def __init__(self, trainable: TrainableParameters) -> None:
        super().__init__()
        self.trainable = trainable

    def forward(
        self, points: Tensor | None, pair: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        some, penalty = next(self.trainable.parameters()), self.trainable.penalty(pair)
        return self.trainable(points), penalty.to(some) if isinstance(
            penalty, Tensor
        ) else some.new_full((), penalty)


class _Stack:
    """The parameters of several sources with an axis of places in front; each source's own look into its place."""

    def __init__(
        self, shape: TrainableParameters, sources: Sequence[TrainableParameters], places: int
    ) -> None:
        self._sources = sources
        self.tensors: dict[str, Tensor] = {}
        for name, parameter in shape.named_parameters():
            tensor = parameter.new_zeros((places, *parameter.shape))
            for place in range(places):
                self._view(tensor, place, name).copy_(self._own(place, name).detach())
            for place, trainable in enumerate(sources):
                trainable.get_parameter(name).data = self._view(tensor, place, name)
            self.tensors[name] = tensor.requires_grad_()

    def _own(self, place: int, name: str) -> Tensor:
        return self._sources[place if place < len(self._sources) else 0].get_parameter(name)

    def _view(self, tensor: Tensor, place: int, name: str) -> Tensor:
        """A job's part of its place: heads are as wide as the widest, and what a job does not have stays 0."""
        return tensor[place][tuple(slice(count) for count in self._own(place, name).shape)]

    def release(self, place: int) -> None:
        """Give a source parameters of its own: its training has ended, its place goes on."""
        for parameter in self._sources[place].parameters():
            parameter.data = parameter.data.clone()


class _Texts:
    """The rows of all jobs, padded once to the pack's length and kept on the device."""

    def __init__(self, backbone: Backbone, rows: Sequence[Sequence[Encoded]], length: int) -> None:
        self._causal, self._device = backbone.architecture.causal, backbone.device
        self._jobs, self._first = len(rows), [0, *accumulate(map(len, rows))]
        self._rows = collate(backbone, [row for own in rows for row in own], length)

    def first(self, places: Sequence[int]) -> Tensor:
        """Where the rows of the jobs at some places begin, `[places, 1]`; a place without a job has the first one's."""
        owners = [place if place < self._jobs else 0 for place in places]
        return to_device(torch.tensor([[self._first[place]] for place in owners]), self._device)

    def numbers(self, places: Sequence[int], chosen: Sequence[Sequence[int]]) -> Tensor:
        """The numbers of rows of the jobs at some places, `[places, rows]`."""
        return to_device(torch.tensor([list(own) for own in chosen]), self._device) + self.first(
            places
        )

    def told(
        self, steps: Sequence[StepRequest], rates: Tensor, masks: tuple[Entries, Entries]
    ) -> StepInputs:
        """A step of each place as the device is told it."""
        chosen = to_device(torch.tensor([list(step.chosen) for step in steps]), self._device)
        points, pair = (
            self.to_device([step.points for step in steps]),
            self.to_device([step.pair for step in steps]),
        )
        return StepInputs(chosen, to_device(rates, self._device), points, pair, masks)

    def to_device(self, each: Sequence[Tensor | None]) -> Tensor | None:
        """What each place brings, together and on the device; None: they bring nothing."""
        given = [one for one in each if one is not None]
        return to_device(torch.stack(given), self._device) if given else None

    def batch(self, wanted: Tensor) -> Batch:
        """The rows of some numbers `[places, rows]`, `{name: [places, rows, tokens]}`, with a mask that is ready for use."""
        batch = {name: tensor[wanted] for name, tensor in self._rows.items()}
        mask = full_mask(batch["attention_mask"].flatten(0, 1), causal=self._causal)
        return batch | {"attention_mask": mask.unflatten(0, wanted.shape)}


class _Masks:
    """Masks of dropout for every place, drawn from the streams of its own job."""

    def __init__(self, pack: Pack, trainings: Sequence[TrainingLoop], texts: _Texts) -> None:
        first = trainings[0]
        self._streams = [training.masks() for training in trainings]
        counted = MaskCounter(), MaskCounter()
        adapted, batch = (
            pack._adapted,
            texts.batch(texts.numbers([0], [[0] * pack._geometry.micro_batch])),
        )
        hidden = counted[0] if first.options["dropout"] else None
        points = adapted.trainable.weights(pack._geometry.micro_batch, torch.Generator())
        with torch.no_grad(), adapted.backbone.dropout(hidden), adapted.slots.dropout(counted[1]):
            adapted.slots.install(adapted.trainable(points))
            adapted.backbone({name: tensor[0] for name, tensor in batch.items()})
        self._entries = counted[0].entries, counted[1].entries

    def draw(self, places: Sequence[int]) -> tuple[Entries, Entries]:
        """For one step: `{p: [places, entries]}` of the backbone's dropout, and of the methods' own."""
        drawn: list[dict[float, Tensor]] = []
        for kind, entries in enumerate(self._entries):
            streams = {place: self._streams[place][kind] for place in dict.fromkeys(places)}
            each = {
                place: draw_masks(entries, stream)
                for place, stream in streams.items()
                if stream is not None
            }
            drawn.append({p: torch.stack([each[place][p] for place in places]) for p in entries})
        return drawn[0], drawn[1]


def _form(look: EvalRequest) -> str:
    """Looks of one form go through the model together: at the centroid, at one point for all rows, or at one for each."""
    return "centroid" if look.points is None else "point" if len(look.points) == 1 else "points"


@torch.no_grad()
def may_pack(adapted: AdaptedModel, length: int) -> bool:
    """Whether the backbone gives the same logits in a pass over several jobs as in plain calls.

    Models that need another mask for each layer, or look at the mask's values, do not; they are
    trained alone.

    Raises:
        OutOfMemoryError: the device holds no pack of two rows at the moment.
    """
    rows = [row(length), row(length // 2 + 1)]
    backbone, trainable = adapted.backbone, adapted.trainable
    pack = Pack(adapted, Geometry(2, 2, length))
    parameters = {
        name: torch.stack([tensor, tensor]) for name, tensor in trainable.named_parameters()
    }
    try:
        texts = _Texts(backbone, [rows], length)
        together, _ = pack.forward(parameters, texts.batch(texts.numbers([0, 0], [[0, 1], [0, 1]])))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if "deterministic" in str(error).lower():  # of the device, and not of the pass
            raise
        return False
    adapted.slots.install(trainable())
    alone = backbone(collate(backbone, rows))
    near = {"bfloat16": 0.05, "tf32": 0.01}.get(backbone.spec.dtype, 1e-4) * max(
        1.0, float(alone.abs().max())
    )
    return all(bool((one - alone).abs().max() <= near) for one in together)


def row(tokens: int) -> Encoded:
    """A made-up row of so many tokens."""
    return {"input_ids": [5 + place % 3 for place in range(tokens)], "attention_mask": [1] * tokens}
