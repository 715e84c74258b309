"""How fast does a job that writes text train and write, beside Trainer and the `generate` of peft?

    python -m tests.benchmarks.generation [--model tiny-gpt --task toy-table-to-text --size 50 --repeat 3]

`bench run` trains one prefix with one worker, and writes the test texts. The peer trains a prefix of the same
shape with transformers.Trainer and peft, on the same rows, steps, batches and evaluations, and writes with the
prefix that `bench export` wrote for it, in batches of the rows in their order. Both use one thread. The sides take
turns, and medians are printed; only training and writing count, not the start. The share of equal texts shows that
both wrote with the same model.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROWS = 32  # that the peer reads at once when it writes


class Side(NamedTuple):
    """Seconds of one side, and what it wrote."""

    training: float
    writing: float
    texts: Sequence[str]


def main() -> None:
    """Time both sides and print the ratios."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="tiny-gpt")
    parser.add_argument("--task", default="toy-table-to-text")
    parser.add_argument("--size", default="50")
    parser.add_argument("--steps", default="60")
    parser.add_argument("--eval-every", default="20")
    parser.add_argument("--test-limit", default="200")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sides: dict[str, list[Side]] = {"bench": [], "peer": []}
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            stored = run(options, Path(folder))
            job = prepared(stored)
            sides["bench"].append(bench(stored, job))
            sides["peer"].append(peer(stored, job, Path(folder) / "exported", options))
        for name, runs in sides.items():
            print(
                f"{name}: trained {runs[-1].training:.1f} s, wrote {runs[-1].writing:.1f} s",
                flush=True,
            )
    for part in ("training", "writing"):
        seconds = {
            name: statistics.median(getattr(run, part) for run in runs)
            for name, runs in sides.items()
        }
        print(
            f"{part}: peer {seconds['peer']:.2f} s, bench {seconds['bench']:.2f} s, "
            f"{seconds['peer'] / seconds['bench']:.2f} times as fast"
        )
    pairs = list(zip(sides["bench"][-1].texts, sides["peer"][-1].texts, strict=True))
    print(f"equal texts: {sum(a == b for a, b in pairs)} of {len(pairs)}")


def run(options: argparse.Namespace, folder: Path) -> Any:
    """Run and export the job, and return the stored model."""
    from harness.artefacts import restore
    from harness.ledger import Ledger

    db = str(folder / "r.db")
    _command(
        "run", "--methods", "prefix", "--tasks", options.task, "--model", options.model, "--sizes", options.size,
        "--draws", "1", "--steps", options.steps, "--eval-every", options.eval_every, "--test-limit",
        options.test_limit, "--dtype", options.dtype, "--keep", "all", "--devices", "cpu", "-j", "1", "--yes",
        "--db", db,
    )  # fmt: skip
    with Ledger(db) as ledger:
        (entry,) = ledger.entries()
    _command("export", entry.digest, str(folder / "exported"), "--format", "peft", "--db", db)
    return restore.load(db, entry.digest)


def _command(*words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *words], check=False, capture_output=True, text=True
    )
    if ended.returncode:
        sys.exit(ended.stderr)


def prepared(stored: Any) -> Any:
    """Return the job with its rows and its backbone."""
    from harness.commands.verify import job_of
    from harness.training.jobs.job_run import JobRun
    from harness.training.ticket import Ticket

    ticket = Ticket(job=job_of(stored.entry), task=stored.task, keep="none", artefacts=Path())
    return JobRun.prepare(ticket, "cpu")


def bench(stored: Any, job: Any) -> Side:
    """Return the job's seconds of training, and those in which its stored model writes the test texts."""
    from harness.training import testing
    from harness.training.adapted_model import AdaptedModel
    from harness.training.rows import text_rows

    adapted = AdaptedModel(job.backbone, job.method.slots(job.backbone), None)  # type: ignore[arg-type]  # nothing is trained
    write, tensors = testing.written(adapted, job.job.recipe), stored.tensors_at(None)
    texts: list[Any] = []
    start = time.perf_counter()
    for rows in job.draw.tests.values():
        answers = write(lambda _: dict(tensors), text_rows.sources(job.backbone, rows))
        texts += answers.predictions if answers else []
    seconds = time.perf_counter() - start
    adapted.slots.remove()
    return Side(stored.entry.result["seconds_training"], seconds, texts)


def peer(stored: Any, job: Any, exported: Path, options: argparse.Namespace) -> Side:
    """Train with Trainer and peft, write with the exported prefix, and return seconds and texts."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.backbones import checkpoints
    from harness.training.rows import text_rows

    folder = checkpoints.locate(stored.backbone.name, stored.backbone.revision)
    number = getattr(torch, options.dtype)
    settings = stored.entry.setting["method"]["options"]
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=number),
        peft.PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=settings["length"],
            encoder_hidden_size=settings["hidden"],
            prefix_projection=True,
        ),
    )
    start = time.perf_counter()
    _trainer(model, job, exported.parent).train()
    trained = time.perf_counter() - start

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=number)
    writer = peft.PeftModel.from_pretrained(base, exported).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    start = time.perf_counter()
    texts: list[str] = []
    for rows in job.draw.tests.values():
        sources = text_rows.sources(job.backbone, rows)
        for first in range(0, len(sources), ROWS):
            batch = tokenizer.pad(
                [{"input_ids": row["input_ids"]} for row in sources[first : first + ROWS]],
                return_tensors="pt",
            )
            written = writer.generate(
                **batch,
                do_sample=False,
                max_new_tokens=job.job.recipe.target_length,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
            new = written[:, batch["input_ids"].shape[1] :]
            texts += [
                text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)
            ]
    return Side(trained, time.perf_counter() - start, texts)


def _trainer(model: Any, job: Any, folder: Path) -> Any:
    """Return a Trainer for the rows, steps and evaluations of a job."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import PrinterCallback, Trainer, TrainingArguments
    from transformers.utils import logging

    from harness.training.rows import encoding

    logging.set_verbosity_error()
    recipe, pad = job.job.recipe, job.backbone.tokenizer.pad_token_id

    def collate(rows: Sequence[Any]) -> dict[str, Any]:
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        marks = [torch.tensor(row["target_mask"]) for row in rows]
        labels = [one.masked_fill(mark == 0, -100) for one, mark in zip(ids, marks, strict=True)]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
            "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
        }

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"), max_steps=recipe.steps, eval_steps=recipe.eval_every,
            per_device_train_batch_size=recipe.batch_size, per_device_eval_batch_size=64, eval_strategy="steps",
            learning_rate=job.job.options["lr"], weight_decay=job.job.options["weight_decay"],
            warmup_steps=recipe.steps // 10, lr_scheduler_type="linear", save_strategy="no", logging_strategy="no",
            report_to=[], seed=job.job.seed, disable_tqdm=True, use_cpu=True, remove_unused_columns=False,
            # Otherwise the last batch of an epoch, which has fewer rows, would count as a whole step.
            prediction_loss_only=True, dataloader_drop_last=True,
        ),
        train_dataset=encoding.encode(job.backbone, job.draw.train),
        eval_dataset=encoding.encode(job.backbone, job.draw.dev),
        data_collator=collate,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


if __name__ == "__main__":
    main()
