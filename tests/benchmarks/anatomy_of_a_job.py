"""Where the time of a job goes: the part of `tests.benchmarks.grid` that looks inside.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.anatomy_of_a_job --model tiny --methods prefix,lora --tasks toy-sentiment

Runs the second job of each method in this process, with a clock around the passes, the optimiser and the evaluations.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.grid import shares
from tests.benchmarks.trainer_peer import arguments


class Clock:
    """Seconds by name; what runs inside a running clock of another name is the other's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.running = False
        self.padding = [0, 0]  # real and all tokens of training batches

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with the clock around it."""

        def timed(*args: Any, **named: Any) -> Any:
            if self.running:
                return function(*args, **named)
            self.running, began = True, time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.running = False
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return timed


@contextmanager
def instrumented(clock: Clock) -> Iterator[None]:
    """The training loop with clocks in it."""
    import torch

    from harness import backbones, exam, training

    kept = [
        (backbones.Backbone, "__call__", backbones.Backbone.__call__),
        (torch.Tensor, "backward", torch.Tensor.backward),
        (training, "_update", training._update),
        (training.DevRows, "score", training.DevRows.score),
        (exam, "sit", exam.sit),
        (training, "collate", training.collate),
    ]
    names = ("forward and backward", "forward and backward", "optimiser", "evaluation", "evaluation")
    for (owner, attribute, function), name in zip(kept[:5], names, strict=True):
        setattr(owner, attribute, clock.around(name, function))

    def collate(backbone: Any, rows: Any) -> Any:
        batch = kept[5][2](backbone, rows)
        if not clock.running:
            clock.padding[0] += int(batch["attention_mask"].sum())
            clock.padding[1] += batch["attention_mask"].numel()
        return batch

    training.collate = collate
    try:
        yield
    finally:
        for owner, attribute, function in kept:
            setattr(owner, attribute, function)


def matmul_rate() -> float:
    """Floating-point operations a second of a product of two matrices of 1024 x 1024 in float32."""
    import torch

    a = torch.randn(1024, 1024)
    a @ a
    best = min(_seconds(lambda: a @ a) for _ in range(10))
    return float(2 * 1024**3 / best)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def run(job: Any, plan: Any) -> Any:
    """Train and test one job in this process."""
    from harness import worker
    from harness.outcome import Ticket

    where = Path(tempfile.gettempdir())
    ticket = Ticket(job=job, task=plan.tasks[job.rows.task], keep="none", artefacts=where)
    (outcome,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    return outcome


def main() -> None:
    """Take one job of each method apart."""
    options = arguments().parse_args()
    import torch

    from harness import planning, request
    from harness.options import GridOptions

    torch.set_num_threads(1)
    wanted, _ = request.read(GridOptions(**vars(options)))
    plan = planning.plan(wanted)
    rate = matmul_rate()
    for method in dict.fromkeys(job.method for job in plan.jobs):
        first, second = [job for job in plan.jobs if job.method == method][:2]
        run(first, plan)  # reads the backbone and the rows
        with counting() as flops:  # which takes time
            run(second, plan)
        clock, began = Clock(), time.perf_counter()
        with instrumented(clock):
            outcome = run(second, plan)
        total = time.perf_counter() - began
        assert outcome.status == "done", outcome.error
        found = shares(clock.seconds, total)
        parts = ", ".join(f"{name} {share:.0%}" for name, share in found.items())
        padding = 1 - clock.padding[0] / max(1, clock.padding[1])
        reached = flops[0] / total / rate if flops[0] else float("nan")
        memory = outcome.peak_bytes / 2**20
        print(
            f"{method}: {total:.2f} s; {parts}; padding {padding:.0%}; {reached:.2f} of the matmul rate; peak {memory:.0f} MiB"
        )
    print(json.dumps({"matmul": rate}))


@contextmanager
def counting() -> Iterator[list[int]]:
    """Floating-point operations of the linear layers and of attention, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    total = [0]
    counter = FlopCounterMode(display=False)
    with counter:
        yield total
    total[0] = counter.get_total_flops()


if __name__ == "__main__":
    main()
