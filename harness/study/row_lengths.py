"""The lengths of rows in tokens: how many are cut, and the length that cuts next to none."""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.study.planning import Plan, Request
from harness.tasks import REGISTRY
from harness.tasks.base import Example
from harness.wording import plural

_SAMPLE: Final = 1000  # rows of a split that are counted
_CHARACTERS: Final = 1 << 16  # of a text that are counted
_LENGTHS: Final = (32, 64, 128, 256, 512)  # that are chosen or recommended
_WHOLE: Final = 0.99  # of the rows of each task are whole with an automatic length


def resolve(request: Request, progress: Callable[[str], None]) -> Request:
    """Return the request with a number of tokens in place of `--max-length auto`.

    It is the least length with which 99 % of the rows of every task are whole, or else the greatest that the
    backbone has positions for. All tasks have the same, because a report compares one recipe.

    Raises:
        UsageError: the backbone's tokenizer is in another form.
        Unavailable: the backbone or the data cannot be read.
    """
    if request.recipe.max_length:
        return request
    progress(f"fetching {request.model}")
    folder = checkpoints.locate(request.model, checkpoints.revision_of(request.model))
    if not (folder / "tokenizer.json").exists():
        raise UsageError(f"--max-length auto: {request.model} has no tokenizer.json; pass a number")
    needed = 1
    for task in request.tasks:
        progress(f"reading rows of {task.name}")
        revision = task.reader.revision()
        lengths = _lengths(
            folder / "tokenizer.json", _some(task.reader.examples(task.train, revision))
        )
        whole = sorted(lengths)[math.ceil(_WHOLE * len(lengths)) - 1]
        needed = max(needed, whole + (request.recipe.target_length if task.text else 0))
    fitting = _fitting(folder)
    chosen = next((length for length in fitting if length >= needed), fitting[-1])
    return replace(request, recipe=replace(request.recipe, max_length=chosen))


def describe(request: Request, plan: Plan) -> Iterator[str]:
    """Yield a sentence for each of the user's files in which rows are cut.

    The backbone must have been fetched. This module imports the tokenizer's library, and not torch.
    """
    most, kept = request.recipe.max_length, request.recipe.truncate
    folder = checkpoints.locate(plan.backbone.name, plan.backbone.revision)
    own = [task for task in request.tasks if task.name not in REGISTRY]
    if not own or not (folder / "tokenizer.json").exists():
        return
    for task in own:
        revision = task.reader.revision()
        some = _some(task.reader.examples(task.train, revision))
        lengths = _lengths(folder / "tokenizer.json", some)
        if cut := sum(length > most for length in lengths):
            what = {
                "head": "the beginning of each is",
                "tail": "the end of each is",
                "both": "both ends of each are",
            }[kept]
            longer = next(
                (length for length in _fitting(folder) if length > most and length >= max(lengths)),
                None,
            )
            hint = f"; --max-length {longer} keeps all of them whole" if longer else ""
            yield (
                f"{task.name}: {100 * cut / len(lengths):.0f} % of {plural(len(lengths), 'row')} have more than "
                f"{most} tokens, and {what} kept{hint} (--max-length, --truncate)"
            )


def _fitting(folder: Path) -> list[int]:
    """Return the lengths to choose from, and last the greatest that the backbone has positions for."""
    most = _positions(folder) or _LENGTHS[-1]
    fitting = [length for length in _LENGTHS if length <= most]
    return fitting if most >= _LENGTHS[-1] or most in fitting else [*fitting, most]


def _some(rows: Sequence[Example]) -> Sequence[Example]:
    return random.Random(0).sample(list(rows), min(_SAMPLE, len(rows)))  # noqa: S311


def _positions(folder: Path) -> int:
    """Return the greatest number of tokens of a row that the backbone's configuration allows; 0: it says nothing."""
    config = json.loads((folder / "config.json").read_text())
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 0)


def _lengths(file: Path, rows: Sequence[Example]) -> list[int]:
    """Return the number of tokens of each row, with special tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = []
    for row in rows:
        first, *second = (text[:_CHARACTERS] for text in row.texts)
        counts.append(len(tokenizer.encode(first, pair=second[0] if second else None).ids))
    return counts
