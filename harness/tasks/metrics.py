"""Metrics: scores of predictions against labels, each with its direction.

If predictions are constant, a correlation is undefined and scores 0: a failed run counts and is not
dropped. Predictions that are not finite score NaN.

Metrics of the `evaluate` library are named `evaluate:NAME`, with `[KEY]` to choose one of several
numbers and `:lower` if less is better: `evaluate:./my_metric`, `evaluate:squad[f1]`,
`evaluate:wer:lower`. A name that is not a local path is a script on the Hub, which `evaluate`
downloads and runs.
"""

import hashlib
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.errors import Unavailable, UsageError
from harness.tasks import nist_cider, slot_errors, text_metrics
from methods.core.suggestions import did_you_mean

Values = Sequence[Any]  # one `tasks.base.Label` for each row
# Which values are better; `neither`: the number describes texts, and nothing can be selected by it.
Direction = Literal["higher", "lower", "neither"]
LabelKind = Literal["two classes", "classes", "numbers", "sets of classes", "texts"]
CLASSES: Final[frozenset[LabelKind]] = frozenset({"two classes", "classes"})
NUMBERS: Final[frozenset[LabelKind]] = frozenset({"numbers"})
SETS: Final[frozenset[LabelKind]] = frozenset({"sets of classes"})
TEXTS: Final[frozenset[LabelKind]] = frozenset({"texts"})

_EVALUATE_NAME: Final = re.compile(
    r"evaluate:(?P<source>[^\[\]]+?)(?:\[(?P<key>[^\[\]]+)\])?(?::(?P<better>higher|lower))?"
)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions; call it with predictions and labels."""

    name: str
    better: Direction = "higher"
    suits: frozenset[LabelKind]  # the labels that it can score
    function: Callable[[Values, Values], float]
    # Increased by a correction that changes numbers; a hash for a script of the user.
    version: int | str = 1
    # Of texts: whether texts are compared with their sources, and not with their references.
    of_sources: bool = False
    # Of texts: scores of the rows, whose mean is the score and whose variance is that of the score over other rows.
    of_rows: Callable[[Values, Values], list[float]] | None = None

    def __call__(self, predictions: Values, labels: Values) -> float:
        """Return the score of all predictions; NaN if one of them is not finite.

        Raises:
            ValueError: there are no predictions, or not as many as labels.
        """
        if len(predictions) != len(labels) or not len(labels):
            raise ValueError(
                f"{self.name} requires as many predictions as labels, and at least one; "
                f"got {len(predictions)} and {len(labels)}"
            )
        if not all(isinstance(value, tuple | str) or math.isfinite(value) for value in predictions):
            return math.nan
        return float(self.function(predictions, labels))


class Scored(NamedTuple):
    """Predictions for a test set, their labels and, if texts were written, the sources of these."""

    predictions: Values
    labels: Values
    sources: Sequence[str] = ()


def _accuracy(predictions: Values, labels: Values) -> float:
    return sum(map(int.__eq__, map(int, predictions), map(int, labels))) / len(labels)


def _f1(classes: Sequence[int] | None, predictions: Values, labels: Values) -> float:
    """Return the mean F1 of some classes, or of all that occur."""
    if any(isinstance(label, tuple) for label in labels):
        counts = _label_counts(predictions, labels)
        return math.fsum(2 * hits / both for hits, both in counts) / len(counts) if counts else 0.0
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, labels=classes, average="macro", zero_division=0))


def _micro_f1(predictions: Values, labels: Values) -> float:
    """Return the F1 of all pairs of a row and a class; 0 if no row has a class and none is predicted."""
    counts = _label_counts(predictions, labels)
    both = sum(total for _, total in counts)
    return 2 * sum(hits for hits, _ in counts) / both if both else 0.0


def _label_counts(predictions: Values, labels: Values) -> list[tuple[int, int]]:
    """Return for each class that occurs the rows where it is right, and those with it plus those predicted."""
    hits, both = Counter[int](), Counter[int]()
    for prediction, label in zip(predictions, labels, strict=True):
        hits.update({*prediction} & {*label})
        both.update(prediction)
        both.update(label)
    return [(hits[number], total) for number, total in sorted(both.items())]


def _matthews(predictions: Values, labels: Values) -> float:
    from sklearn.metrics import matthews_corrcoef

    return (
        0.0
        if _constant(predictions) or _constant(labels)
        else float(matthews_corrcoef(labels, predictions))
    )


def _correlation(
    which: Literal["pearsonr", "spearmanr"], predictions: Values, labels: Values
) -> float:
    from scipy import stats

    if _constant(predictions) or _constant(labels):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a nearly constant input shows in the score itself
        value = float(getattr(stats, which)(predictions, labels)[0])
    return value if math.isfinite(value) else 0.0


def _mse(predictions: Values, labels: Values) -> float:
    return math.fsum(
        (float(p) - float(y)) ** 2 for p, y in zip(predictions, labels, strict=True)
    ) / len(labels)


def _constant(values: Values) -> bool:
    return all(value == values[0] for value in values)


METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(name="accuracy", suits=CLASSES, function=_accuracy),
    # Naming the class 1 keeps the number defined where predictions or labels hold one class only.
    "f1": Metric(name="f1", suits=frozenset({"two classes"}), function=partial(_f1, [1])),
    "macro-f1": Metric(name="macro-f1", suits=CLASSES | SETS, function=partial(_f1, None)),
    "micro-f1": Metric(name="micro-f1", suits=SETS, function=_micro_f1),
    "matthews": Metric(name="matthews", suits=CLASSES, function=_matthews),
    "pearson": Metric(name="pearson", suits=NUMBERS, function=partial(_correlation, "pearsonr")),
    "spearman": Metric(name="spearman", suits=NUMBERS, function=partial(_correlation, "spearmanr")),
    "mse": Metric(name="mse", better="lower", suits=NUMBERS, function=_mse),
    "rmse": Metric(
        name="rmse",
        better="lower",
        suits=NUMBERS,
        function=lambda predictions, labels: math.sqrt(_mse(predictions, labels)),
    ),
    "bleu": Metric(
        name="bleu", suits=TEXTS, function=text_metrics.bleu, of_rows=text_metrics.bleu_of_rows
    ),
    "chrf": Metric(name="chrf", suits=TEXTS, function=text_metrics.chrf),
    "ter": Metric(name="ter", better="lower", suits=TEXTS, function=text_metrics.ter),
    **{
        name: Metric(
            name=name,
            suits=TEXTS,
            function=partial(text_metrics.rouge, name),
            of_rows=partial(text_metrics.rouge_of_rows, name),
        )
        for name in ("rouge1", "rouge2", "rougeL")
    },
    "nist": Metric(name="nist", suits=TEXTS, function=nist_cider.nist),
    "cider": Metric(name="cider", suits=TEXTS, function=nist_cider.cider),
    "repetition": Metric(
        name="repetition", better="lower", suits=TEXTS, function=text_metrics.repetition
    ),
    "length-ratio": Metric(
        name="length-ratio", better="neither", suits=TEXTS, function=text_metrics.length_ratio
    ),
    **{
        name: Metric(
            name=name,
            better="lower",
            suits=TEXTS,
            of_sources=True,
            function=partial(slot_errors.rate, kinds),
        )
        for name, kinds in slot_errors.METRICS.items()
    },
}


def get(name: str) -> Metric:
    """Return the metric of a name. A metric of `evaluate` is loaded when it is first called.

    Raises:
        UsageError: there is no such metric; the message suggests similar names.
    """
    if name in METRICS:
        return METRICS[name]
    match = _EVALUATE_NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"no metric {name!r}{did_you_mean(name, METRICS, 2)}; there are {', '.join(METRICS)}, "
            "and evaluate:NAME, evaluate:NAME[KEY] or evaluate:NAME:lower"
        )
    source = match["source"]
    if _is_path(source) and not Path(source).expanduser().exists():
        raise UsageError(f"metric {name!r}: there is no file or folder {source}")
    return Metric(
        name=name,
        better=better(name),
        suits=CLASSES | NUMBERS | TEXTS,
        function=partial(_evaluate, source, match["key"]),
        version=_script_version(source),
    )


def versioned(names: Sequence[str]) -> tuple[str, ...]:
    """Return metrics with their versions, as the setting of a job holds them: `accuracy/1`."""
    return tuple(f"{name}/{get(name).version}" for name in names)


def better(name: str) -> Direction:
    """Return the better direction of a metric; a script of the user is not needed for that."""
    if name in METRICS:
        return METRICS[name].better
    match = _EVALUATE_NAME.fullmatch(name)
    return "lower" if match is not None and match["better"] == "lower" else "higher"


def located(name: str, folder: Path) -> str:
    """Return the name of a metric with the absolute path of its script, if it has one.

    Args:
        name: the name, such as `evaluate:./mine.py`.
        folder: where a relative path starts.
    """
    match = _EVALUATE_NAME.fullmatch(name)
    if match is None or not _is_path(match["source"]):
        return name
    path = (folder / Path(match["source"]).expanduser()).resolve()
    absolute = name.replace(match["source"], str(path), 1)
    return absolute if _EVALUATE_NAME.fullmatch(absolute) else name


def compute(metrics: Sequence[str], scored: Scored) -> dict[str, float]:
    """Return the value of each metric by name.

    Raises:
        UsageError: a metric of `evaluate` fails on these labels, or returns several numbers.
        Unavailable: a metric of `evaluate` cannot be loaded.
    """
    known = [get(name) for name in metrics]
    return {
        metric.name: metric(
            scored.predictions, scored.sources if metric.of_sources else scored.labels
        )
        for metric in known
    }


def score(metrics: Sequence[str], values: Mapping[str, float]) -> float:
    """Return a task's score: the mean of its metrics, negated where less is better."""
    return math.fsum(
        values[name] if get(name).better == "higher" else -values[name] for name in metrics
    ) / len(metrics)


def compute_all(
    metrics: Sequence[str], test_sets: Mapping[str, Scored]
) -> tuple[dict[str, float], float]:
    """Return the metrics of every test set, and the mean score.

    Args:
        metrics: names of the metrics.
        test_sets: the test sets by suffix; a metric is named `NAME/SUFFIX`, or `NAME` if the
            suffix is empty.
    """
    values: dict[str, float] = {}
    scores = []
    for suffix, scored in test_sets.items():
        computed = compute(metrics, scored)
        scores.append(score(metrics, computed))
        values |= {f"{key}/{suffix}" if suffix else key: value for key, value in computed.items()}
    return values, math.fsum(scores) / len(scores)


def row_scores(metrics: Sequence[str], test_sets: Mapping[str, Scored]) -> dict[str, list[float]]:
    """Return the scores of the rows of each test set, by suffix: see `Metric.of_rows`.

    They are empty if a metric has no scores of rows. Arguments are those of `compute_all`.
    """
    functions = [get(name).of_rows for name in metrics]
    known = [function for function in functions if function is not None]
    if not known or len(known) < len(functions):
        return {}
    return {
        suffix: [
            math.fsum(values) / len(known)
            for values in zip(
                *(function(scored.predictions, scored.labels) for function in known), strict=True
            )
        ]
        for suffix, scored in test_sets.items()
    }


def _is_path(source: str) -> bool:
    return (
        source.startswith((".", "/", "~")) or source.endswith(".py") or Path(source).is_absolute()
    )


def _script_version(source: str) -> int | str:
    """Return a hash of a local script or of a folder's scripts, so that an edited metric has another version."""
    if not _is_path(source):
        return 1
    path = Path(source).expanduser()
    content = hashlib.sha256()
    for script in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        content.update(script.read_bytes())
    return content.hexdigest()[:12]


def _evaluate(source: str, key: str | None, predictions: Values, labels: Values) -> float:
    module = _module(source)
    try:
        results = module.compute(**_for_evaluate(predictions, labels))
    except Exception as error:  # a script can raise anything
        raise UsageError(
            f"metric evaluate:{source} failed: {str(error).strip() or type(error).__name__}"
        ) from None
    # Some metrics of texts return a number for each text.
    means = {
        name: math.fsum(value) / len(value) if isinstance(value, list) and value else value
        for name, value in (results or {}).items()
        if not isinstance(value, list) or all(isinstance(one, int | float) for one in value)
    }
    numbers = {
        name: value
        for name, value in means.items()
        if isinstance(value, int | float) or hasattr(value, "item")
    }
    if key is None and len(numbers) == 1:
        key = next(iter(numbers))
    if key not in numbers:
        problem = "returns several numbers" if key is None else f"does not return {key!r}"
        raise UsageError(
            f"metric evaluate:{source} {problem}; "
            f"choose one with evaluate:{source}[KEY]: {', '.join(numbers) or 'none'}"
        )
    return float(numbers[key])


def _for_evaluate(predictions: Values, labels: Values) -> dict[str, list[Any]]:
    """Return the arguments of a metric of `evaluate`; for texts, a list of references of each."""
    if isinstance(predictions[0], str):
        return {"predictions": list(predictions), "references": [list(label) for label in labels]}
    classes = all(isinstance(label, int) for label in labels) and all(
        float(value).is_integer() for value in predictions
    )
    # Some metrics accept class numbers only as integers.
    number: type[int] | type[float] = int if classes else float
    return {
        "predictions": [number(value) for value in predictions],
        "references": [number(value) for value in labels],
    }


@lru_cache(maxsize=16)
def _module(source: str) -> Any:
    import evaluate

    try:
        return evaluate.load(
            (str(Path(source).expanduser()) if _is_path(source) else source), keep_in_memory=True
        )
    except ImportError as error:
        raise UsageError(f"metric evaluate:{source} requires another package: {error}") from None
    except Exception as error:  # a script can raise anything
        raise Unavailable(
            f"metric evaluate:{source} cannot be loaded: {str(error).strip() or type(error).__name__}"
        ) from None
