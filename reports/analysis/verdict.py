"""The answer in words: what differs, by how much, whether it is settled, and what would settle it.

The words "no difference" are never printed: a test that finds nothing says what it could have
found.
"""

import math
from collections.abc import Iterator

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.diagnostics import underpowered
from reports.statistics.conventions import ALPHA
from reports.statistics.sample_size import MOST


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """A headline, then a paragraph for each method that is compared with the baseline."""
    tests = comparison.family("overall")
    if comparison.done == 0:
        return (f"Nothing to say yet: none of the {comparison.planned} planned runs has a score.",)
    if not tests:
        return (_alone(comparison),)
    return (_headline(comparison, tests), *(_paragraph(comparison, test) for test in tests))


def _alone(comparison: Comparison) -> str:
    method = comparison.methods[0]
    if len(comparison.methods) > 1:
        others = _names(list(comparison.methods))
        return f"The baseline {comparison.baseline} has no runs here: there is nothing to compare {others} with."
    task = None if len(comparison.tasks) > 1 else comparison.tasks[0]
    cell = comparison.cell(method, task, None if len(comparison.sizes) > 1 else comparison.sizes[0])
    if math.isnan(cell.mean):
        return f"Only {method} is here ({cell.done} of {cell.planned} runs have a score): there is nothing to compare it with."
    where = f"on average over {len(comparison.tasks)} tasks" if task is None else f"on {task}"
    score = f"{cell.mean:.1f} points{_interval(cell.low, cell.high, cell.estimand)}"
    return f"Only {method} is here, with {score} {where}: there is nothing to compare it with."


def _headline(comparison: Comparison, tests: list[Contrast]) -> str:
    task = f" on {comparison.tasks[0]}" if len(comparison.tasks) == 1 else ""
    if comparison.question is not None:
        return _answer(comparison.question, task)
    better = [test.method for test in tests if test.settled and test.effect > 0]
    worse = [test.method for test in tests if test.settled and test.effect < 0]
    rest = len(tests) - len(better) - len(worse)
    parts = []
    if better:
        parts.append(
            f"{_names(better)} {'is' if len(better) == 1 else 'are'} better than {comparison.baseline}"
        )
    if worse:
        parts.append(
            f"{_names(worse)} {'is' if len(worse) == 1 else 'are'} worse than {comparison.baseline}"
        )
    if not parts:
        return _unsettled(comparison, tests, task)
    tail = (
        f"; {rest} of {len(tests)} comparisons {'is' if rest == 1 else 'are'} not settled"
        if rest
        else ""
    )
    return f"Settled: {', and '.join(parts)}{task}{tail}."


def _answer(test: Contrast, task: str) -> str:
    """What came of the comparison that the study is for."""
    question = "the question of this study, asked before its first result"
    if test.settled:
        return f"Settled: {test.method} is {'better' if test.effect > 0 else 'worse'} than {test.baseline}{task}, {question}."
    return f"Not settled: whether {test.method} is better or worse than {test.baseline}{task}, {question}."


def _unsettled(comparison: Comparison, tests: list[Contrast], task: str) -> str:
    """What can be said of these tasks where nothing can be said of others."""
    whole = [
        test
        for test in tests
        if test.unit == "tasks" and test.n == test.planned and not test.failed
    ]
    told = [test for test in whole if test.ci[0] > 0 or test.ci[1] < 0]
    above = [test.method for test in told if test.ci[0] > 0]
    below = [test.method for test in told if test.ci[1] < 0]
    if not above and not below:
        return f"Not settled: these runs do not tell {_names([t.method for t in tests])} from {comparison.baseline}{task}."
    here = (
        [f"{_names(above)} score{'s' * (len(above) == 1)} above {comparison.baseline}"]
        if above
        else []
    )
    it = "it" if above else comparison.baseline
    here += (
        [f"{_names(below)}{'' if above else ' score' + 's' * (len(below) == 1)} below {it}"]
        if below
        else []
    )
    found = f"On these tasks {', and '.join(here)}"
    alone = ", each interval taken alone" if len(above) + len(below) > 1 else ""
    what = "draws and test rows" if all(test.ci_estimand == "E2" for test in told) else "draws"
    return f"{found} (95 % intervals over {what}{alone}); that it carries over to other tasks is not settled."


def _paragraph(comparison: Comparison, test: Contrast) -> str:
    """One comparison in words, with its rank in a study that has a question: a line may be quoted alone."""
    rank = (
        ""
        if comparison.question is None
        else " (the question of this study)"
        if test.planned_for
        else " (exploratory)"
    )
    return _sentence(f"{test.method} over {test.baseline}{rank}", test)


def _sentence(name: str, test: Contrast) -> str:
    if test.n == 0:
        where = "on the same rows at every size of this report"
        return f"{name}: not compared; no {test.unit[:-1]} has finished runs of both {where}."
    size = f"{points(test.effect)} points{_interval(*test.ci, test.ci_estimand) or ' (no interval)'} over {_extent(test)}"
    if math.isnan(test.p_raw):
        return f"{name}: {size}; not settled: {_untested(test)}."
    how = f"{test.estimand}, {test.test}{_family(test)}"
    if test.settled:
        return f"{name}: {size}; settled (p = {probability(test.p_adj)}, {how}). {' '.join(_caveats(test))}".rstrip()
    if test.p_adj <= ALPHA:
        lost = f"{test.failed} pair{'' if test.failed == 1 else 's'} missing because runs failed"
        text = "A method that fails where it is hard would look better than it is; try them again, then decide."
        return f"{name}: {size}; not settled, with {lost} (p = {probability(test.p_adj)} without them, {how}). {text}"
    if test.unit == "draws" and test.sd == 0 and test.effect == 0:
        return f"{name}: {size}; the scores are equal in every pair, so nothing speaks for either on these rows."
    return f"{name}: {size}; not settled (p = {probability(test.p_adj)}, {how}). {' '.join(_prospects(test))}"


def _extent(test: Contrast) -> str:
    low, high = test.draws
    draws = (
        f"{low} draw{'' if low == high == 1 else 's'}" if low == high else f"{low} to {high} draws"
    )
    holes = (
        f" ({test.pairs} of {test.planned_pairs} pairs)" if test.pairs < test.planned_pairs else ""
    )
    if test.unit == "draws":
        return f"{draws}{holes}"
    count = f"{test.n}" if test.n == test.planned else f"{test.n} of {test.planned}"
    return f"{count} task{'' if test.planned == 1 else 's'}, {draws}{holes}"


def _family(test: Contrast) -> str:
    return f", Holm over {test.m}" if test.m > 1 and test.correction == "Holm" else ""


def _untested(test: Contrast) -> str:
    if test.n == 1:
        return f"a single {test.unit[:-1]} tells nothing of how much others would differ"
    return "all differences are equal, so there is no variance to test against"


def _caveats(test: Contrast) -> Iterator[str]:
    if not math.isnan(test.mde):
        yield f"This design detects about {test.mde:.1f} points."
    if test.unit == "tasks" and test.ci[0] <= 0 <= test.ci[1]:
        also = "and test rows " if test.ci_estimand == "E2" else ""
        agree = max(test.wins, test.losses)
        yield f"Of {test.n} tasks {agree} agree on it, although the interval over other draws {also}includes 0."
    if abs(test.effect) < test.rope:
        yield "Settled says that it is there, not that it is large."


def _prospects(test: Contrast) -> Iterator[str]:
    if test.unit == "tasks" and (test.ci[0] > 0 or test.ci[1] < 0):
        yield "On these very tasks the interval leaves out 0; that it carries over to other tasks is what is not settled."
    least = math.ceil(1 - math.log2(ALPHA / max(test.m, 1)))
    if test.tied:
        yield f"{test.ties} of {test.n} {test.unit} have no difference, and with the others no p of .05 is possible."
    elif test.smallest > ALPHA:
        what = "the smallest p possible is" + (
            f" {test.smallest:.3g}" if test.smallest < 1 else " 1"
        )
        held = f" after Holm over {test.m}" if test.m > 1 else ""
        yield f"This design cannot reach .05: with {test.n} {test.unit} {what}{held}; at least {least} are needed."
    elif not math.isnan(test.mde):
        yield f"This design detects about {test.mde:.1f} points (power 80 %)."
    if test.needed is not None and test.needed > max(test.n, least):
        yield f"About {test.needed} {test.unit} that spread like these would settle a difference of this size."
    elif test.needed is None and test.sd > 0 and test.smallest > 0:
        yield f"A difference this small would take more than 1000 {test.unit} that spread like these."
    yield from _next_step(test)
    if "UNDERPOWERED" in test.notes:
        yield underpowered(test)
    else:
        yield "Absence of significance is not evidence of equality."


def _next_step(test: Contrast) -> Iterator[str]:
    """What would settle a difference that matters, with its price."""
    if "UNDERPOWERED" not in test.notes or math.isnan(test.mde):
        return
    matters = f"{test.rope:g} point{'' if test.rope == 1 else 's'}"
    if test.unit == "tasks" and math.isnan(test.noise):
        yield "A single draw a task does not tell how many would do: `--draws 5` would."
    elif test.draws_needed > MOST:
        if test.unit == "tasks" and math.isinf(test.draws_needed):
            yield f"No number of draws would detect {matters} over {test.n} tasks: they differ too much from each other."
        else:
            yield f"It would take more than {MOST:,} draws to detect {matters}."
    elif test.draws_needed > test.draws[0]:
        hours = test.seconds * (test.draws_needed - test.draws_mean) / 3600
        price = f" (about {hours:.2g} device-hours more)" if hours >= 0.005 else ""
        yield f"Next: the same `bench run` with `--draws {test.draws_needed}`{price} would detect {matters}."


def points(value: float) -> str:
    """A difference in points with its sign, or a dash."""
    if math.isnan(value):
        return "—"
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def probability(p: float) -> str:
    """A p value in three digits, more where it decides, or a dash."""
    if math.isnan(p):
        return "—"
    if p < 0.0005:
        return "< 0.001"
    return f"{p:.4f}" if 0.0495 < p < 0.0505 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def _interval(low: float, high: float, estimand: str) -> str:
    return "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}] ({estimand})"


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
