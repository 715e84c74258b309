"""Faults of what a machine has too little of: memory to train and to test, descriptors, shared memory, a home to write to."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from harness.backbones.loading import Backbone
from harness.commands import show
from harness.geometry import Geometry
from harness.ledger import Ledger
from harness.outcome import unpack_predictions
from harness.scheduling import scheduler
from harness.scheduling.executors.inline import InlineExecutor
from harness.scheduling.executors.local import LocalExecutor
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import StopSignals
from harness.study import planning, request
from harness.study.grid_options import GridOptions
from harness.training import job_run, packed, testing, worker, worker_cache
from harness.training.job_run import JobRun
from harness.training.ticket import Ticket
from tests.harness.training.test_packed import tickets_of
from tests.support import low_memory_work
from tests.support.displays import RecordingDisplay

pytestmark = pytest.mark.fault
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
GRID = ("--methods", "lora", "--tasks", "toy-sentiment", "--draws", 2, "-j", 2, "--keep", "none")


@pytest.fixture(autouse=True)
def one_thread():
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def apart():
    """Words that start a command with mounts of its own, or skip."""
    words = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    )
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no mounts of one's own here")
    return words


def ended(bench, folder, prefix, **env):
    """How `bench run` ends when another command starts it."""
    words = [*prefix, *bench.command(*bench.run_words("r.db", *GRID))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return bench.end(subprocess.Popen(words, cwd=folder, env=bench.env | env, text=True, **pipes))


@linux
def test_a_job_that_the_host_has_no_memory_for_fails_alone(tmp_path):
    """F9: an allocation is refused; the job is tried three times, each in a new worker, and fails; no other job is harmed."""
    grid = GridOptions(
        model="tiny", methods="fine-tuning", tasks="toy-sentiment", sizes="1500", draws="3", steps="1", batch_size="1500",
        test_limit="30",
    )  # fmt: skip
    plan = planning.plan(request.read(grid)[0])
    tickets = {
        job.digest: Ticket(job=job, task=plan.tasks[job.rows.task], keep="none", artefacts=tmp_path)
        for job in plan.jobs
    }
    executor, display = LocalExecutor(["cpu"], work=low_memory_work.work), RecordingDisplay()
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.add_jobs(plan.jobs)
        ledger.begin("bench run")
        scheduler.Scheduler(
            ledger, tickets, executor, display, RunProgress(total=3, ended_before=0), StopSignals()
        ).run()
        assert [entry.state for entry in ledger.entries()] == ["done", "failed", "done"]
        [(digest, error)] = ledger.errors()
    assert digest == plan.jobs[1].digest
    assert len(display.notes) == 2, display.notes
    assert error.startswith("WorkerDied: 3 times (MemoryError: the host has no memory left (")
    assert error.endswith("; is there enough memory?")


@linux
def test_the_peak_of_memory_is_each_jobs_own(tmp_path):
    """What an earlier job needed is not counted to the next one that the same worker does."""
    [ticket] = tickets_of(tmp_path, draws=1, places=1)
    worker.run_pack(
        [ticket], "cpu", lambda *_: None
    )  # libraries and backbone are there from now on
    block = torch.ones(100 << 20)  # 400 MiB
    del block
    high = job_run._peak("cpu")
    (found,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert 0 < found.peak_bytes < high - (300 << 20)


@pytest.mark.parametrize(
    ("refused", "status", "shape"), [(1, "done", "2x16x16"), (2, "done", "1"), (99, "failed", "1")]
)
def test_out_of_memory_while_testing_halves_the_pack(tmp_path, monkeypatch, refused, status, shape):
    """F7: the first tests of a pack find no memory: it is done in smaller packs, at last alone, which is told and recorded."""
    whole, asked = testing.predict, []

    def small(adapted, tensors, rows, weights=None):
        asked.append(len(rows))
        if len(asked) <= refused:
            raise torch.OutOfMemoryError("no room to test")
        return whole(adapted, tensors, rows, weights)

    monkeypatch.setattr(testing, "predict", small)
    found = worker.run_pack(tickets_of(tmp_path, draws=4, places=4), "cpu", lambda *_: None)
    assert [(one.status, str(one.geometry)) for one in found] == [(status, shape)] * 4
    assert ["no memory for" in one.note for one in found] == [True, False, False, False]
    assert {one.error for one in found} == {
        "" if status == "done" else "OutOfMemoryError: no room to test"
    }
    monkeypatch.undo()
    if status == "done":
        places = int(shape.partition("x")[0])
        again = worker.run_pack(
            tickets_of(tmp_path, draws=4, places=places), "cpu", lambda *_: None
        )
        assert [one.predictions for one in found] == [one.predictions for one in again]


@pytest.mark.parametrize("options", [{}, {"zeroed": True, "rules": True}])
def test_out_of_memory_while_testing_alone_makes_calls_smaller(tmp_path, monkeypatch, options):
    """F7: a job alone is trained once; its test rows go through the model in calls that fit, which is told and recorded."""
    [ticket] = [
        replace(one, geometry=Geometry(), **options)
        for one in tickets_of(tmp_path, draws=1, places=1)
    ]
    (before,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    trainings, calls = [], []
    monkeypatch.setattr(
        JobRun, "training_loop", lambda *a, whole=JobRun.training_loop: trainings.append(1) or whole(*a)
    )
    monkeypatch.setattr(Backbone, "__call__", tight(calls, 100))
    (found,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (found.status, found.error, len(trainings)) == ("done", "", 1)
    tokens = found.geometry.test_tokens
    assert found.geometry == Geometry(test_tokens=tokens)
    assert 50 <= tokens <= 100
    assert f"they had {tokens} tokens at most" in found.note
    assert max(calls) > 100 > min(calls)
    assert found.metrics == before.metrics
    assert unpack_predictions(found.predictions) == unpack_predictions(before.predictions)
    assert (
        show._describe(found.geometry)
        == f"trained alone; tested in calls of at most {tokens} tokens"
    )


def test_no_memory_for_a_single_test_row_fails_one_job(tmp_path, monkeypatch):
    """F7: where calls cannot be smaller the job fails in words, and the worker goes on."""
    [ticket] = [
        replace(one, geometry=Geometry()) for one in tickets_of(tmp_path, draws=1, places=1)
    ]
    with monkeypatch.context() as patched:
        patched.setattr(Backbone, "__call__", tight([], 1))
        (found,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (found.status, found.error) == ("failed", "OutOfMemoryError: no room")
    assert worker.run_pack([ticket], "cpu", lambda *_: None)[0].status == "done"


def test_no_memory_for_a_source_leaves_the_backbone_as_it_was(tmp_path, monkeypatch):
    """F7: where the device has no room for a pack's tensors the pack is halved, and no slot of the first try is in the way."""
    whole, asked = JobRun.adapted, []

    def full(self, slots):
        asked.append(1)
        if len(asked) == 3:
            raise torch.OutOfMemoryError("no room for tensors")
        return whole(self, slots)

    tickets = tickets_of(tmp_path, draws=4, places=4)
    worker.run_pack(tickets, "cpu", lambda *_: None)  # whether this kind may pack is known
    monkeypatch.setattr(JobRun, "adapted", full)
    found = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [(one.status, str(one.geometry)) for one in found] == [("done", "2x16x16")] * 4


def test_no_memory_while_a_method_is_probed_says_nothing_of_it(tmp_path, monkeypatch):
    """F7: a probe that finds no memory is made again another time; a backbone that may pack is not kept from it for ever."""
    tickets = tickets_of(tmp_path, draws=2, places=2)
    monkeypatch.setattr(worker_cache, "MAY_PACK", {})
    with monkeypatch.context() as patched:
        patched.setattr(
            packed.Pack,
            "forward",
            lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")),
        )
        found = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [(one.status, str(one.geometry)) for one in found] == [("done", "1")] * 2
    assert [str(one.geometry) for one in worker.run_pack(tickets, "cpu", lambda *_: None)] == [
        "2x16x16"
    ] * 2


@pytest.mark.parametrize("places", [1, 2])
def test_a_broken_device_ends_the_worker_and_blames_nobody(tmp_path, monkeypatch, places):
    """F8: after a failed assertion on a GPU each further call of the process fails: it ends, its pack is tried elsewhere."""
    broken = torch.AcceleratorError("CUDA error: device-side assert triggered")
    monkeypatch.setattr(job_run.JobRun, "outcome", lambda *_, **__: (_ for _ in ()).throw(broken))
    with pytest.raises(worker.DeviceLost, match=r"of no more use to this process \(CUDA error"):
        worker.run_pack(tickets_of(tmp_path, draws=2, places=places), "cpu", lambda *_: None)


def test_a_failed_job_does_not_send_the_others_one_by_one(tmp_path, monkeypatch):
    """Where a pack is halved and its first job fails, the rest of the study goes on in halves all the same."""
    whole, tried = packed.Pack.fit, []

    def small(self, trainings):
        tried.append(self._geometry.pack_size)
        if self._geometry.pack_size > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, trainings)

    tickets = {ticket.job.digest: ticket for ticket in tickets_of(tmp_path, draws=8, places=4)}
    first, tested = next(iter(tickets)), JobRun.outcome

    def failing(self, *given):
        if self.job.digest == first:
            raise ValueError("this one fails")
        return tested(self, *given)

    monkeypatch.setattr(packed.Pack, "fit", small)
    monkeypatch.setattr(JobRun, "outcome", failing)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.begin("bench run")
        ledger.add_jobs([ticket.job for ticket in tickets.values()])
        scheduler.Scheduler(
            ledger,
            tickets,
            InlineExecutor("cpu"),
            RecordingDisplay(),
            RunProgress(total=8, ended_before=0),
            StopSignals(),
        ).run()
        assert sorted(entry.state for entry in ledger.entries()) == ["done"] * 7 + ["failed"]
    assert tried == [4, 2, 2, 2, 2]


def test_a_job_planned_by_another_version_is_not_computed_under_its_name(tmp_path):
    """A node with older code says so: the digest stands for numbers of the version in it."""
    [ticket] = tickets_of(tmp_path, draws=1, places=1)
    newer = replace(ticket, job=replace(ticket.job, method_version=ticket.job.method_version + 1))
    (found,) = worker.run_pack([newer], "cpu", lambda *_: None)
    assert found.status == "failed"
    assert "use the bench that made the plan" in found.error


def tight(calls, most):
    """Calls of the model, on a device that without gradients holds so many tokens."""

    def call(backbone, batch, whole=Backbone.__call__):
        calls.append(batch["input_ids"].numel())
        if not torch.is_grad_enabled() and calls[-1] > most:
            raise torch.OutOfMemoryError("no room")
        return whole(backbone, batch)

    return call


@linux
@pytest.mark.parametrize(("files", "code"), [(24, 69), (64, 0)])
def test_few_file_descriptors_are_enough_or_are_named(bench, tmp_path, files, code):
    """F31: 64 do; with 24 two workers cannot be started, which is said in a line, and nothing hangs."""
    done = ended(bench, tmp_path, ["bash", "-c", f'ulimit -n {files}; exec "$@"', "limited"])
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert ("no worker can be started (Too many open files)" in done.err) == (code == 69)
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["planned" if code else "done"] * 2


@linux
@pytest.mark.parametrize("room", ["size=4k", "size=4k,nr_inodes=1"])
def test_no_shared_memory_is_named(bench, tmp_path, apart, room):
    """F31: /dev/shm is full, or takes no further file; no worker can be started, and no claim is left behind."""
    done = ended(
        bench,
        tmp_path,
        [*apart, "bash", "-c", f'mount -t tmpfs -o {room} tmpfs /dev/shm; exec "$@"', "full"],
    )
    assert done.code == 69, done.err
    assert "Traceback" not in done.err
    assert "no worker can be started (No space left on device)" in done.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["planned"] * 2


@linux
def test_a_home_that_cannot_be_written_ends_no_run(bench, tmp_path, apart):
    """F31: caches have no place; the run costs more time and gives the same result."""
    (tmp_path / "home").mkdir()
    named = {"BENCH_CACHE": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path / "home")}
    script = 'mount -t tmpfs -o ro tmpfs "$HOME" && ! touch "$HOME/a" 2>/dev/null && unset HF_HOME && exec "$@"'
    done = ended(bench, tmp_path, [*apart, "bash", "-c", script, "home"], **named)
    assert done.code == 0, done.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["done"] * 2


def test_timing_trains_every_job_alone(bench, tmp_path):
    """`--timing` outweighs `--pack` and `-j`: no result's seconds are a pack's share, or spared by features of other jobs."""
    words = (
        "--methods",
        "lora,features",
        "--tasks",
        "toy-sentiment",
        "--draws",
        3,
        "--keep",
        "none",
        "--pack",
        3,
        "-j",
        2,
    )
    assert bench.run(tmp_path, "r.db", *words, "--timing").code == 0
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.result["geometry"] for entry in ledger.entries()] == ["1"] * 6


@pytest.mark.ray
def test_timing_has_one_slot_on_a_cluster():
    """`--executor ray --timing`: of a cluster of two cores one is used, so that no job shares its node with another."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from harness.commands import run

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        how = SimpleNamespace(
            executor="ray", timing=True, jobs="2", inline=False, ray_address="auto"
        )
        executor = run._executor(["cpu", "cpu"], how)
        assert executor.devices == ("cpu",)
        executor.close(kill=True)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        how.timing = False
        executor = run._executor(["cpu", "cpu"], how)
        assert executor.devices == ("cpu", "cpu")
        executor.close(kill=True)
    finally:
        ray.shutdown()
