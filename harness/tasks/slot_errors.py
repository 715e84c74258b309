"""Slot errors of E2E: attributes of a restaurant that a text leaves out, adds, or gives another value.

Rules look for the words that people use for each value, as Dusek et al. 2019, arXiv 1911.03905, section 3, do with
rules of their own. References have 8.3 errors in 100 attributes by these rules (4,672 of the validation split);
most of them are attributes that people left out.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final


class SlotError(Enum):
    """What is wrong with an attribute in a text."""

    MISSING = "missing"
    ADDED = "added"
    WRONG = "wrong"


METRICS: Final[Mapping[str, tuple[SlotError, ...]]] = {
    "slot-errors": tuple(SlotError),
    "missing-slots": (SlotError.MISSING,),
    "added-slots": (SlotError.ADDED,),
    "wrong-slots": (SlotError.WRONG,),
}
_NO: Final = r"(?:n[o']t(?! only)|no|non|isn|aren|never|un)"
_CHILDREN: Final = r"(?:famil\w+|child\w*|kids?)"
_RATING: Final = r"(?:\w+[ -]){0,2}(?:rat\w+|review\w*|score\w*|satisfaction)"
_FIVE: Final = r"[ -]?(?:stars? )?(?:out )?(?:of|/) ?(?:5|five)"
# What a text says for each value of an attribute: one of several regular expressions.
_WORDS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "type": {
        "coffee shop": (r"coffee[ -]?(?:shop|house|place)", r"caf[eé]\b"),
        "pub": (r"\bpubs?\b",),
        "restaurant": ("restaurant",),
    },
    "food": {
        "chinese": ("chinese",),
        "english": ("english", "british"),
        "fast food": (r"fast[ -]?food",),
        "french": ("french", r"wines? and cheeses?"),
        "indian": (r"indian\b", r"curr(?:y|ies)"),
        "italian": ("italian", "pasta", "pizza", "spaghetti"),
        "japanese": ("japanese", "sushi"),
    },
    "price": {
        "less than £20": (
            r"(?:less|lower|cheaper|no more) than (?:£ ?)?20",
            r"(?:under|below|up to) (?:£ ?)?20",
        ),
        "£20-25": (r"20(?: ?pounds)? ?(?:-|–|to|and) ?(?:£ ?)?25",),
        "more than £30": (
            r"(?:more|higher|greater) than (?:£ ?)?30",
            r"(?:over|above) (?:£ ?)?30",
            r"30 ?\+",
        ),
        "cheap": (
            "cheap",
            "inexpensive",
            "affordabl",
            r"low(?:er)?[ -]?(?:in )?(?:price|cost)",
            r"pric(?:es?|ing)\W+(?:\w+\W+){0,5}low\b",
        ),
        "moderate": (
            rf"moderate(?!\W+{_RATING})",
            "reasonabl",
            r"mid(?:dle)?[ -]?(?:price|range|cost)",
            r"average(?:ly)?[ -]?(?:price|cost)",
            r"fair(?:ly)? price",
        ),
        "high": (
            r"high(?:er|ly)?[ -]?(?:end )?(?:price|cost)",
            r"(?<!in)expensive",
            "pricey",
            "upscale",
            r"pric(?:es?|ing)\W+(?:\w+\W+){0,5}high",
            "above average price",
        ),
    },
    "customer rating": {
        "low": (
            rf"\b(?:low|poor|bad)(?:ly|est|er)?[ -]+{_RATING}",
            rf"{_RATING}\W+(?:\w+\W+){{0,4}}(?:low|poor)",
            r"not (?:well|highly)[ -]rated",
        ),
        "average": (
            rf"(?:average(?:ly)?|moderate)[ -]+{_RATING}",
            rf"{_RATING}\W+(?:\w+\W+){{0,4}}average",
            rf"decent {_RATING}",
        ),
        "high": (
            rf"\b(?:high(?:ly|est|er)?|excellent|great|good)[ -]+{_RATING}",
            rf"{_RATING}\W+(?:\w+\W+){{0,4}}(?:high|excellent)",
            r"well[ -]rated",
        ),
        "1 out of 5": (rf"\b(?:1|one){_FIVE}", r"\b(?:1|one)[ -]stars?"),
        "3 out of 5": (rf"\b(?:3|three){_FIVE}", r"\b(?:3|three)[ -]stars?"),
        "5 out of 5": (rf"\b(?:5|five){_FIVE}", r"\b(?:5|five)[ -]stars?"),
    },
    "area": {
        "city centre": (
            r"(?:city|town)[ -]?(?:cent(?:er|re))",
            r"cent(?:er|re) of (?:the )?(?:city|town)",
            "downtown",
            r"in the (?:cent(?:er|re)|city)",
            "city area",
        ),
        "riverside": ("river",),
    },
    "family friendly": {
        "no": (
            rf"{_NO}\W+(?:\w+\W+){{0,5}}{_CHILDREN}",
            rf"{_CHILDREN}\W+(?:are|is|\w+ )?(?:\w+ )?{_NO}\b",
            rf"{_CHILDREN}[ -]?(?:unfriendly)",
            "adult",
        ),
        "yes": (_CHILDREN,),
    },
}
# Values that people use one for the other, and a text that says one is right about the other.
_ALIKE: Final = (
    {"cheap", "less than £20"},
    {"moderate", "£20-25"},
    {"high", "more than £30"},
    {"low", "1 out of 5"},
    {"average", "3 out of 5"},
    {"high", "5 out of 5"},
)
_NAMES: Final = {
    "eattype": "type",
    "pricerange": "price",
    "customerrating": "customer rating",
    "familyfriendly": "family friendly",
}
# A place that is named, and not the river or the city.
_NEAR: Final = (
    r"\b(?:near|close|next|beside|by|opposite|around|adjacent)\b(?: to)? (?:the |a )?"
    r"(?=[A-Z])(?!River|City)"
)


def slots_of(source: str) -> dict[str, str]:
    """Return the attributes of a source: `name[The Mill], area[riverside]`, or `name : The Mill | area : riverside`."""
    bracketed = re.findall(r"([^,\[\]]+)\[([^\]]*)\]", source)
    pairs = bracketed or [part.partition(":")[::2] for part in source.split("|") if ":" in part]
    slots = {}
    for name, value in pairs:
        name = name.strip().casefold()
        slots[_NAMES.get(name.replace(" ", ""), name)] = " ".join(value.split())
    return slots


def is_restaurant(source: str) -> bool:
    """Return whether a source has a name and other attributes, all of which are those of E2E."""
    slots = slots_of(source)
    return "name" in slots and len(slots) > 1 and slots.keys() <= {"name", "near", *_WORDS}


def slot_errors(source: str, text: str) -> dict[str, SlotError]:
    """Return what is wrong in a text about a source, by attribute."""
    slots = slots_of(source)
    errors: dict[str, SlotError] = {}
    plain = _plain(text)
    for name in ("name", "near"):
        if name in slots and _plain(slots[name]) not in plain:
            errors[name] = SlotError.MISSING
            if name == "near" and re.search(_NEAR, text):
                errors[name] = SlotError.WRONG
    if "near" not in slots and re.search(_NEAR, text):
        errors["near"] = SlotError.ADDED
    # A restaurant can be called The Wrestlers Pub: its name says nothing about it.
    for name in ("name", "near"):
        plain = plain.replace(_plain(slots.get(name, "")) or "\0", " ")
    for name, words in _WORDS.items():
        said = {
            value
            for value, patterns in words.items()
            if any(re.search(pattern, plain) for pattern in patterns)
        }
        if name == "family friendly" and "no" in said:
            said = {"no"}
        value = slots.get(name, "").casefold()
        if not value:
            if said and name != "type":  # people call any of them a restaurant
                errors[name] = SlotError.ADDED
        elif value not in words:
            if value not in plain:
                errors[name] = SlotError.MISSING
        elif not said & _alike(name, value):
            wrong = said - ({"restaurant"} if name == "type" else set())
            errors[name] = SlotError.WRONG if wrong else SlotError.MISSING
    return errors


def rate(kinds: Sequence[SlotError], texts: Sequence[str], sources: Sequence[str]) -> float:
    """Return the number of slot errors of these kinds, divided by the number of attributes of all sources."""
    wanted = set(kinds)
    errors = sum(
        sum(error in wanted for error in slot_errors(source, text).values())
        for text, source in zip(texts, sources, strict=True)
    )
    slots = sum(len(slots_of(source)) for source in sources)
    return errors / slots if slots else 0.0


def _alike(name: str, value: str) -> set[str]:
    values = {value}.union(*(pair for pair in _ALIKE if value in pair))
    return values & _WORDS[name].keys()


def _plain(text: str) -> str:
    """Return a text in lower case with single spaces."""
    return " ".join(text.casefold().split())
