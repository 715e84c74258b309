"""How often does the interval that `bench advise` prints contain the true score of the model that it writes?

    python -m tests.benchmarks.expected_score [--task toy-sentiment --files 400 --rows 400 --draws 4]

Each file has rows of a toy task at random. As in `advise`, draws hold out a quarter of the rows, `features` on `tiny`
is fitted to the others, dev rows choose the penalty and the draw, and the written model gets Wilson's interval over its
own test rows. The truth is its accuracy on all rows of the task that are not in the file. No method is chosen.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np


def main() -> None:
    """Print the share of files whose interval contains the truth, and the median width in points."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--task", default="toy-sentiment")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from harness.artefacts.model_card import wilson

    features, labels, method = read(options.task)
    rng = np.random.default_rng(options.seed)
    inside, widths = 0, []
    for _ in range(options.files):
        own = rng.choice(len(labels), options.rows, replace=False)
        others = np.setdiff1d(np.arange(len(labels)), own)
        models = [
            fitted(rng.permutation(own), features, labels, method) for _ in range(options.draws)
        ]
        _, tensors, test = max(models, key=lambda model: model[0])  # of equal dev scores, the first
        correct = right(tensors, test, features, labels, method)
        interval = wilson(int(correct.sum()), len(test))
        truth = right(tensors, others, features, labels, method).mean()
        inside += interval.low <= truth <= interval.high
        widths.append(100 * (interval.high - interval.low))
    print(f"{options.task}: {100 * inside / options.files:.1f} % of {options.files} intervals contain the truth; "
          f"median width {np.median(widths):.1f} points")  # fmt: skip


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
    rows: np.ndarray, features: np.ndarray, labels: np.ndarray, method: Any
) -> tuple[float, Any, np.ndarray]:
    """Return the dev score of a draw, its model, and its test rows."""
    test, rest = np.split(rows, [len(rows) // 4])
    train, dev = np.split(rest, [round(len(rest) / 1.3)])
    classes = int(labels.max()) + 1
    candidates = [
        (float(right(tensors, dev, features, labels, method).mean()), -number, tensors)
        for number, tensors in enumerate(
            method.solve(features[train], labels[train], classes=classes)
        )
    ]
    score, _, tensors = max(candidates, key=lambda one: one[:2])
    return score, tensors, test


def right(
    tensors: Any, rows: np.ndarray, features: np.ndarray, labels: np.ndarray, method: Any
) -> np.ndarray:
    """Return which rows a model answers correctly."""
    found: np.ndarray = method.logits_of(features[rows], tensors).argmax(1) == labels[rows]
    return found


if __name__ == "__main__":
    main()
