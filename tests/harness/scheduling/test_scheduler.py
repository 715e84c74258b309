"""The loop of `bench run`, with an executor that does what a test asks of it."""

import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from harness.errors import DiskTrouble
from harness.geometry import Geometry
from harness.ledger import Claim, Ledger
from harness.outcome import Outcome
from harness.scheduling import other_runs, scheduler
from harness.scheduling.executors.base import PackFinished, PackLost, WorkerStatus
from harness.scheduling.executors.inline import InlineExecutor
from harness.scheduling.progress import JobTimeEstimator, RunProgress
from harness.scheduling.signals import StopSignals, watch_signals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support.displays import RecordingDisplay


class FakeExecutor:
    """Ends every submitted job at the next call of `events`; jobs with some labels are lost, or run for ever.

    Args:
        make_outcome: makes the outcome of a job.
        workers: number of workers.
        worker_deaths: how many workers die while they run a job with a label.
    """

    def __init__(
        self,
        make_outcome: Callable[..., Outcome],
        workers: int = 2,
        worker_deaths: Mapping[str, int] | None = None,
    ) -> None:
        self.devices = ("cpu",) * workers
        self.submitted: list[str] = []
        self.closed_with_kill: list[bool] = []
        self.polls = 0
        self.polls_before_end = 0
        self.at_poll: Callable[[int], object] = lambda _: None
        self._make_outcome, self._worker_deaths = make_outcome, Counter(worker_deaths or {})
        self._running: dict[int, Ticket] = {}
        self._killed: set[int] = set()

    def idle(self) -> list[int]:
        return [worker for worker in range(len(self.devices)) if worker not in self._running]

    def submit(self, worker: int, tickets: list[Ticket]) -> None:
        assert worker not in self._running
        [self._running[worker]] = tickets
        self.submitted.append(tickets[0].job.digest)

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        assert timeout < 1
        self.polls += 1
        self.at_poll(self.polls)
        if self.polls <= self.polls_before_end:
            return []
        ending = [
            worker
            for worker, ticket in self._running.items()
            if ticket.job.label != "for ever" or worker in self._killed
        ]
        self._killed = set()
        return [self._end(worker, self._running.pop(worker)) for worker in ending]

    def _end(self, worker: int, ticket: Ticket) -> PackFinished | PackLost:
        job = ticket.job
        if self._worker_deaths[job.label] > 0 or job.label == "for ever":
            self._worker_deaths[job.label] -= 1
            return PackLost(worker, (job.digest,), "killed")
        failure = {"status": "failed", "error": "ValueError: no"} if job.label == "bad" else {}
        return PackFinished(worker, (self._make_outcome(job, **failure),))

    def kill_worker(self, worker: int) -> None:
        assert self._running[worker].job.label == "for ever"
        self._killed.add(worker)

    def status(self) -> list[WorkerStatus]:
        workers = []
        for number in range(len(self.devices)):
            ticket = self._running.get(number)
            digest = ticket.job.digest if ticket else None
            step, seconds = 10 * self.polls, 5.0 * self.polls
            workers.append(
                WorkerStatus("cpu", digest, step, 100_000, testing=False, seconds=seconds)
            )
        return workers

    def close(self, *, kill: bool) -> None:
        self.closed_with_kill.append(kill)


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger with a run begun."""
    with Ledger(str(tmp_path / "r.db"), write=True) as opened:
        opened.begin("bench run")
        yield opened


@pytest.fixture
def add_jobs(ledger, make_job, tmp_path):
    """Return a function that adds jobs with some labels and returns their tickets."""

    def add(*labels: str, draws: int = 1) -> dict[str, Ticket]:
        jobs = [make_job(label, draw) for draw in range(draws) for label in labels]
        ledger.add_jobs(jobs)
        task = REGISTRY["toy-sentiment"]
        return {
            job.digest: Ticket(job=job, task=task, keep="none", artefacts=tmp_path) for job in jobs
        }

    return add


def run(ledger, tickets, executor, *, stop=None, display=None, **options):
    """Run the scheduler; return the display and the counts."""
    display = display or RecordingDisplay()
    progress = RunProgress(total=len(tickets), ended_before=0)
    stop = stop or StopSignals()
    scheduler.Scheduler(ledger, tickets, executor, display, progress, stop, **options).run()
    return display, progress


def test_every_job_is_recorded_once(ledger, add_jobs, make_outcome):
    """Every job is submitted once and in order, recorded and shown; the next run has nothing to do but failed jobs."""
    tickets, executor = add_jobs("lora", "bad", "prefix", draws=5), FakeExecutor(make_outcome)
    display, progress = run(ledger, tickets, executor)
    assert executor.submitted == list(tickets)
    assert sorted(display.finished_digests) == sorted(tickets)
    assert display.worker_counts == {2}
    assert (progress.done, progress.failed, progress.left) == (10, 5, 0)
    states = ledger.states(tickets)
    assert all(
        states[digest] == ("failed" if ticket.job.label == "bad" else "done")
        for digest, ticket in tickets.items()
    )
    assert executor.closed_with_kill == [False]
    second = FakeExecutor(make_outcome)
    run(ledger, tickets, second)
    assert second.submitted == []
    run(ledger, tickets, second, retry=["failed"])
    assert len(second.submitted) == 5


def test_a_job_that_kills_its_worker_fails(ledger, add_jobs, make_outcome):
    """A job during which three workers die fails with the reason, and the other jobs are done."""
    tickets = add_jobs("lora", "poison", "prefix")
    executor = FakeExecutor(make_outcome, worker_deaths={"poison": 99, "prefix": 2})
    display, progress = run(ledger, tickets, executor)
    [poison] = [digest for digest, ticket in tickets.items() if ticket.job.label == "poison"]
    assert Counter(executor.submitted)[poison] == scheduler.MAX_WORKER_DEATHS == 3
    assert (progress.done, progress.failed, progress.left) == (2, 1, 0)
    assert ledger.states([poison]) == {poison: "failed"}
    [(digest, reason)] = ledger.errors()
    assert digest == poison
    assert "killed" in reason
    assert sum("the job is tried again" in line for line in display.notes) == 4


def test_a_job_whose_worker_died_joins_no_pack(ledger, add_jobs, make_outcome):
    """A pack takes other jobs of its kind, wherever the job whose worker died stands in the queue."""
    packed = Geometry(pack_size=3)
    tickets = {
        digest: replace(ticket, geometry=packed)
        for digest, ticket in add_jobs("lora", draws=3).items()
    }
    first, second, third = tickets
    waiting = scheduler.Scheduler(
        ledger, tickets, FakeExecutor(make_outcome), RecordingDisplay(),
        RunProgress(total=3, ended_before=0), StopSignals(),
    )  # fmt: skip
    waiting._worker_deaths[second] = 1
    assert [claim.digest for claim in waiting._claim_pack()] == [first, third]
    assert [claim.digest for claim in waiting._claim_pack()] == [second]


def test_a_failure_of_the_last_job_waits_for_a_locked_ledger(ledger, add_jobs, make_outcome):
    """After one signal, the failure of a job whose workers died is recorded as soon as the ledger is free."""
    tickets, stop = add_jobs("lora"), StopSignals()
    executor = FakeExecutor(make_outcome, workers=1, worker_deaths={"lora": 3})
    other = sqlite3.connect(ledger.name, isolation_level=None)

    def lock_and_signal(poll):
        if poll == 3:  # the third worker dies now
            other.execute("BEGIN IMMEDIATE")
            stop(signal.SIGINT, None)

    def unlock():
        if stop.announced:
            other.rollback()

    executor.at_poll = lock_and_signal
    display, progress = run(
        ledger, tickets, executor, stop=stop, display=RecordingDisplay(on_note=unlock)
    )
    other.close()
    assert set(ledger.states(tickets).values()) == {"failed"}
    assert (progress.failed, progress.unwritten_results) == (1, False)
    assert display.finished_digests == list(tickets)


def test_a_job_to_be_tried_again_does_not_wait_for_a_locked_ledger(ledger, add_jobs, make_outcome):
    """After one signal, a job without an outcome does not keep the run waiting."""
    tickets, stop = add_jobs("lora"), StopSignals()
    executor = FakeExecutor(make_outcome, workers=1, worker_deaths={"lora": 1})
    other = sqlite3.connect(ledger.name, isolation_level=None)

    def lock_and_signal(_):
        other.execute("BEGIN IMMEDIATE")
        stop(signal.SIGINT, None)

    executor.at_poll = lock_and_signal
    _, progress = run(ledger, tickets, executor, stop=stop)
    other.close()
    assert (executor.polls, executor.closed_with_kill) == (1, [True])
    assert (progress.left, progress.unwritten_results) == (1, False)


def test_after_the_first_signal_running_jobs_end(ledger, add_jobs, make_outcome):
    """After one signal no job is started, running jobs are recorded, and a message says how to stop at once."""
    tickets, executor, stop = add_jobs("lora", draws=6), FakeExecutor(make_outcome), StopSignals()
    executor.polls_before_end = 3
    executor.at_poll = lambda poll: poll == 2 and stop(signal.SIGTERM, None)
    display, progress = run(ledger, tickets, executor, stop=stop)
    assert (len(executor.submitted), progress.done, progress.left) == (2, 2, 4)
    assert executor.closed_with_kill == [False]
    assert stop.exit_code == 143
    assert any("a second Ctrl-C stops at once" in line for line in display.notes)
    assert Counter(ledger.states(tickets).values()) == {"done": 2, "planned": 4}


def test_after_the_second_signal_the_run_ends_at_once(ledger, add_jobs, make_outcome):
    """After two signals workers are killed and their jobs are free again."""
    tickets, executor, stop = add_jobs("lora", draws=6), FakeExecutor(make_outcome), StopSignals()
    executor.polls_before_end = 1000
    executor.at_poll = lambda poll: poll in (2, 4) and stop(signal.SIGINT, None)
    _, progress = run(ledger, tickets, executor, stop=stop)
    assert executor.polls == 4
    assert executor.closed_with_kill == [True]
    assert stop.exit_code == 130
    assert progress.done == 0
    assert set(ledger.states(tickets).values()) == {"planned"}


@pytest.mark.parametrize("records", [True, False], ids=["records", "releases"])
def test_jobs_of_another_run_are_waited_for(
    records, ledger, add_jobs, make_outcome, tmp_path, monkeypatch
):
    """An idle run waits while another run has claimed jobs, says so once, and runs those that are released."""
    monkeypatch.setattr(other_runs, "CHECK_INTERVAL", 0.05)
    tickets, executor = add_jobs("lora", draws=5), FakeExecutor(make_outcome)
    with Ledger(str(tmp_path / "r.db"), write=True) as other:
        other.begin("bench run")
        claims = other.claim(list(tickets), 2)

        def end_other_run() -> None:
            assert len(executor.submitted) == 3
            if records:
                outcomes = [make_outcome(tickets[claim.digest].job) for claim in claims]
                for outcome, claim in zip(outcomes, claims, strict=True):
                    assert other.record(outcome, claim.number)
            else:
                other.release_claims(claims)

        display = RecordingDisplay(on_note=end_other_run)
        _, progress = run(ledger, tickets, executor, display=display)
    assert display.notes == ["2 jobs are claimed by another run: waiting; Ctrl-C stops"]
    assert set(ledger.states(tickets).values()) == {"done"}
    counts = (progress.done, progress.ended_by_other_runs, progress.left)
    assert counts == ((3, 2, 0) if records else (5, 0, 0))


def test_a_late_result_is_dropped(ledger, add_jobs, make_outcome, make_job, tmp_path):
    """If another run has taken a job over and recorded it, the late result is dropped with a note."""
    tickets, executor = add_jobs("lora"), FakeExecutor(make_outcome)
    [digest] = tickets

    def take_over(_: int) -> None:
        with Ledger(str(tmp_path / "r.db"), write=True) as other:
            other.begin("bench run")
            ledger.release_claims([Claim(digest, 1)])
            [claim] = other.claim([digest], 1)
            assert other.record(make_outcome(make_job(), score=0.125), claim.number)

    executor.at_poll = take_over
    display, progress = run(ledger, tickets, executor)
    assert (progress.done, progress.ended_by_other_runs) == (0, 1)
    assert any("another run has taken over" in line for line in display.notes)
    assert [entry.metrics["score"] for entry in ledger.entries()] == [0.125]


def test_an_error_of_the_ledger_kills_the_workers(ledger, add_jobs, make_outcome, monkeypatch):
    """When a result cannot be written, workers are killed at once and the error of the ledger is raised."""
    tickets, executor = add_jobs("lora", draws=3), FakeExecutor(make_outcome)

    def full(*_: object) -> bool:
        raise DiskTrouble("no space")

    monkeypatch.setattr(ledger, "record", full)
    with pytest.raises(DiskTrouble):
        run(ledger, tickets, executor)
    assert executor.closed_with_kill == [True]


@pytest.mark.parametrize("answer", [True, False])
def test_a_long_run_is_confirmed_once(answer, ledger, add_jobs, make_outcome):
    """A run that will take more than an hour asks once, as soon as steps were measured; a no ends it at once."""
    tickets, executor, estimates = add_jobs("lora", draws=4), FakeExecutor(make_outcome), []
    executor.polls_before_end = 20

    def confirm(seconds: float) -> bool:
        estimates.append(seconds)
        return answer

    _, progress = run(ledger, tickets, executor, confirm=confirm)
    # Half a second per step, 100,000 steps, four jobs in two workers: 100,000 s.
    assert estimates == [pytest.approx(100_000)]
    assert progress.done == (4 if answer else 0)
    assert executor.closed_with_kill == [not answer]


def test_a_short_run_is_not_confirmed(ledger, add_jobs, make_outcome, monkeypatch):
    """A run below the limit begins without a question."""
    monkeypatch.setattr(scheduler, "CONFIRM_ABOVE", 1e6)
    tickets, executor = add_jobs("lora", draws=4), FakeExecutor(make_outcome)
    executor.polls_before_end = 20
    _, progress = run(ledger, tickets, executor, confirm=lambda _: pytest.fail("asked"))
    assert progress.done == 4


def running(step, seconds, steps=500, jobs=1):
    """The status of a worker that runs a pack."""
    return WorkerStatus("cpu", "d", step, steps, testing=False, seconds=seconds, jobs=jobs)


def test_the_start_of_a_worker_is_not_measured():
    """The first estimate comes from steps alone: the minute that a worker took to start does not count."""
    estimator, progress = JobTimeEstimator(), RunProgress(total=10, ended_before=0)
    for step, seconds in ((0, 30.0), (1, 60.0), (11, 61.0), (21, 62.0)):
        assert progress.seconds_per_job is None
        estimator.update(progress, [running(step, seconds)])
    assert progress.seconds_per_job == pytest.approx(50)
    assert progress.seconds_left(2) == pytest.approx(250)


def test_the_steps_of_a_pack_are_those_of_all_its_jobs():
    """Before any job ended, a pack of five jobs that takes a minute means twelve seconds per job."""
    estimator, progress = JobTimeEstimator(), RunProgress(total=10, ended_before=0)
    for step, seconds in ((10, 1.0), (110, 13.0)):
        estimator.update(progress, [running(step, seconds, jobs=5)])
    assert progress.seconds_per_job == pytest.approx(12)
    assert progress.seconds_left(1) == pytest.approx(120)


def test_a_new_phase_is_measured_from_its_start():
    """A pack that counts its steps from 1 again, with another total, is measured from there."""
    estimator, progress = JobTimeEstimator(), RunProgress(total=64, ended_before=0)
    for step, seconds, steps in (
        (100, 1.0, 4000),
        (4000, 40.0, 4000),
        (100, 41.0, 40_000),
        (1100, 51.0, 40_000),
    ):
        estimator.update(progress, [running(step, seconds, steps, jobs=64)])
    assert progress.seconds_per_job == pytest.approx(400 / 64)


def test_a_running_job_counts_as_half_a_job(monkeypatch):
    """Half of the jobs in running packs count as done, not half of the workers."""
    monkeypatch.setattr("harness.scheduling.progress.monotonic", lambda: 100.0)
    progress = RunProgress(total=300, ended_before=0, done=64, started=0.0)
    JobTimeEstimator().update(progress, [running(1, 1.0, jobs=64)])
    assert progress.seconds_per_job == pytest.approx(100 / 96)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_nohup_is_respected():
    """SIGHUP stays ignored where nohup has set the system to ignore it."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watch_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.count == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_signals_are_counted_and_handlers_restored():
    """Inside the block signals are counted and do nothing else; afterwards the handlers are the old ones."""
    handler = signal.getsignal(signal.SIGINT)
    with watch_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.count, stop.last) == (2, signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_second_signal_ends_a_job_in_this_process(ledger, add_jobs):
    """The first signal lets the running job go on, the second ends it; the job is free again."""
    tickets, steps = add_jobs("lora", draws=2), []

    def work(*_):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            steps.append("went on")
        return []

    with watch_signals(in_process=True) as stop:
        _, progress = run(ledger, tickets, InlineExecutor("cpu", work), stop=stop)
    assert steps == ["went on"]
    assert (stop.exit_code, progress.left) == (130, 2)
    assert set(ledger.states(tickets).values()) == {"planned"}


def test_too_many_failures_start_no_further_job(ledger, add_jobs, make_outcome):
    """Running jobs end, the rest stays planned, and a message says so."""
    tickets, executor = add_jobs("bad", draws=10), FakeExecutor(make_outcome)
    display, progress = run(ledger, tickets, executor, limits=scheduler.Limits(failed_jobs=3))
    assert 3 <= progress.failed <= 4
    assert progress.left == 10 - progress.failed
    assert display.notes == [
        f"{progress.failed} jobs failed or diverged: no further jobs are started"
    ]
    assert executor.closed_with_kill == [False]


def test_a_job_that_takes_too_long_fails(ledger, add_jobs, make_outcome):
    """F6: a job that exceeds its time fails and is not tried again; its worker runs the other jobs."""
    tickets, executor = add_jobs("for ever", "lora", "prefix", draws=2), FakeExecutor(make_outcome)
    # Other jobs end within one poll, before the scheduler looks at their time.
    _, progress = run(ledger, tickets, executor, limits=scheduler.Limits(seconds_per_job=1))
    assert (progress.done, progress.failed) == (4, 2)
    errors = dict(ledger.errors())
    assert len(errors) == 2
    assert all(error.startswith("Timeout: ") for error in errors.values())
    assert all(len(ledger.attempts(digest)) == 1 for digest in errors)
