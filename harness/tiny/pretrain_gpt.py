"""Pretrain the tiny decoder: `python -m harness.tiny.pretrain_gpt FOLDER`.

A small GPT-2 predicts the next word of unlabelled text of the toy grammar: single sentences, pairs that belong
together, and lists of facts, each followed by a sentence, a question or the same facts in another order. It sees
only sentences that the grammar reserves for pretraining, and no table of the task `toy-table-to-text`. Seeds are
fixed and one thread is used, so the same machine gives the same weights.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from harness.streams import shuffled, stream_seed
from harness.tasks import grammar as g
from harness.tiny import pretrain

log = logging.getLogger(__name__)

END = "<|end|>"  # ends every text, and separates two that belong together
SPECIAL = ("<|pad|>", "<|unknown|>", END)
MAX_POSITIONS = 192  # enough for a long prefix and a long text


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe:
    """Hyper-parameters of pretraining."""

    documents: int = 200_000
    steps: int = 5_000
    batch: int = 96
    lr: float = 2e-3


def corpus(count: int) -> Iterator[str]:
    """Yield texts: passages, and lists of facts with what follows from them."""
    dice = g.Dice("pretraining a decoder", g.REVISION)
    passages = pretrain.corpus(count)
    for number in range(count):
        if number % 2:
            passage = next(passages)
            yield f" {END} ".join(filter(None, (passage.first, passage.second)))
        else:
            yield _facts(dice)


def _facts(dice: g.Dice) -> str:
    """Return the facts of an event in any order, and one of several things that can follow."""
    what = g.event(dice, person=25)._replace(negative=dice.chance(15))
    listed = dice.shuffled(list(g.facts(what).values()))
    kind = dice.below(3)
    if kind == 0:
        tellings = [text for text in g.tellings(what) if g.reserved(text)]
        follows = dice.pick(tellings) if tellings else ""
    elif kind == 1 and not what.person and not what.negative:
        parts = [part for part in ("town", "day") if getattr(what, part)] + ["subject", "count"]
        follows = g.question(what, dice.pick(parts), dice.below(2))
        follows = follows if g.reserved(follows) else ""
    else:
        follows = " , ".join(dice.shuffled(listed))
    return f"{' , '.join(listed)} {END} {follows}" if follows else _facts(dice)


def words() -> list[str]:
    """Return the vocabulary: that of the tiny encoder, and the names of facts."""
    known = [word for word in pretrain.words() if word not in pretrain.SPECIAL]
    names = [name for name in g.facts(_COMPLETE) if name not in known]
    return [*SPECIAL, *known, *names]


_COMPLETE = g.Event("anna", 0, "", "dog", "animal", 2, 0, "oslo", "monday")


def tokenizer(vocabulary: Sequence[str]) -> Any:
    """Return a WordPiece tokenizer for the vocabulary, which adds no special tokens."""
    index_of = {word: index for index, word in enumerate(vocabulary)}
    built = Tokenizer(
        models.WordPiece(index_of, unk_token=SPECIAL[1], max_input_chars_per_word=100)
    )
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        model_max_length=MAX_POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        pad_token=SPECIAL[0],
        unk_token=SPECIAL[1],
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def model(vocabulary: int) -> Any:
    """Return the untrained decoder."""
    torch.manual_seed(stream_seed("tiny-gpt", "init") >> 1)
    end = SPECIAL.index(END)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=MAX_POSITIONS,
            n_embd=128,
            n_layer=4,
            n_head=4,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=0,
            resid_pdrop=0.1,
            embd_pdrop=0.1,
            attn_pdrop=0.0,
        )
    )


def batches(recipe: PretrainingRecipe, tokenizer: Any) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield ids and positions `[rows, tokens]` forever, each batch with documents of similar length."""
    texts = [f"{text} {END}" for text in corpus(recipe.documents)]
    rows: list[list[int]] = tokenizer(texts)["input_ids"]
    random = torch.Generator().manual_seed(stream_seed("tiny-gpt", "positions"))
    pool, epoch = recipe.batch * 20, 0
    while True:
        order = list(shuffled(stream_seed("tiny-gpt", "order", epoch), len(rows)))
        for start in range(0, len(order) - pool + 1, pool):
            chosen = sorted((rows[i] for i in order[start : start + pool]), key=len)
            for index in torch.randperm(20, generator=random).tolist():
                part = chosen[index * recipe.batch : (index + 1) * recipe.batch]
                longest = len(part[-1])
                ids = torch.tensor([row + [0] * (longest - len(row)) for row in part])
                # Half of the rows start at a random position, so that all positions are trained and a
                # prefix can shift them.
                first = torch.randint(MAX_POSITIONS - longest, (len(part), 1), generator=random)
                first = first * torch.randint(2, (len(part), 1), generator=random)
                yield ids, first + torch.arange(longest)
        epoch += 1


def train(recipe: PretrainingRecipe) -> tuple[Any, Any]:
    """Return the trained decoder and its tokenizer."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    built = tokenizer(words())
    net = model(len(built)).eval()  # without dropout: no text is repeated often enough to overfit
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    warmup = recipe.steps // 20
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warmup, (recipe.steps - step) / (recipe.steps - warmup)),
    )
    total = 0.0
    for step, (ids, positions) in zip(
        range(1, recipe.steps + 1), batches(recipe, built), strict=False
    ):
        labels = ids.masked_fill(ids == 0, -100)
        loss = net(ids, attention_mask=(ids != 0).long(), position_ids=positions, labels=labels)[0]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
        total += float(loss.detach())
        if step % 100 == 0:
            log.info("step %d  loss %.3f", step, total / 100)
            total = 0.0
    return net, built


def main() -> None:
    """Pretrain, and write the decoder, in half precision, and its tokenizer to the folder on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    folder = Path(sys.argv[1])
    net, built = train(PretrainingRecipe())
    net.half().save_pretrained(folder)
    built.save_pretrained(folder)


if __name__ == "__main__":
    main()
