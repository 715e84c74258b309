"""How often does the interval of `bench advise` and `bench fit` contain the true score of the model that they write?

    python -m tests.benchmarks.expected_score [--task toy-sentiment --files 400 --rows 400 --draws 4]

Each file has rows of a toy task at random. As in `advise`, draws hold out a quarter of the rows, `features` on `tiny`
is fitted to the others and to half as many, and dev rows choose the penalty. The final model is fitted to all rows of
the file, with the median penalty. The truth is its accuracy on all rows of the task that are not in the file. No method
is chosen.
"""

import argparse
from dataclasses import replace
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np

from reports.statistics.final_score import DrawScores, expected


class Coverage(NamedTuple):
    """Shares of files: whose interval contains the truth, and whose truth is below or above it."""

    inside: float
    below: float
    above: float
    width: float  # median, in points


def main() -> None:
    """Print the share of files whose interval contains the truth, and the median width in points."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--task", default="toy-sentiment")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = coverage(**vars(options))
    missed = f"below {100 * found.below:.1f} %, above {100 * found.above:.1f} %"
    print(f"{options.task}: {100 * found.inside:.1f} % of {options.files} intervals contain the truth "
          f"({missed}); median width {found.width:.1f} points")  # fmt: skip


def coverage(task: str, files: int, rows: int, draws: int, seed: int) -> Coverage:
    """Return how the intervals of many files compare with the truth."""
    features, labels, method = read(task)
    rng = np.random.default_rng(seed)
    misses, widths = [], []
    for _ in range(files):
        own = rng.choice(len(labels), rows, replace=False)
        others = np.setdiff1d(np.arange(len(labels)), own)
        size = int((rows - rows // 4) / 1.3) // 10 * 10
        tested, chosen = [], []
        for _ in range(draws):
            test, rest = np.split(rng.permutation(own), [rows // 4])
            number, large = fitted(rest, size, rng, features, labels, method)
            _, small = fitted(rest, size // 2, rng, features, labels, method)
            chosen.append(number)
            scores = (right(one, test, features, labels, method) for one in (large, small))
            tested.append(DrawScores(test, *(one.astype(float) for one in scores)))
        interval = expected(tested, smaller=size // 2, size=size, rows=rows)
        final = candidates(own, features, labels, method)[median_low(chosen)]
        truth = right(final, others, features, labels, method).mean()
        misses.append(int(truth > interval.high) - int(truth < interval.low))
        widths.append(100 * (interval.high - interval.low))
    return Coverage(misses.count(0) / files, misses.count(-1) / files, misses.count(1) / files,
                    float(np.median(widths)))  # fmt: skip


def read(name: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return the features of all rows of a task, their labels, and the method."""
    import methods
    from harness.backbones import checkpoints, loading
    from harness.jobs import BackboneSpec
    from harness.streams import Streams
    from harness.tasks import REGISTRY
    from harness.training.adapted_model import AdaptedModel
    from harness.training.feature_cache import FeatureStore
    from harness.training.rows import encoding

    task, method = REGISTRY[name], methods.build("features", {})
    splits = [task.train, *dict(task.tests).values()]
    rows = [row for split in splits for row in task.reader.examples(split, task.reader.revision())]
    spec = BackboneSpec(name="tiny", revision=checkpoints.revision_of("tiny"))
    backbone = replace(loading.load(spec, "cpu"), outputs=len(task.labels))
    slots = method.slots(backbone)
    trainable = method.trainable_parameters(slots, Streams((name, 1, 0, 0)))
    reader = FeatureStore().reader(AdaptedModel(backbone, slots, trainable), method)
    return reader(encoding.encode(backbone, rows)), np.array([row.label for row in rows]), method


def fitted(
    rows: np.ndarray, size: int, rng: Any, features: np.ndarray, labels: np.ndarray, method: Any
) -> tuple[int, Any]:
    """Draw training and dev rows, and return the number of the candidate that the dev rows choose, and its model."""
    train, dev = np.split(rng.permutation(rows)[: size + round(0.3 * size)], [size])
    found = candidates(train, features, labels, method)
    score = [right(one, dev, features, labels, method).mean() for one in found]
    number = max(range(len(found)), key=lambda place: (score[place], -place))
    return number, found[number]


def candidates(
    rows: np.ndarray, features: np.ndarray, labels: np.ndarray, method: Any
) -> list[Any]:
    """Return the models of all penalties."""
    return list(method.solve(features[rows], labels[rows], classes=int(labels.max()) + 1))


def right(
    tensors: Any, rows: np.ndarray, features: np.ndarray, labels: np.ndarray, method: Any
) -> np.ndarray:
    """Return which rows a model answers correctly."""
    found: np.ndarray = method.logits_of(features[rows], tensors).argmax(1) == labels[rows]
    return found


if __name__ == "__main__":
    main()
