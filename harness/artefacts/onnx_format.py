"""A trained classifier as one graph in the format ONNX, which answers without torch and without bench."""

import io
import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig

from harness.artefacts import transformers_format
from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints, loading
from harness.backbones.loading import SECOND, Backbone
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from methods.core.attention import full_mask

GRAPH: Final = "model.onnx"
TOLERANCE: Final = 1e-4  # of logits, relative to the largest one
LARGEST: Final = (
    1_800_000_000  # bytes of weights that one file of ONNX can hold, with room for the graph
)
# Texts of different lengths, so that the graph has been seen with padding.
EXAMPLES: Final = ("one", "a text of more tokens than the other two", "two words")


def obstacle(model: StoredModel) -> str:
    """Return why the model cannot be written as a graph; empty if it can."""
    return (
        "a graph answers with classes or a number, and this model writes text"
        if model.writes
        else ""
    )


def write(model: StoredModel, tensors: Mapping[str, Tensor], folder: Path) -> list[str]:
    """Write the graph, its tokenizer and a configuration with the names of the classes; return the names of the files.

    The number of rows and of tokens is free. The graph gives `logits` `[rows, outputs]` in float32: of a regression the
    values in the units of the labels, of a multilabel task such that a class above 0 is part of the answer.

    Args:
        model: a trained model without an `obstacle`.
        tensors: its tensors at one point of the simplex.
        folder: an empty folder.

    Raises:
        Unavailable: the packages of the extra `onnx` are missing, or the graph cannot be made or answers differently.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]:
        raise Unavailable(
            f"--format onnx needs the package {missing[0]}: pip install 'simplexbench[onnx]'"
        )
    spec = BackboneSpec(**{**vars(model.backbone), "dtype": "float32"})
    backbone = loading.load(spec, "cpu")
    pairs = model.texts == 2
    apart = pairs and model.method.reads_apart
    graph = _Graph(backbone, model, tensors, apart=apart).eval()
    batch = _examples(backbone, pairs=pairs, apart=apart)
    dimensions = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    weights = [*backbone.model.parameters(), *tensors.values()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                graph,
                (),
                folder / GRAPH,
                kwargs=batch,
                input_names=list(batch),
                output_names=["logits"],
                dynamic_shapes={name: dict(dimensions) for name in batch},
                external_data=size > LARGEST,
                dynamo=True,
            )
    except Exception as error:  # the code of a family can do what a graph cannot hold
        raise Unavailable(
            f"{model.entry.label} on {spec.name} cannot be written as a graph ({type(error).__name__}): "
            "use another --format"
        ) from error
    _check(graph, batch, model.recipe.max_length, folder / GRAPH)
    source = checkpoints.locate(spec.name, spec.revision)
    AutoConfig.from_pretrained(source, **transformers_format.names(model)).save_pretrained(folder)
    transformers_format.write_tokenizer(model, folder)
    return sorted(path.name for path in folder.iterdir())


class _Graph(nn.Module):
    """The backbone with the trained tensors in its slots; its logits need no further scale."""

    def __init__(
        self, backbone: Backbone, model: StoredModel, tensors: Mapping[str, Tensor], *, apart: bool
    ) -> None:
        super().__init__()
        backbone = replace(backbone, outputs=len(model.labels) or 1, apart=apart)
        slots = model.method.slots(backbone)
        slots.install(tensors)
        self.inner = backbone.model
        self._backbone = backbone
        scale = model.metadata["scale"]
        self._factor = 1.0 if model.labels else scale["spread"]
        self._shift = -scale.get("threshold", 0.0) if model.labels else scale["mean"]

    def forward(  # the exporter does not take `**batch`
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        second_input_ids: Tensor | None = None,
        second_attention_mask: Tensor | None = None,
        second_token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Return logits `[rows, outputs]`; tokens are `[rows, tokens]`."""
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            f"{SECOND}input_ids": second_input_ids,
            f"{SECOND}attention_mask": second_attention_mask,
            f"{SECOND}token_type_ids": second_token_type_ids,
        }
        causal = self._backbone.architecture.causal
        # The library would inspect the values of a padding mask, which a graph cannot do.
        return self.logits(
            {
                name: full_mask(tokens, causal=causal) if name.endswith("mask") else tokens
                for name, tokens in batch.items()
                if tokens is not None
            }
        )

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits `[rows, outputs]` in the units of the labels."""
        logits: Tensor = self._backbone(batch) * self._factor + self._shift
        return logits


def _examples(backbone: Backbone, *, pairs: bool, apart: bool) -> dict[str, Tensor]:
    """Return a padded batch: `{name: [rows, tokens]}`."""
    texts = list(EXAMPLES)
    seconds = [texts[::-1]] if pairs and not apart else []
    read = backbone.tokenizer(texts, *seconds, padding=True, return_tensors="pt")
    batch = {name: read[name] for name in read if name in backbone.tokenizer.model_input_names}
    return {
        **batch,
        **({SECOND + name: one.flip(0) for name, one in batch.items()} if apart else {}),
    }


def _check(graph: _Graph, batch: dict[str, Tensor], longest: int, path: Path) -> None:
    """Compare the graph's answers with those of the model: for padded rows, a single row, and rows of full length.

    Raises:
        Unavailable: they differ, as where some layers attend to near tokens only.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    known = {one.name for one in session.get_inputs()}
    long = {name: one[:2].repeat(1, longest)[:, :longest] for name, one in batch.items()}
    for name in long:
        if name.endswith("attention_mask"):
            long[name] = (
                torch.arange(longest) < torch.tensor([[longest], [longest // 2 + 1]])
            ).long()
    for part in (batch, {name: one[:1] for name, one in batch.items()}, long):
        with torch.no_grad():
            expected = graph.logits(part).numpy()
        inputs = {name: one.numpy() for name, one in part.items() if name in known}
        try:
            (logits,) = session.run(None, inputs)
        except Exception as error:  # onnxruntime has classes of its own for every kind
            raise Unavailable(
                f"the graph does not take any number of rows and tokens ({type(error).__name__}): use another --format"
            ) from error
        gap = np.abs(logits - expected).max()
        if not gap <= TOLERANCE * max(1.0, np.abs(expected).max()):
            raise Unavailable(
                f"the graph's logits differ from the model's by {gap:.1e}: use another --format"
            )


@contextmanager
def _quiet() -> Any:
    """Silence the exporter, which prints its progress and warns of its own parts."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
