"""Escape untrusted text, with one function per output format.

Names come from files, options and databases that other people wrote. Every writer passes every
string that can contain one through the function of its format. Numbers are formatted by this program and need no
escaping.
"""

import re
import unicodedata
from typing import Final

_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)


def plain(text: str) -> str:
    """Return text as one line, without terminal sequences, control characters and invisible characters.

    A lone surrogate becomes the replacement character.
    """
    text = _SEQUENCE.sub("", text)
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r\v\f" or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category not in ("Cc", "Cf"):
            kept.append(character)
    return "".join(kept)


_MARKDOWN: Final = re.compile(r"([\\`|*_\[\]<>&#~$])")


def markdown(text: str) -> str:
    """Escape text for Markdown, also inside a pipe table; addresses do not become links."""
    escaped = _MARKDOWN.sub(r"\\\1", plain(text))
    escaped = re.sub(r"^(\s*\d*)([-+=.)])(?=\s|$)", r"\1\\\2", escaped)  # would start a list
    return re.sub(r"\bwww\.", r"www\\.", escaped.replace("://", r":\//"), flags=re.IGNORECASE)


def html(text: str) -> str:
    """Escape text for HTML elements and quoted attributes; line breaks are kept as `&#10;`."""
    cleaned = "\n".join(plain(line) for line in text.split("\n"))
    return "".join(_HTML.get(character, character) for character in cleaned)


def html_sentence(text: str) -> str:
    """Escape a sentence for HTML; what stands between backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html(text))


_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\n": "&#10;"}


_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a table row it would start an optional argument
    "]": "{]}",
    "*": "{*}",  # after the end of a table row it would select the starred command
    "±": r"$\pm$",
    "²": "$^2$",
    "×": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "¶": r"\P{}",
}


def latex(text: str) -> str:
    """Escape text for LaTeX without packages; a letter that fonts may lack becomes its code point."""
    signs = re.sub(r"(?<![\w)-])-(?=\d)", "\N{MINUS SIGN}", plain(text))
    escaped = "".join(
        _LATEX.get(c) or (c if c.isascii() or _latin(c) else f"{{[}}U+{ord(c):04X}{{]}}")
        for c in signs
    )
    return re.sub(r"-(?=-)", "-{}", escaped)  # two hyphens would become a dash


def _latin(character: str) -> bool:
    return "\u00c0" <= character <= "\u017f" and character.isalpha()


_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def csv(text: str) -> str:
    """Return text that no spreadsheet evaluates: an apostrophe precedes a possible formula (OWASP ASVS 1.2.10)."""
    cleaned = plain(text)
    return f"'{cleaned}" if cleaned.lstrip(" '\u00a0\u3000").startswith(_FORMULA) else cleaned
