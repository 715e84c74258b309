"""The verdict in words: what differs, by how much, whether it is settled, and what would settle it.

A verdict never says "no difference": a test without a significant result says what it could have
detected.
"""

import math
from collections.abc import Iterator, Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.diagnostics import NOT_EQUAL, underpowered
from reports.document import DASH, plural
from reports.statistics.conventions import ALPHA
from reports.statistics.sample_size import MOST


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Return a headline, then a paragraph for each method that is compared with the baseline."""
    tests = comparison.family("overall")
    if comparison.done == 0:
        planned = plural(comparison.planned, "planned run")
        return (f"No result yet: none of the {planned} has a score.",)
    if not tests:
        return (_without_comparison(comparison),)
    return (_headline(comparison, tests), *(_paragraph(comparison, test) for test in tests))


def _without_comparison(comparison: Comparison) -> str:
    method = comparison.methods[0]
    if len(comparison.methods) > 1:
        names = _names(comparison.methods)
        return f"The baseline {comparison.baseline} has no runs here, so {names} cannot be compared with it."
    task = None if len(comparison.tasks) > 1 else comparison.tasks[0]
    cell = comparison.cell(method, task, None if len(comparison.sizes) > 1 else comparison.sizes[0])
    end = "there is no method to compare it with."
    if math.isnan(cell.mean):
        done = f"{cell.done} of {plural(cell.planned, 'run')} have a score"
        return f"There are only runs of {method} ({done}): {end}"
    where = f"on average over {len(comparison.tasks)} tasks" if task is None else f"on {task}"
    score = f"{cell.mean:.1f} points{_interval(cell.low, cell.high, cell.estimand)}"
    return f"There are only runs of {method}, with {score} {where}: {end}"


def _headline(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    task = f" on {comparison.tasks[0]}" if len(comparison.tasks) == 1 else ""
    if comparison.question is not None:
        return _declared_answer(comparison.question, task)
    better = [test.method for test in tests if test.settled and test.effect > 0]
    worse = [test.method for test in tests if test.settled and test.effect < 0]
    parts = [
        f"{_names(methods)} {'is' if len(methods) == 1 else 'are'} {word} than {comparison.baseline}"
        for methods, word in ((better, "better"), (worse, "worse"))
        if methods
    ]
    if not parts:
        return _unsettled(comparison, tests, task)
    rest = len(tests) - len(better) - len(worse)
    verb = "is" if rest == 1 else "are"
    tail = f"; {rest} of {len(tests)} comparisons {verb} not settled" if rest else ""
    return f"Settled: {', and '.join(parts)}{task}{tail}."


def _declared_answer(test: Contrast, task: str) -> str:
    """Return the result of the study's declared comparison."""
    question = "the question of this study, declared before its first result"
    if test.settled:
        word = "better" if test.effect > 0 else "worse"
        return f"Settled: {test.method} is {word} than {test.baseline}{task}, {question}."
    pair = f"whether {test.method} is better or worse than {test.baseline}"
    return f"Not settled: {pair}{task}, {question}."


def _unsettled(comparison: Comparison, tests: Sequence[Contrast], task: str) -> str:
    """Return what holds on these tasks if nothing is settled for other tasks."""
    clear = [
        test
        for test in tests
        if test.unit == "tasks"
        and test.n == test.planned
        and not test.failed
        and (test.ci[0] > 0 or test.ci[1] < 0)
    ]
    above = [test.method for test in clear if test.ci[0] > 0]
    below = [test.method for test in clear if test.ci[1] < 0]
    if not clear:
        methods = _names([test.method for test in tests])
        return f"Not settled: these runs do not distinguish {methods} from {comparison.baseline}{task}."
    parts = [
        f"{_names(methods)} score{'s' * (len(methods) == 1)} {word} {comparison.baseline}"
        for methods, word in ((above, "above"), (below, "below"))
        if methods
    ]
    alone = ", each interval taken alone" if len(clear) > 1 else ""
    over = "draws and test rows" if all(test.ci_estimand == "E2" for test in clear) else "draws"
    return (
        f"On these tasks {', and '.join(parts)} (95 % intervals over {over}{alone}); "
        "whether this holds on other tasks is not settled."
    )


def _paragraph(comparison: Comparison, test: Contrast) -> str:
    """Return one comparison in words, with its role in a study that declares a question.

    A paragraph may be quoted without the others.
    """
    role = ""
    if comparison.question is not None:
        role = " (the question of this study)" if test.planned_for else " (exploratory)"
    return f"{test.method} over {test.baseline}{role}: {_result(test)}"


def _result(test: Contrast) -> str:
    if test.n == 0:
        unit = test.unit[:-1]
        return f"not compared; no {unit} has finished runs of both on the same rows at every size of this report."
    interval = _interval(*test.ci, test.ci_estimand) or " (no interval)"
    effect = f"{points(test.effect)} points{interval} over {_extent(test)}"
    if math.isnan(test.p_raw):
        return f"{effect}; not settled: {_untested(test)}."
    how = f"{test.estimand}, {test.test}{_family(test)}"
    p = p_value(test.p_adj)
    if test.settled:
        return f"{effect}; settled ({p}, {how}). {' '.join(_caveats(test))}".rstrip()
    if test.p_adj <= ALPHA:
        lost = f"{plural(test.failed, 'pair')} missing because runs failed"
        advice = "A method that fails in difficult cases would look better than it is: retry the failed runs first."
        return f"{effect}; not settled, with {lost} ({p} without them, {how}). {advice}"
    if test.unit == "draws" and test.sd == 0 and test.effect == 0:
        return (
            f"{effect}; the scores are equal in every pair, so these rows support neither method."
        )
    return f"{effect}; not settled ({p}, {how}). {' '.join(_prospects(test))}"


def _extent(test: Contrast) -> str:
    low, high = test.draws
    draws = plural(low, "draw") if low == high else f"{low} to {high} draws"
    holes = (
        f" ({test.pairs} of {test.planned_pairs} pairs)" if test.pairs < test.planned_pairs else ""
    )
    if test.unit == "draws":
        return f"{draws}{holes}"
    count = "" if test.n == test.planned else f"{test.n} of "
    return f"{count}{plural(test.planned, 'task')}, {draws}{holes}"


def _family(test: Contrast) -> str:
    return f", Holm over {test.m}" if test.m > 1 and test.correction == "Holm" else ""


def _untested(test: Contrast) -> str:
    if test.n == 1:
        return f"a single {test.unit[:-1]} does not show how much others would differ"
    return "all differences are equal, so there is no variance to test against"


def _caveats(test: Contrast) -> Iterator[str]:
    if not math.isnan(test.mde):
        yield f"This design detects about {test.mde:.1f} points."
    if test.unit == "tasks" and test.ci[0] <= 0 <= test.ci[1]:
        also = "and test rows " if test.ci_estimand == "E2" else ""
        agree = max(test.wins, test.losses)
        yield f"{agree} of {test.n} tasks agree, although the interval over other draws {also}includes 0."
    if abs(test.effect) < test.rope:
        yield "Settled means that there is a difference, not that it is large."


def _prospects(test: Contrast) -> Iterator[str]:
    if test.unit == "tasks" and (test.ci[0] > 0 or test.ci[1] < 0):
        yield "On these tasks the interval excludes 0; whether this holds on other tasks is not settled."
    fewest = math.ceil(1 - math.log2(ALPHA / max(test.m, 1)))
    if test.tied:
        equal = f"{test.ties} of {test.n} {test.unit} have no difference"
        yield f"{equal}, and with the others no p of .05 is possible."
    elif test.smallest > ALPHA:
        least = f"{test.smallest:.3g}" if test.smallest < 1 else "1"
        yield (
            f"This design cannot reach .05: with {test.n} {test.unit} the smallest possible p is {least}"
            f"{f' after Holm over {test.m}' if test.m > 1 else ''}; at least {fewest} are needed."
        )
    elif not math.isnan(test.mde):
        yield f"This design detects about {test.mde:.1f} points (power 80 %)."
    if test.needed is not None and test.needed > max(test.n, fewest):
        yield f"About {test.needed} {test.unit} with this spread would settle a difference of this size."
    elif test.needed is None and test.sd > 0 and test.smallest > 0:
        yield f"A difference this small would take more than 1000 {test.unit} with this spread."
    yield from _next_step(test)
    if "UNDERPOWERED" in test.notes:
        yield underpowered(test)
    else:
        yield NOT_EQUAL.capitalize()


def _next_step(test: Contrast) -> Iterator[str]:
    """Yield how to detect a difference that matters, and the cost."""
    if "UNDERPOWERED" not in test.notes or math.isnan(test.mde):
        return
    matters = plural(test.rope, "point")
    if test.unit == "tasks" and math.isnan(test.noise):
        yield "A single draw per task does not show how many draws would be enough; `--draws 5` would show it."
    elif test.draws_needed > MOST:
        if test.unit == "tasks" and math.isinf(test.draws_needed):
            what = f"No number of draws would detect {matters} over {test.n} tasks"
            yield f"{what}: they differ too much from each other."
        else:
            yield f"It would take more than {MOST:,} draws to detect {matters}."
    elif test.draws_needed > test.draws[0]:
        hours = test.seconds * (test.draws_needed - test.draws_mean) / 3600
        cost = f" (about {hours:.2g} more device-hours)" if hours >= 0.005 else ""
        command = f"the same `bench run` with `--draws {test.draws_needed}`"
        yield f"Next: {command}{cost} would detect {matters}."


def points(value: float) -> str:
    """Return a difference in points with its sign, or a dash."""
    if math.isnan(value):
        return DASH
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def probability(p: float) -> str:
    """Return a p value with two or three digits, four if it is close to .05, or a dash."""
    if math.isnan(p):
        return DASH
    if p < 0.0005:
        return "< 0.001"
    return f"{p:.4f}" if 0.0495 < p < 0.0505 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def p_value(p: float) -> str:
    """Return `p = 0.03` or `p < 0.001`."""
    return f"p {probability(p)}" if p < 0.0005 else f"p = {probability(p)}"


def _interval(low: float, high: float, estimand: str) -> str:
    return "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}] ({estimand})"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
