"""Six small tasks with GLUE's shapes, made by our own grammar, so that everything runs with no network.

Row `i` of a task depends on the task's name and the grammar alone. Training rows come first,
validation rows after them, and no row stands twice, so the two splits are disjoint. No sentence of
a row is one that the tiny model was pretrained on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from harness.errors import CorruptData
from harness.tasks import grammar as g
from harness.tasks.base import Example, Task

SPLITS: Mapping[str, int] = {"train": 4000, "validation": 500}


def sentiment(dice: g.Dice) -> Example:
    """Does the sentence speak well of the thing? Negation turns it round, and of two clauses that disagree one decides."""
    label = dice.below(2)
    return Example((g.review(dice, bool(label)),), label)


def acceptability(dice: g.Dice) -> Example:
    """Is the sentence grammatical? A wrong one differs from a right one in a single word's form or place."""
    label = dice.below(2)
    words = g.statement(dice) if dice.chance(65) else _past(dice)
    if not label:
        words = _spoil(dice, words)
    return Example((" ".join(words),), label)


def _past(dice: g.Dice) -> list[str]:
    what = g.event(dice, person=25, town=50, day=50)._replace(negative=dice.chance(50))
    return g.sentence(what, g.wording(dice)).split()


@cache
def _forms() -> Mapping[str, tuple[str, ...]]:
    """For each word, the forms that are wrong where it is right."""
    pairs = [("is", "are"), ("was", "were"), ("looks", "look"), ("seems", "seem"), ("has", "have")]
    pairs += [(one, many) for one in ("this", "that") for many in ("these", "those")]
    wrong: dict[str, tuple[str, ...]] = {}
    for one, many in pairs:
        wrong[one] = (*wrong.get(one, ()), many)
        wrong[many] = (*wrong.get(many, ()), one)
    for verb in (verb for meaning in (*g.VERBS, *g.DEEDS) for verb in meaning):
        wrong[verb.base] = (verb.past,)  # after "did not"
        wrong[verb.past] = wrong[verb.participle] = (verb.base,)
    return wrong


def _spoil(dice: g.Dice, words: list[str]) -> list[str]:
    """The same words with one in a wrong form, or with two neighbours exchanged."""
    wrong = _forms()
    places = [place for place, word in enumerate(words) if word in wrong]
    if places and dice.chance(75):
        place = dice.pick(places)
        return [*words[:place], dice.pick(wrong[words[place]]), *words[place + 1 :]]
    place = _exchangeable(dice, words)
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _exchangeable(dice: g.Dice, words: list[str]) -> int:
    """A place whose word cannot change places with the next: one that must stand before it."""
    first = {
        "the",
        "a",
        "an",
        "in",
        "on",
        "by",
        "near",
        "behind",
        "beside",
        "did",
        "these",
        "those",
        "this",
        "that",
        *g.COUNTS,
    }
    places = [place for place, word in enumerate(words[:-1]) if word in first]
    return dice.pick(places) if places else 0


def paraphrase(dice: g.Dice) -> Example:
    """Do both sentences tell the same event? Synonyms, voice and order are free; the facts are not."""
    label = int(dice.chance(58))
    what = g.event(dice, person=30)
    told = what if label else _altered(dice, what)
    return Example((g.sentence(what, g.wording(dice)), g.sentence(told, g.wording(dice))), label)


def _altered(dice: g.Dice, what: g.Event) -> g.Event:
    """The event with one thing changed."""
    changes: list[Callable[[g.Dice, g.Event], g.Event]] = [_subject, _deed]
    changes += [_roles, _roles, _roles] if what.person else [_noun, _count]
    changes += (
        [_town] * bool(what.town) + [_day] * bool(what.day) + [_quality] * (what.adjective >= 0)
    )
    return dice.pick(changes)(dice, what)


def _subject(dice: g.Dice, what: g.Event) -> g.Event:
    while (name := dice.other(g.NAMES, what.subject)) == what.person:
        pass
    return what._replace(subject=name)


def _deed(dice: g.Dice, what: g.Event) -> g.Event:
    return what._replace(
        verb=dice.other(range(len(g.DEEDS if what.person else g.VERBS)), what.verb)
    )


def _roles(dice: g.Dice, what: g.Event) -> g.Event:  # noqa: ARG001 - called like the others
    return what._replace(subject=what.person, person=what.subject)


def _noun(dice: g.Dice, what: g.Event) -> g.Event:
    return what._replace(noun=dice.other(g.KINDS[what.kind].split(), what.noun))


def _count(dice: g.Dice, what: g.Event) -> g.Event:
    return what._replace(number=1 + dice.other(range(9), what.number - 1))


def _quality(dice: g.Dice, what: g.Event) -> g.Event:  # noqa: ARG001 - called like the others
    return what._replace(adjective=what.adjective ^ 1)


def _town(dice: g.Dice, what: g.Event) -> g.Event:
    return what._replace(town=dice.other(g.TOWNS, what.town))


def _day(dice: g.Dice, what: g.Event) -> g.Event:
    return what._replace(day=dice.other(g.DAYS, what.day))


PARTS = ("adjective", "town", "day")
CHANGES: Mapping[str, Callable[[g.Dice, g.Event], g.Event]] = {
    "adjective": _quality,
    "town": _town,
    "day": _day,
}


def entailment(dice: g.Dice) -> Example:
    """Does the second sentence follow from the first (0), stay open (1) or contradict it (2)? Both speak of one occasion."""
    label = dice.below(3)
    full = g.event(dice, adjective=100, town=100, day=100)
    told = dice.below(3)  # the premise leaves this part out
    premise = _without(full, told)
    asked = dice.other(range(3), told)
    if label == 1:
        hypothesis = _without(full, dice.other(range(3), told))  # tells what the premise leaves out
    elif dice.chance(50):
        hypothesis = premise
    else:
        hypothesis = _without(premise, asked)
    if dice.chance(40):  # a kind for its member follows; the other way round stays open
        hypothesis = hypothesis._replace(noun=full.kind)
    if label == 1 and dice.chance(30):
        premise, hypothesis = premise._replace(noun=full.kind), premise
    if dice.chance(30):
        premise, hypothesis = _denied(dice, hypothesis, label)
    elif label == 2:
        hypothesis = _contradicted(dice, hypothesis, premise)
    return Example(
        (g.sentence(premise, g.wording(dice)), g.sentence(hypothesis, g.wording(dice))), label
    )


def _without(what: g.Event, part: int) -> g.Event:
    return (what._replace(adjective=-1), what._replace(town=""), what._replace(day=""))[part]


def _denied(dice: g.Dice, told: g.Event, label: int) -> tuple[g.Event, g.Event]:
    """A premise and a hypothesis of which one or both deny: denying both agrees, denying one contradicts."""
    if label == 1:
        other = dice.pick(
            [CHANGES[part] for part in PARTS if getattr(told, part) not in ("", -1)] or [_subject]
        )(dice, told)
        first, second = dice.pick(((True, False), (True, True)))
        return told._replace(negative=first), other._replace(negative=second)
    first = dice.chance(50) or label == 0
    return told._replace(negative=first), told._replace(negative=not first or label == 0)


def _contradicted(dice: g.Dice, hypothesis: g.Event, premise: g.Event) -> g.Event:
    """The hypothesis with one part changed that the premise tells otherwise."""
    parts = [
        part
        for part in PARTS
        if getattr(premise, part) not in ("", -1) and getattr(hypothesis, part) not in ("", -1)
    ]
    changes = [CHANGES[part] for part in parts] + [_count, _subject]
    return dice.pick(changes)(dice, hypothesis)


def answerability(dice: g.Dice) -> Example:
    """Does the sentence answer the question? It may leave out what is asked, or tell of another event."""
    label = dice.below(2)
    what = g.event(dice, adjective=40, town=100, day=100)
    what = what._replace(number=2 + dice.below(8))
    asked = dice.pick(("town", "day", "town", "day", "subject", "count"))
    if dice.chance(60):  # one circumstance only, so that neither length tells the label
        kept = asked if asked in ("town", "day") else dice.pick(("town", "day"))
        what = what._replace(day="") if kept == "town" else what._replace(town="")
    told, how = what, g.wording(dice)
    agent = not (asked == "subject" and how.passive and dice.chance(50))
    if label:
        agent = True
    elif agent:
        told = _silent(dice, what, asked)
    return Example((g.question(what, asked, dice.below(2)), g.sentence(told, how, agent=agent)), label)


def _silent(dice: g.Dice, what: g.Event, asked: str) -> g.Event:
    """The event without what is asked, or another event much like it."""
    if asked == "count" and dice.chance(60):
        return what._replace(number=0)
    if asked in ("town", "day") and not (what.town and what.day) and dice.chance(60):
        if asked == "town":
            return what._replace(town="", day=dice.pick(g.DAYS))
        return what._replace(day="", town=dice.pick(g.TOWNS))
    return dice.pick((_deed, _noun) if asked == "subject" else (_deed, _noun, _subject))(dice, what)


def similarity(dice: g.Dice) -> Example:
    """How much do two sentences share, from 0 (nothing) to 5 (all)? Synonyms, voice and order do not count."""
    what = g.event(dice, adjective=100, town=100, day=0)
    weights: tuple[tuple[float, Callable[[g.Dice, g.Event], g.Event]], ...] = (
        (1.0, _subject), (1.0, _deed), (1.0, _noun), (0.5, _count), (0.5, _quality), (1.0, _town),
    )  # fmt: skip
    lost, told, order = 0.0, what, list(range(len(weights)))
    for _ in range(dice.below(len(weights) + 1)):
        weight, change = weights[order.pop(dice.below(len(order)))]
        lost, told = lost + weight, change(dice, told)
    return Example((g.sentence(what, g.wording(dice)), g.sentence(told, g.wording(dice))), 5.0 - lost)


@cache
def _rows(name: str, make: Callable[[g.Dice], Example]) -> tuple[Example, ...]:
    """All rows of a task: distinct, none with a sentence twice or with one kept for pretraining."""
    rows: dict[tuple[str, ...], Example] = {}
    dice = g.Dice("toy", g.REVISION, name)
    while len(rows) < sum(SPLITS.values()):
        row = make(dice)
        if (
            row.texts not in rows
            and len(set(row.texts)) == len(row.texts)
            and not any(map(g.reserved, row.texts))
        ):
            rows[row.texts] = row
    return tuple(rows.values())


@dataclass(frozen=True)
class ToyReader:
    """Reads one of the tasks above: generates it, once for a process."""

    name: str
    make: Callable[[g.Dice], Example]

    def revision(self) -> str:
        """The version of the grammar."""
        return g.REVISION

    def examples(self, split: str, revision: str) -> Sequence[Example]:
        """All rows of "train" or "validation".

        Raises:
            CorruptData: rows of another version of the grammar, or of an unknown split, are asked
                for.
        """
        if revision != g.REVISION:
            raise CorruptData(
                f"{self.name} is made by {g.REVISION}; rows of {revision} cannot be made any more"
            )
        if split not in SPLITS:
            raise CorruptData(f"{self.name} has no split {split!r}; there are {', '.join(SPLITS)}")
        everything, train = _rows(self.name, self.make), SPLITS["train"]
        return everything[:train] if split == "train" else everything[train:]


def _task(
    make: Callable[[g.Dice], Example], title: str, labels: str, metrics: str, *, pair: bool = True
) -> Task:
    name = f"toy-{make.__name__}"
    return Task(
        name=name,
        title=title,
        reader=ToyReader(name, make),
        labels=tuple(labels.split()),
        metrics=tuple(metrics.split()),
        pair=pair,
        train_rows=SPLITS["train"],
    )


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        _task(
            sentiment,
            "opinions in one or two clauses, with negation",
            "negative positive",
            "accuracy",
            pair=False,
        ),
        _task(
            acceptability,
            "sentences with or without an error",
            "unacceptable acceptable",
            "matthews",
            pair=False,
        ),
        _task(paraphrase, "two tellings of one event, or of two", "different same", "accuracy f1"),
        _task(
            entailment,
            "what follows from a sentence",
            "entailment neutral contradiction",
            "accuracy",
        ),
        _task(answerability, "does the sentence answer the question", "silent answers", "accuracy"),
        _task(similarity, "how much two sentences share, 0 to 5", "", "pearson spearman"),
    )
}
