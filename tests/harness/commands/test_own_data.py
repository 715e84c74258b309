"""Files as people have them, from their first reading to the report."""

import csv
import io
import json
import random

import pytest

from harness.ledger import Ledger

SHARES = {"5": 180, "4": 110, "3": 60, "2": 30, "1": 20}  # stars of 400 reviews
OPENINGS = [
    'She said "never again"',
    "Good, but loud",
    "Très bon café ☕",
    "So-so 🙂",
    "It broke; I returned it",
]


@pytest.fixture(scope="module")
def reviews():
    """The rows of 400 reviews: 14 blank cells, and 20 reviews that another row repeats."""
    rng = random.Random(3)  # noqa: S311
    stars = [star for star, count in SHARES.items() for _ in range(count)]
    rng.shuffle(stars)
    rows = [
        {
            "id": str(n),
            "review": f"{OPENINGS[n % 5]}, visit {n} was {'fine' if int(star) > 3 else 'dull'}",
            "stars": star,
        }
        for n, star in enumerate(stars)
    ]
    for n in range(0, 140, 14):
        rows[n]["review"] = " " if n % 28 else ""
    for n in (3, 5, 7, 9):
        rows[n]["stars"] = ""
    for n in range(20):
        rows[300 + n] |= {name: rows[200 + n][name] for name in ("review", "stars")}
    return rows


def written(rows, delimiter: str, encoding: str) -> bytes:
    """The rows as a spreadsheet saves them."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


@pytest.mark.slow
def test_four_hundred_reviews_run_unedited_to_a_report(bench, tmp_path, reviews):
    """Commas, semicolons with UTF-16 and UTF-8 give one result; the report says what was left out and what is odd."""
    grid = ("--text", "review", "--label", "stars", "--kind", "classes", "--model", "tiny",
            "--methods", "features,head", "--sizes", "100", "--draws", "2", "--steps", "10",
            "--eval-every", "5", "--inline", "--yes")  # fmt: skip
    scores = []
    for delimiter, encoding, said in (
        (",", "utf-8", []),
        (";", "utf-8-sig", ["the columns are separated by semicolons"]),
        (";", "utf-16", ["the columns are separated by semicolons", "is read as UTF-16"]),
    ):
        folder = tmp_path / f"{encoding}{len(said)}"
        folder.mkdir()
        (folder / "reviews.csv").write_bytes(written(reviews, delimiter, encoding))
        ended = bench(folder, "run", "--data", "reviews.csv", *grid, "--db", "r.db")
        assert ended.code == 0, ended.err
        assert "386 rows of 5 classes: 5 " in " ".join(ended.err.split())
        report = json.loads(bench(folder, "report", "--format", "json", "--db", "r.db").out)
        notes = {note["code"]: note["text"] for note in report["notes"]}
        for text in (
            "14 rows left out: 10 without text",
            "4 without label",
            "rows repeat the texts of another row",
            "few rows of '2', '1'",
            *said,
        ):
            assert text in notes["DATA"], notes["DATA"]
        scores.append([(cell["method"], cell["mean"]) for cell in report["cells"]])
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
def test_rows_of_any_number_of_classes_run_to_a_model_in_use(bench, tmp_path):
    """Columns of 0 and 1: run, report with the scores of each class, prediction, card, and a rerun to the bit."""
    rng = random.Random(4)  # noqa: S311
    names = ("red", "blue", "soup", "cake")
    rows = []
    for _ in range(240):
        chosen = [name for name in names if rng.random() < 0.4]
        words = [*chosen, *rng.choices(["the", "was", "and", "there"], k=4)]
        rows.append({"text": " ".join(words)} | {name: int(name in chosen) for name in names})
    (tmp_path / "topics.csv").write_bytes(written(rows, ",", "utf-8"))
    (tmp_path / "topics.toml").write_text(
        'data = "topics.csv"\ntext = "text"\nlabel = ["red", "blue", "soup", "cake"]\nkind = "multilabel"\n'
    )
    grid = ("--task-file", "topics.toml", "--model", "tiny", "--methods", "features,lora", "--sizes", "60",
            "--draws", "2", "--steps", "10", "--eval-every", "5", "--inline", "--yes")  # fmt: skip
    ended = bench(tmp_path, "run", *grid, "--db", "r.db")
    assert ended.code == 0, ended.err
    assert "on average" in ended.err
    document = json.loads(bench(tmp_path, "report", "--format", "json", "--db", "r.db").out)
    assert {cell["method"]: cell["mean"] for cell in document["cells"]}["features"] > 60
    text = bench(tmp_path, "report", "--classes", "--db", "r.db").out
    assert "best constant" in text
    assert "Classes of topics, size 60" in text
    assert "NO_TEST_ROW" not in text
    with Ledger(str(tmp_path / "r.db")) as ledger:
        digest = next(entry.digest for entry in ledger.entries() if entry.label == "features")
    answer = json.loads(
        bench(tmp_path, "predict", digest, "the soup", "--json", "--db", "r.db").out
    )
    assert answer["answer"] == [name for name in names if name in answer["answer"]], (
        "the classes are in their order"
    )
    assert set(answer["probabilities"]) == set(names)
    again = bench(
        tmp_path, "db", "verify", "--rerun", "2", "--task-file", "topics.toml", "--db", "r.db"
    )
    assert "2 of 2 equal to the last digit" in again.out + again.err
    shown = bench(
        tmp_path, "report", "--characteristics", "--task-file", "topics.toml", "--db", "r.db"
    )
    assert shown.code == 0, shown.err
    with (tmp_path / "topics.toml").open("a") as file:
        file.write('metrics = ["macro-f1"]\n')
    other = bench(
        tmp_path, "db", "verify", "--rerun", "1", "--task-file", "topics.toml", "--db", "r.db"
    )
    assert "topics is scored by other metrics here (macro-f1/1)" in other.out + other.err
