"""What packs, captured steps and low precision gain on a GPU, against transformers.Trainer with peft: one table.

    tests/benchmarks/gpu.sh run
    python -m tests.benchmarks.gpu [--device cuda] [--layers 12 --width 768] [--jobs 32 --steps 40]

The backbone has the shape of BERT-base and random weights, and the rows are random words: only times count here,
and scores mean nothing. Everything runs in one warm process, so no start-up is counted for either side. The
peer trains the first job, after one that is not timed; both sides do equal work (see `grid`). Times are those of
the second of two equal runs. On a CPU, what needs a GPU is left out.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import anatomy_of_a_job as anatomy
from tests.benchmarks.trainer_peer import Peer

ROWS, WORDS = 1200, (8, 60)  # of the file, and the fewest and most words of a text
KERNELS = 6  # that are named
TARGETS = {"bfloat16": 15.0, "float32": 4.0}  # times the peer
MATMUL = 0.3  # of the rate of large matrix products


class Line(NamedTuple):
    """A line of the table."""

    what: str
    value: str
    target: str = ""


@dataclass(frozen=True)
class Bench:
    """Where and on what the measurements run."""

    device: str
    model: Path
    data: Path
    jobs: int
    steps: int

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to capture steps and to profile kernels on."""
        return self.device.startswith("cuda")

    def plan(self, method: str, dtype: str, jobs: int, **more: str) -> Any:
        """Return the plan of as many jobs of a method."""
        from harness.study import planning, request
        from harness.study.grid_options import GridOptions

        grid = GridOptions(
            model=str(self.model),
            data=self.data,
            text="text",
            label="label",
            methods=method,
            sizes="100",
            draws=str(jobs),
            steps=str(self.steps),
            eval_every=str(max(1, self.steps // 2)),
            test_limit="200",
            dtype=dtype,
            **more,
        )
        return planning.plan(request.read(grid)[0])

    def run(self, plan: Any, pack: int, jobs: Sequence[Any] | None = None) -> list[Any]:
        """Train and test jobs of a plan in one pack, with captured steps on a GPU."""
        chosen = plan.jobs[:pack] if jobs is None else jobs
        captured = self.on_gpu and pack > 1
        return anatomy.run(chosen, plan, self.device, pack, captured=captured)

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return the seconds of the second of two runs."""
        work()
        clock = anatomy.Clock(self.device)
        start = clock.now()
        work()
        return clock.now() - start

    def step(self, plan: Any, pack: int) -> float:
        """Return the seconds of a training step of one job, in a pack or alone."""
        self.run(plan, pack)
        clock = anatomy.Clock(self.device)
        with anatomy.instrumented(clock):
            self.run(plan, pack)
        parts = ("forward and backward", "optimiser", "captured steps")
        return sum(clock.seconds.get(name, 0.0) for name in parts) / self.steps / pack


def against_the_peer(bench: Bench) -> Iterator[Line]:
    """Yield how many jobs `bench` computes while Trainer with peft computes one."""
    from harness.tasks import draws

    for dtype in ("float32", "tf32", "bfloat16"):
        if dtype == "tf32" and not bench.on_gpu:
            continue
        for method in ("prefix", "lora"):
            plan = bench.plan(method, dtype, bench.jobs)
            job, (task,) = plan.jobs[0], plan.tasks.values()
            read = partial(_examples, task, job.draw.revision)
            rows = draws.draw(task, read, job.draw.size, job.draw.number, job.recipe)
            peer = Peer(job.backbone, bench.device, dtype, padded=False)
            theirs = bench.seconds(partial(peer.run, job, task, rows))
            ours = bench.seconds(partial(bench.run, plan, bench.jobs)) / bench.jobs
            target = f"{TARGETS[dtype]:g}" if dtype in TARGETS else ""
            what = f"{method}, {dtype}: peer {theirs:.2f} s, bench {ours:.3f} s a job (pack of {bench.jobs})"
            yield Line(what, f"{theirs / ours:.1f} times", target)


def _examples(task: Any, revision: str, split: str) -> Any:
    return task.reader.examples(split, revision)


def packs(bench: Bench) -> Iterator[Line]:
    """Yield the time of a step of one job in packs of several sizes, and how busy the device is."""
    for pack in sorted({1, min(8, bench.jobs), bench.jobs}):
        plan = bench.plan("prefix", "bfloat16", pack)
        milliseconds = 1000 * bench.step(plan, pack)
        busy = ""
        if bench.on_gpu:
            busy = f", busy {anatomy.busy(partial(bench.run, plan, pack))[0]:.0%}"
        yield Line(f"a step of a job, pack of {pack}", f"{milliseconds:.2f} ms{busy}")


def rate(bench: Bench) -> Iterator[Line]:
    """Yield the arithmetic rate of the largest pack as a part of that of large matrix products."""
    plan = bench.plan("prefix", "bfloat16", bench.jobs)
    peak = anatomy.matmul_rate(bench.device, "bfloat16")
    with anatomy.counting() as operations:  # those of captured steps cannot be counted
        anatomy.run(plan.jobs[: bench.jobs], plan, bench.device, bench.jobs)
    seconds = bench.seconds(partial(bench.run, plan, bench.jobs))
    share = operations[0] / seconds / peak
    yield Line(
        f"operations, pack of {bench.jobs}", f"{share:.2f} of the matmul rate", f"{MATMUL:g}"
    )


def compiled(bench: Bench) -> Iterator[Line]:
    """Yield what compiled steps gain over plain ones, without their compilation."""
    from harness.study import pack_planning
    from harness.training.jobs import worker
    from harness.training.ticket import Ticket

    pack = min(8, bench.jobs)
    plan = bench.plan("prefix", "bfloat16", pack)
    times = {}
    for name, switches in (("plain", {}), ("compiled", {"compiled": True})):
        shapes = pack_planning.geometries(plan, plan.jobs, str(pack), [bench.device], **switches)
        tickets = [
            Ticket(
                job=job,
                task=plan.tasks[job.draw.task],
                keep="none",
                artefacts=Path(tempfile.gettempdir()),
                geometry=shapes[job.digest],
            )
            for job in plan.jobs
        ]
        times[name] = bench.seconds(
            partial(worker.run_pack, tickets, bench.device, lambda *_: None)
        )
    ratio = times["plain"] / times["compiled"]
    yield Line(f"compiled against plain steps, pack of {pack}", f"{ratio:.2f} times")


def simplex(bench: Bench) -> Iterator[Line]:
    """Yield the step of a simplex of six prefixes against that of one prefix."""
    pack = min(8, bench.jobs)
    steps = [
        bench.step(bench.plan(method, "bfloat16", pack, **more), pack)
        for method, more in (("prefix", {}), ("simplex", {"set_": ["simplex.vertices=6"]}))
    ]
    yield Line(
        f"a step of a simplex of 6 against a prefix, pack of {pack}",
        f"{steps[1] / steps[0]:.2f} times",
        "at most 1.1",
    )


def equality(bench: Bench) -> Iterator[Line]:
    """Yield whether a job has the same numbers beside other jobs and in another place of the pack."""
    pack = min(8, bench.jobs)
    plan = bench.plan("prefix", "bfloat16", pack + pack // 2)
    first = {one.digest: one for one in bench.run(plan, pack, plan.jobs[:pack])}
    again = {one.digest: one for one in bench.run(plan, pack, plan.jobs[::-1][:pack])}
    both = first.keys() & again.keys()
    equal = all(
        (first[one].metrics, first[one].curve, first[one].predictions)
        == (again[one].metrics, again[one].curve, again[one].predictions)
        for one in both
    )
    yield Line(f"{len(both)} jobs beside other jobs", "equal" if equal else "NOT equal", "equal")


def kernels(bench: Bench) -> Iterator[Line]:
    """Yield the kernels that take the most time in the largest pack."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    if not bench.on_gpu:
        return
    plan = bench.plan("prefix", "bfloat16", bench.jobs)
    bench.run(plan, bench.jobs)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        bench.run(plan, bench.jobs)
        torch.cuda.synchronize()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        times[event.key] += event.self_device_time_total
    total = sum(times.values()) or 1
    for name, microseconds in times.most_common(KERNELS):
        yield Line(f"kernel {name[:90]}", f"{microseconds / total:.0%}")


PARTS = (against_the_peer, packs, rate, simplex, equality, kernels, compiled)


def make_model(folder: Path, *, layers: int, width: int) -> Path:
    """Save a BERT of random weights with the embedded tokenizer, and return its folder."""
    import torch
    import transformers

    from harness.backbones import checkpoints

    tiny = checkpoints.locate("tiny", checkpoints.revision_of("tiny"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(file: Path) -> Path:
    """Write a file of random texts with one of two labels, and return its path."""
    from harness.tasks import REGISTRY

    toy = REGISTRY["toy-sentiment"]
    examples = toy.reader.examples(toy.train, toy.reader.revision())
    words = sorted({word for row in examples for word in row.texts[0].split() if word.isalpha()})
    draws = random.Random(0)  # noqa: S311
    lines = [
        f"{' '.join(draws.choices(words, k=draws.randint(*WORDS)))} {number},{number % 2}"
        for number in range(ROWS)
    ]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    return file


def main() -> int:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--jobs", type=int, default=32, help="in the largest pack")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    name = "a CPU"
    if options.device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            device=options.device,
            model=make_model(Path(folder, "model"), layers=options.layers, width=options.width),
            data=make_rows(Path(folder, "rows.csv")),
            jobs=options.jobs,
            steps=options.steps,
        )
        print("| what | measured | target | s |\n|---|---:|---:|---:|", flush=True)
        for part in PARTS:
            start = time.perf_counter()
            for line in part(bench):
                now = time.perf_counter()
                print(
                    f"| {line.what} | {line.value} | {line.target} | {now - start:.0f} |",
                    flush=True,
                )
                start = now
    return 0


if __name__ == "__main__":
    sys.exit(main())
