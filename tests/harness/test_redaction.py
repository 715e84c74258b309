"""Stored errors contain no secrets and no home folders."""

import re
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.commands import database as upkeep
from harness.commands import doctor
from harness.commands.power import lines
from harness.commands.report import command_line
from harness.errors import BenchError
from harness.ledger import Ledger, database
from harness.redaction import redact
from harness.results.query import ResultQuery
from harness.results.runs import runs_of
from harness.scheduling.summary import finish


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
def test_secrets_are_removed(text):
    """Tokens of the Hub and passwords in URLs, headers, JSON and forms are removed."""
    said = redact(text)
    assert "hunter22" not in said
    assert "hf_abc" not in said
    assert "..." in said


def test_values_of_secret_variables_are_removed(monkeypatch):
    """The values of such environment variables are removed anywhere in a text."""
    monkeypatch.setenv("MY_DB_PASSWORD", "correct horse battery")
    assert "horse" not in redact("cannot connect with correct horse battery")


def test_the_home_folder_is_replaced():
    """The home folder becomes ~, and the rest of a path stays."""
    assert redact(f"no file {Path.home()}/data/x.csv") == "no file ~/data/x.csv"


def test_invalid_characters_are_replaced():
    """Lone surrogates, which file names can contain, and NUL, which PostgreSQL refuses, are replaced."""
    assert redact("caf\udce9.db \ud800 \0 café 🎉") == "caf?.db ? \ufffd café 🎉"


def test_ordinary_text_is_unchanged():
    """An error about the tokens of a text is not changed."""
    text = "rows of 600 tokens need as many positions, this backbone has 512: --max-length"
    assert redact(text) == text


URL = "postgresql+psycopg://ada:hunter22@db.example/bench"
QUERY = ResultQuery(db=URL)


@pytest.fixture
def served(tmp_path, monkeypatch, make_job, make_outcome):
    """Put a file in place of the server of a URL: with a result, a changed result or foreign tables."""
    path = tmp_path / "r.db"
    monkeypatch.setattr(
        database, "_open_url", lambda _, **__: database._open_file(path, write=True)
    )

    def serve(content):
        if content != "foreign":
            job = make_job()
            with Ledger(str(path), write=True) as ledger:
                ledger.begin("bench run")
                ledger.add_jobs([job])
                [claim] = ledger.claim([job.digest], 1)
                assert ledger.record(make_outcome(job), claim.number)
        change = {
            "foreign": "CREATE TABLE t (a)",
            "changed": "UPDATE metric SET value = 0.75",
            "dangling": "DELETE FROM job",
        }
        with sqlite3.connect(path) as connection:
            connection.execute(change.get(content, "SELECT 1"))
        connection.close()

    return serve


def end_of_run():
    """Print the end of `bench run`."""
    with Ledger(URL) as ledger:
        finish(Console(), ledger, SimpleNamespace(jobs=[], infeasible=[]), URL, failed_now=False)


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("foreign", lambda: upkeep.upgrade(URL)),
        ("foreign", lambda: upkeep.prune(URL, unfinished=False, outdated=False, yes=False)),
        ("foreign", lambda: upkeep.vacuum(URL)),
        ("result", lambda: upkeep.merge(URL, [URL])),
        ("result", end_of_run),
        ("result", lambda: print(*doctor._database(URL))),
        ("dangling", lambda: print(*doctor._database(URL))),
        ("changed", lambda: runs_of(QUERY)),
        ("result", lambda: list(lines("1", None, tasks=1, methods=2, query=QUERY))),
    ],
    ids=[
        "upgrade",
        "prune",
        "vacuum",
        "merge",
        "run",
        "doctor",
        "doctor of damage",
        "report",
        "plan",
    ],
)
def test_the_password_of_a_database_is_not_printed(content, command, served, capsys):
    """Every command that prints the URL of a database omits its password."""
    served(content)
    try:
        command()
    except BenchError as error:
        print(error)
    said = "".join(capsys.readouterr())
    assert "ada:***@db.example" in said
    assert "hunter22" not in said


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql://db.example/bench?password=hunter22",
        "postgresql://ada:hunter22",
        "sqlite://:hunter22@/r",
        "postgresql+psycopg://ada:p@hunter22/x@db.example/bench",
        "postgresql+psycopg://ada:p/hunter22#x@db.example/bench",
        "mysql://ada:hunter22@db.example/bench",
        "ada:hunter22@postgresql://db.example",
    ],
)
def test_no_spelling_of_a_url_reveals_its_password(url):
    """A password in the usual position, in the query or in a malformed URL is in neither the name nor the error."""
    said = [database.display_name(url)]
    try:
        database._open_url(url, write=True).dispose()
    except BenchError as error:
        said.append(str(error))
    assert "hunter22" not in " ".join(said)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql+psycopg://ada:p@ss@db.example/bench", "percent-encode @, / and #"),
        ("postgres://ada:pass@db.example/bench", "write postgresql+psycopg://"),
        ("mysql://ada:pass@db.example/bench", "name a file, or write postgresql+psycopg://"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(url, advice):
    """An ambiguous password and another database are answered with what to write."""
    with pytest.raises(BenchError, match=re.escape(advice)):
        database._open_url(url, write=True)


def test_a_report_contains_no_password(monkeypatch):
    """The command line in a report has no password."""
    monkeypatch.setattr("sys.argv", ["bench", "report", "--db", URL])
    assert command_line() == "bench report --db postgresql+psycopg://...@db.example/bench"
