"""Several trainings in one forward pass over one frozen backbone.

The sources of all jobs are stacked: every parameter gets an axis of places in front, and each job's source looks into its
own place. `torch.func.vmap` over that axis runs sources and model for all of them at once; loss, clip, rate and decay are
each job's own, and so are its streams, early stop and end. A pack has a geometry (places, rows, length) that hangs on the
jobs' plan and not on who is left: places whose job has ended, or never was, repeat a question whose answer nobody reads.
With the same geometry a job's numbers are the same to the bit, whoever trains beside it; with another they differ by
rounding, so it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from harness.adapted import Adapted
from harness.backbones import Backbone
from harness.batches import Encoded, collate
from harness.geometry import Geometry
from harness.optimiser import Stacked
from harness.training import Fit, Step, Training
from harness.validation import Look
from methods.attention import ready_mask, side_by_side
from methods.dropout import Counted, Ready, draw
from methods.source import Source

if TYPE_CHECKING:
    from harness.compiling import Compiled

LOOKED_AT = 4  # rows of one look of a place, in batches of its training: nothing is kept there for a backward pass

Batch = dict[str, Tensor]


class Pack:
    """A number of places in one forward pass.

    Args:
        adapted: the backbone with as many outputs as the pack's heads have, the slots that all jobs share, and a source
            of which only the structure counts.
        geometry: places, rows and tokens.
        compiled: runs training steps, where they are to be compiled; looks are not.
    """

    def __init__(self, adapted: Adapted, geometry: Geometry, compiled: Compiled | None = None) -> None:
        self._adapted, self._geometry, self._compiled = adapted, geometry, compiled
        self._asking = _Asking(adapted.source)

    def fit(self, trainings: Sequence[Training]) -> list[Fit]:
        """Run up to as many trainings as there are places, side by side."""
        places = self._geometry.places
        filled = [trainings[place] if place < len(trainings) else trainings[0] for place in range(places)]
        stack = _Stack(self._adapted.source, [training.adapted.source for training in trainings], places)
        optimiser = Stacked(stack.tensors, [training.options["weight_decay"] for training in filled])
        texts = _Texts(self._adapted.backbone, [training.rows for training in trainings], self._geometry.length)
        masks = _Masks(self, trainings, texts)
        results: dict[int, Fit] = {}
        asked: dict[int, Step | Look] = {}
        lessons = [training.lesson() for training in trainings]

        def go_on(place: int, answer: Tensor | None) -> None:
            try:
                asked[place] = lessons[place].send(answer)  # type: ignore[arg-type]  # None begins a generator
            except StopIteration as end:
                asked.pop(place, None)
                results[place] = end.value
                stack.release(place)

        for place in range(len(trainings)):
            go_on(place, None)
        while asked:
            looks = {place: wish for place, wish in asked.items() if isinstance(wish, Look)}
            if looks:  # whoever wants a step waits for who wants to look, in another way than the first as well
                form = _form(next(iter(looks.values())))
                alike = {place: look for place, look in looks.items() if _form(look) == form}
                for place, logits in self._look(stack, texts, alike).items():
                    go_on(place, logits[:, : trainings[place].adapted.backbone.outputs])
                continue
            idle = next(iter(asked.items()))
            wishes = [(place, asked[place]) if place in asked else idle for place in range(places)]
            steps = [(place, wish) for place, wish in wishes if isinstance(wish, Step)]
            logits, penalties = self.forward(
                stack.tensors,
                texts.batch([place for place, _ in steps], [wish.chosen for _, wish in steps]),
                _stacked([wish.points for _, wish in steps]),
                _stacked([wish.pair for _, wish in steps]),
                masks.draw([place for place, _ in steps]),
            )
            chosen = torch.tensor([list(wish.chosen) for _, wish in steps]).to(logits.device)
            losses = {  # one by one: in one call over all of them the place would change their last digit
                place: trainings[place].loss(logits[place], chosen[place]) + penalties[place] for place in asked
            }
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step([wish.rate for _, wish in steps])
            for place, loss in losses.items():
                go_on(place, loss.detach())
        return [results[place] for place in range(len(trainings))]

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        batch: Batch,
        points: Tensor | None = None,
        pair: Tensor | None = None,
        masks: tuple[Any, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits `[places, rows, outputs]` and penalties `[places]` of all places in one pass."""
        backbone, slots = self._adapted.backbone, self._adapted.slots

        def one(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
            tensors, penalty = functional_call(self._asking, given["source"], (given.get("points"), given.get("pair")))
            slots.install(tensors)
            hidden, added = (Ready(given[kind]) if given[kind] else None for kind in ("hidden", "added"))
            with backbone.dropout(hidden), slots.dropout(added):
                logits: Tensor = backbone.model(**given["batch"])
            return logits, penalty

        hidden, added = masks or ({}, {})
        given = {"batch": batch, "points": points, "pair": pair, "hidden": hidden, "added": added}
        given["source"] = {f"source.{name}": tensor for name, tensor in parameters.items()}
        given = {name: value for name, value in given.items() if value is not None}
        with side_by_side():
            compiled = self._compiled if torch.is_grad_enabled() else None
            logits, penalty = compiled(vmap(one), given) if compiled else vmap(one)(given)
        return logits.to(backbone.trained_in), penalty

    @torch.no_grad()
    def _look(self, stack: _Stack, texts: _Texts, looks: Mapping[int, Look]) -> dict[int, Tensor]:
        """Logits `[rows, outputs]` of each look, on the CPU; rows go through in parts of a size that the geometry fixes."""
        rows = LOOKED_AT * self._geometry.rows
        idle = next(iter(looks.items()))
        wishes = [(place, looks[place]) if place in looks else idle for place in range(self._geometry.places)]
        parts = []
        for start in range(0, max(len(wish.chosen) for wish in looks.values()), rows):
            numbers = [[min(start + at, len(wish.chosen) - 1) for at in range(rows)] for _, wish in wishes]
            chosen = [[wish.chosen[at] for at in own] for own, (_, wish) in zip(numbers, wishes, strict=True)]
            points = [
                wish.points if wish.points is None or len(wish.points) == 1 else wish.points[own]
                for own, (_, wish) in zip(numbers, wishes, strict=True)
            ]
            batch = texts.batch([place for place, _ in wishes], chosen)
            parts.append(self.forward(stack.tensors, batch, _stacked(points))[0].cpu())
        logits = torch.cat(parts, dim=1)
        return {place: logits[place, : len(wish.chosen)] for place, wish in looks.items()}


class _Asking(nn.Module):
    """A source's tensors and its penalty in one call, as `functional_call` wants it."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def forward(self, points: Tensor | None, pair: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        some = next(self.source.parameters())
        return self.source(points), torch.as_tensor(self.source.penalty(pair), dtype=some.dtype, device=some.device)


class _Stack:
    """The parameters of several sources with an axis of places in front; each source's own look into its place."""

    def __init__(self, shape: Source, sources: Sequence[Source], places: int) -> None:
        self._sources = sources
        self.tensors: dict[str, Tensor] = {}
        for name, parameter in shape.named_parameters():
            tensor = parameter.new_zeros((places, *parameter.shape))
            for place in range(places):
                self._view(tensor, place, name).copy_(self._own(place, name).detach())
            for place, source in enumerate(sources):
                source.get_parameter(name).data = self._view(tensor, place, name)
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
        self._causal, self._device = backbone.anatomy.causal, backbone.device
        self._first = [0, *accumulate(map(len, rows))]
        self._rows = collate(backbone, [row for own in rows for row in own], length)

    def batch(self, places: Sequence[int], chosen: Sequence[Sequence[int]]) -> Batch:
        """The rows of the jobs at some places, `{name: [places, rows, tokens]}`, with a mask that is ready for use."""
        numbers = [[self._first[place] + index for index in own] for place, own in zip(places, chosen, strict=True)]
        wanted = torch.tensor(numbers).to(self._device)  # [places, rows]
        batch = {name: tensor[wanted] for name, tensor in self._rows.items()}
        mask = ready_mask(batch["attention_mask"].flatten(0, 1), causal=self._causal)
        return batch | {"attention_mask": mask.unflatten(0, wanted.shape)}


class _Masks:
    """Masks of dropout for every place, drawn from the streams of its own job."""

    def __init__(self, pack: Pack, trainings: Sequence[Training], texts: _Texts) -> None:
        first = trainings[0]
        self._streams = [training.masks() for training in trainings]
        counted = Counted(), Counted()
        adapted, batch = pack._adapted, texts.batch([0], [[0] * pack._geometry.rows])
        hidden = counted[0] if first.options["dropout"] else None
        points = adapted.source.weights(pack._geometry.rows, torch.Generator())
        with torch.no_grad(), adapted.backbone.dropout(hidden), adapted.slots.dropout(counted[1]):
            adapted.slots.install(adapted.source(points))
            adapted.backbone({name: tensor[0] for name, tensor in batch.items()})
        self._entries = counted[0].entries, counted[1].entries

    def draw(self, places: Sequence[int]) -> tuple[dict[float, Tensor], dict[float, Tensor]]:
        """For one step: `{p: [places, entries]}` of the backbone's dropout, and of the methods' own."""
        drawn: list[dict[float, Tensor]] = []
        for kind, entries in enumerate(self._entries):
            streams = {place: self._streams[place][kind] for place in dict.fromkeys(places)}
            each = {place: draw(entries, stream) for place, stream in streams.items() if stream is not None}
            drawn.append({p: torch.stack([each[place][p] for place in places]) for p in entries})
        return drawn[0], drawn[1]


def _form(look: Look) -> str:
    """Looks of one form go through the model together: at the centroid, at one point for all rows, or at one for each."""
    return "centroid" if look.points is None else "point" if len(look.points) == 1 else "points"


def _stacked(each: Sequence[Tensor | None]) -> Tensor | None:
    given = [one for one in each if one is not None]
    return torch.stack(given) if given else None


@torch.no_grad()
def may_pack(adapted: Adapted, length: int) -> bool:
    """Whether the backbone gives the same logits in a pass over several jobs as in plain calls.

    Models that need another mask for each layer, or look at the mask's values, do not; they are trained alone.

    Raises:
        OutOfMemoryError: the device holds no pack of two rows at the moment.
    """
    rows = [row(length), row(length // 2 + 1)]
    backbone, source = adapted.backbone, adapted.source
    pack = Pack(adapted, Geometry(2, 2, length))
    parameters = {name: torch.stack([tensor, tensor]) for name, tensor in source.named_parameters()}
    try:
        together, _ = pack.forward(parameters, _Texts(backbone, [rows], length).batch([0, 0], [[0, 1], [0, 1]]))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    adapted.slots.install(source())
    alone = backbone(collate(backbone, rows))
    near = {"bfloat16": 0.05, "tf32": 0.01}.get(backbone.spec.dtype, 1e-4) * max(1.0, float(alone.abs().max()))
    return all(bool((one - alone).abs().max() <= near) for one in together)


def row(tokens: int) -> Encoded:
    """A made-up row of so many tokens."""
    return {"input_ids": [5 + place % 3 for place in range(tokens)], "attention_mask": [1] * tokens}
