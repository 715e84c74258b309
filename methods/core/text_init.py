"""Real words as initial values of a prefix or prompt."""

from methods.core.method import require
from methods.core.protocols import Unsupported


def require_words(init: str, text: str) -> None:
    """Raise `ValueError` unless words are set exactly if init=words."""
    require(init != "words" or bool(text.strip()), 'init=words needs the words: set words="..."')
    require(init == "words" or not text, "words requires init=words")


def repeat_to_length(tokens: list[int], length: int, text: str) -> list[int]:
    """Return the tokens repeated or cut to a length, so that init=words does not change the length.

    Raises:
        Unsupported: the backbone's tokenizer makes no tokens of the words.
    """
    if not tokens:
        raise Unsupported(f"the backbone's tokenizer makes no tokens of words={text!r}")
    return (tokens * -(-length // len(tokens)))[:length]
