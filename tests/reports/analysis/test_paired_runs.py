"""Which runs are compared, and which are never put together."""

import subprocess
import sys
from dataclasses import replace

import pytest

from reports.analysis.paired_runs import Block, Mixed, Nothing, arrange


def test_nothing():
    """No runs at all is said in a sentence."""
    with pytest.raises(Nothing, match="no runs"):
        arrange([])


def test_nothing_left(grid):
    """Choosing everything away names what there was."""
    with pytest.raises(Nothing, match=r"prefix.*cola.*50, 200"):
        arrange(grid(), tasks=["snli"])
    with pytest.raises(Nothing, match="no run is left"):
        arrange(grid(), methods=["bitfit"])


def test_backbones_are_never_mixed(grid):
    """Runs of two backbones are refused, with both names and the option that chooses."""
    runs = grid()
    with pytest.raises(Mixed, match="--model") as caught:
        arrange([*runs, replace(runs[0], backbone="another", size=500)])
    assert caught.value.backbones == ["another", runs[0].backbone]
    assert caught.value.recipes == [runs[0].recipe]


def test_recipes_are_never_mixed(grid):
    """Runs of two recipes are refused, numbered as `--recipe` counts them."""
    runs = grid()
    with pytest.raises(Mixed, match=r"(?s)--recipe N.*1\. 100 steps.*2\. 200 steps") as caught:
        arrange([*runs, replace(runs[0], recipe="100 steps")])
    assert len(caught.value.recipes) == 2


def test_filters_come_before_mixing(grid):
    """A second backbone on another task does not matter to who did not ask for that task."""
    runs = grid()
    assert arrange(
        [*runs, replace(runs[0], backbone="another", task="snli")], tasks=["rte"]
    ).tasks == ("rte",)


def test_order(grid):
    """The baseline comes first, the rest by name; a list of methods keeps its order, a list of tasks too."""
    assert arrange(grid()).methods == ("fine-tuning", "prefix", "simplex")
    assert arrange(grid(), baseline="simplex").methods == ("simplex", "fine-tuning", "prefix")
    frame = arrange(grid(), methods=["simplex", "prefix"], tasks=["rte", "cola"])
    assert (frame.methods, frame.baseline, frame.tasks) == (
        ("simplex", "prefix"),
        "simplex",
        ("rte", "cola"),
    )


def test_baseline_is_kept(grid):
    """A declared baseline is compared with even if the list of methods forgot it."""
    frame = arrange(grid(), methods=["simplex"], baseline="fine-tuning")
    assert frame.methods == ("fine-tuning", "simplex")
    assert frame.declared


def test_bare_names(grid):
    """A name without options stands for its variants, unless that leaves the baseline open."""
    runs = grid({"lora": 0.0, "simplex(vertices=2)": 0.01, "simplex(vertices=6)": 0.02})
    assert arrange(runs, methods=["simplex"]).methods == (
        "simplex(vertices=2)",
        "simplex(vertices=6)",
    )
    with pytest.raises(Nothing, match="could be any of"):
        arrange(runs, baseline="simplex")
    with pytest.raises(Nothing, match="no baseline 'prefix'"):
        arrange(runs, baseline="prefix")


def test_typos_are_kept_for_the_notes(grid):
    """What was asked for and is not there is remembered."""
    assert arrange(grid(), tasks=["rte", "rtee"], sizes=[50, 51]).unknown == ("rtee", "51")


def test_finished_run_wins(plain):
    """Of two runs of one job the finished one counts; two results of different jobs are told."""
    again = replace(plain, status="failed", score=None)
    frame = arrange([again, plain])
    assert frame.index["fine-tuning", Block("rte", 50, 0, 0)] is plain
    assert not frame.repeated
    assert arrange([plain, replace(plain, digest="1")]).repeated


def test_importing_is_cheap():
    """Importing the package loads neither numpy nor rich, and using it no plotting, no training, no pandas."""
    code = "import sys, reports; sys.exit(any(m in sys.modules for m in ('numpy', 'rich', 'scipy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys, reports.formats.dispatch, reports.analysis.comparison;"
        "sys.exit(any(m in sys.modules for m in ('scipy.stats', 'torch', 'pandas', 'matplotlib', 'harness', 'sqlmodel')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
