"""Executors: one contract, kept by all; and what only worker processes can promise."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import DiskTrouble
from harness.scheduling.executors.base import PackFinished, PackLost
from harness.scheduling.executors.inline import InlineExecutor
from harness.scheduling.executors.local import LocalExecutor
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import faulty_work

ROOT = Path(__file__).resolve().parents[3]
ALL = ("inline", "local", pytest.param("ray", marks=pytest.mark.ray))


@pytest.fixture(scope="module")
def executors():
    """One executor of each kind, kept for the module: a worker takes seconds to start."""
    made = Executors()
    yield made
    for executor in made.values():
        executor.close(kill=True)


class Executors(dict):
    """Made when they are first asked for: Ray takes longest, and may not be there."""

    def __missing__(self, kind):
        if kind == "ray":
            pytest.importorskip("ray", reason="the extra `ray` is not installed")
            from harness.scheduling.executors.ray import RayExecutor

            with pytest.MonkeyPatch.context() as patched:
                patched.setenv(
                    "PYTHONPATH", os.pathsep.join(sys.path)
                )  # its workers import `faulty_work` by name
                self[kind] = RayExecutor("local", 1, faulty_work.work)
        else:
            self[kind] = (
                InlineExecutor("cpu", faulty_work.work)
                if kind == "inline"
                else LocalExecutor(["cpu"], work=faulty_work.work)
            )
        return self[kind]


@pytest.fixture
def ticket(make_job, tmp_path):
    """Makes a ticket whose label says what goes wrong."""

    def make(label: str, draw: int = 0) -> Ticket:
        return Ticket(
            job=make_job(label, draw),
            task=REGISTRY["toy-sentiment"],
            keep="none",
            artefacts=tmp_path,
        )

    return make


def wait_for(executor, count: int = 1, seconds: float = 60):
    """The next events."""
    found, end = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += executor.events(0.1)
    return found


def wait_until_under_way(executor, slot: int = 0) -> None:
    """Until the job of a slot has taken its first step."""
    end = time.monotonic() + 60
    while not executor.status()[slot].step and time.monotonic() < end:
        time.sleep(0.02)


def worker_of(executor, slot: int = 0) -> int:
    """The number of a slot's process."""
    return next(iter(executor._slots[slot]._pool._processes))


@pytest.mark.parametrize("kind", ALL)
def test_a_job_comes_back(kind, executors, ticket):
    """A pack's outcomes come back in one event, once, and the slot is idle again and shows nothing of it."""
    executor, one, two = executors[kind], ticket("ok", 1), ticket("ok", 2)
    assert executor.idle() == [0]
    executor.submit(0, [one, two])
    assert executor.idle() == []
    [event] = wait_for(executor)
    assert isinstance(event, PackFinished)
    assert [outcome.digest for outcome in event.outcomes] == [one.job.digest, two.job.digest]
    assert executor.idle() == [0]
    assert executor.events(0) == []
    [where] = executor.status()
    assert (where.digest, where.step, where.testing) == (None, 0, False)


@pytest.mark.parametrize("fault", ["raise", "exit"])
@pytest.mark.parametrize("kind", ALL)
def test_work_that_raises_loses_only_its_job(kind, fault, executors, ticket):
    """An exception that leaves the work, SystemExit too, loses the pack and nothing else: the slot takes the next."""
    executor, bad = executors[kind], ticket(fault)
    executor.submit(0, [bad])
    [event] = wait_for(executor)
    assert isinstance(event, PackLost)
    assert event.digests == (bad.job.digest,)
    assert ("out of luck" if fault == "raise" else "SystemExit") in event.reason
    event.reason.encode()  # text that can be printed and kept, whatever the error said
    executor.submit(0, [ticket("ok")])
    [event] = wait_for(executor)
    assert isinstance(event, PackFinished)


@pytest.mark.parametrize("kind", ALL)
def test_a_full_disk_is_no_jobs_fault(kind, executors, ticket):
    """It leaves the executor as what it is, also out of a process or a node, and ends the run."""
    executors[kind].submit(0, [ticket("full disk")])
    with pytest.raises(DiskTrouble, match="no space"):
        wait_for(executors[kind])


def test_what_came_back_beside_a_full_disk_is_not_lost(ticket):
    """Two slots come back at one time, one with results and one with the trouble: the results are told first."""
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    try:
        executor.submit(0, [ticket("ok")])
        executor.submit(1, [ticket("full disk")])
        end = time.monotonic() + 60
        while not all(slot.future.done() for slot in executor._slots) and time.monotonic() < end:
            time.sleep(0.02)
        [event] = executor.events(0)
        assert isinstance(event, PackFinished)
        with pytest.raises(DiskTrouble, match="no space"):
            executor.events(0)
    finally:
        executor.close(kill=True)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="a disk that is always full, as Linux has it"
)
def test_a_full_disk_is_told_where_tensors_come_by_value(ticket, tmp_path):
    """What a node of a cluster sent has no room here."""
    from harness.scheduling.executors.ray import _keep_tensors

    one = ticket("ok")
    (tmp_path / f"{one.job.digest}.draft").symlink_to("/dev/full")
    with pytest.raises(DiskTrouble, match="free some space"):
        _keep_tensors({one.job.digest: b"tensors"}, [one])


@pytest.mark.parametrize("fault", ["die", "vanish", "unpicklable"])
def test_a_worker_that_dies_loses_only_its_job(fault, executors, ticket):
    """A worker killed in the middle, one that leaves, an outcome that cannot travel: the job is lost, the slot works again."""
    executor, bad = executors["local"], ticket(fault)
    executor.submit(0, [bad])
    [event] = wait_for(executor)
    assert isinstance(event, PackLost)
    assert event.digests == (bad.job.digest,)
    executor.submit(0, [ticket("ok")])
    [event] = wait_for(executor)
    assert isinstance(event, PackFinished)


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced(executors, ticket):
    """The next pack gets a new one; nothing is lost and nobody is told."""
    executor = executors["local"]
    executor.submit(0, [ticket("ok", 1)])
    assert isinstance(wait_for(executor)[0], PackFinished)
    os.kill(worker_of(executor), signal.SIGKILL)
    time.sleep(0.5)
    executor.submit(0, [ticket("ok", 2)])
    assert isinstance(wait_for(executor)[0], PackFinished)


def test_slots_are_independent(ticket):
    """A worker's death leaves the other slot's worker and its job alone; a worker ignores what the terminal sends to all."""
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    try:
        slow, bad = ticket("sleep"), ticket("die")
        executor.submit(0, [slow])
        wait_until_under_way(executor)
        process = worker_of(executor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process, number)
        executor.submit(1, [bad])
        lost, finished = sorted(wait_for(executor, 2), key=lambda event: -event.slot)
        assert isinstance(lost, PackLost)
        assert lost.digests == (bad.job.digest,)
        assert isinstance(finished, PackFinished)
        assert finished.outcomes[0].device == f"cpu {process}"
    finally:
        executor.close(kill=True)


def test_closing_with_kill_does_not_wait(executors, ticket):
    """`close(kill=True)` ends a busy worker at once, and the executor can be used again."""
    executor = executors["local"]
    executor.submit(0, [ticket("for ever")])
    wait_until_under_way(executor)
    process, started = worker_of(executor), time.monotonic()
    executor.close(kill=True)
    assert time.monotonic() - started < 5
    assert not alive(process)
    assert executor.idle() == [0]


ORPHAN = """
import pathlib, time
from dataclasses import replace
from harness.scheduling.executors.local import LocalExecutor
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training, faulty_work
if __name__ == "__main__":
    executor = LocalExecutor(["cpu"], work=faulty_work.work)
    job = replace(fake_training.job(0), label="for ever")
    executor.submit(0, [Ticket(job=job, task=REGISTRY["toy-sentiment"], keep="none", artefacts=pathlib.Path())])
    while not executor.status()[0].step:
        time.sleep(0.02)
    print(next(iter(executor._slots[0]._pool._processes)), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="asks the Linux kernel to end workers"
)
def test_no_orphans(tmp_path):
    """When the command is killed outright, its workers are gone within a second or two."""
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 2
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(worker)


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in (
            "Z",
            "X",
        )
    except OSError:
        return False
