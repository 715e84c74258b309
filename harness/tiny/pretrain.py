"""Pretrain the tiny encoder: `python -m harness.tiny.pretrain FOLDER`.

A BERT learns to fill in words of unlabelled text of the toy grammar, to tell which words were
exchanged for others of their family, and whether a second sentence belongs to the first. It sees
only sentences that the grammar keeps for pretraining, and none of the tasks' labels. Seeds are
fixed, and one thread is used: the same machine gives the same weights.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.streams import Shuffle, stream
from harness.tasks import grammar as g

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GLAD = ("smiled", "laughed", "cheered", "clapped", "stayed", "rejoiced")
CROSS = ("frowned", "sighed", "complained", "yawned", "left", "grumbled")
# percent of the opinions: were half of them denied, words and reactions would not go together at
# all
DENIAL = 20
LONGEST = 192  # positions: a long prefix and a long text


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How much is read and learnt."""

    passages: int = 200_000
    steps: int = 6_000
    batch: int = 96
    lr: float = 1.5e-3
    noise: float = 0.2  # share of words to be guessed
    mood_noise: float = (
        0.5  # share of the words of praise and blame, which are few, and hard to guess
    )
    unrelated: float = 0.3  # share of pairs whose second sentence belongs to another first one


class Passage(NamedTuple):
    """One sentence, or two that belong together."""

    first: str
    second: str = ""
    # by what they tell one can say whether the two belong together; a mood fits half of all others
    told: bool = True


def corpus(count: int) -> Iterator[Passage]:
    """Unlabelled text: single sentences and pairs that speak of one thing."""
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
        _asked,
    )
    for number in range(count):
        yield makers[number % len(makers)](dice)


def _kept(say: Any) -> str:
    """What is said until it is a sentence kept for pretraining."""
    while not g.reserved(text := say()):
        pass
    return str(text)


def _statement(dice: g.Dice) -> Passage:
    return Passage(_kept(lambda: " ".join(g.statement(dice))))


def _event(dice: g.Dice) -> g.Event:
    return g.event(dice, person=30)._replace(negative=dice.chance(20))


def _sentence(dice: g.Dice) -> Passage:
    return Passage(_kept(lambda: g.sentence(_event(dice), g.wording(dice))))


def _review(dice: g.Dice) -> Passage:
    return Passage(_kept(lambda: g.review(dice, dice.chance(50), DENIAL)))


def _reaction(dice: g.Dice) -> Passage:
    positive = dice.chance(50)
    say = g.opinion if dice.chance(60) else g.review
    first = _kept(lambda: say(dice, positive, DENIAL))
    if dice.chance(35):
        return Passage(first, _kept(lambda: g.opinion(dice, positive, DENIAL)), told=False)
    return Passage(
        first, f"so {dice.pick(g.NAMES)} {dice.pick(GLAD if positive else CROSS)}", told=False
    )


def _retold(dice: g.Dice) -> Passage:
    what = _event(dice)
    while not g.reserved(first := g.sentence(what, g.wording(dice))):
        what = _event(dice)
    return Passage(first, _kept(lambda: g.sentence(_varied(dice, what), g.wording(dice))))


def _varied(dice: g.Dice, what: g.Event) -> g.Event:
    """The event as somebody else may tell it: the same, with less detail, or in part about something else."""
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


def _asked(dice: g.Dice) -> Passage:
    while True:
        what = g.event(dice, town=80, day=80)._replace(number=2 + dice.below(8))
        asked = dice.pick(
            [part for part in ("town", "day") if getattr(what, part)] + ["subject", "count"]
        )
        first = g.question(what, asked, dice.below(2))
        second = g.sentence(what, g.wording(dice))
        if g.reserved(first) and g.reserved(second):
            return Passage(first, second)


def families() -> tuple[tuple[str, ...], ...]:
    """Words that could stand for one another, or nearly so: what noise puts in a word's place."""
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
        *[tuple(dict.fromkeys(verb)) for verb in verbs], *[tuple(dict.fromkeys(verb[i] for verb in verbs)) for i in range(3)],
        *[(noun, g.plural(noun)) for noun in nouns], tuple(nouns), tuple(map(g.plural, nouns)),
        adjectives, g.PRAISE + g.BLAME, g.THINGS, (*GLAD, *CROSS),
    )  # fmt: skip


def words() -> list[str]:
    """The vocabulary: what the grammar says, then single characters, so that other text is spelt rather than lost."""
    known = {word for family in families() for word in family} | {
        "did",
        "been",
        "how",
        "many",
        "so",
        "?",
    }
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    spelt = [*letters, *(f"##{letter}" for letter in letters)]
    return [*SPECIAL, *sorted(known), *(piece for piece in spelt if piece not in known)]


def tokenizer(vocabulary: Sequence[str]) -> Any:
    """A WordPiece tokenizer over the vocabulary that joins pairs as BERT's does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    places = {word: place for place, word in enumerate(vocabulary)}
    built = Tokenizer(models.WordPiece(places, unk_token=SPECIAL[1], max_input_chars_per_word=100))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    ends = [("[CLS]", places["[CLS]"]), ("[SEP]", places["[SEP]"])]
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
        model_max_length=LONGEST,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


class Batch(NamedTuple):
    """Noisy text, what it was, and which pairs belong together."""

    ids: "Tensor"  # (rows, length), with noise
    kinds: "Tensor"  # (rows, length): 0 first sentence, 1 second
    mask: "Tensor"  # (rows, length)
    positions: "Tensor"  # (rows, length)
    truth: "Tensor"  # (rows, length), without noise
    guessed: "Tensor"  # (rows, length), bool: which words count
    related: "Tensor"  # (rows,): 1 or 0; -100 for a single sentence


class Noise:
    """Makes batches: joins sentences, hides words, puts other words of their family in their place."""

    def __init__(self, recipe: Recipe, reader: Any) -> None:
        import torch

        self.reader = reader
        self.random = torch.Generator().manual_seed(stream("tiny", "noise"))
        places: Mapping[str, int] = reader.get_vocab()
        width = 64
        rows: dict[int, list[int]] = {place: [] for place in places.values()}
        for family in families():
            for word in family:
                # Every family of a word counts the same, however many words it has.
                others = [places[other] for other in family if other != word]
                rows[places[word]] += [others[i % len(others)] for i in range(16)]
        table = [
            (row * width)[:width] if row else [place] * width for place, row in sorted(rows.items())
        ]
        self.siblings = torch.tensor(table)
        self.rates = torch.full((len(places),), recipe.noise)
        moods = {
            *g.PRAISE,
            *g.BLAME,
            *GLAD,
            *CROSS,
            *(verb.past for verb in g.LIKING + g.DISLIKING),
        }
        self.rates[[places[word] for word in sorted(moods)]] = recipe.mood_noise
        self.rates[: len(SPECIAL)] = 0.0

    def batch(
        self, passages: Sequence[Passage], seconds: Sequence[str], related: Sequence[int]
    ) -> Batch:
        """A batch of passages with the second sentences given."""
        import torch

        texts = [
            (p.first, second) if second else p.first
            for p, second in zip(passages, seconds, strict=True)
        ]
        made = self.reader(texts, padding=True, return_tensors="pt")
        truth, mask = made["input_ids"], made["attention_mask"]
        guessed = torch.rand(truth.shape, generator=self.random) < self.rates[truth]
        how = torch.rand(truth.shape, generator=self.random)
        sibling = torch.randint(self.siblings.shape[1], truth.shape, generator=self.random)
        ids = torch.where(guessed & (how < 0.45), SPECIAL.index("[MASK]"), truth)
        ids = torch.where(guessed & (how > 0.55), self.siblings[truth, sibling], ids)
        # Half of the rows start somewhere else, so that every position is trained and a prefix may
        # shift them.
        rows, length = truth.shape
        start = torch.randint(LONGEST - length, (rows, 1), generator=self.random)
        start = start * torch.randint(2, (rows, 1), generator=self.random)
        positions = start + torch.arange(length)
        return Batch(
            ids, made["token_type_ids"], mask, positions, truth, guessed, torch.tensor(related)
        )


def batches(recipe: Recipe, reader: Any) -> Iterator[Batch]:
    """Batches without end, of passages of much the same length."""
    import torch

    passages = list(corpus(recipe.passages))
    noise = Noise(recipe, reader)
    pool, epoch = recipe.batch * 20, 0
    while True:
        order = list(Shuffle(stream("tiny", "order", epoch), len(passages)))
        for start in range(0, len(order) - pool + 1, pool):
            chosen = sorted(
                (passages[i] for i in order[start : start + pool]),
                key=lambda p: len(p.first + p.second),
            )
            for place in torch.randperm(20, generator=noise.random).tolist():
                yield _paired(
                    recipe, noise, chosen[place * recipe.batch : (place + 1) * recipe.batch]
                )
        epoch += 1


def _paired(recipe: Recipe, noise: Noise, passages: Sequence[Passage]) -> Batch:
    """Some pairs get another pair's second sentence."""
    import torch

    seconds, related = (
        [p.second for p in passages],
        [1 if p.second and p.told else -100 for p in passages],
    )
    swapped = torch.rand(len(passages), generator=noise.random).tolist()
    for place in range(len(passages)):
        other = passages[place - 1].second
        if related[place] == 1 and other and swapped[place] < recipe.unrelated:
            seconds[place], related[place] = other, 0
    return noise.batch(passages, seconds, related)


def model(vocabulary: int) -> Any:
    """The untrained encoder."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(stream("tiny", "init") >> 1)
    net = BertForPreTraining(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=LONGEST,
        )
    )
    net.exchanged = torch.nn.Linear(net.config.hidden_size, 1)  # goes when pretraining ends
    return net


def losses(net: Any, batch: Batch) -> "Tensor":
    """The losses of guessing words, of telling which were exchanged, and of telling which pairs belong together: (3,)."""
    import torch
    import torch.nn.functional as F

    read = net.bert(batch.ids, batch.mask, batch.kinds, batch.positions)
    guesses = net.cls.predictions(read.last_hidden_state[batch.guessed])
    guessing = F.cross_entropy(guesses, batch.truth[batch.guessed])
    shown = (batch.truth >= len(SPECIAL)) & (batch.ids >= len(SPECIAL))
    suspicion = net.exchanged(read.last_hidden_state[shown])[:, 0]
    telling = F.binary_cross_entropy_with_logits(
        suspicion, (batch.ids != batch.truth)[shown].float()
    )
    belongs = net.cls.seq_relationship(read.pooler_output)
    pairs = batch.related >= 0
    matching = (
        F.cross_entropy(belongs[pairs], batch.related[pairs]) if pairs.any() else belongs.sum() * 0
    )
    return torch.stack([guessing, telling, matching])


def train(recipe: Recipe) -> tuple[Any, Any]:
    """The trained encoder and its tokenizer."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    reader = tokenizer(words())
    net = model(
        len(reader)
    ).eval()  # no dropout: it reads nothing often enough to learn it by heart
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    warm = recipe.steps // 20
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm, (recipe.steps - step) / (recipe.steps - warm)),
    )
    seen, weights = torch.zeros(3), torch.tensor([1.0, 2.0, 0.3])
    for step, batch in zip(range(1, recipe.steps + 1), batches(recipe, reader), strict=False):
        parts = losses(net, batch)
        optimiser.zero_grad()
        (parts @ weights).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
        seen += parts.detach()
        if step % 100 == 0:
            log.info(
                "step %d  words %.3f  exchanged %.3f  pairs %.3f", step, *(seen / 100).tolist()
            )
            seen.zero_()
    return net, reader


def save(net: Any, reader: Any, folder: Path) -> None:
    """Write the encoder in half precision, and its tokenizer."""
    del net.exchanged
    net.half().save_pretrained(folder)
    reader.save_pretrained(folder)


def main() -> None:
    """Pretrain and write into the folder named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    folder = Path(sys.argv[1])
    net, reader = train(Recipe())
    save(net, reader, folder)


if __name__ == "__main__":
    main()
