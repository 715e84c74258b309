"""Real words as the start of a prefix or prompt."""

from methods.core.method import require
from methods.core.protocols import Unsupported


def require_words(init: str, text: str) -> None:
    """Raise `ValueError` unless words are given exactly where they are the start."""
    require(init != "words" or bool(text.strip()), 'init=words needs the words: words="..."')
    require(init == "words" or not text, "words goes with init=words")


def repeat_to_length(tokens: list[int], length: int, text: str) -> list[int]:
    """Tokens repeated or cut to a length, so that a start from words changes no length.

    Raises:
        Unsupported: the backbone's tokenizer knows none of the words.
    """
    if not tokens:
        raise Unsupported(f"the backbone's tokenizer makes no tokens of words={text!r}")
    return (tokens * -(-length // len(tokens)))[:length]
