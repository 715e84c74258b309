"""The test examples of a cell with the most wrong predictions, and their texts as far as they fit the page."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.analysis.run import Run, has_score
from reports.escape import plain

MAX_EXAMPLES: Final = 20  # per cell
MAX_CHARACTERS: Final = 300  # per text
MAX_TEXT_BYTES: Final = 900_000  # per page

Texts = Callable[[Run], Sequence[Sequence[str]] | None]


class MisansweredExample(NamedTuple):
    """One test example."""

    example_index: int  # in the predictions of a run
    name: str  # its number, counted from 1, after the test split if there are several
    label: str
    prediction: str  # the most frequent wrong prediction; in regression, the mean prediction
    error: float  # the number of runs that are wrong; in regression, the mean absolute error


@dataclass(kw_only=True)
class CellErrors:
    """The worst examples of a cell."""

    run: Run | None = None  # the first of the runs compared; None if no run has stored predictions
    runs: int = 0  # the number of runs compared
    draw: int | None = None  # the only draw compared, if every draw has its own test examples
    hidden: int = 0  # wrong examples that are not shown
    examples: Sequence[MisansweredExample] = ()
    # indices into the texts of the page, by the index of an example; an empty list: they do not fit
    texts: dict[int, list[int]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the values for the script; the texts of an example are None if they are not available."""
        return {
            "runs": self.runs,
            "draw": self.draw,
            "hidden": self.hidden,
            "regression": self.run is not None and not self.run.classes,
            "rows": [
                [one.name, self.texts.get(one.example_index), one.label, one.prediction, one.error]
                for one in self.examples
            ],
        }


def misanswered(runs: Sequence[Run]) -> CellErrors:
    """Return the examples that most runs predict wrongly; in regression, those with the greatest error.

    There are none of a multilabel task, of whose rows most have a class too many or too few.
    """
    with_predictions = [
        run for run in runs if has_score(run) and len(run.predictions) and run.labels
    ]
    if not with_predictions:
        return CellErrors()
    first = with_predictions[0]
    labels = np.concatenate(list(first.labels.values()))
    if len(first.predictions) != len(labels) or labels.ndim > 1:
        return CellErrors()
    comparable = [
        run
        for run in with_predictions
        if len(run.predictions) == len(labels) and (run.draw == first.draw or not first.holdout)
    ]
    predictions = np.stack([run.predictions for run in comparable])  # (runs, examples)
    wrong, distance = predictions != labels, np.abs(predictions - labels)
    errors = wrong.sum(axis=0) if first.classes else distance.mean(axis=0)
    worst = np.argsort(-errors, kind="stable")[:MAX_EXAMPLES]
    worst = worst[errors[worst] > 0]
    names = list(_names(first))
    return CellErrors(
        run=first,
        runs=len(comparable),
        draw=first.draw if first.holdout else None,
        hidden=int((errors > 0).sum()) - len(worst),
        examples=[
            _example(
                int(i),
                names[i],
                predictions[:, i],
                float(labels[i]),
                float(errors[i]),
                first.classes,
            )
            for i in worst
        ],
    )


def _example(
    index: int,
    name: str,
    predictions: NDArray[np.float64],
    label: float,
    error: float,
    classes: Sequence[str],
) -> MisansweredExample:
    if not classes:
        mean, rounded = f"{predictions.mean():.3g}", float(f"{error:.3g}")
        return MisansweredExample(index, name, f"{label:.3g}", mean, rounded)
    counts = Counter(predictions[predictions != label].tolist())
    prediction = min(counts, key=lambda value: (-counts[value], value))
    return MisansweredExample(
        index, name, _class_name(label, classes), _class_name(prediction, classes), int(error)
    )


def _names(run: Run) -> Iterator[str]:
    for split, labels in run.labels.items():
        yield from (f"{plain(split)} {number}".strip() for number in range(1, len(labels) + 1))


def _class_name(value: float, classes: Sequence[str]) -> str:
    return plain(classes[int(value)]) if 0 <= value < len(classes) else f"{value:.3g}"


class TextPool:
    """The texts of test examples on a page, each stored once, up to `MAX_TEXT_BYTES`."""

    def __init__(self, texts: Texts | None) -> None:
        self._read = texts
        self._cache: dict[tuple[str, int], Sequence[Sequence[str]] | None] = {}
        self._bytes_left = MAX_TEXT_BYTES
        self.indices: dict[str, int] = {}  # by text

    def indices_of(self, run: Run, example: int) -> list[int] | None:
        """Add the texts of a run's test example and return their indices.

        The result is None if the texts are not available, and empty if they do not fit.
        """
        key = (run.task, run.draw if run.holdout else -1)
        if key not in self._cache:
            self._cache[key] = self._read(run) if self._read else None
        examples = self._cache[key]
        if examples is None or len(examples) != len(run.predictions):
            return None
        texts = [
            plain(text[:MAX_CHARACTERS]) + ("…" if len(text) > MAX_CHARACTERS else "")
            for text in examples[example]
        ]
        size = sum(len(text.encode()) for text in set(texts) if text not in self.indices)
        if size > self._bytes_left:
            return []
        self._bytes_left -= size
        return [self.indices.setdefault(text, len(self.indices)) for text in texts]


def fill(cells: Sequence[CellErrors], pool: TextPool) -> None:
    """Add texts to the worst example of every cell, then to the second of every cell, until the page is full."""
    for rank in range(MAX_EXAMPLES):
        for cell in cells:
            if cell.run is not None and rank < len(cell.examples):
                index = cell.examples[rank].example_index
                if (texts := pool.indices_of(cell.run, index)) is not None:
                    cell.texts[index] = texts
