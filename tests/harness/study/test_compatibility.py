"""What a backbone supports is known before training."""

import pytest
import torch

import methods
from harness.backbones import checkpoints, loading
from harness.jobs import BackboneSpec
from harness.study import compatibility
from tests.support.families import family_backbone


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load backbones of a family by name and return the names; the test has its own cache."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    read = []

    def fake(spec, _device, *, writes):
        assert not writes
        read.append(spec.name)
        return family_backbone(spec.name, dtype="float32")

    monkeypatch.setattr(loading, "load", fake)
    monkeypatch.setattr(checkpoints, "locate_verified", lambda name, _: name)
    return read


def find(family, names, max_length=20, **options):
    built = [methods.build(name, options) for name in names]
    return compatibility.find(BackboneSpec(name=family, revision="0"), built, max_length)


def test_refusals_and_counts_come_from_attaching(load):
    """DeBERTa refuses a prefix with a reason; of other methods the trained parameters are counted."""
    prefix, lora, features = find("DebertaV2", ["prefix", "lora", "features"])
    assert "no prefix can be added" in prefix.refused
    assert (lora.refused, features.refused) == ("", "")
    head = 3 * 32 + 3
    pooler = 32 * 32 + 32
    assert lora.trained == 2 * 2 * 2 * 8 * 32 + head + pooler
    assert features.trained == head
    assert load == ["DebertaV2"]


def test_results_are_cached(load):
    """The same question loads no backbone; another method or length does."""
    first = find("Bert", ["prefix", "lora"])
    assert find("Bert", ["lora", "prefix"]) == first[::-1]
    assert load == ["Bert"]
    find("Bert", ["adapter"])
    find("Bert", ["prefix"], max_length=30)
    assert len(load) == 3


@pytest.mark.usefixtures("load")
def test_rows_that_leave_no_room_for_a_prefix_are_refused_with_the_numbers():
    """A prefix of 10 and rows of 60 tokens do not fit into 64 positions."""
    (found,) = find("Bert", ["prefix"], max_length=60)
    assert (
        "a prefix of 10 and texts of 60 tokens need 70 positions, this backbone has 64"
        in found.refused
    )


@pytest.mark.usefixtures("load")
def test_any_error_in_the_trial_is_a_refusal(monkeypatch):
    """An error with a method refuses that method."""
    monkeypatch.setattr(compatibility, "_rows", lambda _: {"input_ids": torch.tensor([[10_000]])})
    (found,) = find("Bert", ["lora"])
    assert found.refused.startswith("it does not work on this backbone")


def test_a_failed_trial_is_repeated(load, monkeypatch):
    """An unforeseen error may be temporary, such as a lack of memory: it refuses now, and is not cached."""

    def exhausted(_):
        raise MemoryError

    with monkeypatch.context() as now:
        now.setattr(compatibility, "_rows", exhausted)
        assert (
            find("Bert", ["lora"])[0].refused == "it does not work on this backbone (MemoryError: )"
        )
    assert find("Bert", ["lora"])[0].refused == ""
    assert load == ["Bert", "Bert"]


@pytest.mark.usefixtures("load")
def test_rows_longer_than_the_backbone_allows_are_refused_for_every_method():
    """The message names the greatest length; without a requested length, one that fits is used."""
    for found in find("Bert", ["lora", "features"], max_length=65):
        assert (
            found.refused
            == "rows of 65 tokens need as many positions, this backbone has 64: --max-length 64"
        )
    assert all(
        not found.refused for found in find("Bert", ["lora", "prefix", "prompt"], max_length=0)
    )
