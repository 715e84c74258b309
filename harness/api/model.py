"""Trained models in Python, in the conventions of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from harness.api import arguments
from harness.artefacts import model_card, restore
from harness.artefacts.restore import StoredModel
from harness.errors import UsageError
from harness.tasks.files.cells import is_blank, text_problem
from harness.training.predictor import Predictions, Predictor, check_count
from harness.wording import listed

# One text for each example, or two texts for each example of a pair task.
Texts = Iterable[str] | Iterable[Sequence[str]]
# No `Sequence`: a text is a sequence of texts, too.
SeveralModels = list[str] | list[Path] | tuple[str | Path, ...]
Point = str | int | Sequence[float] | None  # of a simplex


class _Loaded:
    """What one model and several models have in common."""

    def __init__(self, stored: Mapping[str, StoredModel], at: str | None) -> None:
        self._stored = next(iter(stored.values()))
        self._predictor = Predictor(stored, at)

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The classes, in the order of the columns of probabilities; empty if the model has none."""
        return np.array(self._stored.labels, dtype=np.str_)

    def _answers(self, predictions: Predictions) -> NDArray[Any]:
        """Return answers as scikit-learn has them: `[rows]`, or marks `[rows, classes]` of a multilabel task."""
        if self._stored.multilabel:
            marks = [
                [name in answer for name in self._stored.labels]
                for answer in predictions.answers
                if isinstance(answer, list)
            ]
            return np.array(marks, dtype=np.int64).reshape(-1, len(self._stored.labels))
        answers = list(predictions.answers)
        if self._stored.labels:
            return np.array(answers, dtype=self.classes_.dtype)
        return np.array(answers, dtype=object if self._stored.writes else np.float64)

    def _probabilities(self, predictions: Predictions) -> NDArray[np.float64]:
        if not self._stored.labels:
            raise UsageError("predict_proba is for classes: this model has none")
        if predictions.probabilities is None:  # of no rows
            return np.empty((0, len(self._stored.labels)))
        return predictions.probabilities.astype(np.float64)


class Model(_Loaded):
    """A trained model in memory, on the CPU.

    Attributes:
        classes_: the classes, as in scikit-learn.

    Args:
        stored: the trained model; `load` finds it.
        at: the point of a simplex, as in `bench predict --at`; None: the centroid.
    """

    def __init__(self, stored: StoredModel, at: str | None = None) -> None:
        super().__init__({"": stored}, at)

    def predict(self, texts: Texts) -> NDArray[Any]:
        """Return the answer for each example.

        Args:
            texts: a text for each example, or two texts for each example of a pair task; or a table of pandas
                with the columns on which the model was trained.

        Returns:
            The names of classes, the values, or the written texts, `[rows]`; of a multilabel task zeros and ones,
            `[rows, classes]`.

        Raises:
            UsageError: a row has no text, or another number of texts than those of the task.
        """
        return self._answers(self._predictor.predict(read_texts(texts, self._stored)))

    def predict_proba(self, texts: Texts) -> NDArray[np.float64]:
        """Return the probabilities of the classes for each example, `[rows, classes]`.

        Raises:
            UsageError: as `predict`, or the model has no classes.
        """
        return self._probabilities(self._predictor.predict(read_texts(texts, self._stored)))

    @property
    def expectation(self) -> str:
        """A sentence on the score to expect of a model that was trained on all rows; empty for others."""
        return model_card.expectation(self._stored) if self._stored.all_rows is not None else ""

    def __repr__(self) -> str:
        return f"<model {self._stored.entry.label} on {self._stored.entry.task}, {self._stored.backbone.line()}>"


class Models(_Loaded):
    """Several trained models on one backbone in memory: rows for different models share its forward passes.

    Attributes:
        classes_: the classes, as in scikit-learn.
        names: the models, in the order in which they were loaded.

    Args:
        stored: the trained models by name; `load` finds them.
        at: the point of a simplex, the same in all models; None: the centroid.
    """

    def __init__(self, stored: Mapping[str, StoredModel], at: str | None = None) -> None:
        super().__init__(stored, at)
        self.names = tuple(stored)

    def predict(self, texts: Texts, models: Sequence[str]) -> NDArray[Any]:
        """Return the answer for each example, as `Model.predict`, of the model of that name.

        Args:
            texts: as in `Model.predict`.
            models: the name of the model that answers each example.

        Raises:
            UsageError: as `Model.predict`; or there is no such model, or not one for each example.
        """
        return self._answers(self._predict(texts, models))

    def predict_proba(self, texts: Texts, models: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of the classes for each example, `[rows, classes]`; arguments as in `predict`.

        Raises:
            UsageError: as `predict`, or the models have no classes.
        """
        return self._probabilities(self._predict(texts, models))

    def _predict(self, texts: Texts, models: Sequence[str]) -> Predictions:
        rows = read_texts(texts, self._stored)
        if isinstance(models, str) or len(models) != len(rows):
            got = repr(models) if isinstance(models, str) else len(models)
            raise UsageError(f"pass a list with one model for each of {len(rows)} rows, got {got}")
        for name in models:
            if name not in self.names:
                raise UsageError(f"no model {name!r} is loaded: there are {listed(self.names)}")
        return self._predictor.predict(rows, models)

    def __repr__(self) -> str:
        return f"<{len(self.names)} models of {self._stored.entry.label}, {self._stored.backbone.line()}>"


@overload
def load(model: str | Path, *, db: str | Path | None = None, at: Point = None) -> Model: ...


@overload
def load(model: SeveralModels, *, db: str | Path | None = None, at: Point = None) -> Models: ...


def load(
    model: str | Path | SeveralModels,
    *,
    db: str | Path | None = None,
    at: Point = None,
) -> Model | Models:
    """Load a trained model, or several that share one backbone.

    Args:
        model: a folder of `advise`, `fit` or `bench export --format safetensors`, or the digest of a job. A list
            loads several models of one method and of the same classes; each is called as its folder, or by its
            whole path if two folders have one name.
        db: the database of a digest; None: `BENCH_DB`, or results.db.
        at: the point of the simplex of a job, as in `bench predict --at`: the number of a vertex, or a list of weights;
            None: the centroid. A folder holds one point.

    Raises:
        UsageError: there is no such model; or models in the list differ in more than their trained tensors, or
            train tensors that all rows of a forward pass share.
        Unavailable: the tensors or the backbone are missing.
        CorruptData: the files were changed.
    """
    point = None if at is None else arguments.text_of("at", at)
    file = arguments.database(db)
    if isinstance(model, str | Path):
        return Model(restore.load_any(file, str(model), point), point)
    paths = [str(one) for one in model]
    if not paths:
        raise UsageError("load takes a model or a list of models; the list is empty")
    if len(set(paths)) < len(paths):
        raise UsageError("load takes each model once")
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(names):
        names = paths
    models = [restore.load_any(file, path, point) for path in paths]
    return Models(dict(zip(names, models, strict=True)), point)


def read_texts(texts: Any, stored: StoredModel) -> list[tuple[str, ...]]:
    """Return the texts of each example.

    Raises:
        UsageError: a row has no text, or a table lacks a column.
    """
    if isinstance(texts, str | Mapping):
        raise UsageError("pass a list of texts, such as [text]")
    if hasattr(texts, "itertuples"):
        # of pandas: iteration would give the names of the columns
        names = list(stored.columns or texts.columns)
        if missing := [name for name in names if name not in texts.columns]:
            raise UsageError(
                f"the table has no column {missing[0]!r}; the model was trained on {listed(names)}"
            )
        texts = texts[names].itertuples(index=False, name=None)
    rows: list[tuple[str, ...]] = []
    for number, row in enumerate(texts):
        whole = isinstance(row, str | Mapping) or not isinstance(row, Iterable)
        parts = (row,) if whole else tuple(row)
        for part in parts:
            if not isinstance(part, str) or is_blank(part):
                raise UsageError(f"row {number} has no text, but {part!r}")
            if problem := text_problem(part):
                raise UsageError(f"row {number}: {problem}")
        rows.append(parts)
    for count in {len(row) for row in rows}:
        check_count(stored, count)
    return rows
