"""Which runs are compared, and which are never put together."""

import subprocess
import sys
from dataclasses import replace

import pytest

from reports.analysis.paired_runs import Block, MixedRuns, NothingToCompare, pair_runs


def test_nothing():
    """No runs at all is said in a sentence."""
    with pytest.raises(NothingToCompare, match="no runs"):
        pair_runs([])


def test_nothing_left(grid):
    """Choosing everything away names what there was."""
    with pytest.raises(NothingToCompare, match=r"prefix.*cola.*50, 200"):
        pair_runs(grid(), tasks=["snli"])
    with pytest.raises(NothingToCompare, match="no run matches"):
        pair_runs(grid(), methods=["bitfit"])


def test_backbones_are_never_mixed(grid):
    """Runs of two backbones are refused, with both names and the option that chooses."""
    runs = grid()
    with pytest.raises(MixedRuns, match="--model") as caught:
        pair_runs([*runs, replace(runs[0], backbone="another", size=500)])
    assert caught.value.backbones == ["another", runs[0].backbone]
    assert caught.value.recipes == [runs[0].recipe]


def test_recipes_are_never_mixed(grid):
    """Runs of two recipes are refused, numbered as `--recipe` counts them."""
    runs = grid()
    with pytest.raises(MixedRuns, match=r"(?s)--recipe N.*1\. 100 steps.*2\. 200 steps") as caught:
        pair_runs([*runs, replace(runs[0], recipe="100 steps")])
    assert len(caught.value.recipes) == 2


def test_filters_come_before_mixing(grid):
    """A second backbone on another task does not matter to who did not ask for that task."""
    runs = grid()
    assert pair_runs(
        [*runs, replace(runs[0], backbone="another", task="snli")], tasks=["rte"]
    ).tasks == ("rte",)


def test_order(grid):
    """The baseline comes first, the rest by name; a list of methods keeps its order, a list of tasks too."""
    assert pair_runs(grid()).methods == ("fine-tuning", "prefix", "simplex")
    assert pair_runs(grid(), baseline="simplex").methods == ("simplex", "fine-tuning", "prefix")
    paired_runs = pair_runs(grid(), methods=["simplex", "prefix"], tasks=["rte", "cola"])
    assert (paired_runs.methods, paired_runs.baseline, paired_runs.tasks) == (
        ("simplex", "prefix"),
        "simplex",
        ("rte", "cola"),
    )


def test_baseline_is_kept(grid):
    """A declared baseline is compared with even if the list of methods forgot it."""
    paired_runs = pair_runs(grid(), methods=["simplex"], baseline="fine-tuning")
    assert paired_runs.methods == ("fine-tuning", "simplex")
    assert paired_runs.baseline_named


def test_bare_names(grid):
    """A name without options stands for its variants, unless that leaves the baseline open."""
    runs = grid({"lora": 0.0, "simplex(vertices=2)": 0.01, "simplex(vertices=6)": 0.02})
    assert pair_runs(runs, methods=["simplex"]).methods == (
        "simplex(vertices=2)",
        "simplex(vertices=6)",
    )
    with pytest.raises(NothingToCompare, match="could be any of"):
        pair_runs(runs, baseline="simplex")
    with pytest.raises(NothingToCompare, match="no baseline 'prefix'"):
        pair_runs(runs, baseline="prefix")


def test_typos_are_kept_for_the_notes(grid):
    """What was asked for and is not there is remembered."""
    assert pair_runs(grid(), tasks=["rte", "rtee"], sizes=[50, 51]).unknown == ("rtee", "51")


def test_finished_run_wins(plain):
    """Of two runs of one job the finished one counts; two results of different jobs are reported."""
    again = replace(plain, status="failed", score=None)
    paired_runs = pair_runs([again, plain])
    assert paired_runs.index["fine-tuning", Block("rte", 50, 0, 0)] is plain
    assert not paired_runs.repeated
    assert pair_runs([plain, replace(plain, digest="1")]).repeated


def test_importing_is_cheap():
    """Importing the package loads neither numpy nor rich, and using it no plotting, no training, no pandas."""
    code = "import sys, reports; sys.exit(any(m in sys.modules for m in ('numpy', 'rich', 'scipy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys, reports.formats.dispatch, reports.analysis.comparison;"
        "heavy = 'scipy.stats', 'torch', 'pandas', 'matplotlib', 'harness', 'sqlmodel';"
        "sys.exit(any(name in sys.modules for name in heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
