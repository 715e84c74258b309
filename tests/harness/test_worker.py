"""What a worker gives back, and what it does not keep."""

import math

import pytest

from harness import scores, worker
from harness.attempt import Attempt
from harness.outcome import Ticket, pack_predictions, unpack_predictions
from harness.tasks import REGISTRY


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 255, 256, 65_536], []])
def test_class_numbers_come_back(values):
    """Whatever the number of classes; a report has them as arrays."""
    packed = pack_predictions(values, regression=False)
    assert unpack_predictions(packed) == values
    assert scores.numbers(packed).tolist() == values


def test_values_come_back_in_single_precision_or_more():
    """Values of a regression, also those that single precision cannot hold."""
    assert unpack_predictions(pack_predictions([1.5, -2.25], regression=True)) == [1.5, -2.25]
    assert unpack_predictions(pack_predictions([1e39], regression=True)) == [1e39]
    assert scores.numbers(pack_predictions([1e39, -0.5], regression=True)).tolist() == [1e39, -0.5]
    found = unpack_predictions(pack_predictions([math.pi], regression=True))
    assert found == pytest.approx([math.pi], rel=1e-7)


def test_an_error_of_any_text_is_an_outcome(make_job, tmp_path, monkeypatch):
    """What a plug-in or a metric raises may hold half a character or a NUL; what is told of it can be kept and printed."""

    def refuse(*_):
        raise ValueError("half a character \ud800, a NUL \0")

    monkeypatch.setattr(Attempt, "of", refuse)
    ticket = Ticket(job=make_job(), task=REGISTRY["toy-sentiment"], keep="none", artefacts=tmp_path)
    [outcome] = worker.run_pack([ticket], "cpu", lambda *_: None)
    assert (outcome.status, outcome.error) == ("failed", "ValueError: half a character ?, a NUL \ufffd")
    assert "\0" not in outcome.trace.encode().decode()
