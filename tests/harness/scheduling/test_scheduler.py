"""The loop of `bench run`, with an executor that does as it is told."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from harness.errors import DiskTrouble
from harness.ledger import Claim, Ledger
from harness.outcome import Outcome
from harness.scheduling import other_runs, scheduler
from harness.scheduling.executors.base import PackFinished, PackLost, SlotStatus
from harness.scheduling.executors.inline import InlineExecutor
from harness.scheduling.progress import JobTimeEstimator, RunProgress
from harness.scheduling.signals import StopSignals, watch_signals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import faulty_work
from tests.support.displays import RecordingDisplay


class FakeExecutor:
    """Slots that finish what they were given at the next look, and lose the jobs of some labels."""

    def __init__(
        self, outcome: Callable[..., Outcome], slots: int = 2, lose: Mapping[str, int] | None = None
    ) -> None:
        self.devices = ("cpu",) * slots
        self.given: list[str] = []
        self.closed: list[bool] = []
        self.looks = 0
        self.busy_for = 0  # looks before anything ends
        self.at_look: Callable[[int], object] = lambda _: None
        self._outcome, self._lose = outcome, Counter(lose or {})
        self._held: dict[int, Ticket] = {}

    def idle(self) -> list[int]:
        return [slot for slot in range(len(self.devices)) if slot not in self._held]

    def submit(self, slot: int, tickets: list[Ticket]) -> None:
        assert slot not in self._held
        [self._held[slot]] = tickets
        self.given.append(tickets[0].job.digest)

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        assert timeout < 1
        self.looks += 1
        self.at_look(self.looks)
        if self.looks <= self.busy_for:
            return []
        ended = [self._end(slot, ticket) for slot, ticket in self._held.items()]
        self._held = {}
        return ended

    def _end(self, slot: int, ticket: Ticket) -> PackFinished | PackLost:
        if self._lose[ticket.job.label] > 0:
            self._lose[ticket.job.label] -= 1
            return PackLost(slot, (ticket.job.digest,), "killed")
        bad = {"status": "failed", "error": "ValueError: no"} if ticket.job.label == "bad" else {}
        return PackFinished(slot, (self._outcome(ticket.job, **bad),))

    def stop(self, slot: int) -> None:
        raise AssertionError(f"nothing takes too long in slot {slot}")

    def status(self) -> list[SlotStatus]:
        held = [self._held.get(slot) for slot in range(len(self.devices))]
        at = 10 * self.looks
        return [
            SlotStatus("cpu", one.job.digest if one else None, at, 100_000, False, 5.0 * self.looks)
            for one in held
        ]

    def close(self, *, kill: bool) -> None:
        self.closed.append(kill)


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger with a run begun."""
    with Ledger(str(tmp_path / "r.db"), write=True) as opened:
        opened.begin("bench run")
        yield opened


@pytest.fixture
def entered(ledger, make_job, tmp_path):
    """Enters jobs of some labels and gives their tickets."""

    def enter(*labels: str, draws: int = 1) -> dict[str, Ticket]:
        jobs = [make_job(label, draw) for draw in range(draws) for label in labels]
        ledger.add_jobs(jobs)
        task = REGISTRY["toy-sentiment"]
        return {
            job.digest: Ticket(job=job, task=task, keep="none", artefacts=tmp_path) for job in jobs
        }

    return enter


def go(ledger, tickets, executor, *, stop=None, display=None, **more):
    """Run the loop; what was shown and counted."""
    display, progress = (
        display or RecordingDisplay(),
        RunProgress(total=len(tickets), ended_before=0),
    )
    scheduler.Scheduler(
        ledger, tickets, executor, display, progress, stop or StopSignals(), **more
    ).run()
    return display, progress


def test_everything_is_recorded_once(ledger, entered, make_outcome):
    """Every job is given out once, in order, recorded and told of, the failed ones as failed, and workers are let go."""
    tickets, executor = entered("lora", "bad", "prefix", draws=5), FakeExecutor(make_outcome)
    display, progress = go(ledger, tickets, executor)
    assert executor.given == list(tickets)
    assert sorted(display.finished_digests) == sorted(tickets)
    assert display.slot_counts == {2}
    assert (progress.done, progress.failed, progress.left) == (10, 5, 0)
    states = ledger.states(tickets)
    assert all(
        states[digest] == ("failed" if one.job.label == "bad" else "done")
        for digest, one in tickets.items()
    )
    assert executor.closed == [False]
    again = FakeExecutor(make_outcome)
    go(ledger, tickets, again)
    assert again.given == []
    go(ledger, tickets, again, retry=["failed"])
    assert len(again.given) == 5


def test_a_job_that_kills_its_worker_is_set_aside(ledger, entered, make_outcome):
    """A job that loses its worker three times ends as failed with the reason, and the others are done."""
    tickets = entered("lora", "poison", "prefix")
    executor = FakeExecutor(make_outcome, lose={"poison": 99, "prefix": 2})
    display, progress = go(ledger, tickets, executor)
    [poison] = [digest for digest, one in tickets.items() if one.job.label == "poison"]
    assert Counter(executor.given)[poison] == scheduler.MAX_LOSSES == 3
    assert (progress.done, progress.failed, progress.left) == (2, 1, 0)
    assert ledger.states([poison]) == {poison: "failed"}
    [(digest, reason)] = ledger.errors()
    assert digest == poison
    assert "killed" in reason
    assert sum("trying again" in line for line in display.notes) == 4


def test_the_first_signal_lets_jobs_finish(ledger, entered, make_outcome):
    """After one signal nothing new is given out; what is under way is recorded; the rest stays to do; the user is told."""
    tickets, executor, stop = entered("lora", draws=6), FakeExecutor(make_outcome), StopSignals()
    executor.busy_for = 3
    executor.at_look = lambda look: look == 2 and stop(signal.SIGTERM, None)
    display, progress = go(ledger, tickets, executor, stop=stop)
    assert (len(executor.given), progress.done, progress.left) == (2, 2, 4)
    assert executor.closed == [False]
    assert stop.exit_code == 143
    assert any("once more stops at once" in line for line in display.notes)
    assert Counter(ledger.states(tickets).values()) == {"done": 2, "planned": 4}


def test_the_second_signal_ends_at_once(ledger, entered, make_outcome):
    """After two signals workers are killed and their jobs are free again."""
    tickets, executor, stop = entered("lora", draws=6), FakeExecutor(make_outcome), StopSignals()
    executor.busy_for = 1000
    executor.at_look = lambda look: look in (2, 4) and stop(signal.SIGINT, None)
    _, progress = go(ledger, tickets, executor, stop=stop)
    assert executor.looks == 4
    assert executor.closed == [True]
    assert stop.exit_code == 130
    assert progress.done == 0
    assert set(ledger.states(tickets).values()) == {"planned"}


@pytest.mark.parametrize("records", [True, False], ids=["ends them", "gives them back"])
def test_jobs_of_another_run_are_waited_for(
    records, ledger, entered, make_outcome, tmp_path, monkeypatch
):
    """Jobs that another run holds are not done here as long as it does, which the user is told; what it gives back is."""
    monkeypatch.setattr(other_runs, "CHECK_INTERVAL", 0.05)
    tickets, executor = entered("lora", draws=5), FakeExecutor(make_outcome)
    with Ledger(str(tmp_path / "r.db"), write=True) as other:
        other.begin("bench run")
        held = other.claim(list(tickets), 2)

        def end() -> None:
            assert len(executor.given) == 3
            if records:
                assert all(
                    other.record(make_outcome(tickets[digest].job), epoch) for digest, epoch in held
                )
            else:
                other.release_claims(held)

        display, progress = go(ledger, tickets, executor, display=RecordingDisplay(on_note=end))
    assert display.notes == [
        "2 jobs are in the hands of another run: waiting for them; Ctrl-C stops"
    ]
    assert set(ledger.states(tickets).values()) == {"done"}
    assert (progress.done, progress.elsewhere, progress.left) == (
        (3, 2, 0) if records else (5, 0, 0)
    )


def test_a_result_that_comes_too_late_is_dropped(ledger, entered, make_outcome, make_job, tmp_path):
    """A result whose job another run has taken over and recorded is dropped with a note; the other's stands."""
    tickets, executor = entered("lora"), FakeExecutor(make_outcome)
    [digest] = tickets

    def overtake(_: int) -> None:
        with Ledger(str(tmp_path / "r.db"), write=True) as other:
            other.begin("bench run")
            ledger.release_claims([Claim(digest, 1)])
            [claim] = other.claim([digest], 1)
            assert other.record(make_outcome(make_job(), score=0.125), claim.epoch)

    executor.at_look = overtake
    display, progress = go(ledger, tickets, executor)
    assert (progress.done, progress.elsewhere) == (0, 1)
    assert any("another run" in line for line in display.notes)
    assert [entry.metrics["score"] for entry in ledger.entries()] == [0.125]


def test_trouble_with_the_ledger_ends_the_workers(ledger, entered, make_outcome, monkeypatch):
    """When a result cannot be written, workers are killed rather than waited for, and the error is the ledger's."""
    tickets, executor = entered("lora", draws=3), FakeExecutor(make_outcome)

    def full(*_: object) -> bool:
        raise DiskTrouble("no space")

    monkeypatch.setattr(ledger, "record", full)
    with pytest.raises(DiskTrouble):
        go(ledger, tickets, executor)
    assert executor.closed == [True]


@pytest.mark.parametrize("answer", [True, False])
def test_a_long_run_is_asked_for_once(answer, ledger, entered, make_outcome):
    """Work that will take above an hour is asked for once, as soon as steps were measured; a no ends it at once."""
    tickets, executor, asked = entered("lora", draws=4), FakeExecutor(make_outcome), []
    executor.busy_for = 20

    def confirm(seconds: float) -> bool:
        asked.append(seconds)
        return answer

    _, progress = go(ledger, tickets, executor, confirm=confirm)
    # Half a second a step, 100,000 steps, four jobs in two slots: 100,000 s.
    assert asked == [pytest.approx(100_000)]
    assert progress.done == (4 if answer else 0)
    assert executor.closed == [not answer]


def test_a_short_run_is_not_asked_for(ledger, entered, make_outcome, monkeypatch):
    """Work of less than an hour begins without a question."""
    monkeypatch.setattr(scheduler, "CONFIRM_ABOVE", 1e6)
    tickets, executor = entered("lora", draws=4), FakeExecutor(make_outcome)
    executor.busy_for = 20
    _, progress = go(ledger, tickets, executor, confirm=lambda _: pytest.fail("asked"))
    assert progress.done == 4


def test_starting_a_worker_is_no_pace():
    """The first estimate is made from steps alone: the minute that a worker took to start counts for nothing."""
    pace, progress = JobTimeEstimator(), RunProgress(total=10, ended_before=0)
    for step, since in ((0, 30.0), (1, 60.0), (11, 61.0), (21, 62.0)):
        assert progress.seconds_per_job is None
        pace.update(progress, [SlotStatus("cpu", "d", step, 500, False, since)])
    assert progress.seconds_per_job == pytest.approx(50)
    assert progress.seconds_left(2) == pytest.approx(250)


def test_the_steps_of_a_pack_are_those_of_all_its_jobs():
    """Before any job is done, a pack of five that will take a minute means twelve seconds a job."""
    pace, progress = JobTimeEstimator(), RunProgress(total=10, ended_before=0)
    for step, since in ((10, 1.0), (110, 13.0)):
        pace.update(progress, [SlotStatus("cuda:0", "d", step, 500, False, since, jobs=5)])
    assert progress.seconds_per_job == pytest.approx(12)
    assert progress.seconds_left(1) == pytest.approx(120)


def test_who_begins_with_something_else_is_measured_anew():
    """A pack that reads drawn rows and then test rows counts from 1 twice: the second count is no step back of the first."""
    pace, progress = JobTimeEstimator(), RunProgress(total=64, ended_before=0)
    for step, since, steps in (
        (100, 1.0, 4000),
        (4000, 40.0, 4000),
        (100, 41.0, 40_000),
        (1100, 51.0, 40_000),
    ):
        pace.update(progress, [SlotStatus("cpu", "d", step, steps, False, since, jobs=64)])
    assert progress.seconds_per_job == pytest.approx(400 / 64)


def test_jobs_at_hand_count_by_half_each():
    """Where packs are at hand, half of their jobs count as done, and not half of their slots."""
    pace, progress = (
        JobTimeEstimator(),
        RunProgress(total=300, ended_before=0, done=64, started=time.monotonic() - 100),
    )
    pace.update(progress, [SlotStatus("cpu", "d", 1, 500, False, 1.0, jobs=64)])
    assert progress.seconds_per_job == pytest.approx(100 / 96, rel=0.01)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_a_run_that_is_to_outlive_its_terminal_does():
    """What nohup has told the system to ignore stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watch_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.count == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_counted_and_given_back():
    """Inside the block a signal is noted and does nothing else; afterwards handlers are what they were."""
    before = signal.getsignal(signal.SIGINT)
    with watch_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.count, stop.last) == (2, signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_ends_work_that_is_done_here(ledger, entered):
    """The first lets the job at hand go on, the second does not wait for its end; the job is free again."""
    tickets, steps = entered("lora", draws=2), []

    def work(*_):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            steps.append("went on")
        return []

    with watch_signals(in_process=True) as stop:
        _, progress = go(ledger, tickets, InlineExecutor("cpu", work), stop=stop)
    assert steps == ["went on"]
    assert (stop.exit_code, progress.left) == (130, 2)
    assert set(ledger.states(tickets).values()) == {"planned"}


def test_no_more_jobs_are_begun_after_too_many_failures(ledger, entered, make_outcome):
    """Those at hand end, the rest stays to do, and the user is told."""
    tickets, executor = entered("bad", draws=10), FakeExecutor(make_outcome)
    display, progress = go(ledger, tickets, executor, limits=scheduler.Limits(failures=3))
    assert 3 <= progress.failed <= 4
    assert progress.left == 10 - progress.failed
    assert display.notes == [f"{progress.failed} jobs failed: no more are begun"]
    assert executor.closed == [False]


def test_a_job_that_takes_too_long_is_ended(ledger, entered):
    """F6: it failed with its reason and is not tried again; its slot goes on with the others, whose worker is left alone."""
    from harness.scheduling.executors.local import LocalExecutor

    tickets = entered("for ever", "lora", "prefix", draws=2)
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    _, progress = go(ledger, tickets, executor, limits=scheduler.Limits(seconds=5))
    assert (progress.done, progress.failed) == (4, 2)
    errors = dict(ledger.errors())
    assert len(errors) == 2
    assert all(error.startswith("Timeout: ") for error in errors.values())
    assert all(len(ledger.attempts(digest)) == 1 for digest in errors)
