"""Tokens of examples: what is kept of long texts, and how much of them is read."""

import random
from dataclasses import replace

import pytest

from harness.backbones import loading
from harness.backbones.checkpoints import revision_of
from harness.jobs import BackboneSpec
from harness.tasks.base import Example
from harness.training.rows.encoding import encode

WORDS = ["the", "film", "was", "clever", "and", "although", "anna", "smiled", "at", "a", "concert"]


@pytest.fixture(scope="module")
def backbone():
    return loading.load(BackboneSpec(name="tiny", revision=revision_of("tiny")), "cpu")


def text(rng: random.Random, words: int) -> str:
    """Words with single, double and other spaces between them."""
    return "".join(
        rng.choice(WORDS) + rng.choice([" ", " ", "  ", "\t", "\n "]) for _ in range(words)
    )


def rows(count: int, pair: bool) -> list[Example]:
    """Examples with short and with long texts."""
    rng = random.Random(5)  # noqa: S311
    return [
        Example(tuple(text(rng, rng.choice([1, 5, 30, 90, 400])) for _ in range(1 + pair)), 0)
        for _ in range(count)
    ]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(("truncate", "side"), [("head", "right"), ("tail", "left")])
def test_head_and_tail_are_what_the_tokenizer_keeps(backbone, truncate, side, pair):
    """The tokens equal those of the tokenizer's own truncation of the whole texts, in one call."""
    backbone, examples = replace(backbone, max_length=32, truncate=truncate), rows(300, pair)
    found, tokenizer = encode(backbone, examples), backbone.tokenizer
    assert tokenizer.truncation_side == "right"
    try:
        tokenizer.truncation_side = side
        columns = [list(column) for column in zip(*(row.texts for row in examples), strict=True)]
        table = tokenizer(*columns, truncation=True, max_length=32)
    finally:
        tokenizer.truncation_side = "right"
    assert found == [{name: table[name][n] for name in table} for n in range(len(examples))]


def test_a_very_long_text_of_a_pair_is_shortened(backbone):
    """It keeps as much of the row as the whole text would."""
    (found,) = encode(
        replace(backbone, max_length=32), [Example(("film " * 20_000, "the concert was dull"), 0)]
    )
    (plain,) = encode(
        replace(backbone, max_length=32), [Example(("film " * 500, "the concert was dull"), 0)]
    )
    assert found == plain


@pytest.mark.parametrize("pair", [False, True])
def test_both_keeps_the_two_ends(backbone, pair):
    """A row has the first and the last tokens of each text, and texts that fit are whole; the longer is cut first."""
    cut = replace(backbone, max_length=32, truncate="both")
    for example in rows(60, pair):
        (found,) = encode(cut, [example])
        whole = [backbone.tokens(one) for one in example.texts]
        room = 32 - 1 - len(whole)  # without [CLS], and [SEP] after each text
        special = set(backbone.tokenizer.all_special_ids)
        kept: list[list[int]] = [[]]
        for token in found["input_ids"][1:]:
            if token in special:
                kept.append([])
            else:
                kept[-1].append(token)
        kept = kept[: len(whole)]
        assert sum(map(len, kept)) == min(room, sum(map(len, whole)))
        for part, full in zip(kept, whole, strict=True):
            head = -(-len(part) // 2)
            assert part == full[:head] + full[len(full) - (len(part) - head) :]
        if pair and all(len(full) > room for full in whole):
            assert abs(len(kept[0]) - len(kept[1])) <= 1
        if pair and min(map(len, whole)) <= room // 2:
            short = min((0, 1), key=lambda n: len(whole[n]))
            assert kept[short] == whole[short]


class Counting:
    """A tokenizer that notes the length of the longest text and the number of rows of each call."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer, self.calls = tokenizer, []

    def __call__(self, *columns, **options):
        self.calls.append((max(len(one) for column in columns for one in column), len(columns[0])))
        return self.tokenizer(*columns, **options)


def test_a_long_text_is_shortened_before_it_is_tokenised(backbone):
    """Of a text of a million words, the tokenizer sees twice as many words as tokens; the rows of a call are few."""
    counting = Counting(backbone.tokenizer)
    examples = [Example(("film " * 1_000_000,), 0), *[Example(("a film",), 0)] * 600]
    assert len(encode(replace(backbone, max_length=32, tokenizer=counting), examples)) == 601
    assert max(length for length, _ in counting.calls) <= 64 * len("film ")
    assert max(count for _, count in counting.calls) <= 256


def test_words_without_tokens_do_not_hide_the_rest(backbone):
    """Many words of invisible characters have no tokens: the text after them is read all the same."""
    example = Example(("\u200b " * 500 + "the film was clever",), 0)
    (found,) = encode(replace(backbone, max_length=32), [example])
    (plain,) = encode(replace(backbone, max_length=32), [Example(("the film was clever",), 0)])
    assert found["input_ids"] == plain["input_ids"]
