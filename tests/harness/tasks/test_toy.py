"""The toy tasks: equal on every platform, and not solvable by superficial cues."""

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


def examples(name: str, split: str = "train") -> list[Example]:
    reader = TASKS[name].reader
    return list(reader.examples(split, reader.revision()))


def everything(name: str) -> list[Example]:
    return examples(name) + examples(name, "validation")


def fingerprint(name: str) -> str:
    text = json.dumps([[row.texts, row.label] for row in everything(name)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_distinct(name):
    """No example occurs twice, within a split or across the two."""
    texts = [row.texts for row in everything(name)]
    assert len(set(texts)) == len(texts) == 4500
    assert len(examples(name)) == TASKS[name].train_rows


@pytest.mark.parametrize("name", TASKS)
def test_examples_match_their_task(name):
    """Every example has as many texts as its task says, a valid label and few words."""
    task = TASKS[name]
    for row in everything(name):
        assert len(row.texts) == (2 if task.pair else 1)
        assert all(3 <= len(text.split()) <= 20 for text in row.texts)
        assert 0 <= row.label <= 5 if task.regression else row.label in range(task.outputs)


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_reproducible(name):
    """The examples of this revision of the grammar have the same hash on every platform."""
    assert fingerprint(name) == FINGERPRINTS[name]


@pytest.mark.parametrize("name", TASKS)
def test_no_example_is_in_the_pretraining_text(name):
    """No sentence of a task is reserved for pretraining."""
    assert not any(grammar.reserved(text) for row in everything(name) for text in row.texts)


@pytest.mark.parametrize("name", CLASSES)
def test_labels_are_balanced(name):
    """All classes are about equally frequent in both splits."""
    for split in ("train", "validation"):
        counts = Counter(row.label for row in examples(name, split))
        assert min(counts.values()) > 0.7 * max(counts.values())


def test_similarity_has_all_values():
    """Similarities range from 0 to 5, and no value occurs in a fifth of the examples."""
    counts = Counter(row.label for row in everything("toy-similarity"))
    assert {0.0, 5.0} < set(counts)
    assert max(counts.values()) < 0.2 * sum(counts.values())


@pytest.mark.parametrize("name", CLASSES)
def test_length_does_not_predict_the_label(name):
    """The number of words in each text hardly improves on the majority class."""
    train, validation = defaultdict(Counter), examples(name, "validation")
    for row in examples(name):
        train[tuple(len(text.split()) for text in row.texts)][row.label] += 1
    right = sum(
        train[tuple(len(text.split()) for text in row.texts)].most_common(1)[0][0] == row.label
        for row in validation
    )
    assert right / len(validation) < 0.65


@pytest.mark.parametrize("name", PAIRS)
def test_bags_of_words_do_not_solve_a_pair_task(name):
    """A logistic regression on the words of both texts, trained on 2,000 examples, does not solve the task."""
    vectors = pytest.importorskip("sklearn.feature_extraction.text").CountVectorizer()
    regression = pytest.importorskip("sklearn.linear_model").LogisticRegression(max_iter=1000)

    def marked(split: str) -> list[str]:
        return [
            " ".join(f"{side}{word}" for side, t in enumerate(row.texts) for word in t.split())
            for row in examples(name, split)
        ]

    regression.fit(
        vectors.fit_transform(marked("train")[:2000]), [row.label for row in examples(name)[:2000]]
    )
    score = regression.score(
        vectors.transform(marked("validation")), [row.label for row in examples(name, "validation")]
    )
    assert score < 0.75


def test_an_unknown_split_or_revision_is_refused():
    """The error for another revision or split names those that exist."""
    reader = TASKS["toy-sentiment"].reader
    with pytest.raises(CorruptData, match="train, validation"):
        reader.examples("test", reader.revision())
    with pytest.raises(CorruptData, match=grammar.REVISION):
        reader.examples("train", "grammar-0")


def test_known_sentences():
    """One event is expressed as active, passive, negated and reordered sentences."""
    what = grammar.Event(
        "anna", 0, noun="apple", kind="fruit", number=2, adjective=8, town="paris", day="monday"
    )
    assert grammar.sentence(what) == "anna bought two red apples in paris on monday"
    text = grammar.sentence(
        what._replace(day="", number=1, adjective=6),
        grammar.Wording(1, 0, passive=True, front=True),
    )
    assert text == "in paris an old apple was purchased by anna"
    assert (
        grammar.sentence(what._replace(negative=True, town="", day=""))
        == "anna did not buy two red apples"
    )
    assert grammar.question(what, "day", 1) == "when did anna purchase the apples ?"
