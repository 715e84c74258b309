"""Wording that several messages share."""


def plural(count: int, noun: str, several: str = "") -> str:
    """Return a count with its noun in the right number: `1 result`, `2 results`, `1,000 entries`.

    Args:
        count: The number of things.
        noun: The name of one thing.
        several: The name of several things, where it is not `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"
