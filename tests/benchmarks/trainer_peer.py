"""Run a grid with transformers.Trainer and peft in one process: the peer of `tests.benchmarks.grid`.

    python -m tests.benchmarks.trainer_peer --model tiny --methods prefix,lora,fine-tuning
        --tasks toy-sentiment --sizes 50

This is a fast script that a careful user would write: it loads the backbone once, pads rows to the
longest of their batch, and tokenises test rows once per task. Rows, steps, batches, evaluations and
trained parameters are those of `bench run`. It prints a line of JSON for each job and one for all.
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
    """Return a parser with the flags that this module and `grid` share."""
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


# Flags of the benchmarks that do not describe the grid of `bench run`.
NOT_GRID = ("threads", "fresh", "devices", "pack", "cuda_graphs")
ONLY_JOB = "BENCH_PEER_ONLY"  # digest of the only job to run, padded to the maximum length


def grid_options(options: argparse.Namespace) -> dict[str, str]:
    """Return the flags that describe the grid, for `GridOptions`."""
    return {name: value for name, value in vars(options).items() if name not in NOT_GRID}


def main() -> None:
    """Run the grid."""
    parser = arguments()
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: the default")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="one process per job, rows padded to the maximum length",
    )
    options = parser.parse_args()
    if options.fresh:
        run_one_process_per_job(options)
        return
    import torch

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    if options.threads:
        torch.set_num_threads(options.threads)
    grid, _ = request.read(GridOptions(**grid_options(options)))
    jobs = planning.plan(grid).jobs
    if only := os.environ.get(ONLY_JOB):
        jobs = tuple(job for job in jobs if job.digest == only)
    tasks = {task.name: task for task in grid.tasks}
    peer = Peer(jobs[0].backbone, options.devices, options.dtype, padded=bool(only))
    start, total = time.perf_counter(), {"training": 0.0, "testing": 0.0}
    for job, rows in zip(jobs, _draws(jobs, tasks), strict=True):
        seconds = peer.run(job, tasks[job.draw.task], rows)
        total = {name: total[name] + seconds[name] for name in total}
        print(
            json.dumps(
                {"job": job.digest[:12], "method": job.method, "task": job.draw.task, **seconds}
            ),
            flush=True,
        )
    now = time.perf_counter()
    print(json.dumps({"jobs": len(jobs), "total": now - STARTED, "working": now - start, **total}))


def run_one_process_per_job(options: argparse.Namespace) -> None:
    """Run each job in a new process, like a shell loop over a training script."""
    import subprocess
    import sys

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    jobs = planning.plan(request.read(GridOptions(**grid_options(options)))[0]).jobs
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    for job in jobs:
        command = [sys.executable, "-m", "tests.benchmarks.trainer_peer", *words]
        subprocess.run(command, check=True, env=os.environ | {ONLY_JOB: job.digest})
    print(json.dumps({"jobs": len(jobs), "total": time.perf_counter() - STARTED}))


def _draws(jobs: Sequence[Any], tasks: dict[str, Any]) -> Iterator[Any]:
    """Yield the draw of each job; each split is read once."""
    from functools import cache

    from harness.tasks import draws

    read = cache(lambda task, split, revision: tasks[task].reader.examples(split, revision))
    for job in jobs:
        rows = job.draw
        yield draws.draw(
            tasks[rows.task],
            lambda split, rows=rows: read(rows.task, split, rows.revision),
            rows.size,
            rows.number,
            job.recipe,
        )


class Peer:
    """A backbone that is loaded once, and a Trainer for each job."""

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
        self.initial = {
            name: tensor.clone() for name, tensor in self.pretrained.state_dict().items()
        }
        self.tests: dict[str, list[dict[str, Any]]] = {}
        self.folder = tempfile.TemporaryDirectory()

    def run(self, job: Any, task: Any, rows: Any) -> dict[str, float]:
        """Train and test one job, and return the seconds of each."""
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
        settings = TrainingArguments(
            output_dir=self.folder.name, max_steps=recipe.steps, per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=64, learning_rate=job.options["lr"], weight_decay=job.options["weight_decay"],
            warmup_steps=recipe.steps // 10, lr_scheduler_type="linear", eval_strategy="steps",
            eval_steps=recipe.eval_every, save_strategy="no", logging_strategy="no", report_to=[], seed=job.seed,
            # Otherwise the last batch of an epoch, which has fewer rows, would count as a whole step.
            disable_tqdm=True, dataloader_drop_last=len(train) >= recipe.batch_size,
            use_cpu=self.device == "cpu", bf16=self.dtype == "bfloat16", tf32=True if self.dtype == "tf32" else None,
        )  # fmt: skip
        trainer = Trainer(
            model=self._model(job, task), args=settings, train_dataset=train, eval_dataset=dev,
            compute_metrics=_accuracy, data_collator=DataCollatorWithPadding(self.tokenizer),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        trained = time.perf_counter()
        trainer.evaluate(self.tests[task.name])
        return {"training": trained - start, "testing": time.perf_counter() - trained}

    def _encoded(self, rows: Sequence[Any], max_length: int) -> list[dict[str, Any]]:
        texts = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        table = self.tokenizer(
            *texts,
            truncation=True,
            max_length=max_length,
            padding="max_length" if self.padded else False,
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
            if tensor.shape != self.initial[name].shape
        }
        model.load_state_dict(
            {name: tensor for name, tensor in self.initial.items() if name not in head},
            strict=False,
        )
        options = job.options
        if job.method == "prefix":
            settings = {
                "num_virtual_tokens": options["length"],
                "encoder_hidden_size": options["hidden"],
                "prefix_projection": True,
            }
            return peft.get_peft_model(
                model, peft.PrefixTuningConfig(task_type="SEQ_CLS", **settings)
            )
        if job.method == "lora":
            return peft.get_peft_model(
                model,
                peft.LoraConfig(
                    task_type="SEQ_CLS", r=options["rank"], lora_alpha=options["alpha"]
                ),
            )
        if job.method == "fine-tuning":
            return model
        raise SystemExit(
            f"the peer does not support {job.method}: choose prefix, lora or fine-tuning"
        )


def _accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


if __name__ == "__main__":
    main()
