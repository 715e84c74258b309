"""Executors: the contract that all of them keep, and what only worker processes can guarantee."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DiskTrouble
from harness.scheduling.executors.base import PackFinished, PackLost
from harness.scheduling.executors.inline import InlineExecutor
from harness.scheduling.executors.local import LocalExecutor
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import faulty_work
from tests.support.processes import is_running, wait_until

ROOT = Path(__file__).resolve().parents[3]
ALL = ("inline", "local", pytest.param("ray", marks=pytest.mark.ray))


@pytest.fixture(scope="module")
def executors():
    """One executor of each kind for the whole module: a worker takes seconds to start."""
    made = Executors()
    yield made
    for executor in made.values():
        executor.close(kill=True)


class Executors(dict):
    """Executors by kind, made at the first use: Ray starts slowly and may not be installed."""

    def __missing__(self, kind):
        if kind == "inline":
            self[kind] = InlineExecutor("cpu", faulty_work.work)
        elif kind == "local":
            self[kind] = LocalExecutor(["cpu"], work=faulty_work.work)
        else:
            pytest.importorskip("ray", reason="the extra `ray` is not installed")
            from harness.scheduling.executors.ray import RayExecutor

            with pytest.MonkeyPatch.context() as patched:
                # Its workers import `faulty_work` by name.
                patched.setenv("PYTHONPATH", os.pathsep.join(sys.path))
                self[kind] = RayExecutor("local", 1, faulty_work.work)
        return self[kind]


@pytest.fixture
def ticket(make_job, tmp_path):
    """Return a function that makes a ticket; the label of its job names what goes wrong."""

    def make(label: str, draw: int = 0) -> Ticket:
        return Ticket(
            job=make_job(label, draw),
            task=REGISTRY["toy-sentiment"],
            keep="none",
            artefacts=tmp_path,
        )

    return make


def next_events(executor, count: int = 1):
    """Wait for some events."""
    events = []
    wait_until(lambda: len(events) >= count or events.extend(executor.events(0.1)))
    return events


def wait_for_first_step(executor, worker: int = 0) -> None:
    """Wait until the job of a worker has taken its first step."""
    wait_until(lambda: executor.status()[worker].step)


def pid_of(executor, worker: int = 0) -> int:
    """Return the process id of a worker."""
    return next(iter(executor._workers[worker]._pool._processes))


@pytest.mark.parametrize("kind", ALL)
def test_a_pack_ends_in_one_event(kind, executors, ticket):
    """The outcomes of a pack arrive in one event, once; then the worker is idle and shows nothing of the pack."""
    executor, first, second = executors[kind], ticket("ok", 1), ticket("ok", 2)
    assert executor.idle() == [0]
    executor.submit(0, [first, second])
    assert executor.idle() == []
    [event] = next_events(executor)
    assert isinstance(event, PackFinished)
    assert [outcome.digest for outcome in event.outcomes] == [first.job.digest, second.job.digest]
    assert executor.idle() == [0]
    assert executor.events(0) == []
    [worker] = executor.status()
    assert (worker.digest, worker.step, worker.testing) == (None, 0, False)


@pytest.mark.parametrize("fault", ["raise", "exit"])
@pytest.mark.parametrize("kind", ALL)
def test_work_that_raises_loses_only_its_pack(kind, fault, executors, ticket):
    """An exception in the work, even SystemExit, loses the pack and nothing else: the worker takes the next one."""
    executor, bad = executors[kind], ticket(fault)
    executor.submit(0, [bad])
    [event] = next_events(executor)
    assert isinstance(event, PackLost)
    assert event.digests == (bad.job.digest,)
    assert ("out of luck" if fault == "raise" else "SystemExit") in event.reason
    event.reason.encode()  # the reason is valid Unicode even if the error's text is not
    executor.submit(0, [ticket("ok")])
    [event] = next_events(executor)
    assert isinstance(event, PackFinished)


@pytest.mark.parametrize("kind", ALL)
def test_a_full_disk_ends_the_run(kind, executors, ticket):
    """DiskTrouble is raised as such, also from a process or a node: no job is at fault."""
    executors[kind].submit(0, [ticket("full disk")])
    with pytest.raises(DiskTrouble, match="no space"):
        next_events(executors[kind])


def test_outcomes_that_arrive_with_a_full_disk_are_not_lost(ticket):
    """If one worker finishes and another one raises DiskTrouble at the same time, the outcomes are returned first."""
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    try:
        executor.submit(0, [ticket("ok")])
        executor.submit(1, [ticket("full disk")])
        wait_until(lambda: all(worker.future.done() for worker in executor._workers))
        [event] = executor.events(0)
        assert isinstance(event, PackFinished)
        with pytest.raises(DiskTrouble, match="no space"):
            executor.events(0)
    finally:
        executor.close(kill=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_reported_for_tensors_received_by_value(ticket, tmp_path):
    """If there is no space for the tensors that a cluster node sent, DiskTrouble says so."""
    from harness.scheduling.executors.ray import _keep_tensors

    sent = ticket("ok")
    (tmp_path / f"{sent.job.digest}.draft").symlink_to("/dev/full")
    with pytest.raises(DiskTrouble, match="free some space"):
        _keep_tensors({sent.job.digest: b"tensors"}, [sent])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("local", "die"),
        ("local", "vanish"),
        ("local", "unpicklable"),
        pytest.param("ray", "die", marks=pytest.mark.ray),
    ],
)
def test_a_worker_that_dies_loses_only_its_pack(kind, fault, executors, ticket):
    """If a worker is killed, exits, or returns what cannot be pickled, its pack is lost and the worker works again."""
    executor, bad = executors[kind], ticket(fault)
    executor.submit(0, [bad])
    [event] = next_events(executor)
    assert isinstance(event, PackLost)
    assert event.digests == (bad.job.digest,)
    executor.submit(0, [ticket("ok")])
    [event] = next_events(executor)
    assert isinstance(event, PackFinished)


def test_a_worker_that_dies_while_idle_is_replaced(executors, ticket):
    """The next pack gets a new worker; nothing is lost and nothing is reported."""
    executor = executors["local"]
    executor.submit(0, [ticket("ok", 1)])
    assert isinstance(next_events(executor)[0], PackFinished)
    pid = pid_of(executor)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    executor.submit(0, [ticket("ok", 2)])
    [event] = next_events(executor)
    # The pool may notice the death only after it has taken the pack, which is then lost.
    assert isinstance(event, PackFinished | PackLost)
    if isinstance(event, PackLost):
        executor.submit(0, [ticket("ok", 2)])
        assert isinstance(next_events(executor)[0], PackFinished)


def test_workers_are_independent(ticket):
    """The death of a worker leaves other workers and their jobs alone; workers ignore what a terminal sends to all."""
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    try:
        slow, bad = ticket("sleep"), ticket("die")
        executor.submit(0, [slow])
        wait_for_first_step(executor)
        pid = pid_of(executor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        executor.submit(1, [bad])
        lost, finished = sorted(next_events(executor, 2), key=lambda event: -event.worker)
        assert isinstance(lost, PackLost)
        assert lost.digests == (bad.job.digest,)
        assert isinstance(finished, PackFinished)
        assert finished.outcomes[0].device == f"cpu {pid}"
    finally:
        executor.close(kill=True)


def test_two_workers_run_two_jobs_at_the_same_time(ticket, tmp_path, monkeypatch):
    """Each job waits for the other one to begin, so that neither could end if they ran one after the other."""
    monkeypatch.setenv("BENCH_MEETING", str(tmp_path))
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    try:
        for worker in range(2):
            executor.submit(worker, [ticket("meet", worker)])
        assert all(isinstance(event, PackFinished) for event in next_events(executor, 2))
    finally:
        executor.close(kill=True)


def test_a_killed_worker_loses_its_pack(executors, ticket):
    """`kill_worker` ends a job that would run for ever; the pack is lost and the worker works again."""
    executor, endless = executors["local"], ticket("for ever")
    executor.submit(0, [endless])
    wait_for_first_step(executor)
    executor.kill_worker(0)
    [event] = next_events(executor)
    assert isinstance(event, PackLost)
    assert event.digests == (endless.job.digest,)
    executor.submit(0, [ticket("ok")])
    assert isinstance(next_events(executor)[0], PackFinished)


def test_closing_with_kill_does_not_wait_for_a_job(executors, ticket):
    """`close(kill=True)` kills a worker whose job would run for ever, and the executor can be used again."""
    executor = executors["local"]
    executor.submit(0, [ticket("for ever")])
    wait_for_first_step(executor)
    pid = pid_of(executor)
    executor.close(kill=True)
    assert not is_running(pid)
    assert executor.idle() == [0]


ORPHAN = """
import pathlib, time
from dataclasses import replace
from harness.scheduling.executors import worker_start
from harness.scheduling.executors.local import LocalExecutor
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training, faulty_work
if __name__ == "__main__":
    if FORKED:
        worker_start.start_server()
    executor = LocalExecutor(["cpu"], work=faulty_work.work)
    job = replace(fake_training.job(0), label="for ever")
    executor.submit(0, [Ticket(job=job, task=REGISTRY["toy-sentiment"], keep="none", artefacts=pathlib.Path())])
    while not executor.status()[0].step:
        time.sleep(0.02)
    print(next(iter(executor._workers[0]._pool._processes)), flush=True)
    time.sleep(600)
"""


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Linux forks workers and lists processes"
)


@linux
@pytest.mark.parametrize("forked", [False, True])
def test_no_worker_outlives_a_killed_command(tmp_path, forked):
    """When the command is killed, its workers end too, although their job would run for ten minutes."""
    script = tmp_path / "orphan.py"
    script.write_text(f"FORKED = {forked}\n{ORPHAN}")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    assert is_running(worker)
    server = parent_of(worker)
    assert (server != parent.pid) == forked
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_running(worker) and not is_running(server))


def parent_of(pid: int) -> int:
    """Return the process that started this process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


FORKED_WORKER = """
import json, os, pathlib, signal, sys, time
from dataclasses import replace
from harness.scheduling.executors import worker_start
from harness.scheduling.executors.local import LocalExecutor
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from multiprocessing import forkserver
from tests.support import fake_training, faulty_work

def ticket(label):
    job = replace(fake_training.job(0), label=label)
    return Ticket(job=job, task=REGISTRY["toy-sentiment"], keep="none", artefacts=pathlib.Path())

def event(executor):
    while not (events := executor.events(1)):
        pass
    return events[0]

if __name__ == "__main__":
    before = dict(os.environ)
    worker_start.start_server()
    executor = LocalExecutor(["cpu", "cpu"], work=faulty_work.work)
    executor.submit(0, [ticket("environment")])
    environment = json.loads(event(executor).outcomes[0].device)
    server = forkserver._forkserver._forkserver_pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(server, number)  # as a terminal sends them to every process
    executor.submit(1, [ticket("ok")])
    event(executor)
    survived = server == forkserver._forkserver._forkserver_pid
    executor.submit(0, [ticket("for ever")])
    while not executor.status()[0].step:
        time.sleep(0.02)
    os.kill(server, signal.SIGKILL)
    lost = type(event(executor)).__name__
    executor.submit(0, [ticket("environment")])
    again = json.loads(event(executor).outcomes[0].device)
    executor.close(kill=True)
    print(json.dumps([environment, survived, lost, again, before == dict(os.environ)]))
"""


@linux
def test_workers_are_forked_from_a_server(tmp_path):
    """A forked worker is like a spawned one, signals do not end the server, and its death costs only packs."""
    script = tmp_path / "forked.py"
    script.write_text(FORKED_WORKER)
    process = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first, survived, lost, again, kept = json.loads(process.stdout)
    assert first["preloaded"]
    assert first == again
    assert first["variables"]["OMP_NUM_THREADS"] == first["variables"]["HF_HUB_OFFLINE"] == "1"
    assert first["variables"]["CUDA_VISIBLE_DEVICES"] == ""
    assert first["threads"] == 1
    assert survived
    assert lost == "PackLost"
    assert kept
