"""Pairs of which the backbone reads each text by itself, from training to use."""

import csv

import numpy as np

from harness.ledger import Ledger
from harness.outcome import unpack_probabilities


def test_a_model_that_reads_pairs_apart_answers_as_in_its_test(tmp_path, bench):
    """The probabilities of `predict` for the pairs of a test file are those that the ledger has."""
    same = (
        ("the soup was good", "a good soup indeed"),
        ("rain fell on hills", "it rained there all day long"),
    )
    rows = [f"{one[0]},{two[1]},{'same' if one == two else 'not'}" for one in same for two in same]
    header = "first,second,label"
    train = [f"case {n}: {row}" for n in range(20) for row in rows]
    (tmp_path / "train.csv").write_text("\n".join([header, *train]))
    (tmp_path / "test.csv").write_text("\n".join([header, *rows]))
    ended = bench(
        tmp_path, "run", "--data", "train.csv", "--test", "test.csv", "--text", "first,second",
        "--label", "label", "--model", "tiny", "--methods", "features", "--set", "features.pairs=apart",
        "--sizes", "40", "--draws", "1", "--keep", "all", "-j", 1, "--db", "r.db",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    with Ledger(str(tmp_path / "r.db")) as ledger:
        (entry,) = ledger.entries()
        stored = unpack_probabilities(ledger.blobs(entry.digest)["probabilities"])
    ended = bench(
        tmp_path, "predict", entry.digest, "--csv", "test.csv", "--db", "r.db", "-o", "out.csv"
    )
    assert ended.code == 0, ended.err
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    columns = [f"p({name})" for name in entry.setting["task"]["labels"]]
    actual = [[float(row[column]) for column in columns] for row in answers]
    assert np.allclose(actual, stored, atol=1e-4)
