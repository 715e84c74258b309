"""The same grid by transformers.Trainer and peft, in one process: the peer of `tests.benchmarks.grid`.

    python -m tests.benchmarks.trainer_peer --model tiny --methods prefix,lora,fine-tuning --tasks
    toy-sentiment --sizes 50

The strong form of what a careful user would write: the backbone is read once, rows are padded to
the longest of their batch, test rows are tokenised once a task. The rows, steps, batches,
evaluations and trained parameters are those of `bench run`. Prints a line of JSON for each job and
one for the whole.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

STARTED = time.perf_counter()


def arguments() -> argparse.ArgumentParser:
    """The flags that this and `grid` share."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--methods", default="prefix,lora,fine-tuning")
    parser.add_argument("--tasks", default="toy-sentiment,toy-entailment")
    parser.add_argument("--sizes", default="50,100")
    parser.add_argument("--draws", default="2")
    parser.add_argument("--steps", default="100")
    parser.add_argument("--batch-size", default="16")
    parser.add_argument("--eval-every", default="25")
    parser.add_argument("--test-limit", default="400")
    parser.add_argument("--max-length", default="128")
    parser.add_argument("--dtype", default="float32", help="float32, tf32 or bfloat16")
    parser.add_argument("--devices", default="cpu", help="cpu or cuda")
    return parser


OWN = (
    "threads",
    "fresh",
    "devices",
    "repeat",
    "pack",
    "skip_peer",
    "only_apart",
    "cuda_graphs",
)  # flags that are none of `bench run`'s grid


def typed(options: argparse.Namespace) -> dict[str, str]:
    """The flags that describe the grid, as `bench run` is given them."""
    return {name: value for name, value in vars(options).items() if name not in OWN}


def main() -> None:
    """Run the grid."""
    parser = arguments()
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="a process for each job, rows padded to the greatest length",
    )
    options = parser.parse_args()
    if options.fresh:
        one_process_each(options)
        return
    import torch

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    if options.threads:
        torch.set_num_threads(options.threads)
    wanted, _ = request.read(GridOptions(**typed(options)))
    jobs = planning.plan(wanted).jobs
    if only := os.environ.get(ONLY):
        jobs = tuple(job for job in jobs if job.digest == only)
    tasks = {task.name: task for task in wanted.tasks}
    peer = Peer(jobs[0].backbone, options.devices, options.dtype, padded=bool(only))
    began, spent = time.perf_counter(), {"training": 0.0, "testing": 0.0}
    for job, rows in zip(jobs, _rows(jobs, tasks), strict=True):
        seconds = peer.run(job, tasks[job.rows.task], rows)
        spent = {name: spent[name] + seconds[name] for name in spent}
        print(
            json.dumps(
                {"job": job.digest[:12], "method": job.method, "task": job.rows.task, **seconds}
            ),
            flush=True,
        )
    now = time.perf_counter()
    print(json.dumps({"jobs": len(jobs), "total": now - STARTED, "working": now - began, **spent}))


ONLY = "BENCH_PEER_ONLY"  # the digest of the one job to run, padded to the greatest length


def one_process_each(options: argparse.Namespace) -> None:
    """The weak form of the peer: what a shell loop over a training script does."""
    import subprocess
    import sys

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    jobs = planning.plan(request.read(GridOptions(**typed(options)))[0]).jobs
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    for job in jobs:
        command = [sys.executable, "-m", "tests.benchmarks.trainer_peer", *words]
        subprocess.run(command, check=True, env=os.environ | {ONLY: job.digest})
    print(json.dumps({"jobs": len(jobs), "total": time.perf_counter() - STARTED}))


def _rows(jobs: Sequence[Any], tasks: dict[str, Any]) -> Iterator[Any]:
    """The draw of each job; the rows of a split are read once."""
    from functools import cache

    from harness.tasks import draws

    read = cache(lambda task, split, revision: tasks[task].reader.rows(split, revision))
    for job in jobs:
        at = job.rows
        yield draws.draw(
            tasks[at.task],
            lambda split, at=at: read(at.task, split, at.revision),
            at.size,
            at.draw,
            job.recipe,
        )


class Peer:
    """A backbone that is read once, and the Trainer around it."""

    def __init__(self, spec: Any, device: str, dtype: str, *, padded: bool) -> None:
        import torch
        import transformers

        from harness.backbones import checkpoints

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        folder = checkpoints.locate(spec.name, spec.revision)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        auto = transformers.AutoModelForSequenceClassification
        self.pretrained = auto.from_pretrained(folder, num_labels=2, dtype=torch.float32)
        self.device, self.dtype, self.padded = device, dtype, padded
        self.start = {name: tensor.clone() for name, tensor in self.pretrained.state_dict().items()}
        self.tests: dict[str, list[dict[str, Any]]] = {}
        self.folder = tempfile.TemporaryDirectory()

    def run(self, job: Any, task: Any, rows: Any) -> dict[str, float]:
        """Train and test one job; the seconds of each."""
        from transformers import (
            DataCollatorWithPadding,
            PrinterCallback,
            Trainer,
            TrainingArguments,
        )

        recipe = job.recipe
        train, dev = (self._encoded(part, recipe.max_length) for part in (rows.train, rows.dev))
        if task.name not in self.tests:
            self.tests[task.name] = self._encoded(
                [row for part in rows.tests.values() for row in part], recipe.max_length
            )
        how = TrainingArguments(
            output_dir=self.folder.name, max_steps=recipe.steps, per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=64, learning_rate=job.options["lr"], weight_decay=job.options["weight_decay"],
            warmup_steps=recipe.steps // 10, lr_scheduler_type="linear", eval_strategy="steps", eval_steps=recipe.eval_every,
            save_strategy="no", logging_strategy="no", report_to=[], seed=job.seed, disable_tqdm=True,
            use_cpu=self.device == "cpu", bf16=self.dtype == "bfloat16", tf32=True if self.dtype == "tf32" else None,
        )  # fmt: skip
        trainer = Trainer(
            model=self._model(job, task), args=how, train_dataset=train, eval_dataset=dev, compute_metrics=_accuracy,
            data_collator=DataCollatorWithPadding(self.tokenizer),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        trained = time.perf_counter()
        trainer.evaluate(self.tests[task.name])
        return {"training": trained - began, "testing": time.perf_counter() - trained}

    def _encoded(self, rows: Sequence[Any], most: int) -> list[dict[str, Any]]:
        texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        table = self.tokenizer(
            *texts, truncation=True, max_length=most, padding="max_length" if self.padded else False
        )
        return [
            {name: table[name][index] for name in table} | {"labels": row.label}
            for index, row in enumerate(rows)
        ]

    def _model(self, job: Any, task: Any) -> Any:
        import peft
        import transformers

        transformers.set_seed(job.seed)
        config = self.pretrained.config
        config.num_labels = max(2, task.outputs)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        head = {
            name
            for name, tensor in model.state_dict().items()
            if tensor.shape != self.start[name].shape
        }
        model.load_state_dict(
            {name: tensor for name, tensor in self.start.items() if name not in head}, strict=False
        )
        options = job.options
        if job.method == "prefix":
            kind = {
                "num_virtual_tokens": options["length"],
                "encoder_hidden_size": options["hidden"],
                "prefix_projection": True,
            }
            return peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="SEQ_CLS", **kind))
        if job.method == "lora":
            return peft.get_peft_model(
                model,
                peft.LoraConfig(
                    task_type="SEQ_CLS", r=options["rank"], lora_alpha=options["alpha"]
                ),
            )
        if job.method == "fine-tuning":
            return model
        raise SystemExit(f"the peer has no {job.method}: choose prefix, lora or fine-tuning")


def _accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


if __name__ == "__main__":
    main()
