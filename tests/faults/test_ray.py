"""A Ray cluster of several nodes on this machine: the same results as without it, and a node may be lost."""

import os
import shlex

import pytest

from harness.ledger import Ledger
from harness.scheduling import scheduler
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import StopSignals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training
from tests.support.fake_run import ROOT, AcknowledgingDisplay
from tests.support.fake_training import metrics_of
from tests.support.ledger_invariants import check_ledger

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.fault, pytest.mark.ray]


@pytest.fixture
def cluster(monkeypatch):
    """A head without cores and two nodes with one core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # nodes inherit it
    monkeypatch.setenv("BENCH_FAKE_SECONDS", "0.1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_a_lost_node_loses_no_result(cluster, tmp_path):
    """F30: when a node is removed during a run, its jobs are done elsewhere, and every job is done once."""
    from harness.scheduling.executors.ray import RayExecutor

    made, nodes = cluster
    jobs = [fake_training.job(number) for number in range(80)]
    db, acks = str(tmp_path / "r.db"), tmp_path / "acks"
    task = REGISTRY["toy-sentiment"]
    tickets = {
        job.digest: Ticket(job=job, task=task, keep="none", artefacts=tmp_path) for job in jobs
    }

    class NodeRemovingDisplay(AcknowledgingDisplay):
        """Removes a node when twenty jobs are done."""

        def finished(self, job, outcome, progress):
            super().finished(job, outcome, progress)
            if progress.done == 20 and len(nodes) == 2:
                made.remove_node(nodes.pop(), allow_graceful=False)

    executor, display = RayExecutor(made.address, 2, fake_training.work), NodeRemovingDisplay(acks)
    progress = RunProgress(total=len(jobs), ended_before=0)
    with Ledger(db, write=True) as ledger:
        ledger.begin("ray")
        ledger.add_jobs(jobs)
        scheduler.Scheduler(ledger, tickets, executor, display, progress, StopSignals()).run()
    assert len(nodes) == 1
    assert progress.done == 80
    assert check_ledger(db, acks, metrics_of).results == 80


@pytest.mark.slow
def test_a_cluster_gives_the_numbers_of_local_workers(bench, tmp_path):
    """`--executor ray` fills the same grid with the same metrics, blobs and tensors."""
    grid = shlex.split("--methods prefix,lora --tasks toy-sentiment --draws 2")
    cluster = shlex.split("--executor ray --ray-address local -j 2")
    ended = bench.run(tmp_path, "ray.db", *grid, *cluster)
    assert ended.code == 0, ended.out + ended.err
    assert bench.run(tmp_path, "local.db", *grid).code == 0
    with Ledger(str(tmp_path / "ray.db")) as remote, Ledger(str(tmp_path / "local.db")) as local:
        entries = {entry.digest: entry for entry in local.entries()}
        for entry in remote.entries():
            assert entry.metrics == entries[entry.digest].metrics
            assert remote.blobs(entry.digest) == local.blobs(entry.digest)
            assert entry.result["artefact"] == entries[entry.digest].result["artefact"]
    assert bench(tmp_path, "db", "verify", "--db", "ray.db").code == 0


def test_a_cluster_that_does_not_answer_is_reported(bench, tmp_path):
    """A cluster that does not exist ends the command with a message and the exit code for what is unavailable."""
    grid = shlex.split("--methods lora --tasks toy-sentiment")
    ended = bench.run(tmp_path, "r.db", *grid, "--executor", "ray", "--ray-address", "127.0.0.1:1")
    assert ended.code == 69
    assert "no Ray cluster answers" in ended.err
    assert os.sep + "site-packages" not in ended.err
