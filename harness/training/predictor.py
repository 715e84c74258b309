"""Trained models in memory that answer texts: one backbone, and the trained tensors that enter it.

Several models of one method can share the backbone. The rows of different models then go through it in one forward
pass, because a slot takes one tensor for each row. Source: Li and Liang 2021, arXiv 2101.00190, who name
prefixes of many users in one batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from harness.artefacts.restore import StoredModel
from harness.errors import UsageError
from harness.tasks.base import Example, Task
from harness.wording import listed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.training.adapted_model import AdaptedModel
    from harness.training.labels import LabelTarget

# A class, all classes of a row of a multilabel task, a value, or a text that the model writes.
Answer = str | list[str] | float


@dataclass(frozen=True)
class Predictions:
    """What models predict for some examples.

    Attributes:
        answers: one for each example.
        probabilities: of the classes, in the order of `StoredModel.labels`, `[examples, classes]`; None: there
            are none.
        thresholds: for each example of a multilabel task, the probability above which a class is part of the answer;
            empty for other tasks.
    """

    answers: Sequence[Answer]
    probabilities: np.ndarray | None = None
    thresholds: Sequence[float] = ()


class Predictor:
    """Trained models in memory, on the CPU.

    Several threads may call `predict`; their calls run one after the other.

    Args:
        models: one trained model, or several of the same backbone, method and classes, by name.
        at: the point of the simplex; None: the centroid.

    Raises:
        UsageError: there is no such point, or the models cannot share a backbone.
        Unavailable: the backbone cannot be loaded.
    """

    def __init__(self, models: Mapping[str, StoredModel], at: str | None = None) -> None:
        import torch

        from harness.backbones import loading

        _check_alike(models)
        first = self.stored = next(iter(models.values()))
        self._numbers = {name: number for number, name in enumerate(models)}
        self._lock = Lock()
        self._backbone = replace(
            loading.load(first.backbone, "cpu", writes=first.writes),
            outputs=len(first.labels) or 1,
            max_length=first.recipe.max_length,
            target_length=first.recipe.target_length if first.writes else 0,
            truncate=first.recipe.truncate,
            apart=first.texts == 2 and first.method.reads_apart,
        )
        self._slots = first.method.slots(self._backbone)
        points = [model.tensors_at(at) for model in models.values()]
        # {slot: [models, ...]}; of one model, a view, since it may have all tensors of a backbone
        self._tensors = {
            name: torch.stack([one[name] for one in points]) if points[1:] else tensor[None]
            for name, tensor in points[0].items()
        }
        self._targets = [] if first.writes else [_target(model) for model in models.values()]
        self._alone = len(models) == 1
        if not self._alone:
            self._check_slots()

    def predict(
        self, texts: Sequence[tuple[str, ...]], models: Sequence[str] | None = None
    ) -> Predictions:
        """Return what the models predict for each text or pair of texts.

        Args:
            texts: one text or two for each example.
            models: the name of the model that answers each example; None: the first model answers all.

        Raises:
            UsageError: an example has neither one text nor two.
        """
        if {len(text) for text in texts} - {1, 2}:
            raise UsageError("pass one text, or the two texts of a pair")
        if not texts:
            return Predictions([])
        numbers = [0] * len(texts) if models is None else [self._numbers[name] for name in models]
        with self._lock:  # all calls share the slots
            return self._predict([Example(text, 0) for text in texts], numbers)

    def _predict(self, rows: Sequence[Example], models: Sequence[int]) -> Predictions:
        import torch

        from harness.training.adapted_model import AdaptedModel, predict
        from harness.training.rows import encoding

        adapted = AdaptedModel(self._backbone, self._slots, None)  # type: ignore[arg-type]  # nothing is trained here
        numbers = torch.tensor(models)
        if self.stored.writes:
            return Predictions(self._written(adapted, rows, numbers))
        encoded = encoding.encode(self._backbone, rows)
        # The tensors of one model need no row axis, and then they fit every slot.
        logits = predict(adapted, self._of, encoded, None if self._alone else numbers)
        return self._of_logits(logits, models)

    def _written(
        self, adapted: AdaptedModel, rows: Sequence[Example], numbers: Tensor
    ) -> list[Answer]:
        """Return the text that each row's model writes."""
        from harness.training.generation import generate
        from harness.training.rows import text_rows

        sources, recipe = text_rows.sources(self._backbone, rows), self.stored.recipe
        if self._alone:
            return [*generate(adapted, self._of, sources, recipe)]
        if recipe.beams == 1:
            return [*generate(adapted, self._of, sources, recipe, numbers)]
        answers: list[Answer] = [""] * len(rows)
        for number in numbers.unique():
            own = (numbers == number).nonzero().flatten().tolist()

            def of_this(_: Tensor | None, number: Tensor = number) -> dict[str, Tensor]:
                return self._of(number)

            texts = generate(adapted, of_this, [sources[row] for row in own], recipe)
            for row, text in zip(own, texts, strict=True):
                answers[row] = text
        return answers

    def _of(self, models: Tensor | None) -> dict[str, Tensor]:
        """Return the tensors of the slots with a row axis; None: those of the first model, without it."""
        number: Any = 0 if models is None else models
        return {name: tensor[number] for name, tensor in self._tensors.items()}

    def _check_slots(self) -> None:
        """Raise UsageError if a slot cannot hold one tensor for each row."""
        whole = [slot for slot in self._slots if slot.role == "backbone"]
        whole += [s for s in self._slots if s.role == "head" and not self._slots.is_linear(s.name)]
        if whole:
            raise UsageError(
                f"{self.stored.entry.label} trains {whole[0].name} of the backbone, which all rows of a call share: "
                "load one model at a time"
            )

    def _of_logits(self, logits: Tensor, numbers: Sequence[int]) -> Predictions:
        """Return the answers that follow from logits `[examples, outputs]`."""
        import torch

        from harness.training.labels import SetTarget

        answers: list[Answer] = [""] * len(numbers)
        for number in set(numbers):
            rows = [row for row, other in enumerate(numbers) if other == number]
            labels = self._targets[number].predictions(logits[rows])
            for row, label in zip(rows, labels, strict=True):
                answers[row] = _named(self.stored.labels, label)
        if not self.stored.labels:
            return Predictions(answers)
        of_rows = logits.sigmoid() if self.stored.multilabel else logits.softmax(1)
        thresholds = [
            float(torch.tensor(target.threshold).sigmoid())
            for target in self._targets
            if isinstance(target, SetTarget)
        ]
        return Predictions(
            answers,
            of_rows.numpy(),
            [thresholds[number] for number in numbers] if thresholds else (),
        )


def check_count(stored: StoredModel, count: int) -> None:
    """Raise UsageError if an example of the model's task has another number of texts."""
    if count not in (1, 2):
        raise UsageError("pass one text, or the two texts of a pair")
    if stored.texts is not None and count != stored.texts:
        required = "two texts" if stored.texts == 2 else "one text"
        raise UsageError(f"an example of {stored.entry.task} has {required}, got {count}")


def _target(model: StoredModel) -> LabelTarget:
    """Return what makes predictions of a model's logits."""
    from harness.training.labels import LabelTarget

    task = Task(
        name="", title="", reader=None, labels=tuple(model.labels), metrics=(), pair=False,  # type: ignore[arg-type]
        multilabel=model.multilabel,
    )  # fmt: skip
    return LabelTarget.stored(task, model.metadata["scale"])


def _named(classes: Sequence[str], label: Any) -> Answer:
    """Return a label with the names of classes in place of their numbers; without classes, the label itself."""
    if isinstance(label, tuple):
        return [classes[int(number)] for number in label]
    return classes[int(label)] if classes else float(label)


def _check_alike(models: Mapping[str, StoredModel]) -> None:
    """Raise UsageError if models cannot share a backbone and its slots."""
    parts = {name: _shared(model) for name, model in models.items()} if len(models) > 1 else {}
    first = next(iter(parts), "")
    for name, shared in parts.items():
        if different := [part for part, value in shared.items() if value != parts[first][part]]:
            raise UsageError(
                f"the models {first} and {name} differ in their {listed(different)}: load them one by one"
            )


def _shared(model: StoredModel) -> dict[str, Any]:
    """Return what models that share a backbone have in common."""
    recipe = model.recipe
    search = (recipe.target_length, recipe.beams, recipe.length_penalty) if model.writes else ()
    return {
        "backbone": model.backbone,
        "method": model.entry.setting["method"],
        "classes": (model.labels, model.multilabel, model.writes),
        "text columns": (model.texts, model.columns),
        "lengths": (recipe.max_length, recipe.truncate, search),
        "shapes of tensors": {name: one.shape for name, one in model.tensors_at(None).items()},
    }
