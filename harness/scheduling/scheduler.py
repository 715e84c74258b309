"""The loop of `bench run`: claim jobs in the ledger, give them to an executor, record their outcomes.

Only the ledger records which jobs are done. A job is in flight from its claim until the ledger has
recorded or refused its outcome, or until its worker has died and it is queued again. After the first signal,
the loop ends when the jobs in flight have ended. The second signal ends it at once. In both cases the
scheduler releases the claims of jobs that have no result, unless the ledger is locked: then the next
run releases them.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from harness.errors import Busy
from harness.ledger import Claim, Ledger, database
from harness.outcome import Outcome
from harness.scheduling.executors.base import Executor, PackFinished, PackLost, WorkerStatus
from harness.scheduling.other_runs import JobsOfOtherRuns
from harness.scheduling.progress import Display, JobTimeEstimator, RunProgress
from harness.scheduling.signals import StopSignals
from harness.training.ticket import Ticket
from harness.wording import plural

MAX_WORKER_DEATHS = 3  # a job fails when this many workers have died while they ran it
CONFIRM_ABOVE = (
    3600.0  # a run that is estimated to take more seconds than this needs a confirmation
)
POLL_SECONDS = 0.15  # how long one call waits for events
# Number of jobs that the scheduler offers in one call of `Ledger.claim`; for packs of more than 25 jobs,
# it offers twice as many as the pack has. It offers more than it will get, because other runs may have
# claimed the first ones.
CLAIM_CANDIDATES = 50


@dataclass(frozen=True)
class Limits:
    """When to end a job, and when to start no further jobs."""

    seconds_per_job: float = math.inf
    failed_jobs: float = math.inf  # in this run


@dataclass
class Scheduler:
    """Works through jobs until none is left, or until a signal, too many failures or the user stops it.

    Args:
        ledger: open for writing. The caller has begun a run and added the jobs.
        tickets: the jobs by digest, in the order in which to run them.
        executor: runs packs of jobs.
        display: shows progress and messages.
        progress: the counts, which the scheduler updates.
        stop: counts the signals that stop the run.
        retry: states besides `planned` that may be tried again, such as `failed`.
        confirm: called once with the estimated seconds if the run will take more than an hour; False
            stops the run. None: do not ask.
        limits: for each job, and for the run.
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
    _worker_deaths: Counter[str] = field(init=False, default_factory=Counter)  # by digest
    _timed_out: set[str] = field(init=False, default_factory=set)
    # the jobs that other runs have claimed
    _other_runs: JobsOfOtherRuns = field(init=False, default_factory=JobsOfOtherRuns)
    _estimator: JobTimeEstimator = field(init=False, default_factory=JobTimeEstimator)
    _seconds_waited: float = field(init=False, default=0.0)  # for a locked ledger, so far

    def __post_init__(self) -> None:
        self._queue = deque(self.tickets)

    def run(self) -> None:
        """Run the jobs.

        Raises:
            Busy: a database server reports a lock, and the run received no signal. For a locked file,
                the run waits.
            DiskTrouble, CannotWrite, CorruptData, Unavailable: the ledger or a disk cannot be used.
        """
        self.ledger.wait_while(self._wait_for_ledger)
        try:
            try:
                self._loop()
            except BaseException as error:
                # If jobs run in this process, the second signal raises KeyboardInterrupt in the running job.
                second_signal = isinstance(error, KeyboardInterrupt) and self.stop.count >= 2
                # After any other error, nothing records outcomes any more: do not wait for running jobs.
                if not second_signal:
                    self.executor.close(kill=True)
                    raise
            self.executor.close(kill=self.stop.count >= 2)
            self._release_and_count()
        except Busy:
            if not self.stop.count:
                raise
            # After a signal, do not wait for the ledger: the next run releases the claims.
            self.progress.unwritten_results = bool(self._in_flight)

    def _loop(self) -> None:
        """Start and record jobs until nothing is in flight and nothing may be started, or until the second signal."""
        while self.stop.count < 2:
            self.ledger.keep_lock()  # other runs release the claims of a run without a lock
            if self._may_start_jobs:
                self._start_jobs()
            if self._in_flight:
                self._announce_stop()
                for event in self.executor.events(POLL_SECONDS):
                    self._handle_event(event)
                self._check_progress()
            elif self._may_start_jobs and self._other_runs.digests:
                self._other_runs.wait(self.display)
            else:
                return

    @property
    def _may_start_jobs(self) -> bool:
        return not self.stop.count and not self.progress.too_many_failures

    def _release_and_count(self) -> None:
        """Release the claims of jobs that have no result, and count the jobs that other runs ended."""
        if self._in_flight:
            self.ledger.release_claims(list(self._in_flight.values()))
        if self._may_start_jobs:  # otherwise the jobs that other runs have ended count as left
            # No job is in the state `claimed` here: the loop has waited for those of other runs.
            ended = sum(state != "planned" for state in self.ledger.states(self.tickets).values())
            self.progress.ended_by_other_runs = ended - self.progress.done - self.progress.failed

    # -- starting jobs

    def _start_jobs(self) -> None:
        """Give every idle worker a pack of jobs."""
        idle = self.executor.idle()
        if idle and not self._queue:
            self._queue.extend(self._other_runs.pop_unfinished(self.ledger, self.retry))
        for worker in idle:
            # If other runs have claimed all candidates, `_claim_pack` removes these from the queue and
            # returns no claim: try the next ones.
            while self._queue:
                if claims := self._claim_pack():
                    self._in_flight |= {claim.digest: claim for claim in claims}
                    self.executor.submit(worker, [self.tickets[claim.digest] for claim in claims])
                    break

    def _claim_pack(self) -> list[Claim]:
        """Claim the next pack.

        Its jobs leave the queue. So do the candidates that other runs have claimed or ended, as far as the
        last job of the pack (if the pack is not full, all of them).
        """
        first = self._queue[0]
        # A job whose worker died runs alone from then on: it may be the cause.
        count = 1 if self._worker_deaths[first] else self.tickets[first].jobs_at_once
        candidates = self._claim_candidates(count)
        claims = self.ledger.claim(candidates, count, retry=self.retry)
        claimed = {claim.digest for claim in claims}
        # The ledger goes through the candidates in order until `count` jobs are claimed. Those after the
        # last claimed job stay in the queue.
        last = candidates.index(claims[-1].digest) if len(claims) == count else len(candidates) - 1
        for digest in candidates[: last + 1]:
            self._queue.remove(digest)
            if digest not in claimed:
                self._other_runs.digests.append(digest)
        return claims

    def _claim_candidates(self, count: int) -> list[str]:
        """Return the next jobs of the queue; if `count` is more than 1, those that can share a pack with the first."""
        kind = self.tickets[self._queue[0]].kind
        candidates = (
            digest
            for digest in self._queue
            if count == 1 or (self.tickets[digest].kind == kind and not self._worker_deaths[digest])
        )
        return list(islice(candidates, max(CLAIM_CANDIDATES, 2 * count)))

    # -- ending jobs

    def _handle_event(self, event: PackFinished | PackLost) -> None:
        """Record the outcomes of a pack; if it was lost, queue or fail its jobs."""
        if isinstance(event, PackLost):
            for digest in event.digests:
                self._handle_worker_death(digest, event.reason)
            return
        self._show_notes_and_adopt_geometry(event.outcomes)
        for outcome in event.outcomes:
            self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        """Commit an outcome, and show it if the ledger accepts it."""
        job = self.tickets[outcome.digest].job
        accepted = self.ledger.record(outcome, self._in_flight[outcome.digest].number)
        # The job stays in flight until the commit, so that `_wait_for_ledger` keeps waiting for a
        # locked ledger after one signal: otherwise the outcome would be lost.
        del self._in_flight[outcome.digest]
        if not accepted:
            self.display.note(
                f"another run has taken over {job.label} on {job.draw.task}: "
                "the result of that run counts"
            )
            self._other_runs.digests.append(outcome.digest)
            return
        self.progress.done += outcome.status == "done"
        self.progress.failed += outcome.status != "done"
        self.display.finished(job, outcome, self.progress)

    def _show_notes_and_adopt_geometry(self, outcomes: Sequence[Outcome]) -> None:
        """Show the notes of a pack, and give its geometry to the jobs of its kind.

        The geometry says how steps are computed: pack size, micro-batch, padded length, and whether they are
        compiled or captured. If it had to change (too little memory, steps that cannot be compiled, jobs that
        cannot share a forward pass), one job of the pack has a note. After a note for another reason, the
        geometry is given to the others as well: the job ran in it, so the others of its kind can.
        """
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

    def _handle_worker_death(self, digest: str, reason: str) -> None:
        """Queue a job again after its worker died. It fails if it timed out or if too many workers have died."""
        self._worker_deaths[digest] += 1
        if digest in self._timed_out:
            error = "Timeout: it took longer than --timeout allows"
        elif self._worker_deaths[digest] >= MAX_WORKER_DEATHS:
            error = f"WorkerDied: {MAX_WORKER_DEATHS} times ({reason}); is there enough memory?"
        else:
            self.display.note(
                f"the worker of {self.tickets[digest].job.label} died ({reason}); "
                "the job is tried again"
            )
            # The job leaves `_in_flight` before its claim is released: it has no outcome to lose, so if the
            # ledger is locked, it must not make `_wait_for_ledger` require a second signal.
            self.ledger.release_claims([self._in_flight.pop(digest)])
            self._queue.appendleft(digest)
            return
        self._record(Outcome(digest=digest, status="failed", error=error))

    # -- between events

    def _check_progress(self) -> None:
        """Apply the limits, update the display, and ask for confirmation of a long run."""
        workers = self.executor.status()
        self._kill_late_packs(workers)
        if self._may_start_jobs and self.progress.failed >= self.limits.failed_jobs:
            self.progress.too_many_failures = True
            self.display.note(
                f"{plural(self.progress.failed, 'job')} failed or diverged: no further jobs are started"
            )
        self._estimator.update(self.progress, workers)
        self.display.show(self.progress, workers)
        self._confirm_long_run()

    def _confirm_long_run(self) -> None:
        """If the first estimate is above `CONFIRM_ABOVE`, ask; stop the run if the answer is no."""
        seconds = self.progress.seconds_left(len(self.executor.devices))
        if self.confirm and seconds is not None and not self.stop.count:
            confirm, self.confirm = self.confirm, None
            if seconds > CONFIRM_ABOVE and not confirm(seconds):
                self.progress.declined = True
                self.stop.count = 2  # as after the second signal: stop at once

    def _kill_late_packs(self, workers: Sequence[WorkerStatus]) -> None:
        """Kill the workers of packs that take longer than the time limits of all their jobs together.

        A job that ran alone has then timed out.
        """
        for number, worker in enumerate(workers):
            late = worker.seconds > self.limits.seconds_per_job * worker.jobs
            if late and worker.digest in self._in_flight:
                if worker.jobs == 1:  # otherwise each job of the pack runs again, alone
                    self._timed_out.add(worker.digest)
                self.executor.kill_worker(number)

    def _announce_stop(self) -> None:
        """Show once, after the first signal, that the run is stopping."""
        if self.stop.count == 1 and not self.stop.announced:
            self.stop.announced = True
            self.display.note(
                "stopping when the running jobs have ended; a second Ctrl-C stops at once"
            )

    def _wait_for_ledger(self, seconds: float) -> bool:
        """Return whether to keep waiting for a ledger that another process has locked.

        One signal ends the wait. While jobs are in flight, it takes two, because ending the wait loses the
        results of these jobs.

        Args:
            seconds: since this wait began. The ledger calls this method again and again while it waits.
        """
        # `seconds` grows during a wait. If the previous value is not smaller, it comes from an earlier wait.
        previous = self._seconds_waited if self._seconds_waited < seconds else 0.0
        self._seconds_waited = seconds
        if previous < database.LOCK_TIMEOUT <= seconds:
            self.display.note(
                f"{database.display_name(self.ledger.name)} is locked by another process: "
                "this run waits and keeps its results"
            )
        if self._in_flight:
            self._announce_stop()
        return self.stop.count < (2 if self._in_flight else 1)
