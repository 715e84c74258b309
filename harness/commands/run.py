"""What `run`, `plan` and `fetch` do, between the command line and the scheduler."""

from __future__ import annotations

import json
import math
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import methods
from harness.artefacts.tensor_files import folder as artefact_folder
from harness.backbones import checkpoints
from harness.commands import exit_code
from harness.errors import Unavailable, UsageError
from harness.ledger import Ledger
from harness.ledger.database import is_url
from harness.scheduling.display import LiveDisplay, PlainDisplay, duration, job_line
from harness.scheduling.executors import devices as device_choice
from harness.scheduling.progress import Progress
from harness.study import planning, preregistration, request
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan

if TYPE_CHECKING:
    from harness.scheduling.executors.base import Executor
    from harness.training.ticket import Ticket
    from reports.analysis.hypothesis import Hypothesis


@dataclass(frozen=True, kw_only=True)
class Running:
    """How to run: options of `run` that change no number."""

    db: str
    devices: str
    jobs: str
    keep: str
    retry_failed: bool
    retry: str | None
    max_failures: str | None
    timeout: str | None
    zeroed: bool
    rules: str
    pack: str
    executor: str
    ray_address: str
    timing: bool
    compiled: bool
    captured: bool
    shard: str | None
    hypothesis: str | None
    rope: str | None
    inline: bool
    yes: bool


def run_grid(grid: GridOptions, how: Running) -> int:
    """`bench run`; gives the exit code.

    Raises:
        BenchError: the request is wrong, or something that it needs cannot be had.
    """
    with ExitStack() as stack:
        out, log = Console(), Console(stderr=True)
        wanted, asked, said = _checked(grid, how, log)
        db = how.db
        if (
            grid.preset == "smoke" and db == "results.db"
        ):  # a check must check anew each time, and leave nothing behind
            db = str(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-smoke-")))
                / "smoke.db"
            )
        the_plan = planning.plan(wanted, _saying(log))
        if how.shard is not None:
            number, of = shard(how.shard)
            the_plan = the_plan.part(number, of)
            db = f"results.{number}-of-{of}.db" if db == "results.db" else db
        ledger = stack.enter_context(Ledger(db, write=True))
        if said is not None:
            preregistration.declare(ledger, said)
        ledger.enter(the_plan.jobs, the_plan.infeasible)
        if (
            freed := ledger.reap()
        ):  # first: a retry that was cut short leaves its jobs as they had ended before
            out.print(f"{freed} jobs of a run that was cut short are free again", highlight=False)
        states = ledger.states([job.digest for job in the_plan.jobs])
        errors = dict(ledger.errors())
        again = _tried_again(how, states, errors)
        if how.retry and not again:
            ended = (
                errors.get(digest, state) for digest, state in states.items() if digest in errors
            )
            classes = Counter(said.partition(":")[0] for said in ended)
            there = (
                ", ".join(f"{count} {name}" for name, count in classes.items())
                or "none of the grid's jobs"
            )
            log.print(
                f"note: --retry {how.retry}: nothing ended so; what ended badly: {there}",
                markup=False,
                highlight=False,
            )
        to_do = [
            job
            for job in the_plan.jobs
            if states[job.digest] in ("planned", "claimed") or job.digest in again
        ]
        _announce(out, the_plan, len(to_do))
        if not to_do:
            return exit_code.code(out, ledger, the_plan, bad=0, db=db)
        _fetch(the_plan, {job.rows.task for job in to_do}, _saying(log))
        at_once = 1 if how.timing else request.Reading(grid).number("jobs", how.jobs)
        slots = device_choice.choose(asked, at_once, len(to_do))
        if (
            how.captured
            and how.executor != "ray"
            and (other := [slot for slot in slots if not slot.startswith("cuda")])
        ):
            raise Unavailable(
                f"--cuda-graphs wants a CUDA device, and jobs would run on {other[0]}: leave it out"
            )
        tickets = _given_out(
            the_plan, _tickets(the_plan, {job.digest for job in to_do}, how, db), how, slots, log
        )
        return _work(
            out,
            ledger,
            the_plan,
            tickets,
            slots,
            how,
            sorted({states[digest] for digest in again}),
            db,
        )


def _given_out(
    the_plan: Plan, tickets: dict[str, Ticket], how: Running, slots: list[str], log: Console
) -> dict[str, Ticket]:
    """The tickets with what is given out at once: the geometry of packs, and how many jobs share features."""
    if how.timing:  # nothing that other jobs computed
        return {digest: replace(ticket, together=0) for digest, ticket in tickets.items()}
    if how.pack != "1":
        from harness.study import pack_planning

        tickets = pack_planning.geometries(
            the_plan, tickets, how.pack, slots, compiled=how.compiled, captured=how.captured
        )
        if how.compiled and all(ticket.geometry is None for ticket in tickets.values()):
            log.print(
                "note: --compile compiles packs, and on a CPU there are none without --pack N",
                highlight=False,
            )
    if (
        how.timeout is not None
    ):  # each job has its own time, which nobody could tell among jobs given out together
        tickets = {digest: replace(ticket, together=1) for digest, ticket in tickets.items()}
    return tickets


def _checked(
    grid: GridOptions, how: Running, log: Console
) -> tuple[planning.Request, str | list[str], Hypothesis | None]:
    """Everything that can be wrong with the command, at once."""
    problems: list[str] = []
    wanted: planning.Request | None = None
    asked: str | list[str] = "auto"
    try:
        wanted, notices = request.read(grid)
        for notice in notices:
            log.print(f"note: {notice}", markup=False, highlight=False, soft_wrap=True)
    except UsageError as error:
        problems += error.problems
    reading = request.Reading(grid)
    reading.number("jobs", how.jobs)
    if how.timeout is not None:
        reading.number("timeout", how.timeout, least=1)
    if how.max_failures is not None:
        reading.number("max-failures", how.max_failures, least=1)
    if how.shard is not None:
        reading.attempt(partial(shard, how.shard))
    if how.pack != "auto":
        reading.number("pack", how.pack, least=1)
    for given, what in (
        (how.compiled, "--compile compiles"),
        (how.captured, "--cuda-graphs captures"),
    ):
        if given and (how.pack == "1" or how.timing):
            reading.problems.append(
                f"{what} packs, and {'--timing' if how.timing else '--pack 1'} means none"
            )
    asked = reading.attempt(partial(device_choice.parse, how.devices)) or asked
    if how.captured and asked != "auto" and not all(device.startswith("cuda") for device in asked):
        reading.problems.append(f"--cuda-graphs wants CUDA devices, got --devices {how.devices}")
    if not is_url(how.db) and Path(how.db).is_dir():
        reading.problems.append(f"--db: {how.db} is a folder; name a file")
    said = None
    if how.hypothesis is not None and wanted is not None:
        labels = list(dict.fromkeys(methods.label(method) for method in wanted.methods))
        said = reading.attempt(partial(preregistration.read, how.hypothesis, how.rope, labels))
    elif how.rope is not None and how.hypothesis is None:
        reading.problems.append(
            "--rope belongs to a --hypothesis: a region chosen without one proves nothing"
        )
    problems += reading.problems
    if problems or wanted is None:
        raise UsageError(*problems)
    return wanted, asked, said


def _tried_again(how: Running, states: Mapping[str, str], errors: Mapping[str, str]) -> set[str]:
    """The jobs that ended badly and are wanted again: all of them, or those of some states or classes of errors."""
    wanted = {"failed", "diverged"} if how.retry_failed else set()
    wanted |= {name.strip() for name in (how.retry or "").split(",") if name.strip()}
    bad = {digest: state for digest, state in states.items() if state in ("failed", "diverged")}
    return {
        digest
        for digest, state in bad.items()
        if state in wanted or errors.get(digest, "").partition(":")[0] in wanted
    }


def shard(text: str) -> tuple[int, int]:
    """Which part of how many: `3/16`.

    Raises:
        UsageError: it is none.
    """
    number, _, of = text.partition("/")
    if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise UsageError(f"--shard wants a part of a whole, such as 3/16, got {text!r}")


def _saying(log: Console) -> Callable[[str], None]:
    """Say what is waited for, on a terminal only."""

    def say(text: str) -> None:
        if log.is_terminal:
            log.print(f"… {text}", markup=False, highlight=False, style="dim")

    return say


def _announce(out: Console, the_plan: Plan, left: int) -> None:
    total, cannot = len(the_plan.jobs), len(the_plan.infeasible)
    first = f"{total} jobs on {the_plan.backbone.line()}: {total - left} ended before, {left} to do"
    out.print(first, markup=False, highlight=False, soft_wrap=True)
    redrawn = {
        (job.rows.task, job.rows.size, job.rows.draw) for job in the_plan.jobs if job.rows.redrawn
    }
    if redrawn:
        tasks = ", ".join(sorted({task for task, _, _ in redrawn}))
        out.print(
            f"{len(redrawn)} draws missed a class and were drawn again ({tasks})",
            markup=False,
            highlight=False,
        )
    doubled = {
        (job.rows.task, job.rows.size, job.rows.draw): job.rows.shared
        for job in the_plan.jobs
        if job.rows.shared
    }
    if doubled:
        tasks = ", ".join(sorted({task for task, _, _ in doubled}))
        text = f"in {len(doubled)} draws, {sum(doubled.values())} training or dev rows also stand in the test rows ({tasks}): kept"
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    if cannot:
        out.print(
            f"{cannot} cells cannot be filled: {'; '.join(_reasons(the_plan))}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _reasons(the_plan: Plan) -> list[str]:
    """Why cells cannot be filled, each reason once."""
    return list(dict.fromkeys(cell.reason for cell in the_plan.infeasible))


def _tickets(the_plan: Plan, wanted: set[str], how: Running, db: str) -> dict[str, Ticket]:
    from harness.training.ticket import Ticket

    where = artefact_folder(db)
    return {
        job.digest: Ticket(
            job=job,
            task=the_plan.tasks[job.rows.task],
            keep=how.keep,
            artefacts=where,
            zeroed=how.zeroed,
            rules=how.rules == "all",
        )
        for job in the_plan.jobs
        if job.digest in wanted
    }


def _work(
    out: Console,
    ledger: Ledger,
    the_plan: Plan,
    tickets: dict[str, Ticket],
    slots: list[str],
    how: Running,
    retry: Sequence[str],
    db: str,
) -> int:
    """Run the jobs, then say how it went."""
    from harness.scheduling import scheduler
    from harness.scheduling.signals import watch_signals

    ledger.begin(" ".join(["bench", *sys.argv[1:]]))
    jobs = {digest: ticket.job for digest, ticket in tickets.items()}
    progress = Progress(total=len(the_plan.jobs), before=len(the_plan.jobs) - len(tickets))
    live = out.is_terminal and not out.is_dumb_terminal and not how.inline
    display = LiveDisplay(out, jobs) if live else PlainDisplay(out)
    executor = _executor(slots, how)
    with watch_signals(here=how.inline) as stop, display:
        confirm = None if how.yes else _confirmation(out, display, progress)
        limits = scheduler.Limits(
            float(how.timeout or math.inf), float(how.max_failures or math.inf)
        )
        scheduler.run(
            ledger,
            tickets,
            executor,
            display,
            progress,
            stop,
            retry=retry,
            confirm=confirm,
            limits=limits,
        )
    return exit_code.summary(out, ledger, the_plan, progress, stop, db)


def _executor(slots: list[str], how: Running) -> Executor:
    if how.executor == "ray" and not how.inline:
        from harness.scheduling.executors.ray import RayExecutor

        return RayExecutor(how.ray_address, 1 if how.timing else int(how.jobs))
    if how.inline:
        import torch

        from harness.scheduling.executors.inline import InlineExecutor

        torch.set_num_threads(1)  # as in a worker, where sums are added in the same order
        return InlineExecutor(slots[0])
    from harness.scheduling.executors.local import LocalExecutor

    return LocalExecutor(slots)


def _confirmation(
    out: Console, display: LiveDisplay | PlainDisplay, progress: Progress
) -> Callable[[float], bool]:
    """Ask before a long run; where nobody can answer, say how long it will take and go on."""

    def confirm(seconds: float) -> bool:
        text = f"{progress.left} jobs will take about {duration(seconds)}"
        if not isinstance(display, LiveDisplay) or not sys.stdin.isatty():
            display.note(f"{text} (there is no terminal to ask; --yes says so from the start)")
            return True
        display.pause()
        before = signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # at a question, Ctrl-C is an answer
        try:
            answer = out.input(f"{text}. Go on? [y/N] ", markup=False)
        except (EOFError, KeyboardInterrupt):
            answer = ""
        finally:
            signal.signal(signal.SIGINT, before)
        display.resume()
        return answer.strip().lower() in ("y", "yes")

    return confirm


# -- plan and fetch
# ----------------------------------------------------------------------------------------------------


def show_plan(grid: GridOptions, db: str, *, as_json: bool) -> None:
    """`bench plan`."""
    out, log = Console(), Console(stderr=True)
    wanted, notices = request.read(grid)
    for notice in notices:
        log.print(f"note: {notice}", markup=False, highlight=False, soft_wrap=True)
    the_plan = planning.plan(wanted, _saying(log))
    states = _known_states(db, the_plan)
    if as_json:
        typed = [_plan_row(job, states.get(job.digest, "planned"), "") for job in the_plan.jobs]
        typed += [_plan_row(cell.job, "infeasible", cell.reason) for cell in the_plan.infeasible]
        out.print_json(json.dumps({"schema": 1, "jobs": typed}))
        return
    out.print(
        f"{wanted.recipe.line()}; {the_plan.backbone.line()}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    out.print(_plan_table(the_plan, states))
    done = sum(state == "done" for state in states.values())
    first = next((job for job in the_plan.jobs if states.get(job.digest) != "done"), None)
    out.print(
        f"{len(the_plan.jobs)} jobs, {done} done, {len(the_plan.jobs) - done} to do, {len(the_plan.infeasible)} infeasible",
        highlight=False,
    )
    for reason in _reasons(the_plan):
        out.print(f"infeasible: {reason}", markup=False, highlight=False, soft_wrap=True)
    if first is not None:
        out.print(
            f"next: {job_line(first)}  {first.digest}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _known_states(db: str, the_plan: Plan) -> dict[str, str]:
    if not is_url(db) and not Path(db).exists():
        return {}
    with Ledger(db) as ledger:
        return ledger.states([job.digest for job in the_plan.jobs])


def _plan_row(job: Any, state: str, reason: str) -> dict[str, Any]:
    rows = job.rows
    where = {
        "task": rows.task,
        "size": rows.size,
        "draw": rows.draw,
        "seed": job.seed,
        "method": job.label,
    }
    return where | {
        "digest": job.digest if not reason else None,
        "state": state,
        "reason": reason,
        "rows": rows.fingerprint,
    }


def _plan_table(the_plan: Plan, states: dict[str, str]) -> Any:
    from rich.table import Table

    counts: dict[str, Counter[str]] = {}
    for job in the_plan.jobs:
        counts.setdefault(job.label, Counter())[states.get(job.digest, "planned")] += 1
    for cell in the_plan.infeasible:
        counts.setdefault(cell.job.label, Counter())["infeasible"] += 1
    table = Table("method", box=None, pad_edge=False)
    columns = ("done", "planned", "claimed", "failed", "diverged", "infeasible")
    shown = [
        column
        for column in columns
        if column in ("done", "planned") or any(count[column] for count in counts.values())
    ]
    for column in shown:
        table.add_column(
            {"planned": "to do", "claimed": "running"}.get(column, column), justify="right"
        )
    for label, count in counts.items():
        table.add_row(label, *(str(count[column] or "·") for column in shown))
    return table


def fetch_grid(grid: GridOptions) -> None:
    """`bench fetch`."""
    out, log = Console(), Console(stderr=True)
    wanted, _ = request.read(grid)
    the_plan = planning.plan(wanted, _saying(log))
    for line in _fetch(the_plan, set(the_plan.tasks), _saying(log)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _fetch(the_plan: Plan, names: set[str], say: Callable[[str], None]) -> list[str]:
    """See that the model and the rows of these tasks are at hand, for workers have no network; a line on each.

    A plan whose draws are known has read no rows.
    """
    say(f"fetching {the_plan.backbone.name}")
    lines = [
        f"{the_plan.backbone.name}: {checkpoints.intact(the_plan.backbone.name, the_plan.backbone.revision)}"
    ]
    for task in (task for name, task in the_plan.tasks.items() if name in names):
        say(f"reading {task.name}")
        revision = task.reader.revision()
        splits = dict.fromkeys([task.train, *([] if task.holdout else task.tests.values())])
        counts = {split: len(task.reader.rows(split, revision)) for split in splits}
        lines += [
            f"{task.name} {split}: {count} rows at {revision[:12]}"
            for split, count in counts.items()
        ]
    return lines
