"""Digests of the jobs of all methods: equal for equivalent spellings, different for changes, and stable over time."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import methods
from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe

GOLDEN = (
    Path(__file__).parent / "golden" / "digests.json"
)  # written when the form was fixed; a line that changes loses results
NAMES = [*methods.REGISTRY, *methods.ALIASES]
RATED = [name for name in NAMES if name not in ("features", "zero-shot")]  # trained by gradient
VARIANTS = [
    *((name, {}) for name in NAMES),
    *((name, {"lr": rate}) for name in RATED for rate in ("1e-3", "5e-5")),
    *((name, {"weight_decay": "0.01"}) for name in RATED),
    *(("prefix", {"length": n, "decoder": kind}) for n in ("1", "20", "100") for kind in ("none", "one", "per-layer")),
    *(("lora", {"rank": rank, "alpha": alpha}) for rank in ("1", "4", "64") for alpha in ("1", "32")),
    *(("simplex", {"vertices": n, "base": base}) for n in ("1", "2", "12") for base in ("prefix", "lora", "adapter")),
    *(("simplex", {"granularity": kind}) for kind in ("row", "batch", "batch-layer")),
    *(("fine-tuning", {"layers": layers}) for layers in ("none", "top-1", "top-2")),
    *(("features", {"c": value}) for value in ("0.1", "1", "10")),
]  # fmt: skip
COORDINATES = [("rte", 50, 0, 0), ("sst2", 500, 9, 1), ("own-task", 7, 3, 0)]


def job(name, options, coordinates=COORDINATES[0]):
    """Return a job for options of a method as a user types them."""
    method = methods.build(name, options)
    task, size, draw, seed = coordinates
    rows = DrawSpec(
        task=task, version=1, revision="r", size=size, number=draw, fingerprint=f"{task} {size} {draw}",
        n_train=size, n_dev=15, n_test=100, metrics=("accuracy/1",), labels=("no", "yes"),
    )  # fmt: skip
    return Job(
        backbone=BackboneSpec(name="m", revision="v"), draw=rows, seed=seed, method=method.name,
        method_version=method.VERSION, options=method.resolved(), label=methods.label(method), recipe=Recipe(),
    )  # fmt: skip


def found():
    """Return the digest of every variant at every set of coordinates."""
    return {
        f"{name} {' '.join(f'{key}={value}' for key, value in options.items())} at {'/'.join(map(str, place))}": job(
            name, options, place
        ).digest
        for name, options in VARIANTS
        for place in COORDINATES
    }


def test_digests_are_stable():
    """The digests of over two hundred jobs are unchanged, so stored results are found."""
    golden = json.loads(GOLDEN.read_text())
    assert len(golden) >= 200
    assert len(set(golden.values())) > 150  # aliases and defaults in words are the same job
    now = found()
    assert {key: now[key] for key in golden} == golden


def respellings(value):
    """Return other spellings of a number."""
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        return st.sampled_from([text, f" {text}", f"{text} "])
    if "." not in text and "e" not in text.lower():
        return st.sampled_from([text, f" {text} ", f"+{text}", f"0{text}"])
    return st.sampled_from(
        [text, f"{number:.10g}", f"{number!r}", f"{number:e}", f" {number:.12f}"]
    )


@given(st.data())
def test_equivalent_spellings_are_the_same_job(data):
    """Order, spaces, exponents, signs and explicit defaults do not change the digest."""
    name, options = data.draw(st.sampled_from(VARIANTS))
    typed = {key: data.draw(respellings(value)) for key, value in options.items()}
    order = data.draw(st.permutations(list(typed)))
    again = {key: typed[key] for key in order}
    method = methods.build(name, options)
    if data.draw(st.booleans()) and not isinstance(method, methods.Simplex):
        spoken = {
            key: methods.show(value)
            for key, value in method.resolved().items()
            if value is not None
        }
        again = spoken | again
    assert job(name, again).digest == job(name, options).digest


@pytest.mark.parametrize("name", methods.REGISTRY)
def test_every_option_is_part_of_the_identity(name):
    """Changing the value of any option that has an effect changes the digest."""
    method = methods.build(name)
    before = job(name, {}).digest
    for one in fields(method):
        value = method.resolved().get(one.name, getattr(method, one.name))
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int | float):
            other = value * 2 if value else 1
        else:
            continue
        try:
            changed = replace(method, **{one.name: other})
        except ValueError:
            continue  # a value that this method refuses
        if changed.resolved() != method.resolved():
            typed = {one.name: methods.show(other)}
            assert job(name, typed).digest != before, one.name
