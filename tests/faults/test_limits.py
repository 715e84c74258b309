"""Faults of a machine with too little memory, file descriptors, shared memory, or without a writable home."""

import os
import shlex
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
from harness.training import packed, peak_memory, testing
from harness.training.jobs import job_run, worker, worker_cache
from harness.training.jobs.job_run import JobRun
from harness.training.ticket import Ticket
from tests.support import low_memory_work
from tests.support.displays import RecordingDisplay
from tests.support.trainings import tickets_of

pytestmark = pytest.mark.fault
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs limits of Linux")
GRID = ("--methods", "lora", "--tasks", "toy-sentiment", "--draws", 2, "-j", 2, "--keep", "none")


@pytest.fixture(autouse=True)
def one_thread():
    """Compute with one thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def unshare():
    """The words that start a command with its own mounts; skip the test where that is not possible."""
    words = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    )
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs permission for mounts in a namespace")
    return words


def run_under(prefix, bench, folder, **env):
    """Run `bench run` under another command and return how it ended."""
    words = [*prefix, *bench.command(*bench.run_words("r.db", *GRID))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return bench.end(subprocess.Popen(words, cwd=folder, env=bench.env | env, text=True, **pipes))


@pytest.mark.slow
@linux
def test_a_job_that_the_host_has_no_memory_for_fails_alone(tmp_path):
    """F9: a job whose allocation is refused fails after three attempts in new workers; the other jobs are done."""
    grid = GridOptions(
        model="tiny", methods="fine-tuning", tasks="toy-sentiment", sizes="1500", draws="3", steps="1",
        batch_size="1500", test_limit="30",
    )  # fmt: skip
    plan = planning.plan(request.read(grid)[0])
    tickets = {
        job.digest: Ticket(job=job, task=plan.tasks[job.draw.task], keep="none", artefacts=tmp_path)
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
    """The peak of a job does not include what an earlier job of the same worker needed."""
    [ticket] = tickets_of(tmp_path, draws=1, pack_size=1)
    worker.run_pack([ticket], "cpu", lambda *_: None)  # loads the libraries and the backbone
    block = torch.ones(100 << 20)  # 400 MiB
    del block
    high = peak_memory.peak_bytes("cpu")
    (outcome,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert 0 < outcome.peak_bytes < high - (300 << 20)


@pytest.mark.parametrize(
    ("refused", "status", "shape"), [(1, "done", "2x16x16"), (2, "done", "1"), (99, "failed", "1")]
)
def test_out_of_memory_while_testing_halves_the_pack(tmp_path, monkeypatch, refused, status, shape):
    """F7: if testing a pack runs out of memory, the pack size is halved; a note and the geometry say so."""
    predict, calls = testing.predict, []

    def small(adapted, tensors, rows, weights=None):
        calls.append(len(rows))
        if len(calls) <= refused:
            raise torch.OutOfMemoryError("no room to test")
        return predict(adapted, tensors, rows, weights)

    monkeypatch.setattr(testing, "predict", small)
    outcomes = worker.run_pack(tickets_of(tmp_path, draws=4, pack_size=4), "cpu", lambda *_: None)
    assert [(outcome.status, str(outcome.geometry)) for outcome in outcomes] == [
        (status, shape)
    ] * 4
    assert ["no memory for" in outcome.note for outcome in outcomes] == [True, False, False, False]
    assert {outcome.error for outcome in outcomes} == {
        "" if status == "done" else "OutOfMemoryError: no room to test"
    }
    monkeypatch.undo()
    if status == "done":
        pack_size = int(shape.partition("x")[0])
        again = worker.run_pack(
            tickets_of(tmp_path, draws=4, pack_size=pack_size), "cpu", lambda *_: None
        )
        assert [outcome.predictions for outcome in outcomes] == [
            outcome.predictions for outcome in again
        ]


@pytest.mark.parametrize("options", [{}, {"zeroed": True, "rules": True}])
def test_out_of_memory_while_testing_alone_makes_calls_smaller(tmp_path, monkeypatch, options):
    """F7: a single job is trained once; its tests run in smaller calls that fit, and a note and the geometry say so."""
    [ticket] = [
        replace(ticket, geometry=Geometry(), **options)
        for ticket in tickets_of(tmp_path, draws=1, pack_size=1)
    ]
    (undisturbed,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    trainings, sizes = [], []
    monkeypatch.setattr(
        JobRun,
        "training_loop",
        lambda *a, whole=JobRun.training_loop: trainings.append(1) or whole(*a),
    )
    monkeypatch.setattr(Backbone, "__call__", limited_call(sizes, 100))
    (outcome,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (outcome.status, outcome.error, len(trainings)) == ("done", "", 1)
    tokens = outcome.geometry.test_tokens
    assert outcome.geometry == Geometry(test_tokens=tokens)
    assert 50 <= tokens <= 100
    assert f"they had {tokens} tokens at most" in outcome.note
    assert max(sizes) > 100 > min(sizes)
    assert outcome.metrics == undisturbed.metrics
    assert unpack_predictions(outcome.predictions) == unpack_predictions(undisturbed.predictions)
    assert (
        show._describe(outcome.geometry)
        == f"trained alone; tested in calls of at most {tokens} tokens"
    )


def test_no_memory_for_a_single_test_row_fails_one_job(tmp_path, monkeypatch):
    """F7: if calls cannot be smaller, the job fails with a message, and the worker goes on."""
    [ticket] = [
        replace(ticket, geometry=Geometry())
        for ticket in tickets_of(tmp_path, draws=1, pack_size=1)
    ]
    with monkeypatch.context() as patched:
        patched.setattr(Backbone, "__call__", limited_call([], 1))
        (outcome,) = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (outcome.status, outcome.error) == ("failed", "OutOfMemoryError: no room")
    assert worker.run_pack([ticket], "cpu", lambda *_: None)[0].status == "done"


def test_out_of_memory_for_parameters_leaves_the_backbone_unchanged(tmp_path, monkeypatch):
    """F7: if a pack's parameters do not fit, the pack is halved, and no hook of the first attempt is left."""
    adapted, calls = JobRun.adapted, []

    def full(self, slots):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no room for tensors")
        return adapted(self, slots)

    tickets = tickets_of(tmp_path, draws=4, pack_size=4)
    worker.run_pack(tickets, "cpu", lambda *_: None)  # whether this kind may pack is known
    monkeypatch.setattr(JobRun, "adapted", full)
    outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [(outcome.status, str(outcome.geometry)) for outcome in outcomes] == [
        ("done", "2x16x16")
    ] * 4


def test_out_of_memory_in_a_probe_is_not_cached(tmp_path, monkeypatch):
    """F7: a probe that runs out of memory is repeated for the next pack, so that a backbone that can pack does."""
    tickets = tickets_of(tmp_path, draws=2, pack_size=2)
    monkeypatch.setattr(worker_cache, "MAY_PACK", {})
    with monkeypatch.context() as patched:
        patched.setattr(
            packed.Pack,
            "forward",
            lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")),
        )
        outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [(outcome.status, str(outcome.geometry)) for outcome in outcomes] == [("done", "1")] * 2
    assert [
        str(outcome.geometry) for outcome in worker.run_pack(tickets, "cpu", lambda *_: None)
    ] == ["2x16x16"] * 2


@pytest.mark.parametrize("pack_size", [1, 2])
def test_a_broken_device_ends_the_worker_and_fails_no_job(tmp_path, monkeypatch, pack_size):
    """F8: after a failed assertion on a GPU every further call fails: the worker ends, and no job is at fault."""
    broken = torch.AcceleratorError("CUDA error: device-side assert triggered")
    monkeypatch.setattr(job_run.JobRun, "outcome", lambda *_, **__: (_ for _ in ()).throw(broken))
    with pytest.raises(
        worker.DeviceLost, match=r"this process can no longer use the device \(CUDA error"
    ):
        worker.run_pack(tickets_of(tmp_path, draws=2, pack_size=pack_size), "cpu", lambda *_: None)


def test_a_failed_job_does_not_change_the_pack_size_of_others(tmp_path, monkeypatch):
    """If a pack is halved and its first job fails, further packs still have half the size."""
    fit, pack_sizes = packed.Pack.fit, []

    def small(self, trainings):
        pack_sizes.append(self._geometry.pack_size)
        if self._geometry.pack_size > 2:
            raise torch.OutOfMemoryError("out of memory")
        return fit(self, trainings)

    tickets = {ticket.job.digest: ticket for ticket in tickets_of(tmp_path, draws=8, pack_size=4)}
    first, outcome = next(iter(tickets)), JobRun.outcome

    def failing(self, *arguments):
        if self.job.digest == first:
            raise ValueError("this one fails")
        return outcome(self, *arguments)

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
    assert pack_sizes == [4, 2, 2, 2, 2]


def test_a_job_planned_by_another_version_fails(tmp_path):
    """A node with older code refuses the job: its digest stands for the numbers of the version in it."""
    [ticket] = tickets_of(tmp_path, draws=1, pack_size=1)
    newer = replace(ticket, job=replace(ticket.job, method_version=ticket.job.method_version + 1))
    (outcome,) = worker.run_pack([newer], "cpu", lambda *_: None)
    assert outcome.status == "failed"
    assert "use the bench that made the plan" in outcome.error


def limited_call(sizes, limit):
    """Return a forward call of the backbone that runs out of memory above `limit` tokens, unless it trains."""

    def call(backbone, batch, whole=Backbone.__call__):
        sizes.append(batch["input_ids"].numel())
        if not torch.is_grad_enabled() and sizes[-1] > limit:
            raise torch.OutOfMemoryError("no room")
        return whole(backbone, batch)

    return call


@pytest.mark.slow
@linux
@pytest.mark.parametrize(("files", "code"), [(24, 69), (64, 0)])
def test_too_few_file_descriptors_are_reported(bench, tmp_path, files, code):
    """F31: 64 descriptors are enough; with 24, two workers cannot start, one line says so, and nothing hangs."""
    limit = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "limited"]
    done = run_under(limit, bench, tmp_path)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert ("cannot start a worker (Too many open files)" in done.err) == (code == 69)
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["planned" if code else "done"] * 2


@linux
@pytest.mark.parametrize("options", ["size=4k", "size=4k,nr_inodes=1"], ids=["space", "files"])
def test_missing_shared_memory_is_reported(bench, tmp_path, unshare, options):
    """F31: if /dev/shm has no space or takes no file, no worker can start, and no claim is left.

    A run that fails before its jobs can start leaves no jobs either.
    """
    script = f'mount -t tmpfs -o {options} tmpfs /dev/shm; exec "$@"'
    done = run_under([*unshare, "bash", "-c", script, "full"], bench, tmp_path)
    assert done.code == 69, done.err
    assert "Traceback" not in done.err
    assert "cannot start a worker (No space left on device)" in done.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert {entry.state for entry in ledger.entries()} <= {"planned"}


@pytest.mark.slow
@linux
def test_a_run_works_without_a_writable_home(bench, tmp_path, unshare):
    """F31: without a place for caches, the jobs are still done."""
    (tmp_path / "home").mkdir()
    env = {"BENCH_CACHE": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path / "home")}
    script = 'mount -t tmpfs -o ro tmpfs "$HOME" && ! touch "$HOME/a" 2>/dev/null && unset HF_HOME && exec "$@"'
    done = run_under([*unshare, "bash", "-c", script, "home"], bench, tmp_path, **env)
    assert done.code == 0, done.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.state for entry in ledger.entries()] == ["done"] * 2


@pytest.mark.slow
def test_timing_trains_every_job_alone(bench, tmp_path):
    """`--timing` overrides `--pack` and `-j`: no job shares its seconds with a pack or with features of other jobs."""
    grid = shlex.split("--methods lora,features --tasks toy-sentiment --draws 3 --keep none")
    assert bench.run(tmp_path, "r.db", *grid, "--pack", 3, "-j", 2, "--timing").code == 0
    with Ledger(str(tmp_path / "r.db")) as ledger:
        assert [entry.result["geometry"] for entry in ledger.entries()] == ["1"] * 6


def test_timing_uses_one_worker_of_a_cluster(monkeypatch):
    """`--executor ray --timing` uses one worker, so that no job shares its node with another job."""
    from harness.commands import run
    from harness.scheduling.executors import ray

    monkeypatch.setattr(ray, "RayExecutor", lambda _, workers: workers)
    options = SimpleNamespace(executor="ray", timing=True, jobs="2", inline=False, ray_address="x")
    assert run._executor(["cpu", "cpu"], options) == 1
    options.timing = False
    assert run._executor(["cpu", "cpu"], options) == 2
