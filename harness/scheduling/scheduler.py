"""The loop of `bench run`: claim jobs in the ledger, give them to an executor, record their outcomes.

What is left to do is what the ledger does not show as done; nothing else records progress. The
first signal ends the loop when the jobs in flight have ended, the second one ends it at once.
Either way, claims without a result are released.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from harness.errors import Busy
from harness.ledger import Claim, Ledger, database
from harness.outcome import Outcome
from harness.scheduling.executors.base import Executor, PackFinished, PackLost, SlotStatus
from harness.scheduling.other_runs import JobsOfOtherRuns
from harness.scheduling.progress import Display, JobTimeEstimator, RunProgress
from harness.scheduling.signals import StopSignals
from harness.training.ticket import Ticket
from harness.wording import plural

MAX_LOSSES = 3  # a job that lost its worker this many times has failed
CONFIRM_ABOVE = 3600.0  # seconds of estimated work that need a confirmation
POLL = 0.15  # seconds to wait for events
WINDOW = 50  # jobs of the queue to claim from, at least


@dataclass(frozen=True)
class Limits:
    """When to end a job or a run early."""

    seconds: float = math.inf  # of one job
    failures: float = math.inf  # of a run


@dataclass
class Scheduler:
    """Works through jobs until none is left or a signal stops it.

    Args:
        ledger: open for writing, with a run begun and the jobs entered.
        tickets: the jobs to run by digest, in their order.
        executor: runs packs of jobs.
        display: shows what happens.
        progress: counted up as outcomes arrive.
        stop: counts the signals that stop the run.
        retry: states that are tried again, such as `failed`.
        confirm: called once with the estimated seconds if the run will take more than an hour; False
            stops the run. None: do not ask.
        limits: of one job and of the run.
    """

    ledger: Ledger
    tickets: Mapping[str, Ticket]
    executor: Executor
    display: Display
    progress: RunProgress
    stop: StopSignals
    retry: Sequence[str] = ()
    confirm: Callable[[float], bool] | None = None
    limits: Limits = Limits()

    _queue: deque[str] = field(init=False)
    _in_flight: dict[str, Claim] = field(init=False, default_factory=dict)
    _losses: Counter[str] = field(init=False, default_factory=Counter)  # of workers, by job
    _timed_out: set[str] = field(init=False, default_factory=set)
    _other_runs: JobsOfOtherRuns = field(init=False, default_factory=JobsOfOtherRuns)
    _estimator: JobTimeEstimator = field(init=False, default_factory=JobTimeEstimator)
    _waited: float = field(init=False, default=0.0)  # seconds for a locked ledger

    def __post_init__(self) -> None:
        self._queue = deque(self.tickets)

    def run(self) -> None:
        """Run the jobs.

        Raises:
            Busy: another process has locked the ledger for too long, and no signal came.
            DiskTrouble, CannotWrite, CorruptData, Unavailable: the ledger or a disk cannot be used.
        """
        self.ledger.wait_while(self._wait_for_ledger)
        try:
            try:
                self._loop()
            except BaseException as error:
                # The outcomes of running jobs could not be recorded: do not wait for the workers.
                if not isinstance(error, KeyboardInterrupt) or self.stop.count < 2:
                    self.executor.close(kill=True)
                    raise
            self.executor.close(kill=self.stop.count >= 2)
            self._settle()
        except Busy:  # the claims are released once this process is gone
            if not self.stop.count:
                raise
            self.progress.locked = bool(self._in_flight)

    def _loop(self) -> None:
        while self.stop.count < 2:
            self.ledger.keep_lock()
            if self._is_starting_jobs:
                self._fill_slots()
            if self._in_flight:
                self._announce_stop()
                for event in self.executor.events(POLL):
                    self._handle(event)
                self._watch()
            elif self._is_starting_jobs and self._other_runs.digests:
                self._other_runs.wait(self.display)
            else:
                return

    @property
    def _is_starting_jobs(self) -> bool:
        return not self.stop.count and not self.progress.stopped

    def _settle(self) -> None:
        """Release what is still claimed and count the jobs that other runs ended."""
        if self._in_flight:
            self.ledger.release_claims(list(self._in_flight.values()))
        if self._is_starting_jobs:
            ended = sum(state != "planned" for state in self.ledger.states(self.tickets).values())
            self.progress.elsewhere = ended - self.progress.done - self.progress.failed

    # -- starting jobs

    def _fill_slots(self) -> None:
        """Give every idle slot a pack of jobs that no other run has claimed."""
        idle = self.executor.idle()
        if idle and not self._queue:
            self._queue.extend(self._other_runs.free_jobs(self.ledger, self.retry))
        for slot in idle:
            while self._queue:
                if claims := self._claim_pack():
                    self._in_flight |= {claim.digest: claim for claim in claims}
                    self.executor.submit(slot, [self.tickets[claim.digest] for claim in claims])
                    break

    def _claim_pack(self) -> list[Claim]:
        """Claim the next jobs that go together and take them from the queue, with those that other runs have."""
        first = self._queue[0]
        # A job that lost a worker runs alone: it may have been the cause.
        count = 1 if self._losses[first] else self.tickets[first].jobs_at_once
        window = self._window(count)
        claims = self.ledger.claim(window, count, retry=self.retry)
        claimed = {claim.digest for claim in claims}
        passed = window.index(claims[-1].digest) + 1 if len(claims) == count else len(window)
        for digest in window[:passed]:
            self._queue.remove(digest)
            if digest not in claimed:
                self._other_runs.digests.append(digest)
        return claims

    def _window(self, count: int) -> list[str]:
        """Return the next jobs of the queue to claim from; for a pack, those that may share one with the first."""
        if count == 1:
            return list(islice(self._queue, WINDOW))
        kind = self.tickets[self._queue[0]].kind
        return list(
            islice(
                (digest for digest in self._queue if self.tickets[digest].kind == kind),
                max(WINDOW, 2 * count),
            )
        )

    # -- ending jobs

    def _handle(self, event: PackFinished | PackLost) -> None:
        if isinstance(event, PackLost):
            for digest in event.digests:
                self._handle_loss(digest, event.reason)
            return
        self._adopt_smaller_geometry(event.outcomes)
        for outcome in event.outcomes:
            self._record(self._in_flight[outcome.digest], outcome)
            # Removed only after the commit: while jobs are in flight, one signal does not end the
            # wait for a locked ledger.
            del self._in_flight[outcome.digest]

    def _record(self, claim: Claim, outcome: Outcome) -> None:
        """Commit an outcome, then show it."""
        job = self.tickets[outcome.digest].job
        if not self.ledger.record(outcome, claim.epoch):
            self.display.note(
                f"another run has taken over {job.label} on {job.draw.task}: "
                "the result of that run counts"
            )
            self._other_runs.digests.append(outcome.digest)
            return
        self.progress.done += outcome.status == "done"
        self.progress.failed += outcome.status != "done"
        self.display.finished(job, outcome, self.progress)

    def _adopt_smaller_geometry(self, outcomes: Sequence[Outcome]) -> None:
        """Run further jobs of a kind in the geometry with which its last ones fitted into memory."""
        for outcome in outcomes:
            if not outcome.note:
                continue
            self.display.note(outcome.note)
            if outcome.status != "failed":  # a failed job has no geometry
                kind, geometry = self.tickets[outcome.digest].kind, outcome.geometry.planned()
                self.tickets = {
                    digest: replace(ticket, geometry=geometry) if ticket.kind == kind else ticket
                    for digest, ticket in self.tickets.items()
                }

    def _handle_loss(self, digest: str, reason: str) -> None:
        """Queue a job that lost its worker again; it fails if it timed out or lost too many workers."""
        claim = self._in_flight.pop(digest)
        self._losses[digest] += 1
        if digest in self._timed_out:
            error = "Timeout: it took longer than --timeout allows"
        elif self._losses[digest] >= MAX_LOSSES:
            error = f"WorkerDied: {MAX_LOSSES} times ({reason}); is there enough memory?"
        else:
            self.display.note(
                f"the worker of {self.tickets[digest].job.label} died ({reason}); "
                "the job is tried again"
            )
            self.ledger.release_claims([claim])
            self._queue.appendleft(digest)
            return
        self._record(claim, Outcome(digest=digest, status="failed", error=error))

    # -- between events

    def _watch(self) -> None:
        """Apply the limits, update the display, and ask before a long run."""
        slots = self.executor.status()
        self._stop_late_packs(slots)
        if self._is_starting_jobs and self.progress.failed >= self.limits.failures:
            self.progress.stopped = True
            self.display.note(
                f"{plural(self.progress.failed, 'job')} failed: no further jobs are started"
            )
        self._estimator.update(self.progress, slots)
        self.display.show(self.progress, slots)
        self._confirm_long_run()

    def _confirm_long_run(self) -> None:
        seconds = self.progress.seconds_left(len(self.executor.devices))
        if self.confirm and seconds is not None and not self.stop.count:
            confirm, self.confirm = self.confirm, None
            if seconds > CONFIRM_ABOVE and not confirm(seconds):
                self.stop.count = 2

    def _stop_late_packs(self, slots: Sequence[SlotStatus]) -> None:
        """End packs that exceed the time of their jobs; a job that was alone has then timed out."""
        for number, slot in enumerate(slots):
            late = slot.seconds > self.limits.seconds * slot.jobs
            if late and slot.digest in self._in_flight:
                if slot.jobs == 1:  # the jobs of a pack are tried again one by one
                    self._timed_out.add(slot.digest)
                self.executor.stop(number)

    def _announce_stop(self) -> None:
        if self.stop.count == 1 and not self.stop.announced:
            self.stop.announced = True
            self.display.note(
                "stopping when the running jobs have ended; a second Ctrl-C stops at once"
            )

    def _wait_for_ledger(self, seconds: float) -> bool:
        """Return whether to keep waiting for a ledger that another process has locked.

        A signal ends the wait. While jobs are in flight it takes two, since their results would be lost.

        Args:
            seconds: since this wait began.
        """
        waited = self._waited if self._waited < seconds else 0.0  # greater: of an earlier wait
        self._waited = seconds
        if waited < database.LOCK_TIMEOUT <= seconds:
            self.display.note(
                f"{database.display_name(self.ledger.name)} is locked by another process: "
                "this run waits and keeps its results"
            )
        if self._in_flight:
            self._announce_stop()
        return self.stop.count < (2 if self._in_flight else 1)
