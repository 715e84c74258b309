"""Tokens of test sets: kept, and never another set's."""

from dataclasses import replace

import pytest

from harness import cache
from harness.tasks.base import Example
from harness.training import batching, token_cache
from tests.harness.training.test_loop import Letters, rows
from tests.support.models import random_bert


@pytest.fixture
def backbone(monkeypatch, tmp_path):
    """A small one, with a cache of its own."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(token_cache, "MIN_DISK_ROWS", 10)
    return replace(random_bert("float32"), tokenizer=Letters())


def kept():
    """The files in the cache."""
    return sorted((cache.folder() / "tokens").glob("*.npz"))


def test_a_set_is_tokenised_once(backbone, monkeypatch):
    """The second time its tokens come from the disk, the same; other texts and other lengths have files of their own."""
    first = token_cache.encode(backbone, rows(20))
    assert first == batching.encode(backbone, rows(20))
    monkeypatch.setattr(token_cache, "make", None)
    assert token_cache.encode(backbone, rows(20)) == first


def test_other_rows_or_lengths_are_other_sets(backbone):
    """One letter, one row or one token less is another file."""
    texts = rows(20)
    sets = [texts, texts[:-1], [Example(("x",), 0), *texts[1:]]]
    assert all(token_cache.encode(backbone, one) == batching.encode(backbone, one) for one in sets)
    shorter = replace(backbone, max_length=4)
    assert token_cache.encode(shorter, texts) == batching.encode(shorter, texts)
    assert len(kept()) == 4


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", b"no archive"])
def test_a_damaged_file_is_made_again(backbone, damage):
    """A half-written file costs time, never a number."""
    expected = token_cache.encode(backbone, rows(20))
    (path,) = kept()
    path.write_bytes(damage)
    assert token_cache.encode(backbone, rows(20)) == expected


def test_no_byte_of_a_file_changes_unnoticed(backbone):
    """Whichever byte is another one, in the archive, a compressed part or a table: made anew, or the same tokens."""
    expected = token_cache.encode(backbone, rows(20))
    (path,) = kept()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert token_cache._read(path, 20) in (None, expected), place


def test_few_rows_are_not_kept(backbone):
    """They are tokenised faster than read."""
    token_cache.encode(backbone, rows(9))
    assert not (cache.folder() / "tokens").exists()
