"""Pretrain the tiny encoder: `python -m harness.tiny.pretrain FOLDER`.

A small BERT is trained on unlabelled text of the toy grammar with three losses: predict masked or
replaced words, detect replaced words, and predict whether a second sentence belongs to the first.
It sees only sentences that the grammar reserves for pretraining, and no labels of the tasks. Seeds
are fixed and one thread is used, so the same machine gives the same weights.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

from harness.streams import shuffled, stream_seed
from harness.tasks import grammar as g

log = logging.getLogger(__name__)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GLAD = ("smiled", "laughed", "cheered", "clapped", "stayed", "rejoiced")
CROSS = ("frowned", "sighed", "complained", "yawned", "left", "grumbled")
# Percentage of negated opinions; at 50 an opinion's words would not predict the reaction.
NEGATION = 20
MAX_POSITIONS = 192  # enough for a long prefix and a long text


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe:
    """Hyper-parameters of pretraining."""

    passages: int = 200_000
    steps: int = 6_000
    batch: int = 96
    lr: float = 1.5e-3
    noise: float = 0.2  # fraction of words to predict
    mood_noise: float = 0.5  # fraction of the words of praise and blame, which are rare and hard
    unrelated: float = 0.3  # fraction of pairs with the second sentence of another pair


class Passage(NamedTuple):
    """One sentence, or two that belong together."""

    first: str
    second: str = ""
    # The facts show whether the sentences belong together; a mood would fit half of all others.
    factual: bool = True


def corpus(count: int) -> Iterator[Passage]:
    """Yield unlabelled text: single sentences, and pairs that belong together."""
    dice = g.Dice("pretraining", g.REVISION)
    makers = (
        _statement,
        _sentence,
        _review,
        _reaction,
        _reaction,
        _retold,
        _retold,
        _retold,
        _question,
    )
    for number in range(count):
        yield makers[number % len(makers)](dice)


def _reserved(generate: Any) -> str:
    """Generate sentences until one is reserved for pretraining; return it."""
    while not g.reserved(text := generate()):
        pass
    return str(text)


def _statement(dice: g.Dice) -> Passage:
    return Passage(_reserved(lambda: " ".join(g.statement(dice))))


def _event(dice: g.Dice) -> g.Event:
    return g.event(dice, person=30)._replace(negative=dice.chance(20))


def _sentence(dice: g.Dice) -> Passage:
    return Passage(_reserved(lambda: g.sentence(_event(dice), g.wording(dice))))


def _review(dice: g.Dice) -> Passage:
    return Passage(_reserved(lambda: g.review(dice, dice.chance(50), NEGATION)))


def _reaction(dice: g.Dice) -> Passage:
    positive = dice.chance(50)
    generate = g.opinion if dice.chance(60) else g.review
    first = _reserved(lambda: generate(dice, positive, NEGATION))
    if dice.chance(35):
        return Passage(first, _reserved(lambda: g.opinion(dice, positive, NEGATION)), factual=False)
    return Passage(
        first, f"so {dice.pick(g.NAMES)} {dice.pick(GLAD if positive else CROSS)}", factual=False
    )


def _retold(dice: g.Dice) -> Passage:
    what = _event(dice)
    while not g.reserved(first := g.sentence(what, g.wording(dice))):
        what = _event(dice)
    return Passage(first, _reserved(lambda: g.sentence(_varied(dice, what), g.wording(dice))))


def _varied(dice: g.Dice, what: g.Event) -> g.Event:
    """Return the event unchanged, with fewer details, or partly changed."""
    shape = dice.below(10)
    if shape < 5:
        return what
    if shape < 7:
        return what._replace(town="") if dice.chance(50) else what._replace(day="", adjective=-1)
    if shape == 7 and what.kind:
        return what._replace(noun=what.kind)
    if shape == 8:
        return what._replace(negative=not what.negative)
    new = _event(dice)
    return what._replace(town=new.town, day=new.day)


def _question(dice: g.Dice) -> Passage:
    while True:
        what = g.event(dice, town=80, day=80)._replace(number=2 + dice.below(8))
        part = dice.pick(
            [name for name in ("town", "day") if getattr(what, name)] + ["subject", "count"]
        )
        first = g.question(what, part, dice.below(2))
        second = g.sentence(what, g.wording(dice))
        if g.reserved(first) and g.reserved(second):
            return Passage(first, second)


def families() -> tuple[tuple[str, ...], ...]:
    """Return groups of words that can replace one another; noise replaces a word by one of its groups."""
    verbs = [verb for meaning in (*g.VERBS, *g.DEEDS) for verb in meaning] + [
        *g.LIKING,
        *g.DISLIKING,
    ]
    adjectives = tuple(word for meaning in g.ADJECTIVES for word in meaning)
    nouns = [noun for _, noun in g.NOUNS] + list(g.KINDS)
    return (
        g.NAMES, g.TOWNS, g.DAYS, ("a", "an", "one", "some", *g.COUNTS), ("this", "that", "these", "those", "the"),
        ("is", "are", "was", "were"), ("has", "have"), ("looks", "look", "seems", "seem"), ("where", "when", "who"),
        ("in", "on", "by", "near", "behind", "beside"), ("and", "but", "although"), ("not", "never", *g.DEGREES),
        *[tuple(dict.fromkeys(verb)) for verb in verbs],
        *[tuple(dict.fromkeys(verb[i] for verb in verbs)) for i in range(3)],
        *[(noun, g.plural(noun)) for noun in nouns], tuple(nouns), tuple(map(g.plural, nouns)),
        adjectives, g.PRAISE + g.BLAME, g.THINGS, (*GLAD, *CROSS),
    )  # fmt: skip


def words() -> list[str]:
    """Return the vocabulary: the grammar's words, then characters, so that other text can be spelled."""
    known = {word for family in families() for word in family} | {
        "did",
        "been",
        "how",
        "many",
        "so",
        "?",
    }
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    return [*SPECIAL, *sorted(known), *(piece for piece in pieces if piece not in known)]


def tokenizer(vocabulary: Sequence[str]) -> Any:
    """Return a WordPiece tokenizer for the vocabulary that joins pairs as BERT does."""
    index_of = {word: index for index, word in enumerate(vocabulary)}
    built = Tokenizer(
        models.WordPiece(index_of, unk_token=SPECIAL[1], max_input_chars_per_word=100)
    )
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    ends = [("[CLS]", index_of["[CLS]"]), ("[SEP]", index_of["[SEP]"])]
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = dict(
        zip(
            ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True
        )
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        model_max_length=MAX_POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


class Batch(NamedTuple):
    """Noisy text, the original text, and which pairs belong together."""

    ids: Tensor  # (rows, length), with noise
    segments: Tensor  # (rows, length): 0 first sentence, 1 second
    mask: Tensor  # (rows, length)
    positions: Tensor  # (rows, length)
    original: Tensor  # (rows, length), without noise
    predicted: Tensor  # (rows, length), bool: the words to predict
    related: Tensor  # (rows,): 1 or 0; -100 for a single sentence


class Noise:
    """Makes batches: joins sentences, masks words, replaces words by others of their group."""

    def __init__(self, recipe: PretrainingRecipe, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.random = torch.Generator().manual_seed(stream_seed("tiny", "noise"))
        index_of: Mapping[str, int] = tokenizer.get_vocab()
        width = 64
        rows: dict[int, list[int]] = {index: [] for index in index_of.values()}
        for family in families():
            for word in family:
                # All groups of a word have the same weight, whatever their size.
                others = [index_of[other] for other in family if other != word]
                rows[index_of[word]] += [others[i % len(others)] for i in range(16)]
        self.siblings = torch.tensor(
            [
                (row * width)[:width] if row else [index] * width
                for index, row in sorted(rows.items())
            ]
        )
        self.rates = torch.full((len(index_of),), recipe.noise)
        moods = {
            *g.PRAISE,
            *g.BLAME,
            *GLAD,
            *CROSS,
            *(verb.past for verb in g.LIKING + g.DISLIKING),
        }
        self.rates[[index_of[word] for word in sorted(moods)]] = recipe.mood_noise
        self.rates[: len(SPECIAL)] = 0.0

    def batch(
        self, passages: Sequence[Passage], seconds: Sequence[str], related: Sequence[int]
    ) -> Batch:
        """Return a batch of passages with these second sentences."""
        texts = [
            (p.first, second) if second else p.first
            for p, second in zip(passages, seconds, strict=True)
        ]
        encoded = self.tokenizer(texts, padding=True, return_tensors="pt")
        original, mask = encoded["input_ids"], encoded["attention_mask"]
        predicted = torch.rand(original.shape, generator=self.random) < self.rates[original]
        action = torch.rand(original.shape, generator=self.random)
        sibling = torch.randint(self.siblings.shape[1], original.shape, generator=self.random)
        ids = torch.where(predicted & (action < 0.45), SPECIAL.index("[MASK]"), original)
        ids = torch.where(predicted & (action > 0.55), self.siblings[original, sibling], ids)
        # Half of the rows start at a random position, so that all positions are trained and a prefix
        # can shift them.
        rows, length = original.shape
        start = torch.randint(MAX_POSITIONS - length, (rows, 1), generator=self.random)
        start = start * torch.randint(2, (rows, 1), generator=self.random)
        return Batch(
            ids,
            encoded["token_type_ids"],
            mask,
            (start + torch.arange(length)),
            original,
            predicted,
            torch.tensor(related),
        )


def batches(recipe: PretrainingRecipe, tokenizer: Any) -> Iterator[Batch]:
    """Yield batches forever, each with passages of similar length."""
    passages = list(corpus(recipe.passages))
    noise = Noise(recipe, tokenizer)
    pool, epoch = recipe.batch * 20, 0
    while True:
        order = list(shuffled(stream_seed("tiny", "order", epoch), len(passages)))
        for start in range(0, len(order) - pool + 1, pool):
            chosen = sorted(
                (passages[i] for i in order[start : start + pool]),
                key=lambda p: len(p.first + p.second),
            )
            for index in torch.randperm(20, generator=noise.random).tolist():
                yield _paired(
                    recipe, noise, chosen[index * recipe.batch : (index + 1) * recipe.batch]
                )
        epoch += 1


def _paired(recipe: PretrainingRecipe, noise: Noise, passages: Sequence[Passage]) -> Batch:
    """Return a batch in which some pairs have the second sentence of another pair."""
    seconds, related = (
        [p.second for p in passages],
        [1 if p.second and p.factual else -100 for p in passages],
    )
    swapped = torch.rand(len(passages), generator=noise.random).tolist()
    for index in range(len(passages)):
        other = passages[index - 1].second
        if related[index] == 1 and other and swapped[index] < recipe.unrelated:
            seconds[index], related[index] = other, 0
    return noise.batch(passages, seconds, related)


def model(vocabulary: int) -> Any:
    """Return the untrained encoder."""
    torch.manual_seed(stream_seed("tiny", "init") >> 1)
    net = BertForPreTraining(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=MAX_POSITIONS,
        )
    )
    net.replaced = torch.nn.Linear(net.config.hidden_size, 1)  # only for pretraining
    return net


def losses(net: Any, batch: Batch) -> Tensor:
    """Return the losses (3,) of predicting words, of detecting replaced ones and of relating sentences."""
    encoded = net.bert(batch.ids, batch.mask, batch.segments, batch.positions)
    prediction = F.cross_entropy(
        net.cls.predictions(encoded.last_hidden_state[batch.predicted]),
        batch.original[batch.predicted],
    )
    visible = (batch.original >= len(SPECIAL)) & (batch.ids >= len(SPECIAL))
    detection = F.binary_cross_entropy_with_logits(
        net.replaced(encoded.last_hidden_state[visible])[:, 0],
        (batch.ids != batch.original)[visible].float(),
    )
    related_logits = net.cls.seq_relationship(encoded.pooler_output)
    pairs = batch.related >= 0
    relation = (
        F.cross_entropy(related_logits[pairs], batch.related[pairs])
        if pairs.any()
        else related_logits.sum() * 0
    )
    return torch.stack([prediction, detection, relation])


def train(recipe: PretrainingRecipe) -> tuple[Any, Any]:
    """Return the trained encoder and its tokenizer."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    built = tokenizer(words())
    net = model(
        len(built)
    ).eval()  # without dropout: no passage is repeated often enough to overfit
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    warmup = recipe.steps // 20
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warmup, (recipe.steps - step) / (recipe.steps - warmup)),
    )
    sums, weights = torch.zeros(3), torch.tensor([1.0, 2.0, 0.3])
    for step, batch in zip(range(1, recipe.steps + 1), batches(recipe, built), strict=False):
        parts = losses(net, batch)
        optimiser.zero_grad()
        (parts @ weights).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
        sums += parts.detach()
        if step % 100 == 0:
            log.info("step %d  words %.3f  replaced %.3f  pairs %.3f", step, *(sums / 100).tolist())
            sums.zero_()
    return net, built


def main() -> None:
    """Pretrain, and write the encoder, in half precision, and its tokenizer to the folder on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    folder = Path(sys.argv[1])
    net, built = train(PretrainingRecipe())
    del net.replaced
    net.half().save_pretrained(folder)
    built.save_pretrained(folder)


if __name__ == "__main__":
    main()
