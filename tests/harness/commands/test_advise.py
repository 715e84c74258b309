"""From a file to a model in two commands."""

import csv
import re

import pytest

from harness.results.query import ResultQuery
from harness.results.runs import comparison_of
from reports.analysis.verdict import verdict


@pytest.fixture(scope="module")
def advised(bench, tmp_path_factory):
    """A folder with a file, and what `bench advise` says about it."""
    folder = tmp_path_factory.mktemp("advised")
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "verdict"])
        for n in range(60):
            good = n % 2
            words = "good and nice" if good else "bad and dull"
            writer.writerow([n, f"visit {n} was {words}", "yes" if good else "no"])
    return folder, bench(folder, "advise", "visits.csv", "--model", "tiny")


def test_it_says_what_to_use_and_what_to_expect(advised):
    """The guess, the method, the majority class, and an interval for the model, which all 60 rows have trained."""
    folder, ended = advised
    assert ended.code == 0, ended.err
    assert "texts from review, labels from verdict" in ended.out
    assert re.search(
        r"Use \S+: with 30 training labels \(and 9 to choose checkpoints\) it scores [\d.]+ \(accuracy\) on average "
        r"over "
        r"4 draws\.",
        ended.out,
    )
    assert re.search(
        r"Expect [\d.]+ to [\d.]+ \(accuracy; 95 % interval for this one model\); with 30 training labels, it scored "
        r"[\d.]+ on average on the test rows of 4 draws",
        ended.out,
    )
    assert re.search(r"majority class +5\d\.\d", ended.out)
    assert re.search(r"From 15 to 30 labels, \S+ gained", ended.out)
    compared = comparison_of(ResultQuery(db=str(folder / "visits.db"), sizes="30"), None)
    assert verdict(compared)[0] in ended.out


def test_the_printed_commands_are_those_that_ran(advised, bench):
    """The printed `run` has nothing left to do, and the printed `predict` answers with a class."""
    folder, ended = advised
    run, report, fit, predict = (
        line.removeprefix("$ bench ") for line in ended.out.splitlines() if line.startswith("$")
    )
    again = bench(folder, *run.split())
    assert (again.code, "0 to do" in again.out) == (0, True)
    assert bench(folder, *report.split()).code == 0
    assert bench(folder, *fit.replace("visits-model", "other").split()).code == 0
    answer = bench(folder, *predict.replace("'a text'", "nice").split())
    assert answer.code == 0, answer.err
    assert "all 60 labelled rows" in (folder / "visits-model" / "README.md").read_text()
    files = [
        (folder / name / "model.safetensors").read_bytes() for name in ("visits-model", "other")
    ]
    assert files[0] == files[1]


def test_it_names_the_classes_that_are_confused(bench, tmp_path):
    """Two classes have the same texts, and a third has its own: only the two are named, with their share of rows."""
    rows = [
        (f"visit {n} was {'bad and dull' if n % 3 == 2 else 'good and nice'}", ("glad", "pleased", "sad")[n % 3])
        for n in range(90)
    ]  # fmt: skip
    with (tmp_path / "moods.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("review", "mood"), *rows])
    ended = bench(tmp_path, "advise", "moods.csv", "--model", "tiny")
    assert ended.code == 0, ended.err
    (said,) = (line for line in ended.out.splitlines() if line.startswith("It takes most often"))
    assert re.search(r"'(glad|pleased)' for '(pleased|glad)' \(in \d+ % of its rows\)", said)
    assert "'sad'" not in said


def test_what_it_cannot_use_is_refused_before_anything_runs(advised, bench):
    """A folder that exists, a missing file, a budget that is no time or too short."""
    folder, _ = advised
    words = ("advise", "visits.csv")
    for more, why in (
        ((), "visits-model exists"),
        (("-o", "new", "--budget", "soon"), "--budget must be a time such as"),
        (("-o", "new", "--budget", "0.01s", "--db", "new.db"), "more than --budget"),
        (("-o", "new", "--label", "typo"), "no column 'typo'"),
        (("-o", "new", "--kind", "text"), "use `bench run --kind text`"),
        (("-o", "new", "--model", "tiny-gpt"), "another backbone or recipe: name another database"),
    ):
        model = () if "--model" in more else ("--model", "tiny")
        ended = bench(folder, *words, *model, *more)
        assert (ended.code, why in ended.err) == (2, True), ended.err
    assert not (folder / "new").exists()
    assert not (folder / "new.db").exists()


def test_names_of_columns_may_have_spaces_and_commas(advised, bench):
    """The text column is one name, as in `bench run`."""
    folder, _ = advised
    text = (
        (folder / "visits.csv")
        .read_text()
        .replace("id,review,verdict", 'id,"The review, in full",the verdict')
    )
    (folder / "spaces.csv").write_text(text)
    words = ("advise", "spaces.csv", "--model", "tiny", "--label", "the verdict", "-o", "spaces")
    for more in ((), ("--text", '"The review, in full"', "--db", "other.db")):
        ended = bench(folder, *words, *more, "--budget", "0.01s")
        assert "more than --budget" in ended.err
        assert "no column" not in ended.err
