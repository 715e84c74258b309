"""Cached tokens of test sets."""

from dataclasses import replace

import pytest

from harness import cache
from harness.tasks.base import Example
from harness.training.rows import encoding
from tests.support.models import random_bert
from tests.support.trainings import Letters, rows


@pytest.fixture
def backbone(monkeypatch, tmp_path):
    """A small backbone, with a cache of its own."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(encoding, "MIN_DISK_ROWS", 10)
    return replace(random_bert("float32"), tokenizer=Letters())


def cached_files():
    """Return the files in the cache."""
    return sorted((cache.folder() / "tokens").glob("*.npz"))


def test_a_set_is_tokenised_once(backbone, monkeypatch):
    """The second time tokens come from disk and are equal; other texts and lengths have their own files."""
    first = encoding.encode_cached(backbone, rows(20))
    assert first == encoding.encode(backbone, rows(20))
    monkeypatch.setattr(encoding, "encode", None)
    assert encoding.encode_cached(backbone, rows(20)) == first


def test_other_rows_or_lengths_are_other_sets(backbone):
    """One letter, one row or one token less is another file."""
    texts = rows(20)
    sets = [texts, texts[:-1], [Example(("x",), 0), *texts[1:]]]
    assert all(
        encoding.encode_cached(backbone, examples) == encoding.encode(backbone, examples)
        for examples in sets
    )
    shorter = replace(backbone, max_length=4)
    assert encoding.encode_cached(shorter, texts) == encoding.encode(shorter, texts)
    assert len(cached_files()) == 4


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", b"no archive"])
def test_a_damaged_file_is_rewritten(backbone, damage):
    """A half-written file costs time and never changes a token."""
    expected = encoding.encode_cached(backbone, rows(20))
    (path,) = cached_files()
    path.write_bytes(damage)
    assert encoding.encode_cached(backbone, rows(20)) == expected


def test_every_changed_byte_is_detected(backbone):
    """Whichever byte changes, tokens are computed again or are the same."""
    expected = encoding.encode_cached(backbone, rows(20))
    (path,) = cached_files()
    original = path.read_bytes()
    for place in range(len(original)):
        path.write_bytes(original[:place] + bytes([original[place] ^ 0xFF]) + original[place + 1 :])
        assert encoding._read(path, 20) in (None, expected), place


def test_small_sets_are_not_cached(backbone):
    """Small sets are tokenised faster than read."""
    encoding.encode_cached(backbone, rows(9))
    assert not (cache.folder() / "tokens").exists()
