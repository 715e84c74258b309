"""How a text file is encoded, and what separates the columns of a table in it."""

import csv
import io
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import UsageError

DELIMITERS: Final = (",", ";", "\t", "|")
_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_WORDS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
_LATIN: Final = ("cp1252", "cp1250", "cp1254", "cp1257")
_LATIN_SHARE: Final = 0.4  # of bytes beyond ASCII, which texts in Latin letters do not reach
_LETTER: Final = r"[^\W\d_]"
_UTF16_SHARE: Final = 0.2  # of NUL bytes; a file with fewer has NULs for another reason


class Decoded(NamedTuple):
    """The text of a file, and what is worth telling about how it was read."""

    text: str
    notes: tuple[str, ...] = ()


def decode(path: Path, content: bytes, encoding: str | None = None) -> Decoded:
    """Return the text of a file.

    UTF-8 and UTF-16 are recognised with or without a byte order mark; for other bytes,
    charset-normalizer finds the encoding in which they look most like a language.

    Args:
        path: the file, for messages.
        content: its bytes.
        encoding: the encoding that the user names; None: recognise it.

    Raises:
        UsageError: there is no such encoding, or the bytes do not have it.
    """
    if encoding is not None:
        return Decoded(_decode_as(path, content, encoding))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Decoded(_decode_as(path, content, "utf-16"), (f"{path} is read as UTF-16",))
    if content.count(b"\0") > _UTF16_SHARE * len(content):
        little = content[1::2].count(b"\0") >= content[::2].count(b"\0")
        name = "utf-16-le" if little else "utf-16-be"
        return Decoded(_decode_as(path, content, name), (f"{path} is read as {name.upper()}",))
    try:
        return Decoded(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        found = None if _is_damaged_utf8(content) else _encoding_of(content)
        if found is None:
            line = content[: error.start].count(b"\n") + 1
            raise UsageError(
                f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8, and no other encoding fits: "
                "name it with --encoding"
            ) from None
        note = f"{path} is not UTF-8 and is read as {found}; --encoding names another"
        return Decoded(_decode_as(path, content, found), (note,))


def _is_damaged_utf8(content: bytes) -> bool:
    """Return whether most bytes beyond ASCII form characters of UTF-8, which no other encoding gives by chance."""
    text = content.decode("utf-8", "surrogateescape")
    bad = sum("\udc80" <= character <= "\udcff" for character in text)
    good = sum(character > "\x7f" for character in text) - bad
    return good > bad


def _encoding_of(content: bytes) -> str | None:
    """Return the encoding that fits bytes best; None: none fits.

    charset-normalizer needs many bytes beyond ASCII. With few, the text is in Latin letters, and the
    encoding is the one that puts the fewest symbols inside words.
    """
    if sum(byte >= 0x80 for byte in content) >= _LATIN_SHARE * len(content):
        from charset_normalizer import from_bytes

        best = from_bytes(content).best()
        return None if best is None else best.encoding
    symbols = {}
    for name in _LATIN:
        with suppress(UnicodeDecodeError):
            text = content.decode(name)
            beyond = re.findall(rf"(?<={_LETTER})[^\x00-\x7f\u2010-\u2044](?={_LETTER})", text)
            symbols[name] = sum(not character.isalpha() for character in beyond)
    return min(symbols, key=lambda name: symbols[name], default=None)


def _decode_as(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise UsageError(f"--encoding: there is no encoding {encoding!r}") from None
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = content[:start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: byte {start + 1} is not {encoding}") from None


def delimiter_named(text: str) -> str:
    """Return the delimiter that a user names: one character, or `tab`.

    Raises:
        UsageError: it is something else.
    """
    delimiter = _WORDS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"--delimiter must be one character or `tab`, got {text!r}")
    return delimiter


class Separated(NamedTuple):
    """The lines of a table with separated columns."""

    delimiter: str
    skipped: int  # lines in front of the header
    notes: tuple[str, ...] = ()


def separated(
    path: Path, text: str, usual: str, needed: Collection[str], named: str | None = None
) -> Separated:
    """Return what separates the columns of a table.

    A first line such as `sep=;`, which Excel writes, names it. Otherwise it is the usual one of the suffix,
    unless only with another one the header has the columns that are needed.

    Args:
        path: the file, for messages.
        text: its text.
        usual: the delimiter that its suffix promises.
        needed: columns that the header must have.
        named: the delimiter that the user names; None: recognise it.
    """
    first = text.partition("\n")[0].rstrip("\r")
    line = first.lower().startswith("sep=") and len(first) == len("sep=;")
    if named is not None:
        return Separated(named, int(line))
    if line:
        return Separated(first[-1], 1)
    for delimiter in dict.fromkeys((usual, *DELIMITERS)):
        if needed and set(needed) <= set(_header(text, delimiter)):
            told = f"{path}: the columns are separated by {_NAMES[delimiter]}"
            return Separated(delimiter, 0, (told,) if delimiter != usual else ())
    return Separated(usual, 0)


def _header(text: str, delimiter: str) -> list[str]:
    try:
        cells = next(iter(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]
