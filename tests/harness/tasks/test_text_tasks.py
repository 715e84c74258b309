"""Tasks that write text: how datasets become sources and references."""

import pytest

from harness.backbones.hub.datasets import Split
from harness.errors import CorruptData
from harness.jobs import Recipe
from harness.tasks import GROUPS, REGISTRY, draws, text_tasks, toy
from harness.tasks import grammar as g

TRIPLES = {
    "mtriple_set": [['Aarhus_Airport | cityServed | "Aarhus, Denmark"', "Oslo | leader | Ann"]]
}
COLUMNS = {
    "e2e": {
        "meaning_representation": [
            "name[Blue Spice], eatType[coffee shop], customer rating[5 out of 5]",
            "name[Blue Spice], eatType[coffee shop], customer rating[5 out of 5]",
            "name[The Vaults], familyFriendly[no]",
        ],
        "human_reference": ["One.", " Two. ", "Three."],
    },
    "webnlg": {
        "category": ["Airport", "Athlete"],
        "modified_triple_sets": [TRIPLES, {"mtriple_set": [["A | b | C"]]}],
        "lex": [
            {"comment": ["good", "toFix"], "text": ["It serves Aarhus.", "Bad."]},
            {"comment": ["good"], "text": ["A is C."]},
        ],
    },
    "dart": {
        "tripleset": [[["Hawaii", "NOTES", "x"], ["[TABLECONTEXT]", "TITLE", "y"]]],
        "annotations": [{"source": ["s", "s"], "text": ["First.", "Second."]}],
    },
    "xsum": {"document": ["Line one.\nLine  two."], "summary": ["Short."]},
}
SOURCES = {
    "e2e": [
        ("name : Blue Spice | Type : coffee shop | customer rating : 5 out of 5", ("One.", "Two.")),
        ("name : The Vaults | family friendly : no", ("Three.",)),
    ],
    "webnlg": [
        (
            'Aarhus_Airport : cityServed : "Aarhus, Denmark" | Oslo : leader : Ann',
            ("It serves Aarhus.",),
        ),
        ("A : b : C", ("A is C.",)),
    ],
    "dart": [("Hawaii : NOTES : x | [TABLECONTEXT] : TITLE : y", ("First.", "Second."))],
    "xsum": [("Line one. Line two.", ("Short.",))],
}


@pytest.fixture
def served(monkeypatch):
    """Every dataset has the columns above in every split; returns the splits that were read."""
    read = []

    def load_split(name, config, split, _commit):
        read.append((name, config, split))
        task = next(t for t in text_tasks.TASKS.values() if t.reader.dataset == name)
        return Split(columns=COLUMNS[task.name], classes={})

    monkeypatch.setattr(text_tasks, "load_split", load_split)
    return read


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("name", text_tasks.TASKS)
def test_test_examples_have_all_references_and_training_examples_one(name):
    """Rows with one source are its references; a training example has one of them, in the order of the rows."""
    task, expected = REGISTRY[name], SOURCES[name]
    reader = task.reader
    tests = draws.test_sets(task, lambda split: reader.examples(split, "1"), 0, Recipe())
    rows = [(row.texts[0], row.references) for part in tests.values() for row in part]
    assert rows == expected
    assert [(row.texts[0], row.references) for row in reader.examples("train", "1")] == [
        (source, (text,)) for source, texts in expected for text in texts
    ]


def test_webnlg_has_seen_and_unseen_topics(served):
    """A test set for each; categories of the training data are seen."""
    task = REGISTRY["webnlg"]
    sources = {
        suffix: [row.texts[0] for row in task.reader.examples(split, "1")]
        for suffix, split in task.tests.items()
    }
    assert sources == {"seen": [SOURCES["webnlg"][0][0]], "unseen": ["A : b : C"]}
    assert {split for _, _, split in served} == {"test"}


def test_a_dataset_without_the_columns_is_refused(monkeypatch):
    """The message names the missing column."""
    monkeypatch.setattr(text_tasks, "load_split", lambda *_: Split(columns={"a": []}, classes={}))
    with pytest.raises(CorruptData, match="meaning_representation"):
        REGISTRY["e2e"].reader.examples("test", "1")


def test_a_toy_table_has_every_telling_of_its_event():
    """References name all facts of the table; none is reserved for pretraining, and no table occurs twice."""
    task = REGISTRY["toy-table-to-text"]
    assert task.name in GROUPS["generation"]
    assert task.name not in GROUPS["toy"]
    rows = [
        *task.reader.examples("train", g.REVISION),
        *task.reader.examples("validation", g.REVISION),
    ]
    assert len({row.texts for row in rows}) == len(rows) == sum(toy.SPLITS.values())
    for row in rows[::50]:
        facts = dict(pair.split(" : ") for pair in row.texts[0].split(" | "))
        for text in row.references:
            assert not g.reserved(text)
            named = [facts["subject"], facts.get("place", ""), facts.get("time", "")]
            assert all(name in text for name in named)
