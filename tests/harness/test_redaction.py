"""No secret and no person's folder in what is stored of an error."""

from pathlib import Path

import pytest

from harness.redaction import redact


@pytest.mark.parametrize(
    "text",
    [
        "401 for hf_abcDEF1234567890abcdef",
        "postgresql://ada:hunter22@db.example/bench is down",
        "Authorization: Bearer hunter22",
        '{"token": "hunter22"}',
        "password=hunter22&x=1",
        "api_key = hunter22",
        "Authorization: Basic hunter22",
        "HF_TOKEN=hunter22",
        "PGPASSWORD=hunter22",
        "aws_secret_access_key=hunter22",
        "redis://:hunter22@db.example",
        "ftp://ada:p/hunter22@db.example",
        "password='my hunter22'",
    ],
)
def test_what_looks_like_a_secret_goes(text):
    """Tokens of the Hub, passwords in URLs, headers, JSON and forms."""
    said = redact(text)
    assert "hunter22" not in said
    assert "hf_abc" not in said
    assert "..." in said


def test_values_of_secret_variables_go(monkeypatch):
    """Wherever they stand in the text."""
    monkeypatch.setenv("MY_DB_PASSWORD", "correct horse battery")
    assert "horse" not in redact("cannot connect with correct horse battery")


def test_the_home_folder_is_not_named():
    """A path keeps its end."""
    assert redact(f"no file {Path.home()}/data/x.csv") == "no file ~/data/x.csv"


def test_ordinary_words_stay():
    """An error about tokens of a text is no secret."""
    text = "rows of 600 tokens need as many positions, this backbone has 512: --max-length"
    assert redact(text) == text
