"""The numbers of a comparison, recomputed by hand from the runs."""

import csv
import io
import itertools
import math
import re
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports import compare, render
from reports.analysis.hypothesis import Hypothesis
from reports.analysis.verdict import verdict
from reports.tables.main import document


def codes(comparison):
    return {note.code for note in comparison.notes}


def test_cell(grid):
    """A cell is the mean over draws with its t interval, in points; without row answers it is over draws alone."""
    runs = [replace(run, labels={}) for run in grid()]
    cell = compare(runs).cell("simplex", "rte", 50)
    values = np.array(
        [100 * r.score for r in runs if (r.method, r.task, r.size) == ("simplex", "rte", 50)]
    )
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert (cell.mean, cell.low, cell.high) == pytest.approx(
        (values.mean(), interval.low, interval.high)
    )
    assert (cell.state, cell.done, cell.planned, cell.draws) == ("complete", 5, 5, 5)


def test_seeds_are_averaged_inside_draws(grid):
    """Several seeds of a draw are one observation, in cells and in tests."""
    runs = grid(seeds=3, sizes=(50,), tasks=("rte",))
    comparison = compare(runs)
    cell = comparison.cell("prefix", "rte", 50)
    draws = [
        fmean(100 * r.score for r in runs if r.method == "prefix" and r.draw == d) for d in range(5)
    ]
    assert cell.draws == 5
    assert cell.planned == 15
    assert cell.sd == pytest.approx(np.std(draws, ddof=1))
    assert all(test.n == 5 and test.pairs == 15 for test in comparison.tests)
    assert "SHARED_DRAW" in codes(comparison)


def test_average(grid):
    """The average is over tasks alike, and only where every run is there."""
    runs = grid()
    comparison = compare(runs)
    cells = [comparison.cell("prefix", task, 50) for task in comparison.tasks]
    assert comparison.cell("prefix", None, 50).mean == pytest.approx(
        fmean(cell.mean for cell in cells)
    )
    holed = compare(
        [
            r
            for r in runs
            if not (r.method == "prefix" and r.task == "rte" and r.draw == 2 and r.size == 50)
        ]
    )
    cell = holed.cell("prefix", None, 50)
    assert (cell.state, cell.done, cell.planned) == ("incomplete", 29, 30)
    assert math.isnan(cell.mean)
    assert math.isnan(holed.cell("prefix", None, None).mean)
    assert not math.isnan(holed.cell("prefix", None, 200).mean)
    assert "INCOMPLETE" in codes(holed)


def test_overall_test_is_over_tasks(grid):
    """The overall p flips the signs of task means, and Holm's family is the other methods."""
    runs = grid(draws=3)
    comparison = compare(runs)
    score = {(r.method, r.task, r.size, r.draw): 100 * r.score for r in runs}
    for test in comparison.family("overall"):
        means = [
            fmean(
                score[test.method, task, size, draw] - score["fine-tuning", task, size, draw]
                for size in (50, 200)
                for draw in range(3)
            )
            for task in comparison.tasks
        ]
        flips = [
            abs(sum(s * m for s, m in zip(signs, means, strict=True)))
            for signs in itertools.product((1, -1), repeat=6)
        ]
        claim = test.others
        assert claim.p_raw == pytest.approx(np.mean(np.array(flips) >= abs(sum(means)) - 1e-9))
        assert test.effect == pytest.approx(fmean(means))
        assert (claim.population, claim.n, claim.m, claim.correction) == (
            "other tasks",
            6,
            2,
            "Holm",
        )
        assert claim.barred[0] == "fewer than 8 tasks"


def test_families(grid):
    """At single sizes Holm is over methods and sizes; cells are adjusted over all differences, by another method."""
    comparison = compare(grid())
    assert [(test.size, test.these.m) for test in comparison.family("per size")] == [
        (50, 4),
        (50, 4),
        (200, 4),
        (200, 4),
    ]
    cells = comparison.family("cells")
    assert {test.these.m for test in cells} == {24 + 4 + 2}
    assert {test.these.correction for test in cells} == {"Benjamini-Hochberg"}
    assert {test.unit for test in cells} == {"draws"}
    assert all(test.these.p_adj == test.p_mark for test in cells)


def test_turned_round(grid):
    """A over B is B over A with the sign changed, and the same p."""
    runs = [r for r in grid() if r.method != "prefix"]
    for one, other in zip(
        compare(runs).tests, compare(runs, baseline="simplex").tests, strict=True
    ):
        assert one.effect == pytest.approx(-other.effect)
        for mine, theirs in zip(one.inferences, other.inferences, strict=True):
            assert (mine.low, mine.high) == pytest.approx((-theirs.high, -theirs.low))
            assert mine.p_raw == pytest.approx(theirs.p_raw)


def test_block_effects_cancel(grid):
    """Adding one amount to every method of a block changes no test."""
    runs = grid()
    shifted = [
        replace(r, score=r.score / 2 + 0.01 * r.draw + 0.1 * (r.task == "rte")) for r in runs
    ]
    halved = [replace(r, score=r.score / 2) for r in runs]
    for one, other in zip(compare(shifted).tests, compare(halved).tests, strict=True):
        assert one.effect == pytest.approx(other.effect)
        for mine, theirs in zip(one.inferences, other.inferences, strict=True):
            assert mine.p_raw == pytest.approx(theirs.p_raw)


def test_order_of_runs_does_not_matter(grid):
    """The same runs in another order are the same comparison."""
    runs = grid()
    assert compare(runs) == compare(reversed(runs))


def test_only_common_blocks(grid):
    """A draw that one method lacks is left out for both, and the count says so."""
    runs = [r for r in grid(tasks=("rte",), sizes=(50,)) if r.method != "prefix"]
    lost = [
        replace(r, score=None, status="failed") if r.method == "simplex" and r.draw == 0 else r
        for r in runs
    ]
    (test,) = compare(lost).tests
    scores = {(r.method, r.draw): 100 * r.score for r in runs}
    expected = fmean(scores["simplex", d] - scores["fine-tuning", d] for d in range(1, 5))
    assert test.effect == pytest.approx(expected)
    assert (test.n, test.planned, test.pairs, test.planned_pairs) == (4, 5, 4, 5)


def test_draws_lacking_a_size_leave_the_overall_test(grid):
    """A draw enters the overall difference only with all its sizes, so that sizes weigh alike."""
    runs = [
        r
        for r in grid(tasks=("rte",))
        if not (r.method == "simplex" and r.size == 200 and r.draw == 4)
    ]
    test = next(t for t in compare(runs).family("overall") if t.method == "simplex")
    assert (test.n, test.pairs, test.planned_pairs) == (4, 8, 10)


@pytest.mark.parametrize("tasks", [("rte",), ("rte", "sst2")])
def test_sizes_with_different_draws_lack_no_pair(grid, tasks):
    """Nothing is missing: a claim over all sizes rests on the draws that all sizes have, and so does the table."""
    methods = {"fine-tuning": 0.0, "simplex": 0.1}
    runs = [r for r in grid(methods, tasks=tasks, draws=8) if r.size == 50 or r.draw < 5]
    comparison = compare(runs)
    (test,) = comparison.family("overall")
    assert test.barred == ()
    assert test.these.settled
    assert test.pairs == test.planned_pairs == 10 * len(tasks)
    assert (test.n, test.planned) == ((5, 5) if len(tasks) == 1 else (2, 2))
    both = [comparison.cell(method, "rte", None).mean for method in methods]
    of_task = [
        fmean(100 * r.score for r in runs if r.method == m and r.task == "rte" and r.draw < 5)
        for m in methods
    ]
    assert both == pytest.approx(of_task)
    (note,) = [note for note in comparison.notes if note.code == "UNEQUAL_DRAWS"]
    assert "rte (8 draws at size 50, 5 draws at size 200: 5 in common)" in note.text
    assert "give all sizes the same draws" in note.text
    overall, *single = document(comparison).tables[:3]
    assert overall.head == ("method", *(f"{t} ¶" for t in tasks), *["average ¶"][: len(tasks) - 1])
    assert "¶: sizes have different draws" in overall.legend
    assert all("¶" not in (*table.head, table.legend) for table in single)
    for text in (render(comparison, format=form) for form in ("terminal", "latex")):
        assert "missing" not in text
        assert "sizes have different draws" in re.sub(r"\s+", " ", text)


def test_a_pair_that_is_missing_outside_the_common_draws_still_bars(grid):
    """A failed run of a draw that only one size has is a missing pair, and is counted once."""
    runs = [
        replace(r, score=None, status="failed") if (r.method, r.draw) == ("simplex", 7) else r
        for r in grid({"fine-tuning": 0.0, "simplex": 0.1}, tasks=("rte",), draws=8)
        if r.size == 50 or r.draw < 5
    ]
    (test,) = compare(runs).family("overall")
    assert [bar.text for bar in test.barred] == [
        "1 of 13 pairs is missing, 1 because runs have no score"
    ]


@pytest.mark.parametrize(
    ("where", "text", "advice"),
    [
        ({("rte", 50)}, "rte size 50", "report with --sizes 200 or --tasks sst2"),
        (
            {("rte", 50), ("rte", 200)},
            "rte size 50 (and in 1 more cell)",
            "report with --tasks sst2",
        ),
        (
            {("rte", 50), ("sst2", 50)},
            "rte size 50 (and in 1 more cell)",
            "report with --sizes 200",
        ),
        (
            {(task, size) for task in ("rte", "sst2") for size in (50, 200)},
            "rte size 50 (and in 3 more cells)",
            "leave out simplex with --methods",
        ),
    ],
)
def test_what_cannot_be_run_bars_the_claim(grid, where, text, advice):
    """A method that cannot be run somewhere lacks no pair, and the report says what to leave out."""
    runs = [
        replace(r, score=None, status="infeasible")
        if r.method == "simplex" and (r.task, r.size) in where
        else r
        for r in grid({"fine-tuning": 0.0, "simplex": 0.1}, tasks=("rte", "sst2"))
    ]
    comparison = compare(runs)
    (test,) = comparison.family("overall")
    assert [bar.text for bar in test.barred] == [f"simplex cannot be run on {text}"]
    assert verdict(comparison)[0] == (
        f"No claim about simplex: simplex cannot be run on {text}. To change this, {advice}."
    )


def test_unpaired(grid):
    """A block whose methods had different rows is not compared, and is named."""
    runs = [
        replace(r, rows="others") if r.method == "simplex" and r.draw == 1 else r
        for r in grid(tasks=("rte",), sizes=(50,))
    ]
    comparison = compare(runs)
    assert {test.method: test.n for test in comparison.tests} == {"prefix": 5, "simplex": 4}
    (note,) = [note for note in comparison.notes if note.code == "UNPAIRED"]
    assert "rte size 50 draw 1 seed 0" in note.text
    assert note.level == "red"


def test_one_draw(grid):
    """One draw has a mean and no interval, and its cell no test."""
    comparison = compare(grid(draws=1))
    cell = comparison.cell("prefix", "rte", 50)
    assert math.isnan(cell.low)
    assert cell.interval == "none: fewer than two draws"
    assert all(math.isnan(test.these.p_raw) for test in comparison.family("cells"))
    assert "FEW_SEEDS" in codes(comparison)


def test_equal_differences(grid):
    """Differences that are all equal have no variance: no interval, no p and no claim."""
    runs = [r for r in grid(tasks=("rte",), sizes=(50,), draws=8) if r.method == "fine-tuning"]
    (test,) = compare(
        [
            *runs,
            *(
                replace(r, method="simplex", digest=r.digest + "s", score=r.score + 0.1)
                for r in runs
            ),
        ]
    ).tests
    assert math.isnan(test.these.p_raw)
    assert math.isnan(test.these.low)
    assert math.isnan(test.these.mde)
    assert not test.settled
    assert "NO_VARIANCE" in test.notes


def test_equal_scores(grid):
    """Methods with equal scores share the best mark; the zeros are counted and nothing is settled."""
    runs = [r for r in grid() if r.method == "fine-tuning"]
    comparison = compare([*runs, *(replace(r, method="copy", digest=r.digest + "c") for r in runs)])
    assert comparison.cell("copy", "rte", 50).best
    assert comparison.cell("fine-tuning", "rte", 50).best
    assert not any(test.settled for test in comparison.tests)
    assert {"ZERO_DIFFS", "NO_VARIANCE"} <= codes(comparison)


def test_unreachable(grid):
    """Where even the clearest result cannot reach .05 the test says so and promises no detection."""
    comparison = compare(grid({"fine-tuning": 0.0, "simplex": 0.2}, tasks=("cola", "rte", "sst2")))
    (test,) = comparison.family("overall")
    assert test.others.p_raw == test.others.smallest == 0.25
    assert "NOT_REACHABLE" in test.notes
    assert math.isnan(test.others.mde)
    assert test.these.settled
    assert not test.others.settled
    assert "NOT_REACHABLE" in codes(comparison)


def test_ties_are_not_blamed_on_the_design(grid):
    """Eight tasks of which four have no difference at all: that is what is said, and not that eight are too few."""
    runs = grid({"fine-tuning": 0.0}, tasks=[f"t{i}" for i in range(8)], sizes=(50,))
    better = grid({"simplex": 0.02}, tasks=[f"t{i}" for i in range(8)], sizes=(50,))
    moved = [
        gain if int(run.task[1]) < 4 else replace(run, method="simplex", digest=gain.digest)
        for run, gain in zip(runs, better, strict=True)
    ]
    comparison = compare([*runs, *moved])
    (test,) = comparison.family("overall")
    assert (test.n, test.ties) == (8, 4)
    assert (test.others.smallest, test.others.reach) == (2 / 2**4, 2 / 2**8)
    assert "NOT_REACHABLE" not in test.notes
    assert "ZERO_DIFFS" in test.notes
    text = " ".join(verdict(comparison))
    assert "4 of 8 tasks are tied, so p cannot reach 0.05" in text
    assert "p is at least" not in text


def test_a_single_draw_does_not_show_how_many_are_enough(grid):
    """With one draw per task nothing is known of how draws differ, so a few draws are proposed."""
    comparison = compare(
        grid(
            {"fine-tuning": 0.0, "simplex": 0.002},
            tasks=[f"t{i}" for i in range(8)],
            sizes=(50,),
            draws=1,
        )
    )
    text = " ".join(verdict(comparison))
    assert "a single draw does not show how much others would differ" in text
    assert "Next: a claim takes at least 3 draws" in text


def test_what_failed_or_is_missing_bars_the_claim(grid):
    """A clear difference is settled; with a run that failed or a task without pairs there is no claim."""
    methods = {"fine-tuning": 0.0, "simplex": 0.05}
    runs = grid(methods, tasks=("a", "b", "c"), sizes=(50,))
    settled = (
        "Settled on average over these tasks: simplex is better than fine-tuning; for other tasks"
    )
    assert verdict(compare(runs))[0].startswith(settled)
    failed = [
        replace(r, status="failed", score=None)
        if (r.method, r.task, r.draw) == ("simplex", "a", 0)
        else r
        for r in runs
    ]
    reason = "No claim about simplex: 1 of 15 pairs is missing, 1 because runs have no score"
    assert verdict(compare(failed))[0].startswith(reason)
    missing = [r for r in runs if (r.method, r.task) != ("simplex", "a")]
    reason = "No claim about simplex: 5 of 15 pairs are missing"
    assert verdict(compare(missing))[0].startswith(reason)


def test_a_method_that_lacks_a_size_is_not_said_to_share_no_rows(grid):
    """The overall comparison is over all sizes, and the sentence says so."""
    runs = [run for run in grid() if run.method != "simplex" or run.size == 50]
    assert "no draw has finished runs of both at every size" in " ".join(verdict(compare(runs)))


def test_holdout(grid):
    """Where test rows are split anew, the interval and the p are those of a t test corrected for shared rows."""
    runs = grid(tasks=("mine", "rte"), sizes=(50,), draws=6)
    split = [replace(r, holdout=r.task == "mine", n_test=25) for r in runs]
    plain = compare([replace(run, labels={}) for run in runs])
    held = compare(split)
    one, other = plain.cell("prefix", "mine", 50), held.cell("prefix", "mine", 50)
    assert (other.high - other.low) / (one.high - one.low) == pytest.approx(
        math.sqrt((1 / 6 + 0.5) * 6)
    )
    claims = {test.task: test.these for test in held.family("cells") if test.method == "prefix"}
    assert "corrected for shared rows" in claims["mine"].test
    assert "corrected" not in claims["rte"].test
    values = np.array(
        [
            100 * (a.score - b.score)
            for a, b in itertools.product(runs, runs)
            if a.task == b.task == "mine"
            and a.draw == b.draw
            and (a.method, b.method) == ("prefix", "fine-tuning")
        ]
    )
    t = values.mean() / (values.std(ddof=1) * math.sqrt(1 / 6 + 0.5))
    assert claims["mine"].p_raw == pytest.approx(2 * stats.t.sf(abs(t), 5))
    assert "HOLDOUT" in codes(held)


def test_seen(grid):
    """The average is also given without the tasks that the backbone has been trained on."""
    comparison = compare([replace(r, seen=r.task == "cola") for r in grid()])
    rest = [
        comparison.cell("simplex", task, 50).mean for task in comparison.tasks if task != "cola"
    ]
    assert comparison.cell("simplex", None, 50, without_seen=True).mean == pytest.approx(
        fmean(rest)
    )
    assert comparison.seen == ("cola",)
    with pytest.raises(KeyError):
        compare(grid()).cell("simplex", None, 50, without_seen=True)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("failed", "failed"),
        ("diverged", "diverged"),
        ("infeasible", "infeasible"),
        ("missing", "missing"),
    ],
)
def test_states(grid, status, state):
    """A cell without any score says what became of its runs."""
    runs = [
        replace(r, status=status, score=None)
        if (r.method, r.task, r.size) == ("prefix", "rte", 50)
        else r
        for r in grid()
    ]
    comparison = compare(runs)
    cell = comparison.cell("prefix", "rte", 50)
    assert (cell.state, cell.done, cell.planned) == (state, 0, 5)
    assert cell.fates == {status: 5}
    test = next(t for t in comparison.family("overall") if t.method == "prefix")
    assert (test.n, test.planned) == (5, 6)
    assert ("DROPPED_FAILURES" in codes(comparison)) == (status in ("failed", "diverged"))


def test_infeasible_for_all(grid):
    """A size that no method can be run at does not make the averages of the others incomplete."""
    runs = [
        replace(r, status="infeasible", score=None) if (r.task, r.size) == ("rte", 200) else r
        for r in grid()
    ]
    comparison = compare(runs)
    assert comparison.cell("prefix", None, 200).state == "complete"
    assert comparison.cell("prefix", "rte", None).state == "complete"
    assert next(t for t in comparison.family("overall")).n == 6
    assert "INFEASIBLE" in codes(comparison)


def test_scores_that_are_no_numbers(grid):
    """A finished run whose score is not a number is called undefined."""
    runs = [
        replace(r, score=math.nan) if (r.method, r.draw) == ("prefix", 0) else r for r in grid()
    ]
    comparison = compare(runs)
    assert comparison.cell("prefix", "rte", 50).fates == {"done": 4, "undefined": 1}


def test_only_complete_cells_are_best(grid):
    """A mean over the runs that survived is never marked as the best of its column."""
    runs = [
        replace(r, status="diverged", score=None) if (r.method, r.draw) == ("simplex", 0) else r
        for r in grid()
    ]
    comparison = compare(runs)
    assert not any(cell.best for cell in comparison.cells if cell.method == "simplex")


def test_directions(grid):
    """Arrows follow the adjusted p of the family that the cell belongs to."""
    comparison = compare(grid({"fine-tuning": 0.0, "simplex": 0.1}, draws=10))
    assert comparison.cell("simplex", None, None).direction == "better"
    assert comparison.cell("simplex", "rte", 50).direction == "better"
    assert comparison.cell("fine-tuning", "rte", 50).direction == ""
    single = compare(
        grid({"fine-tuning": 0.1, "simplex": 0.0}, draws=10, tasks=("rte",), sizes=(50,))
    )
    assert single.cell("simplex", "rte", 50).direction == "worse"


def test_notes(grid):
    """Collapse, identical results, several versions and methods of others each have a note with a code."""
    runs = grid()
    assert codes(compare(runs)) == {
        "NOT_REACHABLE",
        "POSTHOC_BASELINE",
        "UNDERPOWERED",
        "UNGROUPED",
    }
    assert "COLLAPSED" in codes(compare([replace(runs[0], collapsed=True), *runs[1:]]))
    assert "PACK_MIX" in codes(compare([replace(runs[0], passes="in packs of 8"), *runs[1:]]))
    assert "VERSION_MIX" in codes(compare([replace(runs[0], versions="program 2"), *runs[1:]]))
    foreign = compare(
        [replace(run, plugin="bench-shift 1.2") if run.method == "prefix" else run for run in runs]
    ).notes
    assert [(n.level, n.text) for n in foreign if n.code == "PLUG_IN"] == [
        ("amber", "prefix is a method of bench-shift 1.2, and not of bench.")
    ]
    mixed = compare(
        [replace(run, plugin=f"x {run.draw}") if run.method == "prefix" else run for run in runs]
    ).notes
    assert [n.level for n in mixed if n.code == "PLUG_IN"] == ["red"]
    assert "NOT_FOUND" in codes(compare(runs, tasks=["rte", "rtee"]))
    same = [replace(r, score=0.5) if (r.method, r.task) == ("prefix", "rte") else r for r in runs]
    assert "DUPLICATE_RUNS" in codes(compare(same))
    levels = [
        note.level
        for note in compare(
            [replace(runs[0], collapsed=True, versions="program 2"), *runs[1:]]
        ).notes
    ]
    assert levels == sorted(levels, reverse=True)


def test_undefined_metrics(grid):
    """A metric that some runs do not define is averaged over the others, and the holes are counted."""
    runs = [
        replace(r, metrics={"accuracy": 0.5, "r": math.nan if r.draw == 0 else 0.25})
        for r in grid()
    ]
    cell = compare(runs).cell("prefix", "rte", 50)
    assert cell.metrics == {"accuracy": 0.5, "r": 0.25}
    assert cell.undefined == {"r": 1}


def test_a_diverged_run_counts_with_the_score_it_is_given(grid):
    """Breaking down is a result of the method: the mean falls, the cell stays complete, and a red note names it."""
    runs = [r for r in grid(tasks=("rte",), sizes=(50,)) if r.method != "prefix"]
    broken = [
        replace(r, score=0.0, status="diverged") if r.method == "simplex" and r.draw == 0 else r
        for r in runs
    ]
    comparison = compare(broken)
    cell = comparison.cell("simplex", "rte", 50)
    expected = fmean([0.0, *(100 * r.score for r in runs if r.method == "simplex" and r.draw > 0)])
    assert cell.mean == pytest.approx(expected)
    assert (cell.done, cell.planned, cell.diverged, cell.state) == (5, 5, 1, "complete")
    assert [note.level for note in comparison.notes if note.code == "DIVERGED"] == ["red"]
    assert comparison.tests[0].draws == (5, 5)


def test_nothing_is_settled_while_runs_failed(grid):
    """A method that fails on some draws is not called better for the draws that it survived."""
    methods = {"fine-tuning": 0.0, "simplex": 0.3}
    better = grid(methods, tasks=("rte",), sizes=(50,), draws=12)
    assert compare(better).tests[0].settled
    failing = [
        replace(r, score=None, status="failed") if r.method == "simplex" and r.draw < 2 else r
        for r in better
    ]
    comparison = compare(failing)
    assert comparison.tests[0].these.p_adj <= 0.05
    assert not comparison.tests[0].settled
    text = render(comparison, format="markdown")
    assert "2 of 12 pairs are missing, 2 because runs have no score" in text
    assert "**Settled" not in text


def test_the_hypothesis_of_a_study_is_tested_alone(grid):
    """Its p is not adjusted for the others, and it comes first in words; said late it is one of all."""
    said = Hypothesis("simplex", "prefix", 0.5)
    methods = {"fine-tuning": 0.0, "prefix": 0.0, "lora": 0.001, "simplex": 0.03}
    comparison = compare(grid(methods, tasks=[f"t{i}" for i in range(8)]), hypothesis=said)
    assert comparison.baseline == "prefix"
    tests = {test.method: test for test in comparison.family("overall")}
    assert tests["simplex"].declared
    assert (tests["simplex"].others.m, tests["lora"].others.m) == (1, 2)
    assert tests["simplex"].others.p_adj == tests["simplex"].others.p_raw == 2 / 2**8
    assert tests["simplex"].rope == 0.5
    headline, first, *_ = verdict(comparison)
    assert headline.startswith(
        "Settled for other tasks: simplex is better than prefix (the hypothesis of"
    )
    assert first.startswith("simplex minus prefix (the hypothesis of this study)")
    late = compare(
        grid(methods, tasks=[f"t{i}" for i in range(8)]), hypothesis=said._replace(late=True)
    )
    assert {test.these.m for test in late.family("overall")} == {3}
    assert "POSTHOC_BASELINE" in {note.code for note in late.notes}
    assert "POSTHOC_BASELINE" not in {note.code for note in comparison.notes}
    assert late.hypothesis is None


def test_tasks_chosen_after_the_results_are_not_what_was_asked_before_them(grid):
    """A report over some of the tasks or sizes is exploratory; over some of the methods it is not."""
    said = Hypothesis("simplex", "prefix")
    runs = grid({"prefix": 0.0, "lora": 0.001, "simplex": 0.03}, tasks=[f"t{i}" for i in range(8)])
    assert compare(runs, hypothesis=said).hypothesis is not None
    assert compare(runs, hypothesis=said, methods=["simplex"]).hypothesis is not None
    for chosen in ({"tasks": [f"t{i}" for i in range(7)]}, {"sizes": [50]}):
        some = compare(runs, hypothesis=said, **chosen)
        assert some.hypothesis is None
        assert "on all of its tasks and sizes" in next(
            note.text for note in some.notes if note.code == "POSTHOC_BASELINE"
        )
    assert compare(runs, hypothesis=said, tasks=[f"t{i}" for i in range(8)]).hypothesis is not None


def test_the_answer_on_a_single_task_names_it(grid):
    """A study of one task speaks of that task."""
    runs = grid({"prefix": 0.0, "simplex": 0.05}, tasks=("rte",), sizes=(50,), draws=8)
    headline = verdict(compare(runs, hypothesis=Hypothesis("simplex", "prefix")))[0]
    assert headline.startswith(
        "Settled on rte: simplex is better than prefix (the hypothesis of this study: they differ)"
    )


@pytest.mark.parametrize(
    "form", ["terminal", "markdown", "latex", pytest.param("html", marks=pytest.mark.slow), "json"]
)
def test_all_but_the_hypothesis_of_a_study_is_called_exploratory(grid, form):
    """Every other sentence says so, as do the legend, which tells who is adjusted over whom, and the facts."""
    methods = {"prefix": 0.0, "lora": 0.001, "adapter": 0.002, "simplex": 0.03}
    comparison = compare(
        grid(methods, tasks=[f"t{i}" for i in range(8)]), hypothesis=Hypothesis("simplex", "prefix")
    )
    text = re.sub(r"\s+", " ", render(comparison, format=form, width=4000))
    assert "simplex minus prefix (the hypothesis of this study): " in text
    for method in ("lora", "adapter"):
        assert f"{method} minus prefix (exploratory): " in text
    if form != "json":
        alone = (
            "simplex, the hypothesis of this study, is tested alone; "
            "p Holm: over the 2 other comparisons of this table"
        )
        assert f"{alone}; the others are exploratory." in text
        assert (
            "over the 6 comparisons of this table, all sizes together; all of them are exploratory."
            in text
        )
        assert (
            "simplex, the hypothesis of this study, alone, Holm over 2 overall (exploratory)"
            in text
        )
        assert "over the 3 comparisons of this table" not in text


def test_a_hypothesis_about_two_methods_stands_alone(grid):
    """With no other comparison there is none to be called exploratory, and none to adjust for."""
    comparison = compare(
        grid({"prefix": 0.0, "simplex": 0.03}, sizes=(50,)),
        hypothesis=Hypothesis("simplex", "prefix"),
    )
    text = render(comparison, format="markdown")
    assert "simplex, the hypothesis of this study, is tested alone. Intervals" in text
    assert "p Holm: over" not in text


def test_every_number_has_its_population(grid):
    """Sentences, legends and fields say whether intervals and p values are about these tasks or others."""
    comparison = compare(grid())
    number = r"\[-?[\d.]+, -?[\d.]+\], (adjusted )?p [=<] [\d.]+"
    for sentence in verdict(comparison)[1:-1]:
        assert re.search(f"on these tasks {number}.*for other tasks {number}", sentence)
    for table in document(comparison).tables:
        if "±" in str(table.rows):
            assert "of these tasks" in table.legend, table.title
        else:
            assert {"these tasks", "other tasks"} <= set(table.head)
    (row, *_) = csv.DictReader(io.StringIO(render(comparison, format="csv")))
    assert {"population", "these tasks population", "other tasks p_adj"} <= row.keys()


def test_with_known_answers_the_intervals_speak_of_other_test_rows(grid):
    """With predictions and labels, intervals are wider than over draws alone; the means are the same."""
    runs = grid(tasks=("rte", "sst2"), sizes=(50,), draws=8)
    rng = np.random.default_rng(0)
    right = {task: rng.integers(0, 2, 200).astype(float) for task in ("rte", "sst2")}
    hard = {task: rng.random(200) for task in right}
    known = []
    for run in runs:
        wrong = hard[run.task] + rng.normal(0, 0.05, 200) > run.score
        given = np.where(wrong, 1 - right[run.task], right[run.task])
        known.append(
            replace(
                run,
                predictions=given,
                labels={"": right[run.task]},
                scored_by=("accuracy",),
                score=1 - wrong.mean(),
            )
        )
    wide, narrow = compare(known), compare([replace(run, labels={}) for run in known])
    for ours, theirs in zip(wide.cells, narrow.cells, strict=True):
        assert (ours.population, theirs.population) == ("these tasks", "these rows")
        assert ours.mean == pytest.approx(theirs.mean)
        assert ours.high - ours.low > theirs.high - theirs.low
    assert {test.these.population for test in wide.tests} == {"these tasks"}
    assert "SEED_ONLY" in {note.code for note in narrow.notes}
    assert "SEED_ONLY" not in {note.code for note in wide.notes}
