"""The lengths of rows in tokens: how many are cut, and the length that cuts next to none."""

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from harness.backbones import checkpoints
from harness.errors import UsageError
from harness.jobs import Recipe
from harness.study.planning import Plan, Request
from harness.tasks import REGISTRY
from harness.tasks.base import Example, Task
from harness.wording import plural

_SAMPLE: Final = 1000  # rows of a split that are counted
_CHARACTERS: Final = 1 << 16  # of a text that are counted
_LENGTHS: Final = (32, 64, 128, 256, 512)  # that are chosen or recommended
_WHOLE: Final = 0.99  # of the rows of each task are whole with an automatic length
_KEPT: Final = {
    "head": "the beginning of each is",
    "tail": "the end of each is",
    "both": "both ends of each are",
}


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
        lengths = _lengths(folder, _some(task.reader.examples(task.train, revision)), task)
        whole = sorted(lengths)[math.ceil(_WHOLE * len(lengths)) - 1]
        needed = max(needed, whole + _written(folder, task, request.recipe))
    fitting = _fitting(folder)
    chosen = next((length for length in fitting if length >= needed), fitting[-1])
    return replace(request, recipe=replace(request.recipe, max_length=chosen))


def describe(request: Request, plan: Plan) -> Iterator[str]:
    """Yield a sentence for each of the user's files in which rows are cut, and one if their references are.

    The backbone must have been fetched. This module imports the tokenizer's library, and not torch.
    """
    recipe = request.recipe
    folder = checkpoints.locate(plan.backbone.name, plan.backbone.revision)
    own = [task for task in request.tasks if task.name not in REGISTRY]
    if not own or not (folder / "tokenizer.json").exists():
        return
    for task in own:
        some = _some(task.reader.examples(task.train, task.reader.revision()))
        lengths, written = _lengths(folder, some, task), _written(folder, task, recipe)
        most = recipe.max_length - written
        if cut := sum(length > most for length in lengths):
            yield (
                f"{task.name}: {_share(cut, lengths)} have more than {plural(most, 'token')}, and "
                f"{_KEPT[recipe.truncate]} kept{_longer(folder, max(lengths) + written, recipe)} "
                "(--max-length, --truncate)"
            )
        if task.text:
            targets = _target_lengths(folder, some)
            if cut := sum(length > recipe.target_length for length in targets):
                yield (
                    f"{task.name}: {_share(cut, targets)} have a first reference of more than "
                    f"{recipe.target_length} tokens, and its beginning is trained on; no text that is written is "
                    "longer (--target-length)"
                )


def _share(cut: int, lengths: Sequence[int]) -> str:
    share = f"{100 * cut / len(lengths):.0f}" if 200 * cut >= len(lengths) else "less than 1"
    return f"{share} % of {plural(len(lengths), 'row')}"


def _longer(folder: Path, needed: int, recipe: Recipe) -> str:
    """Return which greater `--max-length` leaves all rows whole; empty if none does."""
    fitting = (length for length in _fitting(folder) if length > recipe.max_length)
    longer = next((length for length in fitting if length >= needed), None)
    return f"; --max-length {longer} keeps all of them whole" if longer else ""


def _written(folder: Path, task: Task, recipe: Recipe) -> int:
    """Return how many tokens of a row are not the source's: a decoder reads the text that is written after it.

    See `Backbone.source_length`; one more token separates the two.
    """
    if not task.text or _config(folder).get("is_encoder_decoder"):
        return 0
    return recipe.target_length + 1


def _fitting(folder: Path) -> list[int]:
    """Return the lengths to choose from, and last the greatest that the backbone has positions for."""
    most = _positions(folder) or _LENGTHS[-1]
    fitting = [length for length in _LENGTHS if length <= most]
    return fitting if most >= _LENGTHS[-1] or most in fitting else [*fitting, most]


def _some(rows: Sequence[Example]) -> Sequence[Example]:
    return random.Random(0).sample(list(rows), min(_SAMPLE, len(rows)))  # noqa: S311


def _positions(folder: Path) -> int:
    """Return the greatest number of tokens of a row that the backbone's configuration allows; 0: it says nothing."""
    config = _config(folder)
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 0)


def _config(folder: Path) -> Mapping[str, Any]:
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _lengths(folder: Path, rows: Sequence[Example], task: Task) -> list[int]:
    """Return the number of tokens of each row, with special tokens, or of each source of a task that writes text."""
    tokenizer = _tokenizer(folder)
    as_one = task.text and not _config(folder).get("is_encoder_decoder")
    counts = []
    for row in rows:
        texts = [text[:_CHARACTERS] for text in row.texts]
        first, *second = [" ".join(texts)] if as_one else texts
        counts.append(len(tokenizer.encode(first, pair=second[0] if second else None).ids))
    return counts


def _target_lengths(folder: Path, rows: Sequence[Example]) -> list[int]:
    """Return the number of tokens of each row's first reference, and one for the token that ends it."""
    tokenizer = _tokenizer(folder)
    return [
        1 + len(tokenizer.encode(row.references[0][:_CHARACTERS], add_special_tokens=False).ids)
        for row in rows
    ]
