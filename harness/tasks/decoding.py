"""How a text file is encoded."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from unicodedata import category

from harness.errors import UsageError
from harness.wording import escaped

_LATIN: Final = (
    "cp1252",
    "cp1250",
    "cp1254",
    "cp1257",
    "iso8859-2",
)  # the first of those that fit equally
_LATIN_SHARE: Final = 0.4  # of bytes beyond ASCII, which texts in Latin letters do not reach
_LETTER: Final = r"[^\W\d_]"
_UTF16_SHARE: Final = 0.2  # of NUL bytes; a file with fewer has NULs for another reason
_MARKS: Final = (  # the longer mark first: that of UTF-32 begins like that of UTF-16
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_FORMATS: Final = (
    (b"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (b"BZh", "is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it first"),
    (b"PK\x03\x04", "is an Excel file or a ZIP archive: save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Excel file: save the table as CSV"),
    (b"PAR1", "is a Parquet file: give it the suffix .parquet"),
    (b"SQLite format 3", "is an SQLite database: save the table as CSV"),
    (b"%PDF-", "is a PDF file: save the table as CSV"),
)


class Decoded(NamedTuple):
    """The text of a file, and what is worth telling about how it was read."""

    text: str
    notes: tuple[str, ...] = ()


def decode(
    path: Path, content: bytes, encoding: str | None = None, *, guess: bool = True
) -> Decoded:
    """Return the text of a file, without a byte order mark.

    UTF-8 and UTF-16 are recognised with or without a byte order mark, and UTF-32 with one; for other
    bytes, charset-normalizer finds the encoding in which they look most like a language.

    Args:
        path: the file, for messages.
        content: its bytes.
        encoding: the encoding that the user names; None: recognise it.
        guess: whether bytes that no mark and no rule tells apart may be guessed.

    Raises:
        UsageError: there is no such encoding, the bytes do not have it, or they are not those of a text.
    """
    name = escaped(str(path))
    if problem := format_problem(content):
        raise UsageError(f"{name} {problem}")
    if encoding is not None:
        text = _decode_as(name, content, encoding)
        return Decoded(text, tuple(_doubted(name, content, text, encoding)))
    if recognised := _marked(content) or _utf16(content):
        said = f"{name} is read as {recognised.upper()}"
        return Decoded(_decode_as(name, content, recognised), (said,))
    try:
        return Decoded(content.decode("utf-8").lstrip("\ufeff"))
    except UnicodeDecodeError as error:
        found = None if not guess or _is_damaged_utf8(content) else _encoding_of(content)
        if found is None:
            what = f"{name}, line {_line(content, error.start)}: byte 0x{content[error.start]:02x} is not UTF-8"
            hint = ", and no other encoding fits: name it with --encoding"
            raise UsageError(what + (hint if guess else ": save the file as UTF-8")) from None
    text = _decode_as(name, content, found)
    # A symbol between letters shows best that a guess is wrong.
    odd = re.findall(rf"{_LETTER}+[^\w\s\x00-\x7f]{_LETTER}*", text)
    word = next(iter([*odd, *re.findall(r"\w*[^\W\x00-\x7f]\w*", text)]), "")
    example = f" (for example {word!r})" if word else ""
    note = f"{name} is not UTF-8 and is read as {found}, a guess{example}: --encoding names another"
    return Decoded(text, (note,))


def format_problem(content: bytes) -> str:
    """Return what bytes are that are no text, and what to do; empty: they may be a text."""
    return next((problem for start, problem in _FORMATS if content.startswith(start)), "")


def _doubted(name: str, content: bytes, text: str, encoding: str) -> Iterator[str]:
    """Yield a sentence if bytes are those of UTF-8 with letters beyond ASCII, and are read as another encoding."""
    with suppress(UnicodeDecodeError):
        if content.decode("utf-8").isascii() or text.lstrip("\ufeff") == content.decode("utf-8"):
            return
        word = next(iter(re.findall(r"\S*[^\x00-\x7f]\S*", text)), "")
        yield f"{name} is read as {encoding}, for example {word!r}, but looks like UTF-8"


def _marked(content: bytes) -> str:
    return next((name for mark, name in _MARKS if content.startswith(mark)), "")


def _utf16(content: bytes) -> str:
    """Return the kind of UTF-16 that bytes without a mark have; empty: they have none.

    Texts in Latin letters have many NUL bytes. Others have them in their line breaks and delimiters.
    """
    nuls = content.count(b"\0")
    if not nuls:
        return ""
    little = content[1::2].count(b"\0") >= content[::2].count(b"\0")
    name = "utf-16-le" if little else "utf-16-be"
    with suppress(UnicodeDecodeError):
        text = content.decode(name)
        header, *rest = text.splitlines()
        if rest and "\0" not in text and re.search(r"[,;\t|{]", header):
            return name
    return name if nuls > _UTF16_SHARE * len(content) else ""


def _is_damaged_utf8(content: bytes) -> bool:
    """Return whether most bytes beyond ASCII form characters of UTF-8, which no other encoding gives by chance."""
    text = content.decode("utf-8", "surrogateescape")
    bad = sum("\udc80" <= character <= "\udcff" for character in text)
    good = sum(character > "\x7f" for character in text) - bad
    return good > bad


def _encoding_of(content: bytes) -> str | None:
    """Return the encoding that fits bytes best; None: none fits.

    charset-normalizer needs many bytes beyond ASCII. With few, the text is in Latin letters, and the
    encoding is the one whose text has the fewest oddities.
    """
    if sum(byte >= 0x80 for byte in content) >= _LATIN_SHARE * len(content):
        from charset_normalizer import from_bytes

        best = from_bytes(content).best()
        return None if best is None else best.encoding
    oddities = {}
    for name in _LATIN:
        with suppress(UnicodeDecodeError):
            oddities[name] = _oddities(content.decode(name))
    return min(oddities, key=lambda name: oddities[name], default=None)


def _oddities(text: str) -> int:
    """Return how many characters beyond ASCII are symbols inside words, or capitals after a small letter."""
    beyond = rf"(?<={_LETTER})(?<=(.))([^\x00-\x7f\u2010-\u2044])(?=({_LETTER}?))"
    found: list[tuple[str, str, str]] = re.findall(beyond, text)
    # A modifier letter, such as a lone caron, is no part of a word.
    symbols = sum(category(one) not in ("Lu", "Ll", "Lo") for _, one, after in found if after)
    return symbols + sum(before.islower() and one.isupper() for before, one, _ in found)


def _decode_as(name: str, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding).lstrip("\ufeff")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = _line(content, start)
        raise UsageError(f"{name}, line {line}: byte {start + 1} is not {encoding}") from None
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        raise UsageError(f"there is no encoding {encoding!r}") from None


def _line(content: bytes, start: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", content[:start])) + 1
