"""Features of rows: a function of the row alone, computed once, whole or not at all on the disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from harness import batches, cache, closed_form, features, geometry, held, worker
from harness.adapted import Room
from harness.features import Reader, Store
from tests.harness.test_packing import tickets_of
from tests.harness.test_training import adapted

MOST = 48  # tokens of a row


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch):
    """The calls of the model: rows with those that fill it up, tokens, and how many rows were asked for."""
    seen = []
    whole = Reader.compute

    def compute(self, rows, call, count):
        seen.append((count, call.length, len(rows)))
        return whole(self, rows, call, count)

    monkeypatch.setattr(Reader, "compute", compute)
    monkeypatch.setattr(Store, "_is_steady", lambda *_: True)  # whose own calls are not counted
    return seen


def computed(calls):
    """How many rows."""
    return sum(asked for _, _, asked in calls)


def reader(dtype="float32", **options):
    method, one = adapted("features", dtype=dtype, **options)
    one = replace(one, backbone=replace(one.backbone, max_length=MOST))
    return Store().reader(one, method.closed_form, method.options())


def rows_of_all_lengths(count, seed=0, most=MOST):
    """Different rows, encoded; some of them as long as the calls that they go in."""
    draw = np.random.default_rng(seed)
    ids = [[3, *map(int, draw.integers(5, 99, length - 2)), 4] for length in draw.integers(3, most + 1, count)]
    return [{"input_ids": one, "attention_mask": [1] * len(one)} for one in ids]


def test_a_row_has_the_same_features_beside_any_others():
    """Alone, among many, or in another order: bit for bit the same, in float32."""
    rows = rows_of_all_lengths(300)
    together = reader()(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    assert np.array_equal(reader()([rows[index] for index in order]), together[order])
    for index in range(0, 300, 17):
        assert np.array_equal(reader()([rows[index]])[0], together[index])


def test_features_are_those_of_the_row_by_itself():
    """Neither what fills a call up nor what pads a row is in them: as the model answers for this row only."""
    read = reader(dtype="float64", pooling="mean")
    backbone, rows = read.adapted.backbone, rows_of_all_lengths(40)
    for row, found in zip(rows, read(rows), strict=True):
        states = backbone.model.inner.bert(**batches.collate(backbone, [row])).last_hidden_state[0].detach()
        assert np.allclose(found, states.mean(0).numpy(), atol=1e-12)


def test_each_row_is_computed_once(calls):
    """Sets that share rows, and a row that stands in a set twice, cost a pass for each row."""
    read, rows = reader(), rows_of_all_lengths(90)
    read([*rows[:60], *rows[:10]])
    assert computed(calls) == 60
    read(rows[30:])
    assert computed(calls) == 90
    read(rows)
    assert computed(calls) == 90


def test_a_full_shelf_begins_anew(calls, monkeypatch):
    """What stays in memory has an end: beyond it rows are computed again, with the same features."""
    monkeypatch.setattr(features, "MOST", 50 * 32 * 4)
    read, rows = reader(), rows_of_all_lengths(60)
    first = read(rows)
    assert np.array_equal(read(rows[:50]), first[:50])
    assert computed(calls) == 110
    read(rows[:50])
    assert computed(calls) == 110


def test_calls_have_one_shape_for_each_length(calls):
    """As many rows as a call's tokens allow, filled up; a row without padding never goes with one that has some.

    Libraries leave out a mask that hides nothing, which takes another way through the kernels.
    """
    read, rows, masks = reader(), rows_of_all_lengths(120), []
    read.adapted.backbone.model.inner.register_forward_pre_hook(
        lambda _module, _args, given: masks.append(given["attention_mask"].bool()), with_kwargs=True
    )
    read(rows)
    for count, length, asked in calls:
        assert length % 8 == 0
        assert asked <= count == features.TOKENS["cpu"] // length
    assert {bool(mask.all()) for mask in masks} == {True, False}
    assert all(bool(mask.all()) or not bool(mask.all(1).any()) for mask in masks)


def test_where_places_matter_rows_go_alone(monkeypatch):
    """A device on which a row's bits hang on its place is found out, and every row is a call of its own there."""
    whole, shapes = Reader.compute, []

    def uneven(self, rows, call, count):
        shapes.append(count)
        found = whole(self, rows, call, count)
        return found + np.arange(len(found), dtype=found.dtype)[:, None] * np.float32(1e-6)

    monkeypatch.setattr(Reader, "compute", uneven)
    rows = rows_of_all_lengths(20, most=10)
    found = reader()(rows)
    assert shapes.count(1) == 20
    assert len(shapes) == 20 + 2 * 3  # two calls to find out: padded to 8, 8 without padding, padded to 16
    assert np.array_equal(reader()(rows[::-1])[::-1], found)


def test_a_device_without_memory_gets_smaller_calls(monkeypatch):
    """Half the tokens, until it holds: recorded, and not mixed with features of usual calls."""
    whole, shapes = Reader.compute, []

    def small(self, rows, call, count):
        shapes.append(count * call.length)
        if count * call.length > 200:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, rows, call, count)

    monkeypatch.setattr(Reader, "compute", small)
    read, rows = reader(), rows_of_all_lengths(30)
    found = read(rows)
    assert read.adapted.room == Room(tokens=features.TOKENS["cpu"] // 4)
    assert max(shapes[-3:]) <= 128
    monkeypatch.undo()
    assert np.allclose(reader()(rows), found, atol=1e-5)
    monkeypatch.setattr(Reader, "compute", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        reader()(rows)


def test_a_set_that_many_share_is_kept_on_disk(calls, monkeypatch):
    """Another worker reads a test set's features from the disk; drawn rows, few rows, or another pooling it computes."""
    monkeypatch.setattr(features, "DISK", 10)
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


def test_a_damaged_file_of_features_is_made_again(monkeypatch):
    """A half-written file costs a pass, never a number."""
    monkeypatch.setattr(features, "DISK", 10)
    rows = rows_of_all_lengths(20)
    expected = reader()(rows, disk=True)
    (path,) = (cache.folder() / "features").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(reader()(rows, disk=True), expected)


def test_no_byte_of_kept_features_changes_unnoticed(monkeypatch):
    """Whichever byte is another one, a number's or one that says how numbers are read: computed again, or the same features."""
    monkeypatch.setattr(features, "DISK", 10)
    reader()(rows_of_all_lengths(12), disk=True)
    (path,) = (cache.folder() / "features").iterdir()
    expected, whole = load_file(path)["features"], path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = features._from_disk(path.stem)
        assert found is None or np.array_equal(found, expected), place


def on_features(folder, together, draws=4):
    tickets = tickets_of(folder, draws, 1, methods="features")
    return [replace(ticket, together=together) for ticket in tickets]


def test_jobs_given_out_together_are_those_that_run_by_themselves(tmp_path, calls):
    """Same numbers; the rows that they share are computed once, and their seconds are shared and marked so."""
    held.features.cache_clear()
    together = worker.run_pack(on_features(tmp_path, 4), "cpu", lambda *_: None)
    shared = computed(calls)
    assert [(one.status, one.geometry) for one in together] == [("done", "1+")] * 4
    calls.clear()
    alone = [worker.run_pack([ticket], "cpu", lambda *_: None)[0] for ticket in on_features(tmp_path, 0)]
    assert [(one.status, one.geometry) for one in alone] == [("done", "1")] * 4
    assert computed(calls) >= shared + 3 * 30  # each has read the test rows
    for one, other in zip(together, alone, strict=True):
        assert (one.metrics, one.predictions, one.curve) == (other.metrics, other.predictions, other.curve)
    assert [geometry.shared(text) for text in ("1+", "1", "1/8", "2x16x16", "1+@256")] == [True, False, False, True, True]


def test_trouble_ahead_is_each_jobs_own(tmp_path, monkeypatch):
    """Where rows cannot be read for all jobs at once, each tries by itself."""

    def broken(*_):
        raise ValueError("no")

    monkeypatch.setattr(closed_form, "read_ahead", broken)
    found = worker.run_pack(on_features(tmp_path, 2, draws=2), "cpu", lambda *_: None)
    assert [one.status for one in found] == ["done", "done"]
