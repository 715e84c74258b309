"""Few-shot draws: which rows a job trains on, chooses its checkpoint on, and is tested on.

A draw depends on the task, its size and its number, never on a method, so every method sees the
same rows. Test rows come from a split of their own (or are held out first), and nothing is ever
chosen on them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from harness.jobs import Recipe
from harness.streams import Shuffle, stream
from harness.tasks.base import Example, Task

VERSION = 1  # raised when a change here draws other rows
HELD_OUT = 0.25  # share of the rows that is tested on where a task has no test split
TRIES = 100  # draws that may miss a class before the cell is given up


class Infeasible(Exception):
    """The task cannot give a draw of this size; the text says why."""


@dataclass(frozen=True)
class Draw:
    """The rows of one block."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]  # by the suffix of the metric: {"": ...}, MNLI has two
    redrawn: int  # draws thrown away because they missed a class

    @property
    def shared(self) -> int:
        """How many training and dev rows have texts that also stand in the test rows: such an answer may be remembered."""
        tested = {row.texts for part in self.tests.values() for row in part}
        return sum(row.texts in tested for row in (*self.train, *self.dev))

    @property
    def fingerprint(self) -> str:
        """A hash of the contents of all rows, in their order."""
        content = hashlib.sha256()
        for part in (self.train, self.dev, *(self.tests[name] for name in sorted(self.tests))):
            content.update(b"\n--\n")
            content.update(
                json.dumps(
                    [(*row.texts, row.label) for row in part], separators=(",", ":")
                ).encode()
            )
        return content.hexdigest()[:32]


def counts(task: Task, size: int, recipe: Recipe) -> tuple[int, int]:
    """How many training and dev rows a size stands for.

    Raises:
        Infeasible: the size leaves no row for one of them, or no row for every class.
    """
    total = size * len(task.labels) if recipe.per_class and task.labels else size
    if recipe.dev == "carved":
        dev = round(0.3 * total)
        train = total - dev
    else:
        train = total
        dev = round(0.3 * total) if recipe.dev == "extra" else int(recipe.dev)
    if dev < 1 or train < 1:
        raise Infeasible(f"size {size} leaves {train} training and {dev} dev rows")
    if train < len(task.labels):
        raise Infeasible(f"{train} training rows cannot hold all {len(task.labels)} classes")
    return train, dev


def feasible(task: Task, size: int, recipe: Recipe) -> str:
    """Why a size cannot be given, as far as that is known before anything is read; empty if nothing speaks against it."""
    try:
        train, dev = counts(task, size, recipe)
    except Infeasible as reason:
        return str(reason)
    if task.train_rows is not None and train + dev > task.train_rows:
        return f"{train} training and {dev} dev rows of {task.train_rows}"
    return ""


def draw(
    task: Task, read: Callable[[str], Sequence[Example]], size: int, number: int, recipe: Recipe
) -> Draw:
    """The draw called `number`.

    Args:
        task: the task.
        read: gives the rows of a split.
        size: labelled examples asked for.
        number: which draw.
        recipe: how rows are sampled.

    Raises:
        Infeasible: the split is too small, or a class too rare.
    """
    n_train, n_dev = counts(task, size, recipe)
    pool, tests = _pool(task, read, number, recipe)
    if n_train + n_dev > len(pool):
        raise Infeasible(f"{n_train} training and {n_dev} dev rows of {len(pool)}")
    needed = {row.label for row in pool} if task.labels else set()
    for attempt in range(TRIES):
        seed = stream("draw", task.name, size, number, *([attempt] if attempt else []))
        order = Shuffle(seed, len(pool))
        if task.labels and (recipe.sampling == "stratified" or recipe.per_class):
            train, dev = _stratified(pool, order, n_train, n_dev, equal=recipe.per_class)
        else:
            rows = [pool[index] for index in islice(order, n_train + n_dev)]
            train, dev = rows[:n_train], rows[n_train:]
        if needed <= {row.label for row in train}:
            return Draw(tuple(train), tuple(dev), tests, redrawn=attempt)
    raise Infeasible(
        f"no draw of {n_train} rows out of {TRIES} held all {len(needed)} classes; try --sampling stratified"
    )


def tested(
    task: Task, read: Callable[[str], Sequence[Example]], number: int, recipe: Recipe
) -> dict[str, tuple[Example, ...]]:
    """The test rows of the draw called `number`, by the suffix of the metric; training rows are read only if they must be."""
    if task.holdout:
        return _pool(task, read, number, recipe)[1]
    return {
        suffix: _limited(task.name, split, read(split), recipe.test_limit)
        for suffix, split in task.tests.items()
    }


def _pool(
    task: Task, read: Callable[[str], Sequence[Example]], number: int, recipe: Recipe
) -> tuple[Sequence[Example], dict[str, tuple[Example, ...]]]:
    """The rows to draw from, and those to test on."""
    rows = read(task.train)
    if not task.holdout:
        return rows, tested(task, read, number, recipe)
    held = round(HELD_OUT * len(rows))
    held = min(held, recipe.test_limit) if recipe.test_limit else held
    out = set(islice(Shuffle(stream("holdout", task.name, number), len(rows)), held))
    rest = [row for index, row in enumerate(rows) if index not in out]
    return rest, {"": tuple(rows[index] for index in sorted(out))}


def _limited(task: str, split: str, rows: Sequence[Example], limit: int) -> tuple[Example, ...]:
    """At most `limit` rows, the same ones for every job."""
    if not limit or len(rows) <= limit:
        return tuple(rows)
    chosen = sorted(islice(Shuffle(stream("test", task, split), len(rows)), limit))
    return tuple(rows[index] for index in chosen)


def _stratified(
    pool: Sequence[Example], order: Iterable[int], n_train: int, n_dev: int, *, equal: bool
) -> tuple[list[Example], list[Example]]:
    """Rows in which every class has its share of the pool, or all classes the same share."""
    found = Counter(row.label for row in pool)
    shares = {
        label: 1 / len(found) if equal else count / len(pool)
        for label, count in sorted(found.items())
    }
    by_class: dict[int | float, list[Example]] = {label: [] for label in shares}
    for index in order:
        by_class[pool[index].label].append(pool[index])
    train_quota, dev_quota = _quotas(shares, n_train), _quotas(shares, n_dev)
    for label, rows in by_class.items():
        if len(rows) < train_quota[label] + dev_quota[label]:
            wanted = train_quota[label] + dev_quota[label]
            raise Infeasible(f"class {label} has {len(rows)} rows, {wanted} are needed")
    train = [row for label in shares for row in by_class[label][: train_quota[label]]]
    dev = [
        row for label in shares for row in by_class[label][train_quota[label] :][: dev_quota[label]]
    ]
    return train, dev


def _quotas(shares: Mapping[int | float, float], total: int) -> dict[int | float, int]:
    """Whole numbers in proportion to the shares that add up to `total`; as far as it goes round, none is 0."""
    quotas = {label: int(share * total) for label, share in shares.items()}
    largest = sorted(
        shares, key=lambda label: (quotas[label] > 0, quotas[label] - shares[label] * total)
    )
    for label in islice(_cycle(largest), total - sum(quotas.values())):
        quotas[label] += 1
    return quotas


def _cycle(labels: Sequence[int | float]) -> Iterator[int | float]:
    while True:
        yield from labels
