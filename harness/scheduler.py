"""Ledger to packs to executor to ledger: the loop of `bench run`.

What is left to do is what the ledger says is not done; nothing else records progress. The first interrupt ends the
loop when what is in flight has finished, the second at once; either way claims without result are given back.
"""

from __future__ import annotations

import math
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import monotonic, sleep
from typing import Any, Protocol

from harness.errors import Busy
from harness.executors.base import Executor, Finished, Lost, Where
from harness.geometry import Geometry, rows_of
from harness.jobs import Job
from harness.ledger import Claim, Ledger, database
from harness.outcome import Outcome, Ticket

LOSSES = 3  # times that a job may lose its worker before it is set aside
ASK_ABOVE = 3600.0  # seconds of estimated work that need a yes
MEASURED = 20  # steps before the first estimate
AGAIN = 1.0  # seconds between two looks at what other runs hold


class Display(Protocol):
    """Who is told what happens."""

    def show(self, progress: Progress, where: Sequence[Where]) -> None:
        """Called several times a second."""
        ...

    def finished(self, job: Job, outcome: Outcome, progress: Progress) -> None:
        """Called for every outcome that was kept."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...


@dataclass
class Progress:
    """Counts for the display and the exit code."""

    total: int
    before: int  # done by earlier runs
    done: int = 0
    bad: int = 0  # failed or diverged in this run
    elsewhere: int = 0  # ended by other runs meanwhile
    started: float = field(default_factory=monotonic)
    seconds_a_job: float | None = None  # of one slot
    stopped: bool = False  # because too much failed
    locked: bool = False  # and was told to stop before the ledger could be written

    @property
    def left(self) -> int:
        """Jobs without an outcome."""
        return self.total - self.before - self.done - self.bad - self.elsewhere

    def seconds_left(self, slots: int) -> float | None:
        """Estimated; None before anything was measured."""
        return None if self.seconds_a_job is None else self.left * self.seconds_a_job / max(1, slots)


class Pace:
    """How long a job takes: as the jobs that are done took; before that, as the steps of those at hand do."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, float]] = {}  # where and when a job was first seen to move: starting is no pace

    def estimate(self, progress: Progress, where: Sequence[Where]) -> None:
        """Note the seconds that a job takes in one slot, if anything is known."""
        slots = max(1, len(where))
        finished = progress.done + progress.bad
        if finished >= slots:
            busy = sum(one.digest is not None for one in where)
            progress.seconds_a_job = (monotonic() - progress.started) * slots / (finished + 0.5 * busy)
            return
        measured = [seconds for one in where if (seconds := self._seconds(one)) is not None]
        if measured:
            progress.seconds_a_job = max(measured)

    def _seconds(self, one: Where) -> float | None:
        if one.digest is None or not one.step:
            return None
        step, since = self._first.setdefault(one.digest, (one.step, one.since))
        if one.since < since:  # lost its worker and began again
            del self._first[one.digest]
            return None
        if one.step - step < MEASURED:
            return None
        return (one.since - since) / (one.step - step) * one.steps


@dataclass(frozen=True)
class Limits:
    """When something is ended before its time."""

    seconds: float = math.inf  # of one job
    failures: float = math.inf  # of a run


@dataclass
class Stop:
    """Whether to stop, and how.

    Args:
        here: whether the work is done in this process, which a second signal must tear out of it.
    """

    here: bool = False
    signal: int | None = None
    times: int = 0
    told: bool = False  # whether the user knows

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program ended by that signal."""
        return 128 + (self.signal or signal.SIGINT)

    def __call__(self, number: int, _frame: Any) -> None:
        """Note a signal.

        Raises:
            KeyboardInterrupt: it is the second, and the work is done here.
        """
        self.signal, self.times = number, self.times + 1
        if self.here and self.times >= 2:
            raise KeyboardInterrupt


@contextmanager
def watch_signals(*, here: bool = False) -> Iterator[Stop]:
    """Count Ctrl-C and the like instead of being ended by them; `here`: see `Stop`."""
    stop = Stop(here)
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Others:
    """Jobs of this run that another run had when it came to them. They are tried again, for that run may die."""

    def __init__(self, ledger: Ledger, retry: Sequence[str]) -> None:
        self.digests: list[str] = []
        self._ledger, self._left = ledger, ("planned", "claimed", *retry)
        self._tried, self._told = -math.inf, False

    def again(self) -> list[str]:
        """Once a second those that have not ended; what a dead run held is free by then."""
        if not self.digests or monotonic() < self._tried + AGAIN:
            return []
        self._ledger.reap()
        states = self._ledger.states(self.digests)
        again = [digest for digest in self.digests if states.get(digest) in self._left]
        self._tried, self.digests = monotonic(), []
        return again

    def wait(self, display: Display) -> None:
        """Until it is time to try them again, and say so."""
        seconds = self._tried + AGAIN - monotonic()
        if seconds <= 0:
            return
        if not self._told:
            self._told = True
            display.note(f"{len(self.digests)} jobs are in the hands of another run: waiting for them; Ctrl-C stops")
        sleep(seconds)


def run(
    ledger: Ledger,
    tickets: Mapping[str, Ticket],
    executor: Executor,
    display: Display,
    progress: Progress,
    stop: Stop,
    *,
    retry: Sequence[str] = (),
    confirm: Callable[[float], bool] | None = None,
    limits: Limits | None = None,
) -> None:
    """Work through the jobs until none is left or somebody says stop.

    Args:
        ledger: open for writing, with a run begun and the jobs entered.
        tickets: the jobs to do, by digest, in their order.
        executor: what runs them.
        display: who is told.
        progress: counted up as outcomes come in.
        stop: filled by signals.
        retry: states that are tried again, such as `failed`.
        confirm: asked once if the whole will take more than an hour, with the seconds; None: nobody to ask.
        limits: on the time of a job and on failures; None: none.
    """
    queue = deque(tickets)
    flight: dict[str, Claim] = {}  # whose outcome is not recorded yet
    losses: Counter[str] = Counter()
    pace, limits = Pace(), limits or Limits()
    late: set[str] = set()  # jobs whose worker was ended because they took too long
    others = _Others(ledger, retry)
    asked = confirm is None
    ledger.wait_while(_waiting(ledger.name, flight, display, stop))
    with _giving_up(stop, progress, flight):
        try:
            while stop.times < 2:
                ledger.hold()
                begins = not stop.times and not progress.stopped
                if begins:
                    if not queue and executor.idle():
                        queue.extend(others.again())
                    _fill(ledger, tickets, executor, queue, flight, losses, retry, others)
                if not flight and begins and others.digests:
                    others.wait(display)
                    continue
                if not flight:
                    break
                _tell(stop, display)
                for event in executor.events(0.15):
                    if isinstance(event, Finished):
                        tickets = _smaller(event.outcomes, tickets, display)
                        for outcome in event.outcomes:
                            _keep(ledger, flight[outcome.digest], outcome, tickets, display, progress, others)
                            del flight[outcome.digest]
                    else:
                        _lost(ledger, event, flight, losses, queue, tickets, display, progress, late, others)
                where = executor.where()
                late |= _end_late(executor, where, flight, limits)
                if progress.bad >= limits.failures and not stop.times and not progress.stopped:
                    progress.stopped = True
                    display.note(f"{progress.bad} jobs failed: no more are begun")
                pace.estimate(progress, where)
                display.show(progress, where)
                seconds = progress.seconds_left(len(executor.devices))
                if not asked and confirm is not None and seconds is not None and not stop.times:
                    asked = True
                    if seconds > ASK_ABOVE and not confirm(seconds):
                        stop.times = 2
        except BaseException as error:  # the ledger cannot be written, say: nobody waits for the workers
            if not isinstance(error, KeyboardInterrupt) or stop.times < 2:  # else a second signal has ended work done here
                executor.close(kill=True)
                raise
        executor.close(kill=stop.times >= 2)
        if flight:
            ledger.release(list(flight.values()))
        if not stop.times and not progress.stopped:
            taken = sum(state != "planned" for state in ledger.states(tickets).values())
            progress.elsewhere = taken - progress.done - progress.bad


def _waiting(name: str, flight: Mapping[str, Claim], display: Display, stop: Stop) -> Callable[[float], bool]:
    """How long a run waits while another process has its ledger locked: until somebody says stop, and it says that it does.

    While results are at hand, or will be, that takes a second signal: they would be lost.
    """
    before = 0.0

    def going_on(seconds: float) -> bool:
        nonlocal before
        if seconds >= database.WAIT > (before if before < seconds else 0.0):
            text = f"{database.shown(name)} is locked by another process: this run waits, and keeps its results until it is not"
            display.note(text)
        before = seconds
        if flight:
            _tell(stop, display)
        return stop.times < (2 if flight else 1)

    return going_on


@contextmanager
def _giving_up(stop: Stop, progress: Progress, flight: Mapping[str, Claim]) -> Iterator[None]:
    """A run that is told to stop while its ledger is locked ends as told; its claims are free once it is gone."""
    try:
        yield
    except Busy:
        if not stop.times:
            raise
        progress.locked = bool(flight)


def _tell(stop: Stop, display: Display) -> None:
    """Say once what becomes of the jobs at hand."""
    if stop.times == 1 and not stop.told:
        stop.told = True
        display.note("stopping when the jobs at hand are done; once more stops at once")


def _fill(
    ledger: Ledger,
    tickets: Mapping[str, Ticket],
    executor: Executor,
    queue: deque[str],
    flight: dict[str, Claim],
    losses: Counter[str],
    retry: Sequence[str],
    others: _Others,
) -> None:
    """Give every idle slot a pack of jobs that nobody else has."""
    for slot in executor.idle():
        while queue:
            first = tickets[queue[0]]
            places = first.geometry.places if first.geometry and not losses[queue[0]] else 1  # who lost a worker goes by itself
            window = _mates(queue, tickets, places)
            claims = ledger.claim(window, places, retry=retry)
            passed = window.index(claims[-1].digest) + 1 if len(claims) == places else len(window)
            claimed = {claim.digest for claim in claims}
            others.digests += [digest for digest in window[:passed] if digest not in claimed]
            for digest in window[:passed]:
                queue.remove(digest)
            if claims:
                flight |= {claim.digest: claim for claim in claims}
                executor.submit(slot, [tickets[claim.digest] for claim in claims])
                break


def _mates(queue: Sequence[str], tickets: Mapping[str, Ticket], places: int) -> list[str]:
    """Jobs to claim from, in their order: the next ones, or for a pack those that may go with the first."""
    if places == 1:
        return list(islice(queue, 50))
    kind = tickets[queue[0]].kind
    return list(islice((digest for digest in queue if tickets[digest].kind == kind), max(50, 2 * places)))


def _smaller(outcomes: Sequence[Outcome], tickets: Mapping[str, Ticket], display: Display) -> Mapping[str, Ticket]:
    """Tickets of jobs whose kind turned out to be too much for the device, in packs as small as those that it held."""
    for outcome in outcomes:
        if outcome.note:
            display.note(outcome.note)
        if outcome.note and outcome.status != "failed":  # one that failed has no geometry
            kind, shape, rows = tickets[outcome.digest].kind, Geometry.read(outcome.geometry), rows_of(outcome.geometry)
            tickets = {
                digest: replace(ticket, geometry=shape, rows=rows) if ticket.kind == kind else ticket
                for digest, ticket in tickets.items()
            }
    return tickets


def _end_late(executor: Executor, where: Sequence[Where], flight: Mapping[str, Claim], limits: Limits) -> set[str]:
    """End packs that take longer than their jobs may; which jobs that were."""
    late: set[str] = set()
    for slot, one in enumerate(where):
        if one.digest is not None and one.digest in flight and one.since > limits.seconds * one.jobs:
            late |= {one.digest} if one.jobs == 1 else set()  # a pack's jobs are tried one by one: each has its own time
            executor.stop(slot)
    return late


def _keep(
    ledger: Ledger,
    claim: Claim,
    outcome: Outcome,
    tickets: Mapping[str, Ticket],
    display: Display,
    progress: Progress,
    others: _Others,
) -> None:
    """Commit an outcome, then tell."""
    job = tickets[outcome.digest].job
    if not ledger.record(outcome, claim.epoch):
        display.note(f"{job.label} on {job.rows.task}: another run has taken this job over; its result stands")
        others.digests.append(outcome.digest)
        return
    progress.done += outcome.status == "done"
    progress.bad += outcome.status != "done"
    display.finished(job, outcome, progress)


def _lost(
    ledger: Ledger,
    event: Lost,
    flight: dict[str, Claim],
    losses: Counter[str],
    queue: deque[str],
    tickets: Mapping[str, Ticket],
    display: Display,
    progress: Progress,
    late: set[str],
    others: _Others,
) -> None:
    """Try the jobs of a dead worker again, up to a limit; not those that took too long by themselves."""
    for digest in event.digests:
        claim = flight.pop(digest)
        losses[digest] += 1
        label = tickets[digest].job.label
        if digest in late:
            error = "Timeout: it took longer than --timeout allows"
            _keep(ledger, claim, Outcome(digest=digest, status="failed", error=error), tickets, display, progress, others)
        elif losses[digest] < LOSSES:
            display.note(f"the worker of {label} died ({event.reason}); trying again")
            ledger.release([claim])
            queue.appendleft(digest)
        else:
            error = f"WorkerDied: {LOSSES} times ({event.reason}); is there enough memory?"
            _keep(ledger, claim, Outcome(digest=digest, status="failed", error=error), tickets, display, progress, others)
