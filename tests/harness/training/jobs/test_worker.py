"""The outcomes of a worker, and packed predictions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

from harness.backbones import loading
from harness.outcome import pack_predictions, unpack_predictions
from harness.results import stored_values
from harness.tasks import REGISTRY
from harness.training import loop
from harness.training.jobs import job_test, worker, worker_cache
from harness.training.jobs.job_run import JobRun
from harness.training.ticket import Ticket
from tests.support.trainings import tickets_of


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 255, 256, 65_536], []])
def test_class_numbers_come_back(values):
    """Packed class numbers unpack whatever the number of classes, also as arrays."""
    packed = pack_predictions(values, regression=False)
    assert unpack_predictions(packed) == values
    assert stored_values.numbers(packed).tolist() == values


def test_values_come_back_in_single_precision_or_more():
    """Packed values of a regression unpack, also those beyond single precision."""
    assert unpack_predictions(pack_predictions([1.5, -2.25], regression=True)) == [1.5, -2.25]
    assert unpack_predictions(pack_predictions([1e39], regression=True)) == [1e39]
    assert stored_values.numbers(pack_predictions([1e39, -0.5], regression=True)).tolist() == [
        1e39,
        -0.5,
    ]
    outcomes = unpack_predictions(pack_predictions([math.pi], regression=True))
    assert outcomes == pytest.approx([math.pi], rel=1e-7)


def test_an_error_of_any_text_is_an_outcome(make_job, tmp_path, monkeypatch):
    """An error message with half a character or a NUL gives an outcome that can be stored and printed."""

    def refuse(*_):
        raise ValueError("half a character \ud800, a NUL \0")

    monkeypatch.setattr(JobRun, "prepare", refuse)
    ticket = Ticket(job=make_job(), task=REGISTRY["toy-sentiment"], keep="none", artefacts=tmp_path)
    [outcome] = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (outcome.status, outcome.error) == (
        "failed",
        "ValueError: half a character ?, a NUL \ufffd",
    )
    assert "\0" not in outcome.trace.encode().decode()


@pytest.fixture
def _in_order(monkeypatch):
    """Require deterministic kernels, and restore torch's settings afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(worker_cache, "NONDETERMINISTIC_KINDS", set())
    kept = torch.backends.cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory
    loading.use_deterministic_kernels()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory = kept


@pytest.mark.usefixtures("_in_order")
def test_a_missing_deterministic_kernel_is_reported(tmp_path, monkeypatch):
    """Jobs for which the device lacks a deterministic kernel run without one, which is recorded.

    One note reports it, every result of such jobs records it, and other jobs of the worker stay deterministic.
    """
    original, tried = loop.fit, []

    def unordered(of, *arguments):
        tried.append("rank" in of.options)
        if tried[-1]:
            torch.zeros(3).put_(
                torch.tensor([0, 0]), torch.ones(2)
            )  # which of the two stays is anybody's guess
        return original(of, *arguments)

    tickets = tickets_of(tmp_path, draws=2, pack_size=1, methods="lora,bitfit")
    plain = worker.run_pack(tickets, "cpu", lambda *_: None)
    monkeypatch.setattr(loop, "fit", unordered)
    with pytest.warns(UserWarning, match="deterministic"):
        outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert sorted(tried) == [False] * 2 + [True] * 4
    assert [outcome.note for outcome in plain] == [""] * 4
    assert sorted(outcome.note for outcome in outcomes) == [
        "",
        "",
        "",
        worker.NOT_DETERMINISTIC_NOTE,
    ]
    assert [(outcome.status, outcome.predictions) for outcome in outcomes] == [
        ("done", outcome.predictions) for outcome in plain
    ]
    wanting = [ticket.job.method == "lora" for ticket in tickets]
    assert [outcome.device.endswith(", sums in any order") for outcome in outcomes] == wanting
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    again = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert sorted(tried) == [False] * 4 + [True] * 6
    assert [outcome.note for outcome in again] == [""] * 4
    assert [outcome.device for outcome in again] == [outcome.device for outcome in outcomes]


SHORT = {"tasks": "toy-entailment", "methods": "lora,simplex,features", "steps": "20"}


@pytest.fixture
def fits(monkeypatch):
    """Record the labels and the logits from which temperatures are fitted."""
    recorded, original = [], job_test.fitted_temperature

    def record(logits, labels):
        recorded.append((tuple(labels), logits))
        return original(logits, labels)

    monkeypatch.setattr(job_test, "fitted_temperature", record)
    return recorded


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("size", [1, 4], ids=["alone", "packed"])
def test_the_temperature_is_fitted_on_the_dev_rows(tmp_path, fits, size):
    """Alone, packed, by sampled models and in closed form, it minimises the log loss of the dev rows."""
    tickets = tickets_of(tmp_path, 2, size, **SHORT, set_=["simplex.test=mean-of-samples"])
    outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert len(fits) == len(outcomes) == 6
    assert {labels for labels, _ in fits} == {
        tuple(row.label for row in JobRun.prepare(ticket, "cpu").draw.dev) for ticket in tickets
    }
    expected = []
    for labels, logits in fits:

        def loss(power, logits=logits, labels=labels):
            probabilities = softmax(logits / np.exp(power), axis=1)
            return log_loss(labels, probabilities, labels=[0, 1, 2])

        best = minimize_scalar(loss, bounds=np.log((0.05, 20)), options={"xatol": 1e-9})
        expected.append(np.exp(best.x))
    stored = [unpack_predictions(outcome.temperature)[0] for outcome in outcomes]
    assert sorted(stored) == pytest.approx(sorted(expected), rel=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_the_temperature_changes_no_other_number(tmp_path, monkeypatch):
    """Without it, metrics, predictions, probabilities and curves are equal; a regression has no temperature."""
    more = SHORT | {"tasks": "toy-entailment,toy-similarity"}
    tickets = [
        replace(ticket, rules=True, zeroed=True) for ticket in tickets_of(tmp_path, 1, 1, **more)
    ]
    outcomes = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert {bool(outcome.temperature) for outcome in outcomes} == {True, False}
    for outcome, ticket in zip(outcomes, tickets, strict=True):
        assert bool(outcome.temperature) == bool(ticket.task.labels) == bool(outcome.probabilities)
    monkeypatch.setattr(job_test, "fitted_temperature", lambda *_: None)
    without = worker.run_pack(tickets, "cpu", lambda *_: None)
    for one, other in zip(outcomes, without, strict=True):
        assert one.metrics == other.metrics
        assert {
            kind: data for kind, data in one.blobs.items() if kind != "temperature"
        } == other.blobs
