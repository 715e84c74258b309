"""Examples held out for testing, for a task without a test split."""

from collections.abc import Sequence

from harness.jobs import Recipe
from harness.streams import shuffled, stream_seed
from harness.tasks.base import Example, Task

HELD_OUT = 0.25  # fraction of the examples to test on, if `Recipe.test_limit` allows


def held_out_count(rows: int, recipe: Recipe) -> int:
    """Return the least number of examples to hold out: `hold_out` adds the rest of the last group."""
    count = round(HELD_OUT * rows)
    return min(count, recipe.test_limit) if recipe.test_limit else count


def hold_out(task: Task, rows: Sequence[Example], number: int, recipe: Recipe) -> tuple[int, ...]:
    """Return the positions in `rows` (from 0, ascending) of the examples on which a draw is tested.

    Whole groups are held out, in random order, until there are at least `held_out_count` test examples. Rows
    with the same value in the group column form a group. Rows that have no value there form a group if their
    texts (both, for a pair) are equal after NFKC, apart from case and extra spaces. So without a group column, no
    text (of pairs: no pair) is in both the training and the test rows. Draws of one task, number and
    `test_limit` hold out the same examples at every size.

    Args:
        task: the task.
        rows: the examples of its training split.
        number: the draw's number.
        recipe: its `test_limit` limits `held_out_count`.
    """
    groups: dict[str | tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.group_key, []).append(index)
    members = list(groups.values())
    count = held_out_count(len(rows), recipe)
    held_out: set[int] = set()
    for group in shuffled(stream_seed("holdout", task.name, number), len(members)):
        if len(held_out) >= count:
            break
        held_out.update(members[group])
    return tuple(sorted(held_out))
