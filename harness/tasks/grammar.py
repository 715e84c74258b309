"""A small English of our own: words, events and opinions, and how they are put into sentences.

Everything is decided by a `Dice`, whose throws are hashes: the same sentences come out on every
platform and Python version.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

T = TypeVar("T")

REVISION = "grammar-1"  # changed with every change that moves a sentence
RESERVED_SHARE = (
    4  # one sentence in so many is kept for pretraining and never stands in a task's row
)


class Verb(NamedTuple):
    """A verb's three forms; the past is regular unless given."""

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

# Two words for one meaning; what is done to a thing, and what is done to a person.
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
# Neighbours (0 and 1, 2 and 3, ...) are opposites; a colour's neighbour is another colour.
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
    """Throws that depend on a seed and a number only, cheap enough for thousands of rows."""

    __slots__ = ("_key", "_state")

    def __init__(self, *coordinates: str | int) -> None:
        self._key = json.dumps(coordinates, separators=(",", ":")).encode()
        self._state = 0

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1."""
        if self._state < 1 << 64:  # the remainder is too small to be fair
            self._key = hashlib.blake2b(self._key, digest_size=64).digest()
            self._state = int.from_bytes(self._key, "big")
        self._state, thrown = divmod(self._state, bound)
        return thrown

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def other(self, options: Sequence[T], than: T) -> T:
        """One of the options that is not `than`."""
        while (chosen := self.pick(options)) == than:
            pass
        return chosen

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred throws."""
        return self.below(100) < percent


def reserved(text: str) -> bool:
    """Whether a sentence is kept for pretraining."""
    return zlib.crc32(text.encode()) % RESERVED_SHARE == 0


@cache
def plural(noun: str) -> str:
    """The plural of one of the grammar's nouns."""
    return noun + ("es" if noun.endswith("ch") else "s")


def article(word: str) -> str:
    """The indefinite article before a word."""
    return "an" if word[0] in "aeiou" else "a"


class Event(NamedTuple):
    """Somebody did something to some things, or to somebody, perhaps somewhere, perhaps some day."""

    subject: str
    verb: int  # a meaning: its place in VERBS, or in DEEDS where a person is the object
    person: str = ""  # the object, where it is a person
    noun: str = ""
    kind: str = ""  # what the noun is one of; "" where the noun is itself the kind
    number: int = 1  # 1: "a"; 2 to 9; 0: "some"
    adjective: int = -1  # a meaning, or none
    town: str = ""
    day: str = ""
    negative: bool = False


class Wording(NamedTuple):
    """Which of the ways to say it."""

    verb: int = 0
    adjective: int = 0
    passive: bool = False
    front: bool = False  # the day, else the town, stands first


def event(
    dice: Dice, *, person: int = 0, adjective: int = 60, town: int = 60, day: int = 60
) -> Event:
    """A random event; the numbers are the chances of each part in percent."""
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
    """A random way to say it."""
    return Wording(dice.below(2), dice.below(2), dice.chance(passive), dice.chance(front))


def object_phrase(what: Event, form: int) -> str:
    """The words for what it was done to."""
    if what.person:
        return what.person
    adjective = ADJECTIVES[what.adjective][form] if what.adjective >= 0 else ""
    noun = what.noun if what.number == 1 else plural(what.noun)
    rest = f"{adjective} {noun}" if adjective else noun
    if what.number == 1:
        return f"{article(rest)} {rest}"
    return f"{COUNTS[what.number - 2] if what.number else 'some'} {rest}"


def sentence(what: Event, how: Wording = Wording(), *, agent: bool = True) -> str:  # noqa: B008 - a tuple, never changed
    """The event as a sentence; a passive one may leave out who did it."""
    verb = (DEEDS if what.person else VERBS)[what.verb][how.verb]
    thing = object_phrase(what, how.adjective)
    if how.passive:
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
    if how.front and (when or where):
        parts = (when, core, where) if when else (where, core, "")
    return " ".join(part for part in parts if part)


def question(what: Event, asked: str, form: int) -> str:
    """A question for one part of an event: "town", "day", "subject" or "count"."""
    verb = VERBS[what.verb][form]
    things = plural(what.noun)
    if asked == "subject":
        return f"who {verb.past} the {things} ?"
    if asked == "count":
        return f"how many {things} did {what.subject} {verb.base} ?"
    return f"{'where' if asked == 'town' else 'when'} did {what.subject} {verb.base} the {things} ?"


def opinion(dice: Dice, positive: bool, negation: int = 45) -> str:
    """One clause that speaks well or ill of a thing; so many in a hundred say it by negation."""
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
    return f"the {thing} {dice.pick(('was not', 'is not', 'was never')) if negative else dice.pick(('was', 'is'))} {degree}{word}"


def review(dice: Dice, positive: bool, negation: int = 45) -> str:
    """One or two clauses; of two that disagree, the one that carries the weight decides."""
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
    """The words of a sentence in the present, with a subject whose number the verb must follow over other nouns."""
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
