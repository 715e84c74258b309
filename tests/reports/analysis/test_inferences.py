"""What may be claimed: populations, groups of rows, training failures, looks and other tasks."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from reports import compare, render
from reports.analysis.contrasts import draws_needed
from reports.analysis.hypothesis import Hypothesis
from reports.analysis.inferences import adjust, on_other_tasks, on_these_tasks
from reports.analysis.paired_runs import MixedRuns, pair_runs
from reports.analysis.verdict import verdict
from reports.statistics import draws_and_rows
from tests.support.simulated_runs import Study, simulate

METHODS = {"fine-tuning": 0.0, "simplex": 0.03}
EIGHT = [f"t{i}" for i in range(8)]


def only(tests):
    (test,) = tests
    return test


def test_clustered_errors_agree_with_another_program():
    """Two equal draws leave the variance over rows, which is that of a regression on a constant by groups."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    rows = rng.normal(0, 1, 40)[groups] + rng.normal(0, 1, len(groups))
    estimate = draws_and_rows.estimate(np.stack([rows, rows]), groups)
    theirs = sm.OLS(rows, np.ones(len(rows))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert estimate.mean == pytest.approx(rows.mean())
    assert estimate.variance == pytest.approx(theirs.bse[0] ** 2)


def test_groups_widen_the_interval():
    """Rows in groups of ten carry the information of fewer rows, and the report prints the design effect."""
    runs = simulate(np.random.default_rng(1), Study(draws=10, rows=600, group=10))
    grouped = compare(runs, baseline="base")
    alone = compare([replace(run, groups=None) for run in runs], baseline="base")
    wide, narrow = only(grouped.tests).these, only(alone.tests).these
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    notes = {note.code: note.text for note in grouped.notes}
    assert "600 rows in 60 groups, design effect" in notes["GROUPED"]
    assert "UNGROUPED" in {note.code for note in alone.notes}


def test_a_text_field_that_repeats_is_reported(grid):
    """Three rows for each premise may not be independent; one text per row, or groups, are no finding."""
    runs = [replace(run, groups=np.arange(1000.0)) for run in grid(tasks=("rte",))]

    def notes(**changes):
        return {note.code for note in compare([replace(run, **changes) for run in runs]).notes}

    assert "REPEATING_FIELD" in notes(field_repeats=(3.0, 1.0))
    assert "REPEATING_FIELD" not in notes(field_repeats=(1.1, 1.0))
    assert "REPEATING_FIELD" not in notes(
        field_repeats=(3.0, 1.0), groups=np.repeat(np.arange(334.0), 3)[:1000]
    )


def test_fewer_than_twenty_groups_support_no_claim():
    """However clear the difference is."""
    study = Study(draws=20, rows=300, gain=-15.0)
    clear = simulate(np.random.default_rng(1), study)
    few = simulate(np.random.default_rng(1), replace(study, group=20))
    assert only(compare(clear, baseline="base").tests).settled
    test = only(compare(few, baseline="base").tests)
    assert not test.settled
    assert test.these.barred == ("fewer than 20 independent test rows carry the difference",)


def test_held_out_rows_are_counted_once():
    """With the identities of the rows, the interval is much narrower than by the correction without them."""
    study = Study(draws=10, rows=1000, holdout=True)
    runs = [replace(run, n_train=50) for run in simulate(np.random.default_rng(2), study)]
    known = only(compare(runs, baseline="base").tests).these
    unknown = compare([replace(run, identities=None) for run in runs], baseline="base")
    old = only(unknown.tests).these
    assert 3 * (known.high - known.low) < old.high - old.low
    assert "corrected for shared rows" in old.test
    assert "HOLDOUT" in {note.code for note in unknown.notes}


def test_a_fixed_test_set_is_a_holdout_of_the_same_rows():
    """If all draws hold out the same rows, the estimate is that of a fixed test set."""
    runs = simulate(np.random.default_rng(3), Study(draws=5, rows=200))
    same = [replace(run, holdout=True, identities=np.arange(200.0) + 7) for run in runs]
    fixed, held_out = (only(compare(r, baseline="base").tests).these for r in (runs, same))
    assert (held_out.low, held_out.high) == pytest.approx((fixed.low, fixed.high))


@pytest.mark.parametrize("lost", ["collapsed", "diverged"])
def test_a_method_that_collapses_is_not_compared(grid, lost):
    """Above a quarter of the runs of a cell, nothing is claimed; the headline says what to change."""
    broken = {"collapsed": True} if lost == "collapsed" else {"status": "diverged"}
    runs = grid(METHODS, tasks=("rte",), sizes=(50,), draws=8)

    def spoil(count):
        return compare([
            replace(run, **broken) if run.method == "simplex" and run.draw < count else run
            for run in runs
        ])  # fmt: skip

    assert only(spoil(2).tests).settled
    barred = spoil(3)
    assert not only(barred.tests).settled
    headline, line, *_ = verdict(barred)
    assert headline == (
        "No claim about simplex: simplex did not train on rte size 50 (3 of 8 runs collapsed or diverged). "
        "To change this, raise --steps or the learning rate."
    )
    assert "Without the runs that collapsed or diverged: +" in line
    assert "UNTRAINED" in {note.code for note in barred.notes}


def test_one_answer_of_a_closed_form_is_its_result(grid):
    """Runs of a method without steps that predict one class bar no claim; they are named all the same."""
    runs = grid(METHODS, tasks=("rte",), sizes=(50,), draws=8)
    fitted = [
        replace(run, collapsed=run.method == "simplex", by_steps=run.method != "simplex")
        for run in runs
    ]
    comparison = compare(fitted)
    assert only(comparison.tests).settled
    codes = {note.code for note in comparison.notes}
    assert ("COLLAPSED" in codes, "UNTRAINED" in codes) == (True, False)


def test_a_method_whose_dev_score_still_rises_is_not_compared(grid):
    """A gain of three points in the last third bars the claim; a flat curve, or one evaluation, does not."""
    runs = grid(METHODS, tasks=("rte",), sizes=(50,), draws=8)

    def with_gain(gain):
        return [
            replace(run, curve=[(100, 0.5), (200, 0.6), (300, 0.6 + gain + 0.001 * run.draw)])
            for run in runs
        ]

    assert only(compare(with_gain(0.0)).tests).settled
    rising = compare(with_gain(0.03))
    assert not only(rising.tests).settled
    assert "dev scores still rose by 3." in verdict(rising)[0]
    by_loss = [replace(run, writes=True, dev_score=None) for run in with_gain(0.03)]
    sentence = "the mean probability of a token of dev texts still rose by 3."
    assert sentence in verdict(compare(by_loss))[0]
    once = [replace(run, curve=[(300, 0.9)]) for run in runs]
    assert only(compare(once).tests).settled


def test_an_incomplete_task_bars_only_its_comparison(grid):
    """Eight of nine tasks are no claim for the method that lacks one; the other method keeps its own."""
    runs = grid({"fine-tuning": 0.0, "lora": 0.03, "simplex": 0.03}, tasks=EIGHT, sizes=(50,))
    holed = compare([run for run in runs if (run.method, run.task) != ("simplex", "t0")])
    tests = {test.method: test for test in holed.family("overall")}
    assert not tests["simplex"].settled
    assert tests["lora"].others.settled


def test_a_claim_for_other_tasks_does_not_rest_on_one_task():
    """Without the task that agrees most, the p is above .07 (here .094), so nothing is claimed."""
    marginal = np.array([1.7, 0.1, 2.5, -0.6, 0.0, 1.6, 0.7, 2.7])  # p = .047
    reason = ("the difference depends on a single task",)
    assert on_other_tasks(marginal, [], 0.05).barred == reason
    lumpy = np.array([-0.4, 0.3, 0.9, 0.5, -0.8, 0.8, 1.2, 2.6])
    even = np.array([1.0, 1.2, 0.9, 1.1, 0.8, 1.3, 1.0, 0.2])
    assert on_other_tasks(even, [], 0.05).barred == ()
    assert on_other_tasks(lumpy, [], 0.2).barred == reason
    assert on_other_tasks(even[:7], [], 0.05).barred == ("fewer than 8 tasks",)


def test_a_claim_for_other_tasks_names_its_assumption(grid):
    """Symmetry, and the range of the effect without any one task."""
    paragraph = verdict(compare(grid(METHODS, tasks=EIGHT)))[1]
    assert "settled (if differences are symmetric about their mean)" in paragraph
    assert "If any one task is left out, the mean difference is +" in paragraph


def test_later_looks_have_stricter_levels(grid):
    """The second look at more draws has .05 / 6, and its interval is wider than at the first."""
    runs = grid(METHODS, tasks=("rte",), sizes=(50,), draws=10)
    first = only(compare(runs).tests)
    second = only(compare([replace(run, looks=(5,)) for run in runs]).tests)
    assert (first.look, first.these.alpha) == (1, 0.05)
    assert (second.look, second.these.alpha) == (2, pytest.approx(0.05 / 6))
    assert second.these.high - second.these.low > 1.2 * (first.these.high - first.these.low)
    assert "at look 2, level 0.0083" in verdict(compare([replace(r, looks=(5,)) for r in runs]))[1]
    earlier = only(compare([replace(run, looks=(10, 20)) for run in runs]).tests)
    assert earlier.look == 1


def test_two_methods_were_compared_at_the_looks_that_both_have(grid):
    """A look at which one of them was not complete, or that had all of today's runs, does not count."""
    runs = grid(tasks=("rte",), sizes=(50,), draws=10)
    looks = {"fine-tuning": (3, 5, 10), "simplex": (3, 0, 10), "prefix": (0, 4, 7)}
    tests = compare([replace(run, looks=looks[run.method]) for run in runs]).tests
    overall = {test.method: test.look for test in tests if test.family == "overall"}
    assert overall == {"simplex": 2, "prefix": 3}


def test_a_declared_maximum_spends_the_level(grid):
    """An early look is strict, the last has nearly .05, other tasks wait, and more draws are no claim."""
    runs = grid(METHODS, tasks=EIGHT, sizes=(50,), draws=12)

    def at(draws, most, looks=()):
        hypothesis = Hypothesis("simplex", "fine-tuning", max_draws=most)
        seen = [replace(run, looks=looks) for run in runs if run.draw < draws]
        return compare(seen, hypothesis=hypothesis).hypothesis

    early, last, beyond = at(6, 12), at(12, 12, (6,)), at(12, 10)
    assert early.these.alpha < 0.01
    assert early.others.barred == ("the declared maximum of 12 draws is not reached",)
    assert 0.04 < last.these.alpha < 0.05
    assert last.others.settled
    assert beyond.these.barred == ("more draws than the declared maximum of 10",)


def test_seeds_after_the_last_draw_of_a_declared_study_claim_nothing(grid):
    """Its level is spent; an earlier look with fewer draws and as many seeds does not end it."""
    hypothesis = Hypothesis("simplex", "fine-tuning", max_draws=6)
    runs = grid(METHODS, tasks=EIGHT, sizes=(50,), draws=6)
    both = [
        replace(run, seed=seed, digest=f"{run.digest}/{seed}") for run in runs for seed in (0, 1)
    ]

    def at(look_draws):
        seen = [replace(run, looks=(6,), look_draws=(look_draws,)) for run in both]
        return compare(seen, hypothesis=hypothesis).hypothesis

    assert at(3).these.barred == ()
    ended = at(6)
    assert ended.these.barred == ("the study ended with 6 draws; runs were added after that",)
    assert not ended.settled


def test_few_rows_that_carry_a_difference_support_no_claim():
    """Squared errors of log-normal labels: of 200 rows, a handful carry the difference."""
    rng = np.random.default_rng(2)
    points = rng.normal(0, 1, (8, 200)) * np.exp(rng.normal(0, 1.5, 200))
    assert draws_and_rows.estimate(points, uneven=True).groups < 20
    assert draws_and_rows.estimate(rng.normal(0, 1, (8, 200)), uneven=True).groups > 20
    sizes = np.concatenate([np.repeat(np.arange(3), 50), np.arange(3, 253)])
    shared = rng.normal(0, 1, 253)[sizes] + rng.normal(0, 0.3, (8, 400))
    assert draws_and_rows.effective_number(sizes) > 20
    assert draws_and_rows.estimate(shared, sizes).groups < 20


def test_a_class_without_a_test_row_supports_no_claim_on_macro_f1(grid):
    """A single prediction of such a class changes the score by a third: the rows do not show that spread."""
    runs = [
        replace(run, scored_by=("macro-f1",), classes=("no", "yes", "maybe"))
        for run in grid(METHODS, tasks=("rte",), sizes=(50,))
    ]
    assert runs[0].groups_of_rarest_class == 0
    assert replace(runs[0], classes=("no", "yes")).groups_of_rarest_class > 20


def test_unbounded_scores_of_several_tasks_have_no_common_scale(grid):
    """Two tasks may have one metric in different units: dollars and stars are not averaged in a claim."""
    runs = [
        replace(run, scored_by=("rmse",)) for run in grid(METHODS, tasks=("a", "b"), sizes=(50,))
    ]
    assert "no common scale" in only(compare(runs).family("overall")).barred[0].text


def test_versions_of_a_method_are_not_mixed(grid):
    """The message names the option that chooses one."""
    runs = grid(tasks=("rte",))
    mixed = [
        replace(r, method_version=1 + (r.draw > 2)) if r.method == "prefix" else r for r in runs
    ]
    with pytest.raises(
        MixedRuns, match=r"prefix has results of its versions 1 and 2.*--method-version prefix:2"
    ):
        pair_runs(mixed)


def test_a_metric_that_is_not_finite_is_called_that(grid):
    """The training did not diverge, and the report does not say so."""
    runs = [
        replace(r, score=float("nan")) if (r.method, r.draw) == ("simplex", 0) else r
        for r in grid(tasks=("rte",), sizes=(50,))
    ]
    comparison = compare(runs)
    assert comparison.cell("simplex", "rte", 50).fates == {"done": 4, "undefined": 1}
    text = next(note.text for note in comparison.notes if note.code == "DROPPED_FAILURES")
    assert text.startswith("1 with a metric that is not finite: ")


def test_intervals_of_bounded_scores_stay_inside_the_bounds(grid):
    """Two draws of a nearly perfect method have a wide t interval, which ends at 100."""
    runs = grid({"fine-tuning": 0.38, "simplex": 0.35}, tasks=("rte",), sizes=(50,), draws=2)
    comparison = compare(runs)
    assert all(0 <= cell.low <= cell.high <= 100 for cell in comparison.cells)
    assert all(-100 <= test.these.low <= test.these.high <= 100 for test in comparison.tests)


def test_differences_below_a_millionth_of_a_point_are_ties(grid):
    """They have no sign, and both methods are the best."""
    runs = [run for run in grid(tasks=EIGHT) if run.method == "fine-tuning"]
    other = [
        replace(run, method="copy", digest=f"{run.digest}c", score=run.score + 4e-10)
        for run in runs
    ]
    comparison = compare([*runs, *other])
    test = only(comparison.family("overall"))
    assert (test.wins, test.ties, test.losses) == (0, 8, 0)
    assert all(cell.best for cell in comparison.cells if cell.task)


def test_needs_are_intervals_for_a_stated_difference(grid):
    """A larger difference needs fewer draws, and both bounds carry the uncertainty of the variances."""
    test = only(compare(grid(METHODS, tasks=("rte",), sizes=(50,), draws=6)).tests)
    one, three = (draws_needed(test, test.these, points) for points in (2.0, 4.0))
    assert three.low <= one.low
    assert one.low < one.high


def test_the_short_report_fits_on_a_screen(grid):
    """At most 25 lines for two methods, and 40 for six, on six tasks with two sizes."""
    for methods, lines in ((METHODS, 25), (dict.fromkeys("abcdef", 0.0) | {"a": 0.03}, 40)):
        text = render(compare(grid(methods)), full=False)
        assert len(text.splitlines()) <= lines, text
        assert "majority class" in text


def test_one_large_group_supports_no_claim():
    """Groups count by their effective number: half of the rows in one group leave fewer than four."""
    study = Study(draws=10, rows=500, group=5, largest=0.5, gain=-20.0)
    test = only(compare(simulate(np.random.default_rng(1), study), baseline="base").tests)
    assert test.these.barred == ("fewer than 20 independent test rows carry the difference",)


def test_fewer_than_four_draws_support_no_claim(grid):
    """Except over four tasks or more."""
    few = only(compare(grid(METHODS, tasks=("rte",), sizes=(50,), draws=3)).tests)
    assert few.these.barred == ("fewer than 4 draws",)
    three = compare(grid(METHODS, tasks=("rte",), sizes=(50,), draws=3))
    assert verdict(three)[-1] == "Next: a claim takes at least 4 draws: `--draws 4`."
    many = compare(grid(METHODS, tasks=EIGHT, sizes=(50,), draws=3)).family("overall")
    assert only(many).these.barred == ()


def test_a_very_early_look_at_a_declared_study_is_too_early(grid):
    """At five of a hundred draws the level is below any p, so nothing can be settled or detected."""
    runs = grid(METHODS, tasks=("rte",), sizes=(50,), draws=5)
    test = compare(runs, hypothesis=Hypothesis("simplex", "fine-tuning", max_draws=100)).hypothesis
    assert test.these.barred == ("too early to look at a study of 100 draws",)
    assert "95 %" in render(compare(runs))


def test_a_rare_class_supports_no_claim(grid):
    """F1 of a class with fewer than 20 test rows has no usable interval."""
    labels = (np.arange(1000) < 15).astype(float)
    runs = [
        replace(run, labels={"": labels}, scored_by=("f1",), predictions=labels, score=1.0)
        for run in grid(METHODS, tasks=("rte",), sizes=(50,))
    ]
    assert (
        "fewer than 20 independent test rows carry the difference"
        in only(compare(runs).tests).these.barred
    )


def test_equal_rises_of_all_draws_are_rises(grid):
    """Without variance there is no interval, and still nothing that trained."""
    runs = [
        replace(run, curve=[(100, 0.5), (200, 0.6), (300, 0.8)])
        for run in grid(METHODS, tasks=("rte",), sizes=(50,))
    ]
    assert not only(compare(runs).tests).settled


def test_methods_without_a_common_draw_are_not_ranked(grid):
    """Complete cells whose sizes share no draw have no average over sizes."""
    runs = [
        run for run in grid(METHODS, tasks=EIGHT, draws=6) if (run.draw < 3) == (run.size == 50)
    ]
    assert compare(runs).ranking is None


def test_test_rows_that_are_trained_on_are_reported_with_the_score_on_the_others(grid):
    """If the model is right on exactly the repeated rows, the score on the others is 0."""
    run = grid({"fine-tuning": 0.0}, tasks=("rte",), sizes=(50,), draws=1)[0]
    right = np.flatnonzero(run.predictions == run.labels[""])
    known = replace(run, repeated=right)
    assert known.score_on_other_rows == 0
    text = {note.code: note.text for note in compare([known]).notes}["REPEATED"]
    assert f"on the others fine-tuning 0.0 instead of {100 * run.score:.1f}" in text
    assert "REPEATED" not in {
        note.code for note in compare([replace(run, repeated=right[:0])]).notes
    }


def test_classes_without_a_test_row_and_cut_rows_are_notes(grid):
    """The notes name the class with the number of draws, and the share of rows that reach the limit of tokens."""
    run = replace(grid({"prefix": 0.0}, tasks=("rte",), sizes=(50,), draws=1)[0], classes=())
    few = {split: np.zeros_like(labels) for split, labels in run.labels.items()}
    other = replace(run, draw=1, labels=few, classes=("a", "b"), full=run.n_test // 2)
    notes = {
        note.code: note.text
        for note in compare([replace(run, classes=("a", "b"), full=0), other]).notes
    }
    assert "rte: 'b' in 1 of 2 draws" in notes["NO_TEST_ROW"]
    assert "rte: 25.0 % of the test rows" in notes["CUT"]
    assert {"NO_TEST_ROW", "CUT"}.isdisjoint(note.code for note in compare([run]).notes)


def test_a_declared_study_has_as_many_draws_as_its_smallest_cell(grid):
    """One task at the declared maximum does not end the study: the level stays that of an early look."""
    runs = grid(METHODS, tasks=EIGHT, sizes=(50,), draws=12)
    hypothesis = Hypothesis("simplex", "fine-tuning", max_draws=12)
    some = [run for run in runs if run.draw < 6 or run.task == EIGHT[0]]
    early = compare(some, hypothesis=hypothesis).hypothesis
    assert early.these.alpha < 0.01
    assert early.others.barred == ("the declared maximum of 12 draws is not reached",)


@pytest.mark.parametrize(
    ("comparisons", "tasks", "fewest"), [(1, 1, 4), (12, 1, 4), (13, 1, 5), (200, 1, 6), (1, 4, 3)]
)
def test_more_comparisons_take_more_draws(comparisons, tasks, fewest):
    """The further out in the tail the level lies, the more draws a claim takes; one less with four tasks."""
    claim = replace(on_these_tasks([], [], 0.05), p_raw=0.001, tasks=tasks)

    def bars(draws):
        claims = [replace(claim, draws=draws) for _ in range(comparisons)]
        return [reason for reason in adjust(claims, "Holm")[0].barred if "draws" in reason]

    assert bars(fewest - 1) == [f"fewer than {fewest} draws"]
    assert bars(fewest) == []


def test_scores_without_a_common_scale_are_not_averaged_to_a_claim(grid):
    """An error in dollars beside accuracies bars the claim over all tasks, and not that on one task."""
    runs = grid(METHODS, tasks=("a", "b", "c"), sizes=(50,))
    mixed = [replace(r, scored_by=("rmse",) if r.task == "c" else ("accuracy",)) for r in runs]
    overall, *others = compare(mixed).tests
    assert [bar.kind for bar in overall.barred] == ["scales"]
    assert "no common scale" in verdict(compare(mixed))[0]
    assert not any(bar for test in others if test.task for bar in test.barred)


def test_rows_of_the_rarest_class_in_one_group_are_one_row(grid):
    """For Matthews' correlation, 40 rows of a class that one author wrote support no claim."""
    runs = grid(METHODS, tasks=("a",), sizes=(50,))
    numbers = np.arange(len(runs[0].predictions))
    labels = (numbers < 40).astype(float)
    groups = np.where(labels == 1, 0, numbers).astype(float)
    for given, count in ((None, 40), (groups, 1)):
        changed = [
            replace(r, scored_by=("matthews",), labels={"": labels}, groups=given) for r in runs
        ]
        assert changed[0].groups_of_rarest_class == count


def test_results_of_two_versions_have_no_common_rows():
    """If only some held-out results store which rows they tested, positions are not taken for row numbers."""
    runs = simulate(np.random.default_rng(3), Study(draws=8, rows=800, holdout=True))
    mixed = [replace(run, identities=None) if run.draw >= 4 else run for run in runs]
    assert only(compare(runs, baseline="base").tests).these.population == "these tasks"
    widened = only(compare(mixed, baseline="base").tests).these
    assert "corrected for shared rows" in widened.test


def test_a_closed_form_has_no_late_rise(grid):
    """Its curve is over candidates of a penalty, and not over steps."""
    rising = [
        replace(run, curve=[(1, 0.5), (2, 0.6), (3, 0.7 + 0.01 * run.draw)], by_steps=False)
        for run in grid(METHODS, tasks=("rte",), sizes=(50,))
    ]
    assert only(compare(rising).tests).barred == ()
    assert only(compare([replace(run, by_steps=True) for run in rising]).tests).barred


def test_scores_with_large_units_have_known_rows():
    """An error of a million has the rounding of single precision, not an unknown metric."""
    labels = np.linspace(1e6, 9e6, 200)
    (run, *_) = simulate(np.random.default_rng(1), Study(draws=1, rows=200))
    errors = np.random.default_rng(2).normal(0, 1e5, 200)
    score = -float(np.sqrt(np.mean(np.square(errors.astype(np.float32)))))
    known = replace(
        run, labels={"": labels}, predictions=labels + errors, scored_by=("rmse",), classes=()
    )
    assert replace(known, score=score * (1 + 1e-6)).row_scores is not None
    assert replace(known, score=score * 1.01).row_scores is None


def test_the_interval_of_a_score_near_100_is_not_too_short():
    """Of 100 rows few are wrong, and they carry the variance: the other half of a cut interval is printed."""
    runs = simulate(np.random.default_rng(4), Study(draws=6, rows=100, accuracy=0.98, by_draw=0.05))
    cell = next(cell for cell in compare(runs, baseline="base").cells if cell.task)
    assert cell.high == 100
    shown = f"{cell.mean:.1f} ± {cell.mean - cell.low:.1f}"
    assert shown in render(compare(runs, baseline="base"), format="markdown")


def test_a_declared_study_says_why_its_other_comparisons_support_no_claim(grid):
    """The headline answers the hypothesis, and names what bars a comparison beside it."""
    runs = [
        run
        for run in grid(METHODS | {"prefix": 0.0}, tasks=EIGHT, sizes=(50,), draws=12)
        if (run.method, run.task, run.draw) != ("prefix", EIGHT[0], 0)
    ]
    text = render(compare(runs, hypothesis=Hypothesis("simplex", "fine-tuning")))
    assert "the hypothesis of this study" in text
    assert "No claim about prefix: 1 of 96 pairs is missing" in " ".join(text.split())
