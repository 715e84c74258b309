"""Profile a job: the shares of its time, its padding, its arithmetic rate and its peak memory.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.anatomy_of_a_job --model tiny
        --methods prefix,lora --tasks toy-sentiment

The last job of each method runs in this process (with `--pack N` the last N jobs in one pack): once
to warm up, once to count operations, and once with clocks around forward and backward passes, the
optimiser and the evaluations. `start` is the time before the first pass of a job in a warm process.
With `--cuda-graphs` a captured step, which includes the optimiser, is one entry. On a GPU, the share
of busy time comes from the profiler in a further run without clocks.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.trainer_peer import arguments, grid_options


class Clock:
    """Seconds by name. A nested call counts for the outermost one only."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self.running = False
        self.padding = [0, 0]  # real tokens and all tokens of training batches
        self.first = 0.0  # time of the first timed call
        self._cuda = device.startswith("cuda")

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a clock around it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.running:
                return function(*args, **kwargs)
            self.running, start = True, self.now()
            self.first = self.first or start
            try:
                return function(*args, **kwargs)
            finally:
                self.running = False
                self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start

        return call

    def now(self) -> float:
        """Return the time after all queued work of the device."""
        if self._cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def instrumented(clock: Clock) -> Iterator[None]:
    """Put clocks into the training code, and remove them at the end."""
    import torch

    from harness.backbones import loading
    from harness.training import cuda_graphs, loop, optimiser, packed, stacked, testing
    from harness.training.rows import batching

    timed = [
        (loading.Backbone, "__call__", "forward and backward"),
        (packed.Pack, "forward", "forward and backward"),
        (torch.Tensor, "backward", "forward and backward"),
        (torch.autograd, "grad", "forward and backward"),
        (cuda_graphs.CapturedStep, "__call__", "captured steps"),
        (optimiser.SingleAdamW, "step", "optimiser"),
        (optimiser.StackedAdamW, "step", "optimiser"),
        (loop, "predict", "evaluation"),
        (packed.Pack, "_evaluate", "evaluation"),
        (testing, "evaluate", "evaluation"),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in timed]
    originals += [
        (batching, "collate", batching.collate),
        (stacked.StackedRows, "batch", stacked.StackedRows.batch),
    ]
    for owner, attribute, name in timed:
        setattr(owner, attribute, clock.timed(name, getattr(owner, attribute)))

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def collate(*args: Any) -> Any:
            batch = function(*args)
            if torch.is_grad_enabled() and not (
                torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
            ):
                ids = batch["input_ids"]
                clock.padding[0] += int((ids != 0).sum())  # every backbone here pads with token 0
                clock.padding[1] += ids.numel()
            return batch

        return collate

    for owner, attribute, function in originals[-2:]:
        setattr(owner, attribute, counted(function))
    try:
        yield
    finally:
        for owner, attribute, function in originals:
            setattr(owner, attribute, function)


def matmul_rate(device: str, dtype: str) -> float:
    """Return the floating-point operations per second of a matrix product in a precision."""
    import torch

    from harness.backbones.loading import use_deterministic_kernels

    if device.startswith("cuda"):
        use_deterministic_kernels()  # before the first product of the process
    side, number = (
        (8192, getattr(torch, dtype.replace("tf32", "float32")))
        if device.startswith("cuda")
        else (1024, torch.float32)
    )
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    a = torch.randn(side, side, device=device, dtype=number)
    clock = Clock(device)

    def seconds() -> float:
        start = clock.now()
        a @ a
        return clock.now() - start

    seconds()
    return float(2 * side**3 / min(seconds() for _ in range(10)))


def run(
    jobs: Sequence[Any], plan: Any, device: str, pack: int, *, captured: bool = False
) -> list[Any]:
    """Train and test jobs in this process."""
    from harness.geometry import ALONE
    from harness.study import pack_planning
    from harness.training.jobs import worker
    from harness.training.ticket import Ticket

    where = Path(tempfile.gettempdir())
    geometries = pack_planning.geometries(plan, jobs, str(pack), [device], captured=captured)
    sharing = pack_planning.feature_sharing(jobs, str(pack), 1)
    tickets = [
        Ticket(
            job=job,
            task=plan.tasks[job.draw.task],
            keep="none",
            artefacts=where,
            geometry=geometries.get(job.digest, ALONE),
            features_shared_by=sharing.get(job.digest, 1),
        )
        for job in jobs
    ]
    outcomes = worker.run_pack(tickets, device, lambda *_: None)
    assert all(outcome.status == "done" for outcome in outcomes), [
        outcome.error for outcome in outcomes
    ]
    return outcomes


def main() -> None:
    """Profile the last job, or pack, of each method."""
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
    grid, _ = request.read(GridOptions(**grid_options(options)))
    plan = planning.plan(grid)
    rate = matmul_rate(device, options.dtype)
    for method in dict.fromkeys(job.method for job in plan.jobs):
        jobs = [job for job in plan.jobs if job.method == method][-options.pack :]
        captured = options.cuda_graphs and options.pack > 1
        run(jobs, plan, device, options.pack, captured=captured)
        with counting() as flops:  # a captured step's operations are equal but cannot be counted
            run(jobs, plan, device, options.pack)
        clock = Clock(device)
        start = clock.now()
        with instrumented(clock):
            outcomes = run(jobs, plan, device, options.pack, captured=captured)
        total = clock.now() - start
        parts = ", ".join(
            f"{name} {share:.0%}" for name, share in shares(clock.seconds, total).items()
        )
        padding = 1 - clock.padding[0] / max(1, clock.padding[1])
        training = ("forward and backward", "optimiser", "captured steps")
        step = 1000 * sum(clock.seconds.get(name, 0.0) for name in training) / grid.recipe.steps
        memory = max(outcome.peak_bytes for outcome in outcomes) / 2**20
        print(
            f"{method} ({outcomes[-1].geometry}): {total:.2f} s; {parts}; {step:.1f} ms a step; "
            f"start {1000 * (clock.first - start):.0f} ms; padding {padding:.0%}; "
            f"{flops[0] / total / rate:.2f} of the matmul rate; peak {memory:.0f} MiB",
            flush=True,
        )
        if device.startswith("cuda"):
            share, free = busy(partial(run, jobs, plan, device, options.pack, captured=captured))
            print(
                f"{method}: {free:.2f} s without clocks, device busy {share:.0%} of the time",
                flush=True,
            )
    print(json.dumps({"matmul": rate}))


def busy(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the share of time in which a GPU runs kernels during some work, and the work's seconds.

    The kernels are those of a profiled run, and the seconds those of a run without profiler.
    """
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    clock = Clock("cuda")
    start = clock.now()
    work()
    seconds = clock.now() - start
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    ]
    return covered(spans) / 1e6 / seconds, seconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of some intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def shares(seconds: dict[str, float], total: float) -> dict[str, float]:
    """Return each part's share of the total, and the rest."""
    parts = {name: value / total for name, value in seconds.items()}
    return parts | {"everything else": 1 - sum(parts.values())}


@contextmanager
def counting() -> Iterator[list[int]]:
    """Yield a list whose only element becomes torch's count of floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    total = [0]
    counter = FlopCounterMode(display=False)
    with counter:
        yield total
    total[0] = counter.get_total_flops()


if __name__ == "__main__":
    main()
