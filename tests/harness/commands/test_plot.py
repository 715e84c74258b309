"""`bench plot`: the files that it writes and the requests that it refuses."""

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "results.db.example"


def test_a_figure_is_written(bench, tmp_path):
    """NAME.svg is the default; the ending chooses the format. The file's name is printed, and torch is not imported."""
    ended = bench(
        tmp_path,
        "plot",
        "diagram",
        "--db",
        EXAMPLE,
        "--tasks",
        "toy-sentiment,toy-entailment",
        "--sizes",
        "500",
    )
    assert (ended.code, ended.err) == (0, "")
    assert "diagram.svg" in ended.out
    assert "N = 2 tasks" in (tmp_path / "diagram.svg").read_text("utf-8")
    assert not ended.loaded & {"torch", "transformers", "datasets"}
    ended = bench(
        tmp_path, "plot", "pareto", "--db", EXAMPLE, "--cost", "seconds", "-o", "cost.PDF"
    )
    assert ended.code == 0
    assert (tmp_path / "cost.PDF").read_bytes().startswith(b"%PDF-")


def test_a_figure_has_the_width_of_a_column(bench, tmp_path):
    """--width sets the width in inches, and --no-caption leaves out the caption; --help names unit and bounds."""
    from reports.figures import NARROWEST, WIDEST

    words = ("plot", "diagram", "--db", EXAMPLE, "--width", "3.25")
    ended = bench(tmp_path, *words, "--no-caption", "-o", "bare.svg")
    assert (ended.code, ended.err) == (0, "")
    bare = (tmp_path / "bare.svg").read_text("utf-8")
    assert 'width="234pt"' in bare
    assert "sign-flip" not in bare
    assert bench(tmp_path, *words, "-o", "whole.svg").code == 0
    whole = (tmp_path / "whole.svg").read_text("utf-8")
    assert 'width="234pt"' in whole
    assert "sign-flip" in whole
    helped = bench(tmp_path, "plot", "--help")
    assert f"in inches, {NARROWEST:g} to {WIDEST:g}" in " ".join(helped.out.split())


def test_without_a_name_the_figures_are_listed(bench, tmp_path):
    """Each has a line, and --help names it too."""
    from reports.figures import COSTS, FIGURES

    listed, helped = bench(tmp_path, "plot"), bench(tmp_path, "plot", "--help")
    assert (listed.code, helped.code) == (0, 0)
    assert [name for name in FIGURES if name not in listed.out or name not in helped.out] == []
    assert [name for name in COSTS if name not in helped.out] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("curv",), 2, "no figure 'curv' (did you mean 'curve'?); there are curve, diagram"),
        (("nonsense",), 2, "no figure 'nonsense'; there are curve, diagram"),
        (("curve", "-o", "curve.gif"), 2, "curve.gif must end in .svg or .pdf or .png"),
        (("curve", "-o", "curve"), 2, "must end in .svg"),
        (
            ("pareto", "--cost", "money"),
            2,
            "no cost 'money'; there are trained, seconds, stored, evaluation",
        ),
        (
            ("option", "--option", "rank"),
            2,
            "no option 'rank'; the names of these methods hold the options layers, lr",
        ),
        (("curve", "--temperature"), 2, "--temperature applies to the figure reliability only"),
        (("curve", "--methods", "song"), 2, "no run matches the request"),
        (("curve", "--baseline", "song"), 2, "no baseline 'song'"),
        (("curve", "--sizes", "-1"), 2, "-1"),
        (("curve", "--width", "2.5"), 2, "--width: a figure is 3 to 20 inches wide, got 2.5"),
        (("curve", "--width", "-7"), 2, "--width: a figure is 3 to 20 inches wide, got -7"),
        (("curve", "--width", "nan"), 2, "--width: a figure is 3 to 20 inches wide, got nan"),
        (("curve", "--width", "180mm"), 2, "--width"),
        (("--width", "1e9"), 2, "--width: a figure is 3 to 20 inches wide"),
        (
            ("diagram", "-o", "missing/folder.svg"),
            73,
            "cannot write missing/folder.svg: No such file or directory",
        ),
        (("curve", "--db", "missing.db"), 69, "bench run"),
    ],
)
def test_an_invalid_request_is_refused(words, code, message, bench, tmp_path):
    """The message names the problem; there is no traceback and no file."""
    ended = bench(tmp_path, "plot", *words, *([] if "--db" in words else ["--db", EXAMPLE]))
    assert ended.code == code
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []
