"""Untrusted text is escaped for each output format."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import escape

anything = st.text(st.characters(), max_size=40) | st.text(
    "=+-@|\\`*_[]<>&#~${}%^\"'\x1b\u202e\t\n\r a1.", max_size=40
)


@given(anything)
def test_plain(text):
    """No control or invisible character remains, and cleaning twice gives the same text."""
    cleaned = escape.plain(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in cleaned)
    assert escape.plain(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred",
        "\x1b]8;;http://e.com\x07red",
        "\x1b]0;title\x1b\\red",
        "\x9b1mred",
        "\u202ered",
    ],
)
def test_terminal_sequences(text):
    """Terminal sequences are removed as a whole, not only their first byte."""
    assert escape.plain(text) == "red"


@given(anything)
def test_csv(text):
    """No field is evaluated by a spreadsheet, and only an apostrophe is added to the text."""
    field = escape.csv(text)
    assert not field.lstrip(" ").startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert field in (escape.plain(text), "'" + escape.plain(text))


@given(anything)
def test_markdown(text):
    """Unescaping restores the text, and no pipe, bracket, tag or address remains active."""
    source = escape.markdown(text)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source) == escape.plain(text)
    bare = re.sub(r"\\.", "", source)
    assert not set(bare) & set("|`*_[]<>&#~$")
    assert "://" not in source


@given(anything)
def test_latex(text):
    """Special characters are escaped, braces are balanced, and only ASCII and Latin letters remain."""
    source = escape.latex(text)
    bare = re.sub(r"\\[{}$&#%_]", "", source).replace("$^2$", "")  # ² in math mode
    assert bare.count("{") == bare.count("}")
    assert not set(bare) & set("%#&_~^<>|\"'`")
    assert not re.search(r"--|(?<!\{)[\[*]", source)
    assert all(c.isascii() or "\u00c0" <= c <= "\u017f" for c in source)


def test_ordinary_text_stays_readable():
    """Ordinary names and numbers are not escaped more than needed."""
    assert (
        escape.markdown("fine-tuning (rank 4) -0.9 84.3 ± 1.2")
        == "fine-tuning (rank 4) -0.9 84.3 ± 1.2"
    )
    assert escape.latex("fine-tuning -0.9 84.3 ± 1.2 %") == r"fine-tuning $-$0.9 84.3 $\pm$ 1.2 \%"
    assert escape.csv("fine-tuning") == "fine-tuning"


def test_a_sentence_of_html_shows_code():
    """Text between backticks becomes code, escaped as all text; a single backtick stays."""
    shown = escape.html_sentence("Next: `--draws 4 <b>`, or a ` mark.")
    assert shown == "Next: <code>--draws 4 &lt;b&gt;</code>, or a ` mark."
