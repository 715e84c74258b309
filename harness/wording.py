"""Wording that several messages share."""

from collections.abc import Iterable


def plural(count: int, noun: str, several: str = "") -> str:
    """Return a count with its noun in the right number: `1 result`, `2 results`, `1,000 entries`.

    Args:
        count: The number of things.
        noun: The name of one thing.
        several: The name of several things, where it is not `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Return a length of time for people: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clipped(text: str, most: int = 40) -> str:
    """Return the beginning of a text, with `…` if it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def short(text: str) -> str:
    """Return a quoted text of at most 40 characters."""
    return repr(clipped(text))


def escaped(text: str) -> str:
    """Return a text with its control and invisible characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def listed(names: Iterable[str], most: int = 20) -> str:
    """Return names with commas between them, and how many more there are beyond `most`."""
    known = [escaped(clipped(name, 60)) for name in names]
    more = f", and {len(known) - most:,} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
