"""Suggestions for names that do not exist."""

import re
from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return ` (did you mean 'x'?)` with the known names that resemble a name, or an empty text.

    Case and punctuation are ignored. A single letter, or a name that resembles none, finds
    the shortest known name that starts with it: `r` finds `rank`.

    Args:
        name: a name as typed.
        known: the names that exist.
        most: how many suggestions to give at most.
    """
    typed, names = _plain(name), {_plain(entry): entry for entry in reversed(list(known))}
    similar = [typed] if typed in names else get_close_matches(typed, names, n=most, cutoff=0.5)
    if typed and (len(typed) == 1 or not similar):
        longer = (plain for plain in names if plain.startswith(typed))
        similar = sorted(longer, key=lambda plain: (len(plain), plain))[:most] or similar
    suggestions = " or ".join(repr(names[plain]) for plain in similar)
    return f" (did you mean {suggestions}?)" if suggestions else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())
