"""The toy tasks: made here, the same everywhere, and not to be solved without reading."""

import hashlib
import json
from collections import Counter, defaultdict

import pytest

from harness.errors import CorruptData
from harness.tasks import grammar
from harness.tasks.base import Example
from harness.tasks.toy import TASKS

PAIRS = [name for name, task in TASKS.items() if task.pair and not task.regression]
CLASSES = [name for name, task in TASKS.items() if not task.regression]
FINGERPRINTS = {
    "toy-sentiment": "f87ce35efe524884",
    "toy-acceptability": "06030f43247445c1",
    "toy-paraphrase": "dbc07653e37cb4bd",
    "toy-entailment": "b25730a46faed309",
    "toy-answerability": "6c7b83fdc8783f78",
    "toy-similarity": "c673d7c008ead5bb",
}


def rows(name: str, split: str = "train") -> list[Example]:
    reader = TASKS[name].reader
    return list(reader.examples(split, reader.revision()))


def everything(name: str) -> list[Example]:
    return rows(name) + rows(name, "validation")


def fingerprint(name: str) -> str:
    text = json.dumps([[row.texts, row.label] for row in everything(name)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_distinct(name):
    """No row stands twice, neither within a split nor across the two."""
    texts = [row.texts for row in everything(name)]
    assert len(set(texts)) == len(texts) == 4500
    assert len(rows(name)) == TASKS[name].train_rows


@pytest.mark.parametrize("name", TASKS)
def test_rows_fit_their_task(name):
    """Every row has the texts and the label that its task announces, and a handful of words."""
    task = TASKS[name]
    for row in everything(name):
        assert len(row.texts) == (2 if task.pair else 1)
        assert all(3 <= len(text.split()) <= 20 for text in row.texts)
        assert 0 <= row.label <= 5 if task.regression else row.label in range(task.outputs)


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_the_same_everywhere(name):
    """The rows are those of this revision of the grammar, on every platform and Python version."""
    assert fingerprint(name) == FINGERPRINTS[name]


@pytest.mark.parametrize("name", TASKS)
def test_no_row_was_pretrained_on(name):
    """No sentence of a row is kept for pretraining."""
    assert not any(grammar.reserved(text) for row in everything(name) for text in row.texts)


@pytest.mark.parametrize("name", CLASSES)
def test_labels_are_balanced(name):
    """No class is much rarer than another, in either split."""
    for split in ("train", "validation"):
        counts = Counter(row.label for row in rows(name, split))
        assert min(counts.values()) > 0.7 * max(counts.values())


def test_similarity_spreads():
    """The similarity's values reach from end to end, and no value holds a fifth of the rows."""
    counts = Counter(row.label for row in everything("toy-similarity"))
    assert {0.0, 5.0} < set(counts)
    assert max(counts.values()) < 0.2 * sum(counts.values())


@pytest.mark.parametrize("name", CLASSES)
def test_length_does_not_tell_the_label(name):
    """Knowing the number of words, even of each text, helps little."""
    train, validation = defaultdict(Counter), rows(name, "validation")
    for row in rows(name):
        train[tuple(len(text.split()) for text in row.texts)][row.label] += 1
    right = sum(
        train[tuple(len(text.split()) for text in row.texts)].most_common(1)[0][0] == row.label
        for row in validation
    )
    assert right / len(validation) < 0.65


@pytest.mark.parametrize("name", PAIRS)
def test_words_alone_do_not_solve_a_pair(name):
    """A logistic regression on the words of both texts, with 2,000 rows, stays far from solving the task."""
    vectors = pytest.importorskip("sklearn.feature_extraction.text").CountVectorizer()
    regression = pytest.importorskip("sklearn.linear_model").LogisticRegression(max_iter=1000)

    def marked(split: str) -> list[str]:
        return [
            " ".join(f"{side}{word}" for side, t in enumerate(row.texts) for word in t.split())
            for row in rows(name, split)
        ]

    regression.fit(
        vectors.fit_transform(marked("train")[:2000]), [row.label for row in rows(name)[:2000]]
    )
    score = regression.score(
        vectors.transform(marked("validation")), [row.label for row in rows(name, "validation")]
    )
    assert score < 0.75


def test_an_unknown_split_or_revision_is_refused():
    """Rows of another revision cannot be made any more, and the error names what there is."""
    reader = TASKS["toy-sentiment"].reader
    with pytest.raises(CorruptData, match="train, validation"):
        reader.examples("test", reader.revision())
    with pytest.raises(CorruptData, match=grammar.REVISION):
        reader.examples("train", "grammar-0")


def test_known_sentences():
    """An event is told in the ways that English allows."""
    what = grammar.Event(
        "anna", 0, noun="apple", kind="fruit", number=2, adjective=8, town="paris", day="monday"
    )
    assert grammar.sentence(what) == "anna bought two red apples in paris on monday"
    told = grammar.sentence(
        what._replace(day="", number=1, adjective=6),
        grammar.Wording(1, 0, passive=True, front=True),
    )
    assert told == "in paris an old apple was purchased by anna"
    assert (
        grammar.sentence(what._replace(negative=True, town="", day=""))
        == "anna did not buy two red apples"
    )
    assert grammar.question(what, "day", 1) == "when did anna purchase the apples ?"
