"""`bench run`: check the command, plan its jobs, and run those that have not been run or are to be tried again."""

import math
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from harness.artefacts.tensor_files import folder as artefact_folder
from harness.commands.fetch import fetch
from harness.commands.plan import reasons, remarks
from harness.errors import ExitCode, Unavailable
from harness.geometry import ALONE, Geometry
from harness.jobs import Job
from harness.ledger import Ledger
from harness.ledger.database import check_file, is_url
from harness.scheduling import checked_command, scheduler
from harness.scheduling.checked_command import CheckedCommand
from harness.scheduling.display import LiveDisplay, PlainDisplay
from harness.scheduling.executors import devices as device_choice
from harness.scheduling.executors import worker_start
from harness.scheduling.executors.base import Executor
from harness.scheduling.progress import RunProgress
from harness.scheduling.run_options import ExecutorName, KeptTensors, RunOptions
from harness.scheduling.signals import watch_signals
from harness.scheduling.summary import finish, print_line, progress_printer, summarise_run
from harness.study import (
    data_findings,
    estimate,
    planning,
    preregistration,
    row_lengths,
)
from harness.study.estimate import JobEstimate
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan
from harness.training.ticket import Ticket
from harness.wording import duration, plural


def run_grid(
    grid: GridOptions,
    options: RunOptions,
    command: str = "",
    read: Callable[[Ledger, Sequence[str]], None] = lambda _, __: None,
) -> int:
    """Run the jobs of a grid that have not been run or are to be tried again, and return the exit code.

    Args:
        grid: which jobs.
        options: how they run.
        command: the command line that the ledger records; empty: that of this process.
        read: called at the end with the ledger, which may be a temporary one, and the digests of all jobs of the grid,
            whether they were run now, earlier or not at all.

    Raises:
        BenchError: The request is wrong, or something that it needs is not available.
    """
    with ExitStack() as stack:
        out, log = Console(), Console(stderr=True)
        checked = checked_command.check(grid, options, log)
        db = _database(grid, options)
        if db is not None and not is_url(db):
            check_file(Path(db), write=True)  # before anything is fetched
        checked = checked_command.resolve(checked, log)
        plan = planning.plan(checked.request, progress_printer(log))
        if options.shard is not None:
            plan = plan.part(*checked_command.shard(options.shard))
        digests = [job.digest for job in plan.jobs]
        file = db or stack.enter_context(TemporaryDirectory(prefix="bench-smoke-")) + "/smoke.db"
        ledger = stack.enter_context(Ledger(file, write=True))
        for note in _check_ledger(ledger, checked, plan):
            print_line(log, f"note: {note}")
        # Before the states are read: an interrupted retry leaves its jobs as they had ended before.
        if released := ledger.release_dead_claims():
            print_line(out, f"{plural(released, 'job')} of an interrupted run can be run again")
        states = ledger.states(digests)
        retried = _retried(options, states, dict(ledger.errors()), log)
        jobs = [
            job
            for job in plan.jobs
            if states.get(job.digest, "planned") in ("planned", "claimed") or job.digest in retried
        ]
        _announce(out, plan, len(jobs))
        if not jobs:
            _record_plan(ledger, checked, plan)
            read(ledger, digests)
            return finish(out, ledger, plan, db, failed_now=False)
        estimates: Mapping[str, JobEstimate] = {}
        if _is_local(options) and device_choice.is_cpu(checked.devices):
            worker_start.start_server()
            estimates = estimate.known_estimate(checked.request, plan)
        fetch(plan, {job.draw.task for job in jobs}, progress_printer(log))
        for note in row_lengths.describe(checked.request, plan):
            print_line(log, f"note: {note}")
        devices = _worker_devices(options, checked.devices, len(jobs))
        tickets = _tickets(plan, jobs, options, devices, file, log)
        executor = _executor(devices, options)
        retry = sorted({states[digest] for digest in retried})
        if found := [estimates[digest] for digest in tickets if digest in estimates]:
            print_line(out, estimate.describe(found, len(executor.devices)))
        try:  # only now, so that a run that fails at its start leaves no jobs behind
            added = _record_plan(ledger, checked, plan)
        except BaseException:
            executor.close(kill=True)
            raise
        ledger.begin(command or " ".join(["bench", *sys.argv[1:]]))
        code = _work(out, ledger, plan, tickets, executor, options, retry, db, added)
        read(ledger, digests)
        return code


def _check_ledger(ledger: Ledger, checked: CheckedCommand, plan: Plan) -> list[str]:
    """Refuse a hypothesis or data that contradict those of the ledger; return notes on data.

    Raises:
        UsageError: the ledger has another hypothesis, or another file under the name of a task.
    """
    if checked.hypothesis is not None:
        preregistration.check(ledger, checked.hypothesis)
    return data_findings.check_names(ledger, *plan.tasks_at_revisions())


def _record_plan(ledger: Ledger, checked: CheckedCommand, plan: Plan) -> list[str]:
    """Record the hypothesis, the jobs and what was said about data; return the digests of new jobs.

    Raises:
        UsageError: another hypothesis was declared, or there are results already.
    """
    if checked.hypothesis is not None:
        preregistration.declare(ledger, checked.hypothesis)
    tasks, revisions = plan.tasks_at_revisions()
    data_findings.store(ledger, tasks, revisions)
    data_findings.mark_newest(ledger, tasks, plan.jobs)
    return ledger.add_jobs(plan.jobs, plan.infeasible)


def _database(grid: GridOptions, options: RunOptions) -> str | None:
    """Return the name of the database; None for a temporary one: the check `smoke` starts anew each time."""
    if options.db != "results.db":
        return options.db
    if grid.preset == "smoke":
        return None
    if options.shard is not None:
        number, parts = checked_command.shard(options.shard)
        return f"results.{number}-of-{parts}.db"
    return options.db


# -- what is run
# ----------------------------------------------------------------------------------------------------


def _retried(
    options: RunOptions, states: Mapping[str, str], errors: Mapping[str, str], log: Console
) -> set[str]:
    """Return the digests of the jobs that --retry-failed and --retry run again.

    Args:
        options: The options.
        states: The state of each job, by digest.
        errors: The last error of each job that has one, by digest.
        log: Where to print a note if --retry matches no job.
    """
    causes = {"failed", "diverged"} if options.retry_failed else set()
    causes |= {name.strip() for name in (options.retry or "").split(",") if name.strip()}
    ended = {
        digest: (state, errors.get(digest, state).partition(":")[0])
        for digest, state in states.items()
        if state in ("failed", "diverged")
    }
    retried = {digest for digest, names in ended.items() if causes & set(names)}
    if options.retry and not retried:
        counts = Counter(name for _, name in ended.values()).items()
        others = ", ".join(f"{count} {name}" for name, count in counts)
        print_line(
            log,
            f"note: --retry {options.retry}: no job ended this way; "
            f"failed and diverged jobs: {others or 'none'}",
        )
    return retried


def _announce(out: Console, plan: Plan, left: int) -> None:
    """Print how many jobs there are, and what is unusual about their data."""
    total = len(plan.jobs)
    print_line(
        out,
        f"{plural(total, 'job')} on {plan.backbone.line()}: "
        f"{total - left:,} ended before, {left:,} to do",
    )
    for remark in remarks(plan):
        print_line(out, remark)
    if plan.infeasible:
        count = plural(len(plan.infeasible), "cell")
        print_line(out, f"{count} cannot be filled: {'; '.join(reasons(plan))}")


def _worker_devices(options: RunOptions, requested: str | list[str], jobs: int) -> list[str]:
    """Return the device of each worker.

    Raises:
        Unavailable: A device is missing, or is not the kind that --cuda-graphs requires.
    """
    devices = device_choice.choose(requested, 1 if options.timing else int(options.jobs), jobs)
    other = next((device for device in devices if not device.startswith("cuda")), None)
    if options.captured and options.executor != "ray" and other is not None:
        raise Unavailable(
            f"--cuda-graphs requires a CUDA device, and jobs would run on {other}: leave it out"
        )
    return devices


def _tickets(
    plan: Plan,
    jobs: Sequence[Job],
    options: RunOptions,
    devices: Sequence[str],
    db: str,
    log: Console,
) -> dict[str, Ticket]:
    """Return the ticket of each job to do, by digest, in their order."""
    geometries: dict[str, Geometry] = {}
    sharing: dict[str, int] = {}
    if options.pack != "1" and not options.timing:
        from harness.study import pack_planning

        geometries = pack_planning.geometries(
            plan,
            jobs,
            options.pack,
            devices,
            compiled=options.compiled,
            captured=options.captured,
        )
        if options.compiled and not geometries:
            print_line(
                log,
                "note: --compile compiles packs, and a CPU runs without packs unless --pack is set",
            )
        if options.timeout is None:  # the time of one job is unknown among jobs dispatched together
            sharing = pack_planning.feature_sharing(jobs, options.pack, len(devices))
    return {
        job.digest: Ticket(
            job=job,
            task=plan.tasks[job.draw.task],
            keep=KeptTensors(options.keep).value,
            artefacts=artefact_folder(db),
            zeroed=options.zeroed,
            rules=options.rules == "all",
            geometry=geometries.get(job.digest, ALONE),
            # with --timing no job uses features that another one computed
            features_shared_by=0 if options.timing else sharing.get(job.digest, 1),
        )
        for job in jobs
    }


def _is_local(options: RunOptions) -> bool:
    """Return whether jobs run in worker processes of this machine."""
    return not options.inline and options.executor == ExecutorName.local


def _executor(devices: list[str], options: RunOptions) -> Executor:
    if options.executor == "ray" and not options.inline:
        from harness.scheduling.executors.ray import RayExecutor

        return RayExecutor(options.ray_address, 1 if options.timing else int(options.jobs))
    if options.inline:
        from harness.scheduling.executors.inline import InlineExecutor

        return InlineExecutor(devices[0])
    from harness.scheduling.executors.local import LocalExecutor

    return LocalExecutor(devices)


def _work(
    out: Console,
    ledger: Ledger,
    plan: Plan,
    tickets: dict[str, Ticket],
    executor: Executor,
    options: RunOptions,
    retry: Sequence[str],
    db: str | None,
    added: Sequence[str],
) -> int:
    """Run the jobs, print a summary, and return the exit code.

    If the user does not confirm a long run, the jobs that it added are withdrawn, except those that it has
    begun.
    """
    jobs = {digest: ticket.job for digest, ticket in tickets.items()}
    progress = RunProgress(total=len(plan.jobs), ended_before=len(plan.jobs) - len(tickets))
    display = (
        LiveDisplay(out, jobs)
        if (out.is_terminal and not out.is_dumb_terminal and not options.inline)
        else PlainDisplay(out)
    )
    terminal = display if isinstance(display, LiveDisplay) and sys.stdin.isatty() else None
    with watch_signals(in_process=options.inline) as stop, display:
        scheduler.Scheduler(
            ledger,
            tickets,
            executor,
            display,
            progress,
            stop,
            retry=retry,
            confirm=None if options.yes else partial(_confirm, out, terminal, progress),
            limits=scheduler.Limits(
                seconds_per_job=float(options.timeout or math.inf),
                failed_jobs=float(("1" if options.fail_fast else options.max_failures) or math.inf),
            ),
        ).run()
    if progress.declined:
        ledger.withdraw_jobs(added)
    code = summarise_run(out, ledger, plan, progress, stop, db)
    return ExitCode.USAGE if progress.declined and terminal is None else code


def _confirm(
    out: Console, terminal: LiveDisplay | None, progress: RunProgress, seconds: float
) -> bool:
    """Return whether to go on with a long run: ask, or without a terminal say which option goes on."""
    text = f"{plural(progress.left, 'job')} will take about {duration(seconds)}"
    if terminal is None:
        print_line(out, f"{text}, and no terminal to confirm that: pass --yes to go on")
        return False
    terminal.pause()
    # While the question is open, Ctrl-C is an answer to it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = out.input(f"{text}. Go on? [y/N] ", markup=False)
    except (EOFError, KeyboardInterrupt):
        answer = ""
    finally:
        signal.signal(signal.SIGINT, handler)
    terminal.resume()
    return answer.strip().lower() in ("y", "yes")
