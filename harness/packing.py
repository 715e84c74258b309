"""Several trainings in one forward pass over one frozen backbone.

Each job keeps its own source, optimiser, rates, streams, early stop and end; only the model is asked for all of them at
once, by `torch.func.vmap` over an axis of jobs in front of what is in the slots. A pack has a geometry, (places, rows,
length), that hangs on the jobs' plan and not on who is left: places whose job has ended, or never was, repeat a question
whose answer nobody reads, and rows are padded to one length. With the same geometry a job's numbers are the same to the
bit, whoever trains beside it; with another they differ by rounding, so it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.backbones import Backbone
from harness.batches import Encoded, collate
from harness.training import Adapted, Asked, Fit, Lesson
from methods.attention import ready_mask
from methods.sites import Slots

STEP = 16  # lengths are rounded up to multiples of this, so that jobs of one task mostly share theirs


def length_of(rows: Sequence[Encoded], most: int) -> int:
    """The length to which a job's training rows are padded: that of its own longest, rounded up."""
    longest = max(len(row["input_ids"]) for row in rows)
    return min(most, -(-longest // STEP) * STEP)


class Pack:
    """A number of places in one forward pass.

    Args:
        backbone: with as many outputs as any of its jobs has.
        slots: of the method that all of them share, in the backbone.
        places: how many jobs go through at once; those missing are filled up.
        length: tokens a row.
    """

    def __init__(self, backbone: Backbone, slots: Slots, places: int, length: int) -> None:
        self._backbone, self._slots, self._places, self._length = backbone, slots, places, length

    def fit(self, lessons: Sequence[Lesson]) -> list[Fit]:
        """Run up to as many trainings as there are places, side by side."""
        results: list[Fit | None] = [None] * len(lessons)
        asked: dict[int, Asked] = {}
        for place in range(len(lessons)):
            self._go_on(place, lessons, asked, results)
        while asked:
            idle = next(iter(asked.values()))
            logits = self.forward([asked.get(place, idle) for place in range(self._places)])  # [places, rows, outputs]
            losses = [lessons[place].send(logits[place, :, : self._outputs(one)]) for place, one in asked.items()]
            torch.stack([loss for loss in losses if isinstance(loss, Tensor)]).sum().backward()
            for place in list(asked):
                self._go_on(place, lessons, asked, results)
        return [result for result in results if result is not None]

    @staticmethod
    def _go_on(place: int, lessons: Sequence[Lesson], asked: dict[int, Asked], results: list[Fit | None]) -> None:
        """Let a training go on to its next question, or to its end."""
        try:
            question = next(lessons[place])
        except StopIteration as end:
            asked.pop(place, None)
            results[place] = end.value
            return
        assert isinstance(question, Asked)
        asked[place] = question

    def forward(self, asked: Sequence[Asked]) -> Tensor:
        """Logits `[places, rows, outputs]` of all questions in one pass; outputs that a job does not have are 0."""
        slots, model = self._slots, self._backbone.model
        tensors = _stacked([self._wide(one.tensors) for one in asked])
        batches = _stacked([self._batch(one.rows) for one in asked])

        def one(own: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
            slots.install(own)
            logits: Tensor = model(**batch)
            return logits

        with _attending(self._backbone.device):
            found: Tensor = torch.func.vmap(one)(tensors, batches)
        return found.to(self._backbone.trained_in)

    def _outputs(self, asked: Asked) -> int:
        """How many outputs a job's own head has."""
        return asked.tensors[f"{self._backbone.anatomy.output_layer}.weight"].shape[-2]

    def _batch(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        batch = collate(self._backbone, rows, self._length)
        return batch | {"attention_mask": ready_mask(batch["attention_mask"], causal=self._backbone.anatomy.causal)}

    def _wide(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The last layer with rows of 0 for the outputs that a job does not have."""
        layer, outputs = self._backbone.anatomy.output_layer, self._backbone.outputs
        wide = dict(tensors)
        for name, axis in ((f"{layer}.weight", -2), (f"{layer}.bias", -1)):
            if name in wide:
                missing = outputs - wide[name].shape[axis]
                wide[name] = F.pad(wide[name], (0, 0) * (-1 - axis) + (0, missing))
        return wide


def _attending(device: torch.device) -> AbstractContextManager[None]:
    """On the CPU attention written out: the fused kind knows no pass over several jobs there and would go job by job."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _stacked(each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """`{name: [...]}` of every place as `{name: [places, ...]}`."""
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


@torch.no_grad()
def may_pack(adapted: Adapted, length: int) -> bool:
    """Whether the backbone gives the same logits in a pass over several jobs as in plain calls.

    Models that need another mask for each layer, or look at the mask's values, do not; they are trained alone.
    """
    rows = [row(length), row(length // 2 + 1)]
    tensors = {name: tensor.detach() for name, tensor in adapted.source().items()}
    asked = Asked(tensors, rows, None, torch.Generator())
    try:
        together = Pack(adapted.backbone, adapted.slots, 2, length).forward([asked, asked])
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    adapted.slots.install(tensors)
    alone = adapted.backbone(collate(adapted.backbone, rows))
    near = (1e-4 if adapted.backbone.spec.dtype != "bfloat16" else 0.05) * max(1.0, float(alone.abs().max()))
    return all(bool((one[:, : alone.shape[1]] - alone).abs().max() <= near) for one in together)


def row(tokens: int) -> Encoded:
    """A made-up row of so many tokens."""
    return {"input_ids": [5 + place % 3 for place in range(tokens)], "attention_mask": [1] * tokens}
