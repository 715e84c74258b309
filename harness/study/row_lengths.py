"""How many rows of the user's files have more tokens than are kept."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from harness.backbones import checkpoints
from harness.study.planning import Plan, Request
from harness.tasks import REGISTRY
from harness.tasks.base import Example
from harness.wording import plural

_SAMPLE: Final = 1000  # rows of a split that are counted
_CHARACTERS: Final = 1 << 16  # of a text that are counted
_LENGTHS: Final = (128, 256, 512)  # that a remark may recommend


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
        rows = list(task.reader.examples(task.train, revision))
        some = random.Random(0).sample(rows, min(_SAMPLE, len(rows)))  # noqa: S311
        lengths = _lengths(folder / "tokenizer.json", some)
        if cut := sum(length > most for length in lengths):
            what = {"head": "the beginning", "tail": "the end", "both": "both ends"}[kept]
            fitting = range(max(most + 1, max(lengths)), _positions(folder) + 1)
            longer = next((length for length in _LENGTHS if length in fitting), None)
            hint = f"; --max-length {longer} keeps all of them whole" if longer else ""
            yield (
                f"{task.name}: {100 * cut / len(lengths):.0f} % of {plural(len(lengths), 'row')} have more than "
                f"{most} tokens, and {what} of each is kept{hint} (--max-length, --truncate)"
            )


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
