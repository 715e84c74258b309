"""Values that a request leaves to the backbone and the data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.backbones import checkpoints
from harness.study import row_lengths
from harness.study.planning import Request


def resolve(request: Request, progress: Callable[[str], None] = lambda _: None) -> Request:
    """Return the request with the number of tokens of a row, and with methods as they suit the backbone.

    Methods are adjusted only if a task has pairs, of which some methods read each text by itself.

    Raises:
        UsageError: the backbone's tokenizer is in another form.
        Unavailable: the backbone or the data cannot be read.
    """
    request = row_lengths.resolve(request, progress)
    if not any(task.pair for task in request.tasks):
        return request
    if not any(method.for_backbone(headless=True) != method for method in request.methods):
        return request
    progress(f"fetching {request.model}")
    headless = _is_headless(
        checkpoints.locate(request.model, checkpoints.revision_of(request.model))
    )
    return replace(
        request,
        methods=tuple(method.for_backbone(headless=headless) for method in request.methods),
    )


def _is_headless(folder: Path) -> bool:
    """Return whether a model was published without the head that it was pretrained with.

    So are sentence encoders, whose config names `BertModel` where that of BERT names `BertForMaskedLM`.
    """
    try:
        names = json.loads((folder / "config.json").read_text("utf-8")).get("architectures") or ()
    except (OSError, ValueError, AttributeError):  # loading the model says what is wrong
        return False
    return any(
        name.endswith("Model") and not name.endswith("HeadModel") for name in map(str, names)
    )
