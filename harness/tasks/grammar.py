"""A small English grammar: words, events and opinions, and the sentences that express them.

All choices are made by a `Dice`, whose random numbers are hashes: every platform and Python version
generates the same sentences.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

T = TypeVar("T")

REVISION = "grammar-1"  # changed by every change that affects a sentence
RESERVED_SHARE = 4  # one sentence in this many is reserved for pretraining and is in no task


class Verb(NamedTuple):
    """The three forms of a verb."""

    base: str
    past: str
    participle: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _verb(text: str) -> Verb:
    forms = text.split("/")
    return Verb(forms[0], forms[1], forms[-1])


NAMES = _words(
    "anna ben carla david ella frank grace henry iris jack kate leo maria nick olga paul rosa sam tina victor"
)
TOWNS = _words("paris rome oslo lima cairo delhi tokyo berlin madrid dublin vienna boston")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
COUNTS = _words("two three four five six seven eight nine")

# Pairs of synonyms: VERBS have a thing as object, DEEDS a person.
VERBS = tuple(
    (_verb(first), _verb(second))
    for first, second in (
        ("buy/bought", "purchase/purchased"),
        ("find/found", "discover/discovered"),
        ("fix/fixed", "repair/repaired"),
        ("choose/chose/chosen", "select/selected"),
        ("hide/hid/hidden", "conceal/concealed"),
        ("lose/lost", "misplace/misplaced"),
        ("show/showed/shown", "display/displayed"),
        ("take/took/taken", "grab/grabbed"),
        ("draw/drew/drawn", "sketch/sketched"),
        ("move/moved", "shift/shifted"),
    )
)
DEEDS = tuple(
    (_verb(first), _verb(second))
    for first, second in (
        ("help/helped", "assist/assisted"),
        ("call/called", "phone/phoned"),
        ("see/saw/seen", "spot/spotted"),
        ("teach/taught", "instruct/instructed"),
        ("praise/praised", "applaud/applauded"),
        ("scold/scolded", "rebuke/rebuked"),
    )
)
# Neighbours (0 and 1, 2 and 3, ...) are antonyms, or two colours. Each is a pair of synonyms.
ADJECTIVES = (
    ("big", "large"),
    ("small", "little"),
    ("cheap", "inexpensive"),
    ("costly", "expensive"),
    ("clean", "spotless"),
    ("dirty", "filthy"),
    ("old", "ancient"),
    ("new", "modern"),
    ("red", "crimson"),
    ("blue", "azure"),
    ("green", "emerald"),
    ("brown", "tan"),
)
KINDS = {
    "animal": "dog cat horse goat duck rabbit",
    "fruit": "apple pear plum peach lemon melon",
    "tool": "hammer drill spade ladder shovel wrench",
    "vehicle": "car truck bike van boat tractor",
    "instrument": "piano guitar violin drum flute trumpet",
    "garment": "shirt coat hat scarf jacket skirt",
}
NOUNS = tuple((kind, noun) for kind, nouns in KINDS.items() for noun in nouns.split())

THINGS = _words("film play song book story meal concert show game speech trip lecture")
PRAISE = _words(
    "good great lovely superb charming clever funny delightful brilliant pleasant fine excellent"
)
BLAME = _words("bad awful dull boring terrible poor clumsy weak dreadful horrible silly tedious")
LIKING = tuple(
    _verb(v)
    for v in ("like/liked", "enjoy/enjoyed", "love/loved", "admire/admired", "adore/adored")
)
DISLIKING = tuple(
    _verb(v)
    for v in (
        "dislike/disliked",
        "hate/hated",
        "loathe/loathed",
        "despise/despised",
        "detest/detested",
    )
)
DEGREES = _words("very really quite rather truly")


class Dice:
    """A fast random number generator that depends only on its coordinates."""

    __slots__ = ("_key", "_state")

    def __init__(self, *coordinates: str | int) -> None:
        self._key = json.dumps(coordinates, separators=(",", ":")).encode()
        self._state = 0

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1."""
        if self._state < 1 << 64:  # too small for uniform numbers
            self._key = hashlib.blake2b(self._key, digest_size=64).digest()
            self._state = int.from_bytes(self._key, "big")
        self._state, number = divmod(self._state, bound)
        return number

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def other(self, options: Sequence[T], than: T) -> T:
        """Return one of the options that is not `than`."""
        while (chosen := self.pick(options)) == than:
            pass
        return chosen

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return the options in a random order."""
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in options]

    def chance(self, percent: int) -> bool:
        """Return True with a probability in percent."""
        return self.below(100) < percent


def reserved(text: str) -> bool:
    """Return whether a sentence is reserved for pretraining."""
    return zlib.crc32(text.encode()) % RESERVED_SHARE == 0


@cache
def plural(noun: str) -> str:
    """Return the plural of a noun of the grammar."""
    return noun + ("es" if noun.endswith("ch") else "s")


def article(word: str) -> str:
    """Return the indefinite article before a word."""
    return "an" if word[0] in "aeiou" else "a"


class Event(NamedTuple):
    """A person did something to things or to another person, perhaps in a town, perhaps on a day."""

    subject: str
    verb: int  # index in VERBS, or in DEEDS if the object is a person
    person: str = ""  # the object, if it is a person
    noun: str = ""
    kind: str = ""  # hypernym of the noun; empty if the noun is a hypernym itself
    number: int = 1  # 1: "a"; 2 to 9; 0: "some"
    adjective: int = -1  # index in ADJECTIVES; -1: none
    town: str = ""
    day: str = ""
    negative: bool = False


class Wording(NamedTuple):
    """How a sentence expresses an event."""

    verb: int = 0
    adjective: int = 0
    passive: bool = False
    front: bool = False  # the day, or else the town, comes first


def event(
    dice: Dice, *, person: int = 0, adjective: int = 60, town: int = 60, day: int = 60
) -> Event:
    """Return a random event; the numbers are the probabilities of its parts in percent."""
    where = dice.pick(TOWNS) if dice.chance(town) else ""
    when = dice.pick(DAYS) if dice.chance(day) else ""
    subject = dice.pick(NAMES)
    if dice.chance(person):
        return Event(
            subject, dice.below(len(DEEDS)), person=dice.other(NAMES, subject), town=where, day=when
        )
    kind, noun = dice.pick(NOUNS)
    colour = dice.below(len(ADJECTIVES)) if dice.chance(adjective) else -1
    count = 1 if dice.chance(25) else 2 + dice.below(8)
    return Event(subject, dice.below(len(VERBS)), "", noun, kind, count, colour, where, when)


def wording(dice: Dice, *, passive: int = 35, front: int = 25) -> Wording:
    """Return a random wording; the numbers are probabilities in percent."""
    return Wording(dice.below(2), dice.below(2), dice.chance(passive), dice.chance(front))


def object_phrase(what: Event, form: int) -> str:
    """Return the noun phrase of the object."""
    if what.person:
        return what.person
    adjective = ADJECTIVES[what.adjective][form] if what.adjective >= 0 else ""
    noun = what.noun if what.number == 1 else plural(what.noun)
    rest = f"{adjective} {noun}" if adjective else noun
    if what.number == 1:
        return f"{article(rest)} {rest}"
    return f"{COUNTS[what.number - 2] if what.number else 'some'} {rest}"


def sentence(what: Event, wording: Wording = Wording(), *, agent: bool = True) -> str:  # noqa: B008 - immutable
    """Return the event as a sentence; a passive one can omit the agent."""
    verb = (DEEDS if what.person else VERBS)[what.verb][wording.verb]
    thing = object_phrase(what, wording.adjective)
    if wording.passive:
        be = "was" if what.person or what.number == 1 else "were"
        core = f"{thing} {be} {'not ' if what.negative else ''}{verb.participle}" + (
            f" by {what.subject}" if agent else ""
        )
    elif what.negative:
        core = f"{what.subject} did not {verb.base} {thing}"
    else:
        core = f"{what.subject} {verb.past} {thing}"
    where = f"in {what.town}" if what.town else ""
    when = f"on {what.day}" if what.day else ""
    parts = (core, where, when)
    if wording.front and (when or where):
        parts = (when, core, where) if when else (where, core, "")
    return " ".join(part for part in parts if part)


def facts(what: Event) -> dict[str, str]:
    """Return the facts of an event in a fixed order, by what they say; absent ones are left out."""
    verb = (DEEDS if what.person else VERBS)[what.verb][0]
    number = "one" if what.number == 1 else COUNTS[what.number - 2]
    every = {
        "subject": what.subject,
        "action": f"not {verb.base}" if what.negative else verb.base,
        "object": what.person or what.noun,
        "number": "" if what.person else number,
        "quality": ADJECTIVES[what.adjective][0] if what.adjective >= 0 else "",
        "place": what.town,
        "time": what.day,
    }
    return {name: value for name, value in every.items() if value}


def tellings(what: Event) -> list[str]:
    """Return all sentences that tell an event, without repetition."""
    wordings = (
        Wording(verb, adjective, passive, front)
        for verb in (0, 1)
        for adjective in (0, 1)
        for passive in (False, True)
        for front in (False, True)
    )
    return list(dict.fromkeys(sentence(what, one) for one in wordings))


def question(what: Event, part: str, form: int) -> str:
    """Return a question for one part of an event: "town", "day", "subject" or "count"."""
    verb = VERBS[what.verb][form]
    things = plural(what.noun)
    if part == "subject":
        return f"who {verb.past} the {things} ?"
    if part == "count":
        return f"how many {things} did {what.subject} {verb.base} ?"
    return f"{'where' if part == 'town' else 'when'} did {what.subject} {verb.base} the {things} ?"


def opinion(dice: Dice, positive: bool, negation: int = 45) -> str:
    """Return a clause with a positive or negative opinion; `negation` is the percentage that use a negation."""
    negative = dice.chance(negation)
    thing = dice.pick(THINGS)
    if dice.chance(35):
        verb = dice.pick(LIKING if positive != negative else DISLIKING)
        name = dice.pick(NAMES)
        if negative:
            return (
                f"{name} did not {verb.base} the {thing}"
                if dice.chance(60)
                else f"{name} never {verb.past} the {thing}"
            )
        return (
            f"{name} {dice.pick(('really', 'truly', 'quite'))} {verb.past} the {thing}"
            if dice.chance(60)
            else f"{name} {verb.past} the {thing}"
        )
    word = dice.pick(PRAISE if positive != negative else BLAME)
    degree = f"{dice.pick(DEGREES)} " if dice.chance(50) else ""
    verbs = ("was not", "is not", "was never") if negative else ("was", "is")
    return f"the {thing} {dice.pick(verbs)} {degree}{word}"


def review(dice: Dice, positive: bool, negation: int = 45) -> str:
    """Return one or two clauses; if two disagree, the main one decides."""
    last = opinion(dice, positive, negation)
    shape = dice.below(10)
    if shape < 4:
        return last
    if shape < 6:
        return f"{opinion(dice, positive, negation)} and {last}"
    against = opinion(dice, not positive, negation)
    if shape < 8:
        return f"{against} but {last}"
    return f"although {against} {last}" if shape == 8 else f"{last} although {against}"


def statement(dice: Dice) -> list[str]:
    """Return the words of a sentence whose verb agrees with its subject, across other nouns."""
    many = dice.chance(50)
    head, near = dice.pick(NOUNS)[1], dice.pick(NOUNS)[1]
    if dice.chance(50):
        first = [
            dice.pick(("these", "those", dice.pick(COUNTS)))
            if many
            else dice.pick(("this", "that", "one"))
        ]
    else:
        first = ["the"]
    if dice.chance(35):
        first.append(dice.pick(ADJECTIVES)[dice.below(2)])
    first.append(plural(head) if many else head)
    if dice.chance(65):
        first += [
            dice.pick(("near", "behind", "beside")),
            "the",
            plural(near) if dice.chance(50) else near,
        ]
    verb = dice.pick(
        (
            ("is", "are"),
            ("was", "were"),
            ("looks", "look"),
            ("seems", "seem"),
            ("has been", "have been"),
        )
    )[many]
    degree = [dice.pick(DEGREES)] if dice.chance(30) else []
    return [*first, *verb.split(), *degree, dice.pick(ADJECTIVES)[dice.below(2)]]
