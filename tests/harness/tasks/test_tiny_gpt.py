"""The embedded decoder: what it was pretrained on, and that its files hold it."""

from itertools import islice

from harness.backbones import checkpoints
from harness.tasks import REGISTRY
from harness.tasks import grammar as g
from harness.tiny import pretrain_gpt


def test_pretraining_saw_no_reference_and_no_table():
    """Its corpus has no reference of the task's training rows, and no table with names of facts."""
    texts = list(islice(pretrain_gpt.corpus(4000), 4000))
    parts = {part for text in texts for part in text.split(f" {pretrain_gpt.END} ")}
    rows = REGISTRY["toy-table-to-text"].reader.examples("train", g.REVISION)
    assert not parts & {text for row in rows for text in row.references}
    assert not any(" : " in part or "|" in part for part in parts)


def test_the_vocabulary_spells_tables_and_tellings():
    """No word of the task is unknown, and texts come back from their tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints.EMBEDDED["tiny-gpt"])
    assert len(tokenizer) == len(pretrain_gpt.words())
    for row in REGISTRY["toy-table-to-text"].reader.examples("train", g.REVISION)[:200]:
        for text in (*row.texts, *row.references):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
