"""Few-shot draws: the examples on which a job is trained, on which its checkpoint is chosen, and on which it is tested.

A draw depends on the task, the size, the draw's number and the recipe, but not on the method: all
methods see the same examples. Test examples come from their own split or are held out first; nothing is chosen
on them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from harness.jobs import Label, Recipe
from harness.streams import shuffled, stream_seed
from harness.tasks.base import Example, Task, normalise
from harness.tasks.held_out import held_out_count, hold_out
from harness.wording import short

VERSION = 1  # increased by a change that draws other examples
TRIES = 100  # draws without all classes until a size is infeasible


class Infeasible(Exception):
    """A task has no draw of this size; the text says why."""


@dataclass(frozen=True)
class Draw:
    """The examples of one draw."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]  # by suffix of the metrics; MNLI has two
    redrawn: int  # draws discarded because a class was missing
    held_out: tuple[
        int, ...
    ] = ()  # positions, from 0, of the test examples in the training split, if held out

    @property
    def shared(self) -> int:
        """Number of training and dev examples whose texts are also in a test set: a model may memorise them."""
        test_texts = {normalise(row.texts) for part in self.tests.values() for row in part}
        return sum(normalise(row.texts) in test_texts for row in (*self.train, *self.dev))

    def repeated(self) -> dict[str, list[int]]:
        """Return the positions of those test examples whose texts are also in the training or dev examples."""
        known = {normalise(row.texts) for row in (*self.train, *self.dev)}
        return {
            suffix: [number for number, row in enumerate(part) if normalise(row.texts) in known]
            for suffix, part in self.tests.items()
        }

    def distinct(self) -> dict[str, list[int]]:
        """Return the number of distinct values of each text field of the test examples."""
        return {
            suffix: [len(set(values)) for values in zip(*(row.texts for row in part), strict=True)]
            for suffix, part in self.tests.items()
        }

    def groups(self) -> dict[str, list[int]]:
        """Return the group of each test example; empty lists if no two examples share a group."""
        numbers: dict[str | tuple[str, ...], int] = {}
        groups = {
            suffix: [numbers.setdefault(row.group_key, len(numbers)) for row in part]
            for suffix, part in self.tests.items()
        }
        single = len(numbers) == sum(map(len, self.tests.values()))
        return {suffix: [] if single else part for suffix, part in groups.items()}

    @property
    def fingerprint(self) -> str:
        """Hash of all examples in their order: 32 hexadecimal digits."""
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
    """Return the numbers of training and dev examples of a size.

    Raises:
        Infeasible: one of them is 0, there are fewer training examples than classes, or examples with
            several classes cannot be sampled as the recipe says.
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
    if task.multilabel and (recipe.per_class or recipe.sampling == "stratified"):
        raise Infeasible(
            "rows with several classes are drawn at random: leave out --per-class and --sampling stratified"
        )
    if train < len(task.labels) and not task.multilabel:
        raise Infeasible(f"{train} training rows cannot hold all {len(task.labels)} classes")
    return train, dev


def infeasible_reason(task: Task, size: int, recipe: Recipe) -> str:
    """Return why a size is infeasible, as far as known before any data is read; empty if it may be feasible."""
    try:
        train, dev = counts(task, size, recipe)
    except Infeasible as reason:
        return str(reason)
    if task.train_rows is not None:
        rows = task.train_rows - (held_out_count(task.train_rows, recipe) if task.holdout else 0)
        if train + dev > rows:
            return f"{train} training and {dev} dev rows of {rows}"
    return ""


def largest_size(task: Task, most: int, recipe: Recipe) -> int:
    """Return the largest size below `most` that is feasible as far as known; 0 if there is none.

    It is rounded down to a multiple of 10, if that is feasible.
    """
    # A size can be too small for its dev rows and classes. From the least one on, feasible sizes are adjacent.
    small = range(1, min(most, 1000))
    least = next((size for size in small if not infeasible_reason(task, size, recipe)), 0)
    if not least:
        return 0
    low, high = least, most - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if infeasible_reason(task, middle, recipe) else (middle, high)
    rounded = low - low % 10
    return rounded if rounded >= least else low


def draw(
    task: Task, read: Callable[[str], Sequence[Example]], size: int, number: int, recipe: Recipe
) -> Draw:
    """Draw examples.

    Args:
        task: the task.
        read: returns the examples of a split.
        size: number of training examples, or of those of each class with `per_class`; with `dev=carved`, the dev
            examples are among them.
        number: the draw's number.
        recipe: how examples are sampled.

    Raises:
        Infeasible: the split is too small, or a class too rare.
    """
    n_train, n_dev = counts(task, size, recipe)
    pool, tests, held_out = _pool_and_tests(task, read, number, recipe)
    if n_train + n_dev > len(pool):
        large = _large_group(tests[""]) if task.holdout else ""
        raise Infeasible(f"{n_train} training and {n_dev} dev rows of {len(pool)}{large}")
    # A draw of a few multilabel rows can lack a class: with many classes, most draws do.
    classes = {row.label for row in pool} if task.labels and not task.multilabel else set()
    for attempt in range(TRIES):
        order = shuffled(
            stream_seed("draw", task.name, size, number, *([attempt] if attempt else [])), len(pool)
        )
        if task.labels and (recipe.sampling == "stratified" or recipe.per_class):
            train, dev = _stratified(
                pool, order, n_train, n_dev, task.labels, equal=recipe.per_class
            )
        else:
            rows = [pool[index] for index in islice(order, n_train + n_dev)]
            train, dev = rows[:n_train], rows[n_train:]
        if classes <= {row.label for row in train}:
            return Draw(tuple(train), tuple(dev), tests, attempt, held_out)
    raise Infeasible(
        f"no draw of {n_train} rows out of {TRIES} contained all {len(classes)} classes; try --sampling stratified"
    )


def _large_group(held_out: Sequence[Example]) -> str:
    """Return a remark on the group that has most of the rows that are held out; empty if none has."""
    counts = Counter(row.group for row in held_out if row.group)
    group, count = counts.most_common(1)[0] if counts else ("", 0)
    if 2 * count <= len(held_out):
        return ""
    return f" ({count} rows are held out for testing because they are of one group, {short(group)})"


def test_sets(
    task: Task, read: Callable[[str], Sequence[Example]], number: int, recipe: Recipe
) -> dict[str, tuple[Example, ...]]:
    """Return the test examples of a draw by suffix of the metrics; training examples are read only for a holdout."""
    if task.holdout:
        return _pool_and_tests(task, read, number, recipe)[1]
    return {
        suffix: _limited(
            task.name,
            split,
            [row for _, row in _joined(task, enumerate(read(split)))],
            recipe.test_limit,
        )
        for suffix, split in task.tests.items()
    }


def _pool_and_tests(
    task: Task, read: Callable[[str], Sequence[Example]], number: int, recipe: Recipe
) -> tuple[Sequence[Example], dict[str, tuple[Example, ...]], tuple[int, ...]]:
    """Return the examples to draw from, the test examples, and the latter's positions in the training split.

    The positions are empty for a task that has a test split.
    """
    rows = read(task.train)
    if not task.holdout:
        return rows, test_sets(task, read, number, recipe), ()
    numbers = hold_out(task, rows, number, recipe)
    tested = set(numbers)
    rest = [row for index, row in enumerate(rows) if index not in tested]
    joined = _joined(task, ((index, rows[index]) for index in numbers))
    return rest, {"": tuple(row for _, row in joined)}, tuple(index for index, _ in joined)


def _joined(task: Task, rows: Iterable[tuple[int, Example]]) -> list[tuple[int, Example]]:
    """Return test examples with their positions; those of one source of a text become one with all references."""
    if not task.text:
        return list(rows)
    by_source: dict[tuple[str, ...], tuple[int, Example]] = {}
    for index, row in rows:
        first, known = by_source.get(row.texts, (index, row._replace(label=())))
        references = dict.fromkeys((*known.references, *row.references))
        by_source[row.texts] = first, known._replace(label=tuple(references))
    return list(by_source.values())


def _limited(task: str, split: str, rows: Sequence[Example], limit: int) -> tuple[Example, ...]:
    """Return at most `limit` examples, the same for every job."""
    if not limit or len(rows) <= limit:
        return tuple(rows)
    return tuple(
        rows[index]
        for index in sorted(islice(shuffled(stream_seed("test", task, split), len(rows)), limit))
    )


def _stratified(
    pool: Sequence[Example],
    order: Iterable[int],
    n_train: int,
    n_dev: int,
    names: Sequence[str],
    *,
    equal: bool,
) -> tuple[list[Example], list[Example]]:
    """Sample each class in proportion to its share of the pool, or all classes equally."""
    counted = Counter(row.label for row in pool)
    shares = {
        label: 1 / len(counted) if equal else count / len(pool)
        for label, count in sorted(counted.items())
    }
    by_class: dict[Label, list[Example]] = {label: [] for label in shares}
    for index in order:
        by_class[pool[index].label].append(pool[index])
    train_quota, dev_quota = _each_class(_quotas(shares, n_train)), _quotas(shares, n_dev)
    for label, rows in by_class.items():
        needed = train_quota[label] + dev_quota[label]
        if len(rows) < needed:
            name = repr(names[label]) if isinstance(label, int) and names else str(label)
            raise Infeasible(f"class {name} has {len(rows)} rows, {needed} are needed")
    train = [row for label in shares for row in by_class[label][: train_quota[label]]]
    return train, [
        row for label in shares for row in by_class[label][train_quota[label] :][: dev_quota[label]]
    ]


def _quotas(shares: Mapping[Label, float], total: int) -> dict[Label, int]:
    """Return integers in proportion to the shares, with sum `total`.

    What is left after rounding down goes to quotas of 0 first.
    """
    quotas = {label: int(share * total) for label, share in shares.items()}
    largest = sorted(
        shares, key=lambda label: (quotas[label] > 0, quotas[label] - shares[label] * total)
    )
    for label in islice(cycle(largest), total - sum(quotas.values())):
        quotas[label] += 1
    return quotas


def _each_class(quotas: Mapping[Label, int]) -> dict[Label, int]:
    """Return the quotas with at least one row of each class, which the largest quotas give up."""
    raised = dict(quotas)
    for label in [label for label, quota in quotas.items() if quota == 0]:
        raised[max(raised, key=lambda other: raised[other])] -= 1
        raised[label] = 1
    return raised
