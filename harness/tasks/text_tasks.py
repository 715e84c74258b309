"""Tasks that write text: tables and triples to sentences, and news to summaries.

Sources are written in one line as in Li & Liang 2021, arXiv 2101.00190, section 5.1, and their code. A training
example has one reference, as there; a draw gives a test example all references of its source.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from harness.backbones.hub.datasets import load_split
from harness.backbones.hub.revisions import resolve_revision
from harness.errors import CorruptData
from harness.tasks import slot_errors
from harness.tasks.base import Example, Task
from harness.tasks.text_metrics import OTHER_METRICS

_ATTRIBUTES: Final = {  # of E2E, as the source names them
    "eatType": "Type",
    "priceRange": "price",
    "customer rating": "customer rating",
    "familyFriendly": "family friendly",
}
# The ten categories of WebNLG 2017 that occur in its training data.
_SEEN: Final = (
    "Airport", "Astronaut", "Building", "City", "ComicsCharacter", "Food", "Monument", "SportsTeam", "University",
    "WrittenWork",
)  # fmt: skip


# TER is slow: it takes longer than to write the texts. Studies of WebNLG and DART report it.
_WITH_TER: Final = ("ter", *OTHER_METRICS)


class Entry(NamedTuple):
    """A source, its references, and the part of the test split that it belongs to (empty: there are no parts)."""

    source: str
    references: Sequence[str]
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class TextReader:
    """Reads a dataset of the Hub whose rows have a source and references.

    Attributes:
        dataset: its name.
        config: its configuration; None: the default one.
        entries: makes an entry of each row of a split; several entries may have the same source.
    """

    dataset: str
    config: str | None = None
    entries: Callable[[Mapping[str, list[Any]]], Iterator[Entry]]

    def revision(self) -> str:
        """Return the commit, the same throughout a process.

        Raises:
            Unavailable: the Hub cannot be reached and nothing is cached, or there is no such dataset.
        """
        return resolve_revision("dataset", self.dataset, "main")

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """Return an example for each reference; `test/unseen` is the part `unseen` of the split `test`.

        Raises:
            Unavailable: the Hub cannot be reached and nothing is cached.
            UsageError: the dataset has no such configuration or split.
            CorruptData: a column is missing.
        """
        name, _, part = split.partition("/")
        columns, *_ = load_split(self.dataset, self.config, name, revision)
        try:
            entries = [one for one in self.entries(columns) if part in ("", one.part)]
        except (KeyError, TypeError, IndexError) as error:
            raise CorruptData(
                f"{self.dataset}/{name} does not have the columns of this task: {error}"
            ) from None
        pairs = (
            (entry.source, text.strip())
            for entry in entries
            for text in entry.references
            if text.strip()
        )
        return [Example((source,), (text,)) for source, text in dict.fromkeys(pairs)]


def e2e_entries(columns: Mapping[str, list[Any]]) -> Iterator[Entry]:
    """Yield the restaurants of E2E: `name[Blue Spice], near[Ely]` is `name : Blue Spice | near : Ely`."""
    for meaning, text in zip(
        columns["meaning_representation"], columns["human_reference"], strict=True
    ):
        pairs = re.findall(r"([^,\[\]]+)\[([^\]]*)\]", meaning)
        source = " | ".join(
            f"{_ATTRIBUTES.get(name.strip(), name.strip())} : {value}" for name, value in pairs
        )
        yield Entry(source, (text,))


def webnlg_entries(columns: Mapping[str, list[Any]]) -> Iterator[Entry]:
    """Yield the triples of WebNLG 2017 with the lexicalisations that its authors call good."""
    for category, triples, lex in zip(
        columns["category"], columns["modified_triple_sets"], columns["lex"], strict=True
    ):
        source = " | ".join(
            " : ".join(part.strip() for part in triple.split(" | "))
            for triple in triples["mtriple_set"][0]
        )
        comments = lex["comment"] or ["good"] * len(lex["text"])
        good = [
            text
            for text, comment in zip(lex["text"], comments, strict=True)
            if comment in ("good", "")
        ]
        yield Entry(source, good, "seen" if category in _SEEN else "unseen")


def dart_entries(columns: Mapping[str, list[Any]]) -> Iterator[Entry]:
    """Yield the triples of DART."""
    for triples, annotations in zip(columns["tripleset"], columns["annotations"], strict=True):
        yield Entry(" | ".join(" : ".join(triple) for triple in triples), annotations["text"])


def xsum_entries(columns: Mapping[str, list[Any]]) -> Iterator[Entry]:
    """Yield the articles of XSum, each with its one sentence."""
    for document, summary in zip(columns["document"], columns["summary"], strict=True):
        yield Entry(" ".join(document.split()), (summary,))


def _task(
    name: str,
    title: str,
    reader: TextReader,
    metrics: tuple[str, ...] = ("bleu",),
    other_metrics: tuple[str, ...] = OTHER_METRICS,
    tests: Mapping[str, str] | None = None,
) -> Task:
    return Task(
        name=name,
        title=title,
        reader=reader,
        labels=(),
        metrics=metrics,
        other_metrics=other_metrics,
        pair=False,
        text=True,
        version=2,  # test rows with one source are one row
        tests=tests or {"": "test"},
    )


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        _task(
            "e2e",
            "a sentence on a restaurant from its attributes",
            TextReader(dataset="tuetschek/e2e_nlg", entries=e2e_entries),
            other_metrics=("nist", "cider", *OTHER_METRICS, *slot_errors.METRICS),
        ),
        _task(
            "webnlg",
            "sentences from triples, on topics that are in the training data and on others",
            TextReader(
                dataset="webnlg-challenge/web_nlg",
                config="webnlg_challenge_2017",
                entries=webnlg_entries,
            ),
            other_metrics=_WITH_TER,
            tests={"seen": "test/seen", "unseen": "test/unseen"},
        ),
        _task(
            "dart",
            "sentences from triples of open domains",
            TextReader(dataset="Yale-LILY/dart", entries=dart_entries),
            other_metrics=_WITH_TER,
        ),
        _task(
            "xsum",
            "one sentence that sums up a news article",
            TextReader(dataset="EdinburghNLP/xsum", entries=xsum_entries),
            metrics=("rouge1", "rouge2", "rougeL"),
            other_metrics=("bleu", "length-ratio", "repetition"),
        ),
    )
}
