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
    if not any(method.for_backbone(sentences=True) != method for method in request.methods):
        return request
    progress(f"fetching {request.model}")
    folder = checkpoints.locate(request.model, checkpoints.revision_of(request.model))
    sentences = _encodes_sentences(folder)
    return replace(
        request,
        methods=tuple(method.for_backbone(sentences=sentences) for method in request.methods),
    )


def _encodes_sentences(folder: Path) -> bool:
    """Return whether a model is a sentence encoder, trained to compare texts that it read one by one.

    The library sentence-transformers writes `modules.json`. Other such encoders were published without the head that
    they were pretrained with: their config names `BertModel`, where that of BERT names `BertForMaskedLM`.
    """
    if (folder / "modules.json").exists():
        return True
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        names = list(map(str, config.get("architectures") or ()))
        decodes = bool(config.get("is_encoder_decoder") or config.get("is_decoder"))
    except (OSError, ValueError, AttributeError):  # loading the model says what is wrong
        return False
    headless = (
        name.endswith("Model") and not name.endswith(("HeadModel", "HeadsModel")) for name in names
    )
    return not decodes and any(headless)
