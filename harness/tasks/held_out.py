"""Examples held out for testing, for a task without a test split."""

from collections.abc import Sequence

from harness.jobs import Recipe
from harness.streams import shuffled, stream_seed
from harness.tasks.base import Example, Task

HELD_OUT = 0.25  # fraction of the examples to test on, up to the limit


def held_out_count(rows: int, recipe: Recipe) -> int:
    """Return how many of the examples are held out; the rest of the last group comes on top."""
    count = round(HELD_OUT * rows)
    return min(count, recipe.test_limit) if recipe.test_limit else count


def hold_out(task: Task, rows: Sequence[Example], number: int, recipe: Recipe) -> tuple[int, ...]:
    """Return the positions in `rows` (from 0, ascending) of the examples on which a draw is tested.

    Whole groups are held out: rows with the same value of the group column are either all test examples
    or none. Rows without a value of it form a group if their texts (of a pair: both) are equal. So without
    that column, no text, or no pair, is both trained and tested on. All draws of a task and number hold
    out the same examples, whatever the size.

    Args:
        task: the task.
        rows: the examples of its training split.
        number: the draw's number.
        recipe: its `test_limit` limits their number, but for the rest of the last group.
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
