"""The identity of a job."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe, canonical

DRAW = DrawSpec(
    task="rte",
    version=1,
    revision="r",
    size=50,
    number=0,
    fingerprint="f",
    n_train=50,
    n_dev=15,
    n_test=277,
    metrics=("accuracy/1",),
)
JOB = Job(
    backbone=BackboneSpec(name="m", revision="v"),
    draw=DRAW,
    seed=0,
    method="prefix",
    method_version=1,
    options={"lr": 5e-4, "length": 10, "dropout": False},
    label="prefix",
    recipe=Recipe(),
)


def test_the_digest_is_stable():
    """The digest has the value of the first version, so stored results are found."""
    assert JOB.digest == "b33d2a85f1e5192445b16d89bdd4caf8"


CHANGES = [
    {"seed": 1},
    {"method": "lora"},
    {"method_version": 2},
    {"options": {**JOB.options, "length": 11}},
    {"recipe": Recipe(steps=501)},
    {"recipe": Recipe(dev="carved")},
    {"recipe": Recipe(test_limit=0)},
    {"backbone": replace(JOB.backbone, revision="w")},
    {"backbone": replace(JOB.backbone, pooling="mean")},
    {"backbone": replace(JOB.backbone, dtype="bfloat16")},
    {"draw": replace(DRAW, fingerprint="g")},
    {"draw": replace(DRAW, version=2)},
    {"draw": replace(DRAW, revision="s")},
    {"draw": replace(DRAW, size=51)},
    {"draw": replace(DRAW, number=1)},
    {"draw": replace(DRAW, metrics=("accuracy/2",))},
    {"draw": replace(DRAW, labels=("no", "yes", "maybe"))},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_changes_of_the_result_change_the_digest(change):
    """Options, draw, revisions, versions, recipe and seed are part of the identity."""
    assert replace(JOB, **change).digest != JOB.digest


def test_labels_and_order_do_not_change_the_digest():
    """Neither the label nor the order of options is part of the identity."""
    assert replace(JOB, label="another").digest == JOB.digest
    assert replace(JOB, options=dict(reversed(JOB.options.items()))).digest == JOB.digest


@given(
    st.dictionaries(
        st.text(),
        st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    )
)
def test_canonical_json_ignores_order(values):
    """Canonical JSON does not depend on the order in which a mapping was built."""
    assert canonical(values) == canonical(dict(reversed(list(values.items()))))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(value):
    """NaN and infinities cannot be part of an identity."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": value})


def test_minus_zero_is_zero():
    """-0.0 and 0.0 have the same identity."""
    assert canonical({"x": -0.0}) == canonical({"x": 0.0})
