"""Cached features depend on their row only, are computed once, and are never read from a damaged file."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import methods
from harness import cache
from harness.backbones import loading
from harness.commands import run
from harness.geometry import Geometry
from harness.jobs import BackboneSpec
from harness.tasks import REGISTRY
from harness.training import feature_cache
from harness.training.adapted_model import AdaptedModel, CallLimit
from harness.training.feature_cache import CallShape, FeatureReader, FeatureStore
from harness.training.jobs import worker, worker_cache
from harness.training.rows import batching
from tests.support.models import NoTokenizer
from tests.support.trainings import STREAMS, adapted, tickets_of

MOST = 48  # tokens of a row


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_cache, "environment", lambda: {"simplexbench": "1"})


@pytest.fixture
def calls(monkeypatch):
    """Record the calls of the model: rows with padding rows, tokens, and the number of requested rows."""
    seen = []
    original = FeatureReader.compute

    def compute(self, rows, call, count):
        seen.append((count, call.length, len(rows)))
        return original(self, rows, call, count)

    monkeypatch.setattr(FeatureReader, "compute", compute)
    monkeypatch.setattr(
        FeatureStore, "_is_stable", lambda *_: True
    )  # whose own calls are not counted
    return seen


def computed(calls):
    """Return the number of rows that were computed."""
    return sum(requested for _, _, requested in calls)


def reader(dtype="float32", **options):
    method, model = adapted("features", dtype=dtype, **options)
    model = replace(model, backbone=replace(model.backbone, max_length=MOST))
    return FeatureStore().reader(model, method)


def rows_of_all_lengths(count, seed=0, most=MOST):
    """Return different encoded rows, some of them exactly as long as their call."""
    draw = np.random.default_rng(seed)
    ids = [
        [3, *map(int, draw.integers(5, 99, length - 2)), 4]
        for length in draw.integers(3, most + 1, count)
    ]
    return [{"input_ids": tokens, "attention_mask": [1] * len(tokens)} for tokens in ids]


def test_a_row_has_the_same_features_beside_any_others():
    """Alone, among many or in another order, a row's features are equal to the bit in float32."""
    rows = rows_of_all_lengths(300)
    together = reader()(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    assert np.array_equal(reader()([rows[index] for index in order]), together[order])
    for index in range(0, 300, 17):
        assert np.array_equal(reader()([rows[index]])[0], together[index])


def test_features_are_those_of_the_row_by_itself():
    """Neither padding tokens nor padding rows enter the features."""
    read = reader(dtype="float64", pooling="mean")
    backbone, rows = read.adapted.backbone, rows_of_all_lengths(40)
    for row, actual in zip(rows, read(rows), strict=True):
        states = (
            backbone.model.inner.bert(**batching.collate(backbone, [row]))
            .last_hidden_state[0]
            .detach()
        )
        assert np.allclose(actual, states.mean(0).numpy(), atol=1e-12)


def test_each_row_is_computed_once(calls):
    """Sets that share rows, and a row that occurs twice in a set, cost one computation per row."""
    read, rows = reader(), rows_of_all_lengths(90)
    read([*rows[:60], *rows[:10]])
    assert computed(calls) == 60
    read(rows[30:])
    assert computed(calls) == 90
    read(rows)
    assert computed(calls) == 90


def test_a_full_table_is_emptied(calls, monkeypatch):
    """Memory is bounded: beyond the bound rows are computed again, with the same features."""
    monkeypatch.setattr(feature_cache, "MAX_BYTES", 50 * 32 * 4)
    read, rows = reader(), rows_of_all_lengths(60)
    first = read(rows)
    assert np.array_equal(read(rows[:50]), first[:50])
    assert computed(calls) == 110
    read(rows[:50])
    assert computed(calls) == 110


def test_calls_have_one_shape_for_each_length(calls):
    """Calls are padded to a fixed number of rows; a row without padding never shares a call with a padded one.

    Libraries drop a mask that hides nothing, which selects other kernels.
    """
    read, rows, masks = reader(), rows_of_all_lengths(120), []
    read.adapted.backbone.model.inner.register_forward_pre_hook(
        lambda _module, _args, named_inputs: masks.append(named_inputs["attention_mask"].bool()),
        with_kwargs=True,
    )
    read(rows)
    for count, length, requested in calls:
        assert length % 8 == 0
        assert requested <= count == feature_cache.CALL_TOKENS["cpu"] // length
    assert {bool(mask.all()) for mask in masks} == {True, False}
    assert all(bool(mask.all()) or not bool(mask.all(1).any()) for mask in masks)


def test_where_positions_matter_rows_go_alone(monkeypatch):
    """If a row's bits depend on its position in the call, every row gets a call of its own."""
    original, shapes = FeatureReader.compute, []

    def uneven(self, rows, call, count):
        shapes.append(count)
        actual = original(self, rows, call, count)
        return actual + np.arange(len(actual), dtype=actual.dtype)[:, None] * np.float32(1e-6)

    monkeypatch.setattr(FeatureReader, "compute", uneven)
    rows = rows_of_all_lengths(20, most=10)
    actual = reader()(rows)
    assert shapes.count(1) == 20
    assert (
        len(shapes) == 20 + 3 * 3
    )  # three calls to find out: padded to 8, 8 without padding, padded to 16
    assert np.array_equal(reader()(rows[::-1])[::-1], actual)


def test_the_rows_of_a_model_with_experts_go_alone(monkeypatch):
    """The rows that an expert computes depend on all rows of a call, so every row gets a call of its own."""
    from transformers import Qwen2MoeConfig, Qwen2MoeForSequenceClassification

    torch.manual_seed(0)
    config = Qwen2MoeConfig(
        vocab_size=99, hidden_size=32, intermediate_size=32, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, num_labels=2,
    )  # fmt: skip
    spec = BackboneSpec(name="experts", revision="0")
    backbone = replace(
        loading.prepare(spec, Qwen2MoeForSequenceClassification(config), NoTokenizer()),
        max_length=MOST,
    )
    method = methods.build("features")
    slots = method.slots(backbone)
    model = AdaptedModel(backbone, slots, method.trainable_parameters(slots, STREAMS))
    original, counts = FeatureReader.compute, []
    monkeypatch.setattr(
        FeatureReader,
        "compute",
        lambda self, rows, *shape: counts.append(len(rows)) or original(self, rows, *shape),
    )
    rows = rows_of_all_lengths(40)
    actual = FeatureStore().reader(model, method)(rows)
    assert counts.count(1) == 40
    assert np.array_equal(FeatureStore().reader(model, method)(rows[::-1])[::-1], actual)


def test_the_probe_of_positions_is_independent_of_jobs():
    """Probe rows follow from the shape of a call: of its length, or padded to it; no token is padding."""
    backbone = reader().adapted.backbone
    for call in (CallShape(16, full=True), CallShape(16, full=False), CallShape(8, full=False)):
        made = [
            feature_cache._synthetic_row(backbone, call, ["input_ids", "token_type_ids"], seed)
            for seed in range(40)
        ]
        assert made == [
            feature_cache._synthetic_row(backbone, call, ["input_ids", "token_type_ids"], seed)
            for seed in range(40)
        ]
        lengths = {len(row["input_ids"]) for row in made}
        assert lengths == ({16} if call.full else set(range(call.length - 7, call.length)))
        assert all(
            len(row["token_type_ids"]) == len(row["attention_mask"]) == len(row["input_ids"])
            for row in made
        )
        assert not any(backbone.tokenizer.pad_token_id in row["input_ids"] for row in made)
        assert len({tuple(row["input_ids"]) for row in made if len(row["input_ids"]) > 2}) > 20


def test_features_are_cached_under_all_that_they_depend_on(calls, monkeypatch):
    """Another feature option, method, version or machine computes again; another option of the fit does not."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    rows, base = rows_of_all_lengths(20), reader()
    base(rows, disk=True)
    variants = [
        {"pooling": "cls"}, {"method": "another"}, {"from": "a plug-in 1.0"}, {"version": 2}, {"layer": 3},
    ]  # fmt: skip
    for number, more in enumerate(variants, 1):
        replace(base, made_by=dict(base.made_by) | more)(rows)
        assert computed(calls) == 20 * (number + 1)
    monkeypatch.setattr(feature_cache, "_machine", lambda _: ["another"])
    reader()(rows, disk=True)
    assert computed(calls) == 20 * (len(variants) + 2)
    reader(c=2.0)(rows, disk=True)
    assert computed(calls) == 20 * (len(variants) + 2)


def test_a_changed_checkout_writes_no_file(monkeypatch):
    """A checkout with uncommitted changes keeps its features in memory only, since its version is ambiguous."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    monkeypatch.setattr(feature_cache, "environment", lambda: {"simplexbench": "1.0 abc+changes"})
    reader()(rows_of_all_lengths(20), disk=True)
    assert not (cache.folder() / "features").exists()


def test_a_full_disk_does_not_fail_a_job(monkeypatch):
    """Features that cannot be written are computed again next time."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert len(reader()(rows_of_all_lengths(20), disk=True)) == 20
    assert list((cache.folder() / "features").iterdir()) == []


def test_cached_rows_are_copies():
    """A cached row is a copy: a view would keep the whole output of its call in memory."""
    read = reader()
    for row in rows_of_all_lengths(10):
        read([row])
    (shelf,) = read.store._tables.values()
    assert all(value.base is None for value in shelf.values())


def test_verification_does_not_read_cached_features(tmp_path, monkeypatch):
    """Intact files with wrong features change a run's numbers, but not those of a job that computes anew."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    worker_cache.feature_store.cache_clear()
    (first,) = worker.run_pack(on_features(tmp_path, 1, draws=1), "cpu", lambda *_: None)
    (path,) = (cache.folder() / "features").iterdir()
    feature_cache._to_disk(path.stem, np.flip(load_file(path)["features"]).copy())
    actual = []
    for anew in (False, True):
        worker_cache.feature_store.cache_clear()
        tickets = [replace(ticket, anew=anew) for ticket in on_features(tmp_path, 1, draws=1)]
        actual += worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [outcome.predictions == first.predictions for outcome in actual] == [False, True]


def test_a_device_without_memory_gets_smaller_calls(monkeypatch):
    """On out-of-memory calls are halved until they fit; this is recorded, and call sizes are not mixed."""
    original, shapes = FeatureReader.compute, []

    def small(self, rows, call, count):
        shapes.append(count * call.length)
        if count * call.length > 200:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, rows, call, count)

    monkeypatch.setattr(FeatureReader, "compute", small)
    read, rows = reader(), rows_of_all_lengths(30)
    actual = read(rows)
    assert read.adapted.call_limit == CallLimit(tokens=feature_cache.CALL_TOKENS["cpu"] // 4)
    assert max(shapes[-3:]) <= 128
    monkeypatch.undo()
    assert np.allclose(reader()(rows), actual, atol=1e-5)
    monkeypatch.setattr(
        FeatureReader,
        "compute",
        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")),
    )
    with pytest.raises(torch.OutOfMemoryError):
        reader()(rows)


def test_a_large_test_set_is_cached_on_disk(calls, monkeypatch):
    """Another worker reads a test set's features from disk; it computes draws, small sets and other poolings."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    rows = rows_of_all_lengths(20)
    first = reader()(rows, disk=True)
    assert computed(calls) == 20
    assert np.array_equal(reader()(rows, disk=True), first)
    assert computed(calls) == 20
    reader(pooling="cls")(rows, disk=True)
    assert computed(calls) == 40
    reader()(rows)
    assert computed(calls) == 60
    reader()(rows[:5], disk=True)
    assert len(list((cache.folder() / "features").iterdir())) == 2


def test_a_damaged_file_of_features_is_rewritten(monkeypatch):
    """A half-written file costs time and never changes a number."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    rows = rows_of_all_lengths(20)
    expected = reader()(rows, disk=True)
    (path,) = (cache.folder() / "features").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(reader()(rows, disk=True), expected)


def test_every_changed_byte_of_cached_features_is_detected(monkeypatch):
    """Whichever byte changes, of a value or of the header, features are computed again or are the same."""
    monkeypatch.setattr(feature_cache, "MIN_DISK_ROWS", 10)
    reader()(rows_of_all_lengths(12), disk=True)
    (path,) = (cache.folder() / "features").iterdir()
    expected, original = load_file(path)["features"], path.read_bytes()
    for place in range(len(original)):
        path.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
        actual = feature_cache._from_disk(path.stem)
        assert actual is None or np.array_equal(actual, expected), place


def on_features(folder, together, draws=4):
    tickets = tickets_of(folder, draws, 1, methods="features")
    return [replace(ticket, features_shared_by=together) for ticket in tickets]


def test_jobs_that_share_features_equal_jobs_that_run_alone(tmp_path, calls):
    """The numbers are equal; shared rows are computed once, and seconds are shared and marked as such."""
    worker_cache.feature_store.cache_clear()
    together = worker.run_pack(on_features(tmp_path, 4), "cpu", lambda *_: None)
    shared = computed(calls)
    assert [(outcome.status, str(outcome.geometry)) for outcome in together] == [("done", "1+")] * 4
    calls.clear()
    alone = [
        worker.run_pack([ticket], "cpu", lambda *_: None)[0] for ticket in on_features(tmp_path, 0)
    ]
    assert [(outcome.status, str(outcome.geometry)) for outcome in alone] == [("done", "1")] * 4
    assert computed(calls) >= shared + 3 * 30  # each has read the test rows
    for outcome, other in zip(together, alone, strict=True):
        assert (outcome.metrics, outcome.predictions, outcome.curve) == (
            other.metrics,
            other.predictions,
            other.curve,
        )
    geometries = map(Geometry.parse, ("1+", "1", "1/8", "2x16x16", "1+@256"))
    assert [geometry.shared_costs for geometry in geometries] == [True, False, False, True, True]


def test_a_job_on_features_has_its_own_time(tmp_path):
    """Jobs dispatched together share features; with --timeout each is dispatched alone and shares them still."""
    jobs = [ticket.job for ticket in tickets_of(tmp_path, 40, 1, methods="features")]
    plan = SimpleNamespace(jobs=jobs, tasks=REGISTRY)
    how = SimpleNamespace(pack="auto", compiled=False, captured=False)
    how.keep, how.zeroed, how.rules = "none", False, "own"
    for timeout, timing, shared_by in ((None, False, 40), ("600", False, 1), (None, True, 0)):
        how.timeout, how.timing = timeout, timing
        tickets = run._tickets(plan, jobs, how, ["cpu"], "results.db", None)
        assert list(tickets) == [job.digest for job in jobs]
        assert {ticket.features_shared_by for ticket in tickets.values()} == {shared_by}


def test_a_failed_read_ahead_leaves_each_job_to_itself(tmp_path, monkeypatch):
    """If features cannot be computed for all jobs at once, each job computes its own."""

    def broken(*_):
        raise ValueError("no")

    monkeypatch.setattr(worker, "_read_ahead", broken)
    actual = worker.run_pack(on_features(tmp_path, 2, draws=2), "cpu", lambda *_: None)
    assert [outcome.status for outcome in actual] == ["done", "done"]
