"""A Ray of several nodes on this machine: the same results as without it, and a node may go."""

import os
import time

import pytest

from harness.ledger import Ledger
from harness.scheduling import scheduler
from harness.scheduling.progress import RunProgress
from harness.scheduling.signals import StopSignals
from harness.tasks import REGISTRY
from harness.training.ticket import Ticket
from tests.support import fake_training
from tests.support.fake_run import Acks
from tests.support.ledger_invariants import check_ledger
from tests.support.storm import ROOT, metrics_of

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.fault, pytest.mark.ray]


@pytest.fixture
def cluster(monkeypatch):
    """A head that does no work and two nodes of one core."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # nodes inherit it
    monkeypatch.setenv("BENCH_FAKE_SECONDS", "0.1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def test_the_loss_of_a_node_loses_nothing(cluster, tmp_path):
    """F30: a node is taken away in the middle; what was on it is done again elsewhere, every job once."""
    from harness.scheduling.executors.ray import RayExecutor

    made, nodes = cluster
    jobs = [fake_training.job(number) for number in range(80)]
    db, acks = str(tmp_path / "r.db"), tmp_path / "acks"
    tickets = {
        job.digest: Ticket(job=job, task=REGISTRY["toy-sentiment"], keep="none", artefacts=tmp_path)
        for job in jobs
    }
    executor = RayExecutor(made.address, 2, fake_training.work)
    display = Acks(str(acks))
    gone = []
    whole = display.finished

    def finished(job, outcome, progress):
        whole(job, outcome, progress)
        if progress.done == 20 and not gone:
            made.remove_node(nodes[0], allow_graceful=False)
            gone.append(time.monotonic())

    display.finished = finished
    progress = RunProgress(total=len(jobs), ended_before=0)
    with Ledger(db, write=True) as ledger:
        ledger.begin("ray")
        ledger.add_jobs(jobs)
        scheduler.Scheduler(ledger, tickets, executor, display, progress, StopSignals()).run()
    assert gone
    assert progress.done == 80
    assert check_ledger(db, acks, metrics_of).results == 80


def test_the_command_gives_the_numbers_of_local_workers(bench, tmp_path):
    """`--executor ray` fills the same grid with the same results, tensors included."""
    words = ("--methods", "prefix,lora", "--tasks", "toy-sentiment", "--draws", 2)
    ran = bench.run(
        tmp_path, "ray.db", *words, "--executor", "ray", "--ray-address", "local", "-j", 2
    )
    assert ran.code == 0, ran.out + ran.err
    assert bench.run(tmp_path, "local.db", *words).code == 0
    with Ledger(str(tmp_path / "ray.db")) as one, Ledger(str(tmp_path / "local.db")) as other:
        found = {entry.digest: entry for entry in other.entries()}
        for entry in one.entries():
            assert entry.metrics == found[entry.digest].metrics
            assert one.blobs(entry.digest) == other.blobs(entry.digest)
            assert entry.result["artefact"] == found[entry.digest].result["artefact"]
    assert bench(tmp_path, "db", "verify", "--db", "ray.db").code == 0


def test_a_cluster_that_is_not_there_is_named(bench, tmp_path):
    """In words, with the exit code of what is out of reach."""
    words = (
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--executor",
        "ray",
        "--ray-address",
        "127.0.0.1:1",
    )
    ended = bench.run(tmp_path, "r.db", *words)
    assert ended.code == 69
    assert "no Ray cluster answers" in ended.err
    assert os.sep + "site-packages" not in ended.err
