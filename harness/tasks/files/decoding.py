"""How a text file is encoded."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from unicodedata import category

from harness.errors import UsageError
from harness.tasks.files.problems import Problems
from harness.wording import escaped

_LATIN: Final = (
    "cp1252",
    "cp1250",
    "cp1254",
    "cp1257",
    "iso8859-2",
)  # in order of preference: of encodings that fit equally well, the first is used
_LATIN_SHARE: Final = 0.4  # of bytes beyond ASCII, which texts in Latin letters do not reach
_LETTER: Final = r"[^\W\d_]"
_UTF16_SHARE: Final = (
    0.2  # of NUL bytes beyond which a file is UTF-16 even if it does not look like a table
)
_MARKS: Final = (  # the longer mark first: that of UTF-32 begins like that of UTF-16
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SEVEN_BIT: Final = (  # encodings of which all bytes are ASCII
    (re.compile(rb"\x1b\$[@B]"), "iso2022_jp"),
    (re.compile(rb"\x1b\$\)C"), "iso2022_kr"),
    (re.compile(rb"~\{(?:[!-w][!-~])+~\}"), "hz"),  # pairs, of which the first byte is below `x`
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

    UTF-8 and UTF-16 are recognised with or without a byte order mark, and UTF-32 with one. Seven-bit encodings
    are recognised by their marks, and bytes that are mostly UTF-8 are refused as damaged. For other bytes, the
    encoding is guessed: see `_encoding_of`.

    Args:
        path: the file, for messages.
        content: its bytes.
        encoding: the encoding that the user names; None: recognise it.
        guess: whether the encoding may be guessed if no mark and no rule shows it.

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
    if content.isascii() and (seven := _seven_bit(content)):
        return Decoded(
            _decode_as(name, content, seven),
            (f"{name} is read as {seven}: --encoding names another",),
        )
    try:
        return Decoded(_without_marks(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        damaged = _is_damaged_utf8(content)
        found = None if not guess or damaged else _encoding_of(content)
        if found is None:
            what = f"{name}, line {_line(content, error.start)}: byte 0x{content[error.start]:02x} is not UTF-8"
            if damaged:
                hint = ", but most of the file is: repair that line"
            elif guess:
                hint = ", and no other encoding fits: name it with --encoding"
            else:
                hint = ": save the file as UTF-8"
            raise UsageError(what + hint) from None
    text = _decode_as(name, content, found)
    word = _telling_word(content, text, found)
    example = f" (for example {word!r})" if word else ""
    note = f"{name} is not UTF-8 and is read as {found}, a guess{example}: --encoding names another"
    return Decoded(text, (note,))


def _without_marks(text: str) -> str:
    """Return a text without byte order marks at its beginning, and at that of other lines where files were joined."""
    return re.sub(r"(?:\A|(?<=[\r\n]))\ufeff+", "", text)


def _seven_bit(content: bytes) -> str:
    """Return the seven-bit encoding whose marks are in ASCII bytes; empty: there are none."""
    for mark, name in _SEVEN_BIT:
        if mark.search(content):
            with suppress(UnicodeDecodeError):
                content.decode(name)
                return name
    return ""


def _telling_word(content: bytes, text: str, found: str) -> str:
    """Return a word that would be another in another encoding, or else one with a letter beyond ASCII."""
    # A symbol between letters shows best that a guess is wrong.
    odd = re.findall(rf"{_LETTER}{{1,40}}[^\w\s\x00-\x7f]{_LETTER}{{0,40}}", text)
    if odd:
        return str(odd[0])
    beyond = [bytes([number]) for number in range(0x80, 0x100)]
    differing = b"".join(
        one for one in beyond if len({one.decode(name, "replace") for name in _LATIN[:3]}) > 1
    )
    first = re.search(b"[" + re.escape(differing) + b"]", content) if found in _LATIN else None
    if first:
        place = first.start()  # each byte is one character
        before = re.search(r"\w{0,40}\Z", text[max(0, place - 40) : place])
        after = re.match(r"\w{0,40}", text[place:])
        return f"{before[0] if before else ''}{after[0] if after else ''}" or text[place]
    return next(iter(re.findall(r"\w{0,40}[^\W\x00-\x7f]\w{0,40}", text)), "")


def format_problem(content: bytes) -> str:
    """Return which format bytes have if it is not text, and what the user can do; empty if they may be a text."""
    return next((problem for start, problem in _FORMATS if content.startswith(start)), "")


def _doubted(name: str, content: bytes, text: str, encoding: str) -> Iterator[str]:
    """Yield a sentence if the named encoding gives control characters, or if the bytes look like UTF-8 instead."""
    if re.search("[\x80-\x9f]", text):
        yield f"{name} is read as {encoding}, which gives control characters: cp1252 may be meant"
    elif not content.isascii() and _is_damaged_utf8(content):
        if text.lstrip("\ufeff") == content.decode("utf-8", "replace").lstrip("\ufeff"):
            return
        word = next(iter(re.findall(r"\S{0,40}[^\x00-\x7f]\S{0,40}", text)), "")
        yield f"{name} is read as {encoding}, for example {word!r}, but looks like UTF-8"


def _marked(content: bytes) -> str:
    return next((name for mark, name in _MARKS if content.startswith(mark)), "")


def _utf16(content: bytes) -> str:
    """Return the kind of UTF-16 that bytes without a mark have; empty: they have none.

    Texts in Latin letters have many NUL bytes. Others have them in their line breaks and delimiters.
    """
    nuls = content.count(b"\0")
    if not nuls or b"\0" not in content.rstrip(
        b"\0"
    ):  # a crash can leave NUL bytes at the end of a file
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
            text = content.decode(name)
            if not re.search("[\x80-\x9f]", text):  # controls, which no text has
                oddities[name] = _oddities(text)
    return min(oddities, key=lambda name: oddities[name], default=None)


def _oddities(text: str) -> int:
    """Return how many characters beyond ASCII are symbols inside or before words, or capitals after a small letter."""
    beyond = re.compile(r"(?<=(.))([^\x00-\x7f\u2010-\u2044])(?=(.?))", re.DOTALL)
    return sum(_is_odd(*found) for found in beyond.findall(f" {text}"))


def _is_odd(before: str, one: str, after: str) -> bool:
    """Return whether a character is unlikely between these two neighbours in a text."""
    if before.isalpha() and after.isalpha():
        # A modifier letter, such as a lone caron, is no part of a word.
        return category(one) not in ("Lu", "Ll", "Lo") or (before.islower() and one.isupper())
    if after.isalpha():
        return category(one) in ("No", "So", "Sk", "Sm")
    return before.islower() and one.isupper()


def _decode_as(name: str, content: bytes, encoding: str) -> str:
    try:
        return _without_marks(content.decode(encoding))
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = _line(content, start)
        raise UsageError(f"{name}, line {line}: byte {start + 1} is not {encoding}") from None
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        raise UsageError(f"there is no encoding {encoding!r}") from None


def _line(content: bytes, start: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", content[:start])) + 1


def readable_text(
    path: Path, content: bytes, encoding: str | None, problems: Problems
) -> Decoded | None:
    """Return the text of a file; None after adding problems."""
    try:
        decoded = decode(path, content, encoding)
    except UsageError as error:
        problems.add(*error.problems)
        return None
    before = problems.count
    if "\0" in decoded.text:
        for number, line in enumerate(decoded.text.split("\n"), 1):
            if "\0" in line:
                problems.add_row(path, f"line {number}", ": a NUL byte")
    if not decoded.text.strip():
        problems.add(f"{escaped(str(path))} is empty")
    return None if problems.count > before else decoded
