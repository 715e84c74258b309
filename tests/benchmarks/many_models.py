"""Times rows of many prefixes on one backbone against switching the adapters of PEFT.

    python -m tests.benchmarks.many_models [--model NAME] [--models 64] [--rows 256] [--repeat 5]

Each row names one of the models at random. bench answers all rows in its usual batches. PEFT sets one adapter after the
other and answers the rows of each in one batch, which is the fewest calls that switching can make. Both start from the
same texts, on two threads. Prints medians, their ratio and the greatest difference of a probability.
"""

import argparse
import logging
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.api.model import Models
from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints
from harness.commands import export
from harness.tasks import REGISTRY
from tests.support.stored_models import random_model


class Switching:
    """PEFT's model with one adapter for each prefix."""

    def __init__(self, backbone: str, folders: dict[str, Path]) -> None:
        source = checkpoints.locate(backbone, checkpoints.revision_of(backbone))
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        inner = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=2, dtype=torch.float32
        )
        (first, folder), *others = folders.items()
        self.model = PeftModel.from_pretrained(inner, folder, adapter_name=first)
        for name, folder in others:
            self.model.load_adapter(folder, adapter_name=name)
        self.model.eval()

    @torch.no_grad()
    def predict_proba(self, texts: list[str], models: list[str]) -> np.ndarray:
        found = np.empty((len(texts), 2))
        for name in dict.fromkeys(models):
            self.model.set_adapter(name)
            rows = [row for row, other in enumerate(models) if other == name]
            batch = self.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=128,
                return_tensors="pt",
            )  # fmt: skip
            found[rows] = self.model(**batch).logits.softmax(1).numpy()
        return found


def prefixes(backbone: str, count: int) -> dict[str, StoredModel]:
    """Return models with other prefixes and heads, which are made from one by noise."""
    first = random_model("prefix", 0, backbone=backbone)
    generator = torch.Generator().manual_seed(0)

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor + 0.1 * torch.randn(tensor.shape, generator=generator)

    return {
        f"m{n}": replace(first, tensors={name: moved(one) for name, one in first.tensors.items()})
        for n in range(count)
    }


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    words = parser.parse_args()
    torch.set_num_threads(2)
    logging.disable(logging.WARNING)
    stored = prefixes(words.model, words.models)
    choose = np.random.default_rng(0)
    task = REGISTRY["toy-sentiment"]
    texts = [
        row.texts[0] for row in task.reader.examples("train", task.reader.revision())[: words.rows]
    ]
    models = [f"m{n}" for n in choose.integers(words.models, size=len(texts))]
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / name for name in stored}
        for name, model in stored.items():
            export.write_folder(model, folders[name], "peft", None)
        sides = {"bench": Models(stored), "PEFT": Switching(words.model, folders)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    answers = {}
    for turn in range(words.repeat + 1):  # the first one warms up
        for name, side in sides.items():
            start = time.perf_counter()
            answers[name] = side.predict_proba(texts, models)
            if turn:
                times[name].append(time.perf_counter() - start)
    bench, peft = (statistics.median(times[name]) for name in sides)
    gap = np.abs(answers["bench"] - answers["PEFT"]).max()
    print(
        f"{len(texts)} rows of {len(set(models))} prefixes on {words.model}: bench {1000 * bench:.0f} ms, "
        f"PEFT {1000 * peft:.0f} ms, ratio {peft / bench:.2f}; greatest difference of a probability {gap:.1e}"
    )


if __name__ == "__main__":
    main()
