"""Micro-batches of rows of similar length: less padding, the same numbers."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.jobs import Recipe
from harness.training import loop
from harness.training.adapted_model import predict
from harness.training.labels import Target
from harness.training.loop import TrainingLoop
from harness.training.rows import batching, encoding
from methods.core.parameters import DecodedParameters
from tests.support.trainings import (
    CLASSES,
    STREAMS,
    TRAINED,
    adapted,
    rows,
)

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=80)


@given(LENGTHS)
def test_every_row_is_in_one_group_and_padding_costs_no_more_than_a_call(lengths):
    """Groups hold each row once, short ones first; padding stays below the cost of a call, and size below the limit."""
    groups = batching.group_by_length([{"input_ids": [5] * length} for length in lengths], "cpu")
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    in_order = [lengths[index] for group in groups for index in group]
    assert in_order == sorted(lengths)
    for group in groups:
        padded = len(group) * lengths[group[-1]]
        assert padded - sum(lengths[index] for index in group) <= batching.CALL_OVERHEAD["cpu"]
        assert padded <= batching.MAX_TOKENS["cpu"]


@given(LENGTHS)
def test_calls_in_bfloat16_on_a_cpu_have_few_shapes(lengths):
    """Groups hold each row once, have 8, 4, 2 or 1 rows, and end below the limit of tokens."""
    encoded = [{"input_ids": [5] * length} for length in lengths]
    groups = batching.group_by_shape(encoded, longest=200, max_tokens=800)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    in_order = [lengths[index] for group in groups for index in group]
    assert in_order == sorted(lengths)
    for group in groups:
        assert len(group) in (8, 4, 2, 1)
        assert len(group) * lengths[group[-1]] <= 800
    assert sum(len(group) < 8 for group in groups) <= 3 or max(lengths) > 96


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=40), st.sampled_from(["float32", "bfloat16"])
)
def test_the_shape_of_calls_is_known_without_rows(lengths, dtype):
    """Calls and tokens that follow from lengths alone are those of the micro-batches."""
    backbone = SimpleNamespace(
        device=torch.device("cpu"), spec=SimpleNamespace(dtype=dtype), max_length=40,
        tokenizer=SimpleNamespace(pad_token_id=0),
    )  # fmt: skip
    batches = batching.micro_batches(backbone, [{"input_ids": [5] * length} for length in lengths])
    tokens = sum(batch.batch["input_ids"].numel() for batch in batches)
    shape = batching.shape_on_cpu(lengths, dtype, 40)
    assert shape == (len(batches), tokens, len(lengths))


@pytest.mark.parametrize(
    ("length", "rounded"), [(1, 8), (8, 8), (30, 32), (33, 48), (97, 112), (119, 120), (130, 130)]
)
def test_lengths_are_rounded_up_to_the_maximal_length(length, rounded):
    """To a multiple of 8 or 16, which a model that has no more positions than the maximal length can read."""
    assert batching._rounded(length, longest=120) == rounded


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@given(lengths=LENGTHS)
def test_logits_come_in_the_order_of_the_rows(dtype, lengths):
    """Whatever the groups, logits are joined in the order of the rows."""
    made = [{"input_ids": [5] * length} for length in lengths]
    read = SimpleNamespace(
        device=torch.device("cpu"),
        tokenizer=SimpleNamespace(pad_token_id=0),
        spec=SimpleNamespace(dtype=dtype),
        max_length=128,
    )

    def answer(call):
        return torch.stack([call.indices, call.batch["input_ids"].bool().sum(1)], dim=1)

    actual = batching.run_micro_batches(read, made, answer)
    assert actual.tolist() == [[index, length] for index, length in enumerate(lengths)]


def test_a_test_set_is_copied_to_the_device_once(monkeypatch):
    """The first job builds the micro-batches of a test set, once per size; the logits are those of a plain list."""
    _, model = adapted("prefix")
    encoded = encoding.encode(model.backbone, rows(30))
    expected = [predict(model, DecodedParameters(model.trainable), encoded)]
    tests, original, made = batching.EncodedTestSet(encoded), batching.collate, []
    monkeypatch.setattr(batching, "collate", lambda *args: made.append(args) or original(*args))
    for tokens in (0, 0, 40, 40):
        model.call_limit.tokens = tokens
        assert torch.allclose(
            predict(model, DecodedParameters(model.trainable), tests), expected[0], atol=1e-5
        )
    usual, small = (len(batching.micro_batches(model.backbone, encoded, most)) for most in (0, 40))
    assert len(made) == 2 * (usual + small)  # once for the set, and once to count
    assert small > usual


@pytest.mark.parametrize(("most", "call"), [(1, 0), (40, 3), (10_000, 10_000)])
def test_predictions_do_not_depend_on_the_groups(monkeypatch, most, call):
    """Sorting by length and splitting into small micro-batches changes no logit."""
    _, model = adapted("prefix")
    encoded = encoding.encode(model.backbone, rows(30))
    expected = torch.cat(
        [predict(model, DecodedParameters(model.trainable), [row]) for row in encoded]
    )
    monkeypatch.setitem(batching.MAX_TOKENS, "cpu", most)
    monkeypatch.setitem(batching.CALL_OVERHEAD, "cpu", call)
    assert torch.allclose(
        predict(model, DecodedParameters(model.trainable), encoded), expected, atol=1e-5
    )


KINDS = [(name, {"dropout": False} if name == "fine-tuning" else {}) for name in TRAINED]
KINDS += [("simplex", {"base": "lora", "mix": "product"}), ("simplex", {"granularity": "batch"})]


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_training_in_groups_equals_training_in_one_batch(monkeypatch, name, options):
    """In float64 both give the same tensors, also where every row has its own point of the simplex."""
    actual = []
    for call in (0, 10_000):
        monkeypatch.setitem(batching.CALL_OVERHEAD, "cpu", call)
        method, model = adapted(name, dtype="float64", **options)
        model.trainable.to(torch.float64)
        seen = []
        model.backbone.model.register_forward_pre_hook(lambda *_, seen=seen: seen.append(None))
        examples = loop.Examples(rows(20), rows(10, seed=1), Target.of(CLASSES, rows(20)))
        recipe = Recipe(steps=5, eval_every=4, batch_size=8)
        loop.fit(
            TrainingLoop(model, method.options(), method.dev_scoring, examples, recipe, STREAMS)
        )
        actual.append(
            (
                len(seen),
                {key: tensor.detach() for key, tensor in model.trainable.named_parameters()},
            )
        )
    (calls, apart), (fewer, together) = actual
    assert calls > 5 * fewer / 2
    assert all(
        torch.allclose(tensor, together[key], rtol=1e-8, atol=1e-10)
        for key, tensor in apart.items()
    )
