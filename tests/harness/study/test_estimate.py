"""What jobs take is known before any has run."""

from collections import Counter

import pytest
import torch

import methods
from harness.backbones.loading import Backbone
from harness.costs import CallCosts, Costs
from harness.study import cost_probe, estimate, planning, request
from harness.study.grid_options import GridOptions
from harness.training.jobs.worker import run_pack
from harness.training.ticket import Ticket

NOTHING = Costs(
    step=0.0, train=CallCosts(), dev=CallCosts(), test=CallCosts(), stochastic=False, trained=0,
    process_bytes=0, token_bytes=0.0,
)  # fmt: skip


def planned(**options):
    """Return the request and the plan of a small grid."""
    made = {"model": "tiny", "tasks": "toy-sentiment", "sizes": "50", "draws": "1", "steps": "40",
            "eval_every": "20", "test_limit": "100"}  # fmt: skip
    checked, _ = request.read(GridOptions(**(made | options)))
    return checked, planning.plan(checked)


@pytest.mark.parametrize("name", ["prefix", "simplex", "fine-tuning"])
@pytest.mark.parametrize("unit", ["call", "token", "row"])
def test_the_estimate_counts_what_a_job_does(monkeypatch, tmp_path, name, unit):
    """With costs of one second, the estimate is the number of calls, tokens or rows of the job itself."""
    checked, plan = planned(methods=name)
    [job] = plan.jobs
    counts = Counter()
    run = Backbone.__call__

    def counted(backbone, batch):
        rows, tokens = batch["input_ids"].shape
        counts[torch.is_grad_enabled()] += {"call": 1, "token": rows * tokens, "row": rows}[unit]
        return run(backbone, batch)

    monkeypatch.setattr(Backbone, "__call__", counted)
    ticket = Ticket(
        job=job,
        task=plan.tasks[job.draw.task],
        keep="none",
        artefacts=tmp_path,
        features_shared_by=0,
    )
    [outcome] = run_pack([ticket], "cpu", lambda *_: None)
    assert outcome.status == "done", outcome.error
    one, stochastic = CallCosts(**{unit: 1.0}), name == "simplex"
    for grad, costs in (
        (True, NOTHING._replace(train=one)),
        (False, NOTHING._replace(dev=one, test=one, stochastic=stochastic)),
    ):
        monkeypatch.setattr(estimate._Known, "costs", lambda *_, costs=costs: costs)
        [found] = estimate.estimate(checked, plan).values()
        assert found.seconds == pytest.approx(counts[grad], rel=0.1, abs=1)


def test_costs_follow_from_probes():
    """Costs from which probes were computed are found again; none is negative, whatever the noise."""
    shapes = [
        cost_probe.Shape(*s)
        for s in ((1, 32, 2), (1, 128, 2), (1, 128, 8), (2, 160, 4), (1, 256, 16))
    ]
    true = CallCosts(call=0.01, token=0.0002, row=0.001)
    step, found = cost_probe._fit([0.005 + true.seconds(s) for s in shapes], shapes, steps=True)
    assert step == pytest.approx(0.005)
    assert found == pytest.approx(true)
    _, falling = cost_probe._fit([1.0, 0.9, 0.8, 0.7, 0.6], shapes)
    assert min(falling) >= 0


def test_every_method_is_measured():
    """Each method that classifies has seconds and bytes on the backbone that comes with bench."""
    names = [
        name
        for name in methods.suitable(writes=False)
        if not methods.plugin_of(methods.build(name))
    ]
    checked, plan = planned(methods=",".join(names), steps="200")
    estimates = estimate.estimate(checked, plan)
    assert estimates.keys() == {job.digest for job in plan.jobs}
    assert all(found.seconds > 0 and found.bytes > 100 << 20 for found in estimates.values())


def test_every_method_that_writes_is_measured():
    """Each method that writes has seconds on the decoder that comes with bench, and none costs less than the floor."""
    names = [
        name for name in methods.suitable(writes=True) if not methods.plugin_of(methods.build(name))
    ]
    checked, plan = planned(
        methods=",".join(names), model="tiny-gpt", tasks="toy-table-to-text", steps="200"
    )
    estimates = estimate.estimate(checked, plan)
    assert estimates.keys() == {job.digest for job in plan.jobs}
    seconds = {job.label: estimates[job.digest].seconds for job in plan.jobs}
    assert min(seconds, key=seconds.__getitem__) == "zero-shot"


def test_a_run_knows_what_an_earlier_plan_measured(tmp_path, monkeypatch):
    """Without the measurements of a plan, a run estimates nothing and measures nothing."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    checked, plan = planned(methods="head")
    assert estimate.known_estimate(checked, plan) == {}
    measured = estimate.estimate(checked, plan)
    assert estimate.known_estimate(checked, plan) == measured
    text = estimate.describe([*measured.values()] * 3, workers=2)
    assert "with 2 workers on this processor, up to 0." in text
