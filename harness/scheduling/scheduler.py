"""Ledger to packs to executor to ledger: the loop of `bench run`.

What is left to do is what the ledger says is not done; nothing else records progress. The first
interrupt ends the loop when what is in flight has finished, the second at once; either way claims
without result are given back.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import monotonic, sleep

from harness.errors import Busy
from harness.geometry import Geometry, rows_of
from harness.ledger import Claim, Ledger, database
from harness.outcome import Outcome
from harness.scheduling.executors.base import Executor, Finished, Lost, Where
from harness.scheduling.progress import Display, Pace, Progress
from harness.scheduling.signals import Stop
from harness.training.ticket import Ticket

LOSSES = 3  # times that a job may lose its worker before it is set aside
ASK_ABOVE = 3600.0  # seconds of estimated work that need a yes
AGAIN = 1.0  # seconds between two looks at what other runs hold


@dataclass(frozen=True)
class Limits:
    """When something is ended before its time."""

    seconds: float = math.inf  # of one job
    failures: float = math.inf  # of a run


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
        confirm: asked once if the whole will take more than an hour, with the seconds; None: nobody
            to ask.
        limits: on the time of a job and on failures; None: none.
    """
    work = _Work(
        ledger,
        tickets,
        executor,
        display,
        progress,
        stop,
        tuple(retry),
        confirm,
        limits or Limits(),
    )
    ledger.wait_while(work.waiting())
    with work.giving_up():
        try:
            work.go()
        except (
            BaseException
        ) as error:  # the ledger cannot be written, say: nobody waits for the workers
            if (
                not isinstance(error, KeyboardInterrupt) or stop.times < 2
            ):  # else a second signal has ended work done here
                executor.close(kill=True)
                raise
        executor.close(kill=stop.times >= 2)
        if work.flight:
            ledger.release(list(work.flight.values()))
        if work.begins:
            taken = sum(state != "planned" for state in ledger.states(tickets).values())
            progress.elsewhere = taken - progress.done - progress.bad


class _Others:
    """Jobs of this run that another run had when it came to them. They are tried again, for that run may die."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self._tried, self._told = -math.inf, False

    def again(self, ledger: Ledger, retry: Sequence[str]) -> list[str]:
        """Once a second those that have not ended; what a dead run held is free by then."""
        if not self.digests or monotonic() < self._tried + AGAIN:
            return []
        ledger.reap()
        states = ledger.states(self.digests)
        again = [
            digest
            for digest in self.digests
            if states.get(digest) in ("planned", "claimed", *retry)
        ]
        self._tried, self.digests = monotonic(), []
        return again

    def wait(self, display: Display) -> None:
        """Until it is time to try them again, and say so."""
        seconds = self._tried + AGAIN - monotonic()
        if seconds <= 0:
            return
        if not self._told:
            self._told = True
            display.note(
                f"{len(self.digests)} jobs are in the hands of another run: waiting for them; Ctrl-C stops"
            )
        sleep(seconds)


@dataclass
class _Work:
    """What is under way. The first nine fields are the arguments of `run`."""

    ledger: Ledger
    tickets: Mapping[str, Ticket]
    executor: Executor
    display: Display
    progress: Progress
    stop: Stop
    retry: Sequence[str]
    confirm: Callable[[float], bool] | None
    limits: Limits

    queue: deque[str] = field(init=False)
    flight: dict[str, Claim] = field(default_factory=dict)  # whose outcome is not recorded yet
    losses: Counter[str] = field(default_factory=Counter)
    late: set[str] = field(
        default_factory=set
    )  # jobs whose worker was ended because they took too long
    others: _Others = field(default_factory=_Others)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.queue = deque(self.tickets)

    @property
    def begins(self) -> bool:
        """Whether jobs are still begun."""
        return not self.stop.times and not self.progress.stopped

    def go(self) -> None:
        """Until nothing is left, what is in flight has finished after a first signal, or a second one came."""
        while self.stop.times < 2:
            self.ledger.hold()
            if self.begins:
                self._fill()
            if not self.flight:
                if not self.begins or not self.others.digests:
                    return
                self.others.wait(self.display)
                continue
            self._tell()
            for event in self.executor.events(0.15):
                if isinstance(event, Finished):
                    self._smaller(event.outcomes)
                    for outcome in event.outcomes:
                        self._keep(self.flight[outcome.digest], outcome)
                        del self.flight[outcome.digest]
                else:
                    self._lost(event)
            self._look()

    # -- begin
    # ---------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give every idle slot a pack of jobs that nobody else has."""
        idle = self.executor.idle()
        if idle and not self.queue:
            self.queue.extend(self.others.again(self.ledger, self.retry))
        for slot in idle:
            while self.queue:
                if claims := self._claim():
                    self.flight |= {claim.digest: claim for claim in claims}
                    self.executor.submit(slot, [self.tickets[claim.digest] for claim in claims])
                    break

    def _claim(self) -> list[Claim]:
        """The next jobs of the queue that go together, as far as nobody else has them; they leave the queue."""
        first = self.tickets[self.queue[0]]
        places = (
            first.places if not self.losses[self.queue[0]] else 1
        )  # who lost a worker goes by itself
        window = self._window(places)
        claims = self.ledger.claim(window, places, retry=self.retry)
        passed = window.index(claims[-1].digest) + 1 if len(claims) == places else len(window)
        claimed = {claim.digest for claim in claims}
        self.others.digests += [digest for digest in window[:passed] if digest not in claimed]
        for digest in window[:passed]:
            self.queue.remove(digest)
        return claims

    def _window(self, places: int) -> list[str]:
        """Jobs to claim from, in their order: the next ones, or for a pack those that may go with the first."""
        if places == 1:
            return list(islice(self.queue, 50))
        kind = self.tickets[self.queue[0]].kind
        return list(
            islice(
                (digest for digest in self.queue if self.tickets[digest].kind == kind),
                max(50, 2 * places),
            )
        )

    # -- end
    # -----------------------------------------------------------------------------------------------------------

    def _keep(self, claim: Claim, outcome: Outcome) -> None:
        """Commit an outcome, then tell."""
        job = self.tickets[outcome.digest].job
        if not self.ledger.record(outcome, claim.epoch):
            self.display.note(
                f"{job.label} on {job.rows.task}: another run has taken this job over; its result stands"
            )
            self.others.digests.append(outcome.digest)
            return
        self.progress.done += outcome.status == "done"
        self.progress.bad += outcome.status != "done"
        self.display.finished(job, outcome, self.progress)

    def _smaller(self, outcomes: Sequence[Outcome]) -> None:
        """A kind of jobs that turned out to be too much for the device goes on in packs as small as those that it held."""
        for outcome in outcomes:
            if outcome.note:
                self.display.note(outcome.note)
            if outcome.note and outcome.status != "failed":  # one that failed has no geometry
                kind, text = self.tickets[outcome.digest].kind, outcome.geometry
                self.tickets = {
                    digest: replace(one, geometry=Geometry.read(text), rows=rows_of(text))
                    if one.kind == kind
                    else one
                    for digest, one in self.tickets.items()
                }

    def _lost(self, event: Lost) -> None:
        """Try the jobs of a dead worker again, up to a limit; not those that took too long by themselves."""
        for digest in event.digests:
            claim = self.flight.pop(digest)
            self.losses[digest] += 1
            if digest in self.late:
                error = "Timeout: it took longer than --timeout allows"
            elif self.losses[digest] < LOSSES:
                label = self.tickets[digest].job.label
                self.display.note(f"the worker of {label} died ({event.reason}); trying again")
                self.ledger.release([claim])
                self.queue.appendleft(digest)
                continue
            else:
                error = f"WorkerDied: {LOSSES} times ({event.reason}); is there enough memory?"
            self._keep(claim, Outcome(digest=digest, status="failed", error=error))

    # -- between
    # -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See how far things are: end what takes too long or fails too much, show the rest, ask before a long run."""
        where = self.executor.where()
        self._end_late(where)
        if self.begins and self.progress.bad >= self.limits.failures:
            self.progress.stopped = True
            self.display.note(f"{self.progress.bad} jobs failed: no more are begun")
        self.pace.estimate(self.progress, where)
        self.display.show(self.progress, where)
        seconds = self.progress.seconds_left(len(self.executor.devices))
        if self.confirm and seconds is not None and not self.stop.times:
            confirm, self.confirm = self.confirm, None  # asked once
            if seconds > ASK_ABOVE and not confirm(seconds):
                self.stop.times = 2

    def _end_late(self, where: Sequence[Where]) -> None:
        """End packs that take longer than their jobs may, and note which jobs that were."""
        for slot, one in enumerate(where):
            if (
                one.digest is not None
                and one.digest in self.flight
                and one.since > self.limits.seconds * one.jobs
            ):
                if one.jobs == 1:  # a pack's jobs are tried one by one: each has its own time
                    self.late.add(one.digest)
                self.executor.stop(slot)

    def _tell(self) -> None:
        """Say once what becomes of the jobs at hand."""
        if self.stop.times == 1 and not self.stop.told:
            self.stop.told = True
            self.display.note("stopping when the jobs at hand are done; once more stops at once")

    def waiting(self) -> Callable[[float], bool]:
        """How long a run waits while another process has its ledger locked: until somebody says stop, and it says that it does.

        While results are at hand, or will be, that takes a second signal: they would be lost.
        """
        before = 0.0

        def going_on(seconds: float) -> bool:
            nonlocal before
            if seconds >= database.WAIT > (before if before < seconds else 0.0):
                name = database.shown(self.ledger.name)
                self.display.note(
                    f"{name} is locked by another process: this run waits, and keeps its results until it is not"
                )
            before = seconds
            if self.flight:
                self._tell()
            return self.stop.times < (2 if self.flight else 1)

        return going_on

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """A run that is told to stop while its ledger is locked ends as told; its claims are free once it is gone."""
        try:
            yield
        except Busy:
            if not self.stop.times:
                raise
            self.progress.locked = bool(self.flight)
