"""Foreign text made harmless, once per sink: names come from files, options and databases that others wrote.

Every writer passes every string through the function of its sink; numbers are formatted by the
program and stay numbers.
"""

import re
import unicodedata
from typing import Final

_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)


def plain(text: str) -> str:
    """One line without terminal sequences, control, direction and invisible characters, or halves of characters."""
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
    """Text that Markdown shows as it is, also inside a pipe table; addresses do not become links."""
    escaped = _MARKDOWN.sub(r"\\\1", plain(text))
    escaped = re.sub(r"^(\s*\d*)([-+=.)])(?=\s|$)", r"\1\\\2", escaped)  # would begin a list
    return re.sub(r"\bwww\.", r"www\\.", escaped.replace("://", r":\//"), flags=re.IGNORECASE)


def html(text: str) -> str:
    """Text that HTML shows as it is, inside elements and quoted attributes; lines of a key stay apart."""
    cleaned = "\n".join(plain(line) for line in text.split("\n"))
    return "".join(_HTML.get(character, character) for character in cleaned)


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
    "[": "{[}",  # after the end of a row it would open an option
    "]": "{]}",
    "*": "{*}",  # likewise
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
}


def latex(text: str) -> str:
    """Text that LaTeX sets as it is, with nothing but the kernel; letters it may lack are named by number."""
    signs = re.sub(r"(?<![\w)-])-(?=\d)", "\N{MINUS SIGN}", plain(text))
    harmless = "".join(
        _LATEX.get(c) or (c if c.isascii() or _latin(c) else f"{{[}}U+{ord(c):04X}{{]}}")
        for c in signs
    )
    return re.sub(r"-(?=-)", "-{}", harmless)  # two in a row would become a dash


def _latin(character: str) -> bool:
    return "\u00c0" <= character <= "\u017f" and character.isalpha()


_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def csv(text: str) -> str:
    """Text that no spreadsheet takes for a formula: a leading apostrophe where one could begin (OWASP ASVS 1.2.10)."""
    cleaned = plain(text)
    return f"'{cleaned}" if cleaned.lstrip(" '\u00a0\u3000").startswith(_FORMULA) else cleaned
