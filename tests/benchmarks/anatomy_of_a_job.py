"""Where the time of a job goes: the part of `tests.benchmarks.grid` that looks inside.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.anatomy_of_a_job --model tiny --methods prefix,lora
    --tasks toy-sentiment

Runs the last job of each method in this process (with `--pack N` the last N in one pack), once to
warm up, once to count operations and once with a clock around the passes, the optimiser and the
evaluations. `start` is what goes by before the first pass of a job in a process that is warm. With
`--cuda-graphs` a captured step is one entry, its optimiser included. On a GPU a run without clocks
says how long it was busy, by its own account.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.grid import shares
from tests.benchmarks.trainer_peer import arguments, typed


class Clock:
    """Seconds by name; what runs inside a running clock of another name is the other's."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self.running = False
        self.padding = [0, 0]  # real and all tokens of training batches
        self.first = 0.0  # when the first pass began
        self._cuda = device.startswith("cuda")

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with the clock around it."""

        def timed(*args: Any, **named: Any) -> Any:
            if self.running:
                return function(*args, **named)
            self.running, began = True, self.now()
            self.first = self.first or began
            try:
                return function(*args, **named)
            finally:
                self.running = False
                self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - began

        return timed

    def now(self) -> float:
        """The time, when the device has done what it was told."""
        if self._cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def instrumented(clock: Clock) -> Iterator[None]:
    """The training loop with clocks in it."""
    import torch

    from harness.backbones import loading
    from harness.training import batching, cuda_graphs, loop, optimiser, packed, testing

    timed = [
        (loading.Backbone, "__call__", "forward and backward"),
        (packed.Pack, "forward", "forward and backward"),
        (torch.Tensor, "backward", "forward and backward"),
        (torch.autograd, "grad", "forward and backward"),
        (cuda_graphs.Captured, "__call__", "captured steps"),
        (optimiser.Alone, "step", "optimiser"),
        (optimiser.Stacked, "step", "optimiser"),
        (loop, "predict", "evaluation"),
        (packed.Pack, "_look", "evaluation"),
        (testing, "sit", "evaluation"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in timed]
    kept += [(batching, "collate", batching.collate), (packed._Texts, "batch", packed._Texts.batch)]
    for owner, attribute, name in timed:
        setattr(owner, attribute, clock.around(name, getattr(owner, attribute)))

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def collate(*args: Any) -> Any:
            batch = function(*args)
            if torch.is_grad_enabled() and not (
                torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
            ):
                ids = batch["input_ids"]
                clock.padding[0] += int(
                    (ids != 0).sum()
                )  # the padding of every backbone here is token 0
                clock.padding[1] += ids.numel()
            return batch

        return collate

    for owner, attribute, function in kept[-2:]:
        setattr(owner, attribute, counted(function))
    try:
        yield
    finally:
        for owner, attribute, function in kept:
            setattr(owner, attribute, function)


def matmul_rate(device: str, dtype: str) -> float:
    """Floating-point operations a second of a product of two square matrices in the precision asked for."""
    import torch

    from harness.backbones.loading import add_in_order

    if device.startswith("cuda"):
        add_in_order()  # before the first product of the process
    side, number = (
        (8192, getattr(torch, dtype.replace("tf32", "float32")))
        if device.startswith("cuda")
        else (1024, torch.float32)
    )
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    a = torch.randn(side, side, device=device, dtype=number)
    clock = Clock(device)

    def seconds() -> float:
        began = clock.now()
        a @ a
        return clock.now() - began

    seconds()
    return float(2 * side**3 / min(seconds() for _ in range(10)))


def run(
    jobs: Sequence[Any], plan: Any, device: str, pack: int, *, captured: bool = False
) -> list[Any]:
    """Train and test jobs in this process."""
    from harness.study import pack_planning
    from harness.training import worker
    from harness.training.ticket import Ticket

    where = Path(tempfile.gettempdir())
    tickets = {
        job.digest: Ticket(job=job, task=plan.tasks[job.rows.task], keep="none", artefacts=where)
        for job in jobs
    }
    shaped = pack_planning.geometries(plan, tickets, str(pack), [device], captured=captured)
    outcomes = worker.run_pack(list(shaped.values()), device, lambda *_: None)
    assert all(outcome.status == "done" for outcome in outcomes), [
        outcome.error for outcome in outcomes
    ]
    return outcomes


def main() -> None:
    """Take the last job, or pack, of each method apart."""
    parser = arguments()
    parser.add_argument("--pack", type=int, default=1)
    parser.add_argument("--cuda-graphs", action="store_true", help="with --pack: capture the steps")
    options = parser.parse_args()
    import torch

    from harness.study import planning, request
    from harness.study.grid_options import GridOptions

    if options.devices == "cpu":
        torch.set_num_threads(1)
    device = "cuda:0" if options.devices.startswith("cuda") else options.devices
    wanted, _ = request.read(GridOptions(**typed(options)))
    plan = planning.plan(wanted)
    rate = matmul_rate(device, options.dtype)
    for method in dict.fromkeys(job.method for job in plan.jobs):
        jobs = [job for job in plan.jobs if job.method == method][-options.pack :]
        captured = options.cuda_graphs and options.pack > 1
        run(jobs, plan, device, options.pack, captured=captured)
        with (
            counting() as flops
        ):  # as they are written: a captured step does the same, and tells nobody
            run(jobs, plan, device, options.pack)
        clock = Clock(device)
        began = clock.now()
        with instrumented(clock):
            outcomes = run(jobs, plan, device, options.pack, captured=captured)
        total = clock.now() - began
        parts = ", ".join(
            f"{name} {share:.0%}" for name, share in shares(clock.seconds, total).items()
        )
        padding = 1 - clock.padding[0] / max(1, clock.padding[1])
        loop = sum(
            clock.seconds.get(name, 0.0)
            for name in ("forward and backward", "optimiser", "captured steps")
        )
        step = 1000 * loop / wanted.recipe.steps
        memory = max(outcome.peak_bytes for outcome in outcomes) / 2**20
        print(
            f"{method} ({outcomes[-1].geometry}): {total:.2f} s; {parts}; {step:.1f} ms a step; "
            f"start {1000 * (clock.first - began):.0f} ms; padding {padding:.0%}; "
            f"{flops[0] / total / rate:.2f} of the matmul rate; peak {memory:.0f} MiB",
            flush=True,
        )
        if device.startswith("cuda"):
            share, free = busy(partial(run, jobs, plan, device, options.pack, captured=captured))
            print(
                f"{method}: {free:.2f} s without clocks, the device busy for {share:.0%} of them",
                flush=True,
            )
    print(json.dumps({"matmul": rate}))


def busy(work: Callable[[], Any]) -> tuple[float, float]:
    """The share of some work's seconds in which a GPU runs kernels, by a profiler's account, and the seconds without one."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    clock = Clock("cuda")
    began = clock.now()
    work()
    seconds = clock.now() - began
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    spans = [
        (e.time_range.start, e.time_range.end)
        for e in seen.events()
        if e.device_type == DeviceType.CUDA
    ]
    return covered(spans) / 1e6 / seconds, seconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what spans cover together."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


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
