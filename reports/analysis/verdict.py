"""The verdict in words: what differs, by how much, for which tasks this is settled, and the next step.

A verdict never calls methods equal. A bar is a reason against a claim, whatever p is. A method on which all claims
are barred gets `no claim` or `not tested`, and the headline says why. Otherwise, with `full`, the paragraph gives for
each unsettled claim its bars, why p could not reach the level, or the smallest difference that the test detects.
"""

import math
from collections.abc import Iterator, Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast, draws_needed
from reports.analysis.inferences import (
    FEWEST_TASKS,
    Inference,
    fewest_draws,
)
from reports.document import DASH, plural
from reports.statistics.conventions import ALPHA
from reports.statistics.sample_size import MOST


def verdict(comparison: Comparison, *, full: bool = True) -> tuple[str, ...]:
    """Return a headline, something on each method that is compared with the baseline, and the next step.

    Args:
        comparison: The numbers.
        full: Whether to return a paragraph on each method, and not only a line.
    """
    tests = comparison.family("overall")
    if comparison.done == 0:
        planned = plural(comparison.planned, "planned run")
        return (f"No result yet: none of the {planned} has a score.",)
    if not tests:
        return (_without_comparison(comparison),)
    paragraphs = [
        _paragraph(comparison, test) if full else _line(comparison, test) for test in tests
    ]
    return (_headline(comparison, tests), *paragraphs, *_next_step(tests))


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
    bounds = "" if math.isnan(cell.low) else f" [{cell.low:z.1f}, {cell.high:z.1f}]"
    return f"There are only runs of {method}, with {cell.mean:.1f} points{bounds} {where}: {end}"


# Headline


def _headline(comparison: Comparison, tests: Sequence[Contrast]) -> str:
    """Return what is settled and what is not, or the answer to the hypothesis; and the methods without a claim."""
    where = f"on {comparison.tasks[0]}" if len(comparison.tasks) == 1 else "on these tasks"
    # A method that is better on average may be worse on some of the tasks.
    where_settled = where.replace("on these", "on average over these")
    if comparison.hypothesis is not None:
        barred = [test for test in tests if test.these.barred and not test.declared]
        answer = _answer(comparison.hypothesis, where, where_settled)
        return " ".join([answer, *_no_claims(barred)])
    wide = [test for test in tests if test.others and test.others.settled]
    narrow = [test for test in tests if test.these.settled and test not in wide]
    barred = [test for test in tests if test.these.barred]
    rest = [test.method for test in tests if not test.settled and test not in barred]
    sentences = []
    if wide:
        sentences.append(f"Settled for other tasks: {_directions(wide)}.")
    if narrow:
        elsewhere = "" if len(comparison.tasks) == 1 else "; for other tasks this is not settled"
        sentences.append(f"Settled {where_settled}: {_directions(narrow)}{elsewhere}.")
    if rest:
        sentences.append(
            f"Not settled {where}: whether {_names(rest, 'or')} {'differs' if len(rest) == 1 else 'differ'} "
            f"from {comparison.baseline}."
        )
    return " ".join([*sentences, *_no_claims(barred)])


def _answer(test: Contrast, where: str, where_settled: str) -> str:
    """Return the result of the study's hypothesis."""
    if test.settled:
        place = "for other tasks" if test.widest.settled and test.others else where_settled
        word = "better" if test.effect > 0 else "worse"
        role = "the hypothesis of this study: they differ"
        return f"Settled {place}: {test.method} is {word} than {test.baseline} ({role})."
    if test.these.barred:
        role = f"the hypothesis of this study: it differs from {test.baseline}"
        return " ".join(_no_claims([test])).replace(":", f" ({role}):", 1)
    pair = f"whether {test.method} is better or worse than {test.baseline}"
    return f"Not settled {where}: {pair} (the hypothesis of this study)."


def _directions(tests: Sequence[Contrast]) -> str:
    """Return `lora and simplex are better and bitfit is worse than prefix`."""
    parts = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [test.method for test in tests if test.effect * sign > 0]
        if names:
            parts.append(f"{_names(names)} {'is' if len(names) == 1 else 'are'} {word}")
    return f"{' and '.join(parts)} than {tests[0].baseline}"


def _no_claims(tests: Sequence[Contrast]) -> Iterator[str]:
    """Yield a sentence for each kind of reason, with the methods that it bars.

    The first reason of a method decides its kind.
    """
    kinds: dict[str, list[Contrast]] = {}
    for test in tests:
        kind = test.barred[0].kind if test.barred else test.these.barred[0]
        kinds.setdefault(kind, []).append(test)
    for members in kinds.values():
        bars = list(dict.fromkeys(bar for test in members for bar in test.barred))
        reasons = (reason for test in members for reason in test.these.barred)
        texts = list(dict.fromkeys([bar.text for bar in bars] or reasons))
        more = f"; and {plural(len(texts) - 1, 'more reason')}" if len(texts) > 1 else ""
        advice = f". To change this, {bars[0].advice}" if bars else ""
        names = _names([test.method for test in members])
        yield f"No claim about {names}: {texts[0]}{more}{advice}."


# Comparisons


def _line(comparison: Comparison, test: Contrast) -> str:
    """Return one comparison in a line."""
    subject = f"{test.method} minus {test.baseline}"
    if math.isnan(test.effect):
        return f"{subject}: not compared."
    parts = []
    for claim in test.inferences:
        if claim.population == "other tasks" and claim.n < FEWEST_TASKS:
            continue  # too few tasks for a claim: left out of the line
        where = "for other tasks" if claim.population == "other tasks" else "on these tasks"
        where = where if test.others else f"on {comparison.tasks[0]}"
        bounds = "" if math.isnan(claim.low) else f" [{claim.low:z.1f}, {claim.high:z.1f}]"
        p = "not tested"
        if not math.isnan(claim.p_adj):
            p = f"{p_value(claim.p_adj, claim.alpha)}{_at(test, claim)}"
        no_claim = test.barred or test.these.barred
        settled = "settled" if claim.settled else "no claim" if no_claim else "not settled"
        parts.append(f"{where}{bounds}, {p}, {settled}")
    return f"{subject}: {points(test.effect)} points; {'; '.join(parts)}."


def _paragraph(comparison: Comparison, test: Contrast) -> str:
    """Return one comparison in words, with its role in a study that declares a hypothesis.

    Every paragraph repeats the role, because it may be quoted without the others.
    """
    role = ""
    if comparison.hypothesis is not None:
        role = " (the hypothesis of this study)" if test.declared else " (exploratory)"
    subject = f"{test.method} minus {test.baseline}{role}"
    if math.isnan(test.effect):
        return f"{subject}: not compared, because no draw has finished runs of both at every size."
    where = f"on {comparison.tasks[0]}" if test.others is None else "on these tasks"
    parts = [f"{where} {_claim(test, test.these)}"]
    if test.others is not None:
        parts.append(f"for other tasks {_claim(test, test.others)}")
    head = f"{subject}: {points(test.effect)} points in {_extent(test)}"
    return " ".join([f"{head}; {'; '.join(parts)}.", *_remarks(test)])


def _claim(test: Contrast, claim: Inference) -> str:
    """Return interval, p and outcome of one claim."""
    bounds = "" if math.isnan(claim.low) else f"[{claim.low:z.1f}, {claim.high:z.1f}], "
    if math.isnan(claim.p_raw):
        return f"{bounds}not tested ({_untested(claim)})"
    p = f"{bounds}{'adjusted ' * (claim.m > 1)}{p_value(claim.p_adj, claim.alpha)}{_at(test, claim)}"
    if claim.settled:
        symmetric = " (if differences are symmetric about their mean)"
        return f"{p}, settled{symmetric * (claim.population == 'other tasks')}"
    if test.barred:
        return f"{p}, no claim"  # the headline says why
    word = "no claim" if test.these.barred else "not settled"
    reasons = "; ".join(claim.barred or tuple(_unsettled(test, claim)))
    return f"{p}, {word}{f' ({reasons})' if reasons else ''}"


def _at(test: Contrast, claim: Inference) -> str:
    """Return the number of the look and its level, if that is below .05; else nothing."""
    return f" at look {test.look}, level {claim.alpha:.3g}" if claim.alpha < ALPHA else ""


def _untested(claim: Inference) -> str:
    if claim.n == 0:
        return "no pairs"
    if claim.n == 1:
        unit = "task" if claim.population == "other tasks" else "draw"
        return f"a single {unit} does not show how much others would differ"
    if claim.barred:
        return claim.barred[0]
    return "all differences are equal, so there is no variance"


def _unsettled(test: Contrast, claim: Inference) -> Iterator[str]:
    """Yield why p could not reach the level, or what difference the test detects."""
    adjusted = "adjusted " * (claim.m > 1)
    if claim.tied:
        yield f"{test.ties} of {test.n} {test.unit} are tied, so {adjusted}p cannot reach {claim.alpha:.2g}"
    elif claim.reach > claim.alpha:
        fewest = math.ceil(1 - math.log2(claim.alpha / max(claim.m, 1)))
        smallest = probability(claim.reach, claim.alpha)
        yield (
            f"with {claim.n} tasks, {adjusted}p is at least {smallest}; a p of {claim.alpha:.2g} or less takes at "
            f"least {fewest} tasks"
        )
    elif not math.isnan(claim.mde):
        yield f"the test detects about {claim.mde:.1f} points or more, with a power of 80 %"


def _extent(test: Contrast) -> str:
    low, high = test.draws
    draws = plural(low, "draw") if low == high else f"{low} to {high} draws"
    if test.others is None:
        return draws
    count = "" if test.n == test.planned else f"{test.n} of "
    return f"{count}{plural(test.planned, 'task')} with {draws}"


def _remarks(test: Contrast) -> Iterator[str]:
    if test.others is not None and test.others.settled:
        low, high = test.without_one
        yield f"If any one task is left out, the mean difference is {points(low)} to {points(high)}."
    if test.settled and abs(test.effect) < test.rope:
        inside = max(-test.these.low, test.these.high) < test.rope
        yield f"The difference {'is' if inside else 'may be'} smaller than {plural(test.rope, 'point')}."
    if test.barred and not math.isnan(test.without_collapsed):
        yield (
            f"Without the runs that collapsed or diverged: {points(test.without_collapsed)} points (exploratory)."
        )


# Next step


def _next_step(tests: Sequence[Contrast]) -> Iterator[str]:
    """Yield the next step of the first open claim that has one: see `_more_draws`.

    If there is none, yield the least number of draws, or else of tasks, that a claim requires, if a comparison has
    fewer.
    """
    for test in sorted(tests, key=lambda test: not test.declared):
        for claim in test.inferences:
            if claim.settled or test.these.barred or math.isnan(claim.p_raw):
                continue
            if claim.population == "other tasks" and claim.n < FEWEST_TASKS:
                continue
            if step := _more_draws(test, claim):
                yield f"Next: {step}"
                return
    few = [
        fewest_draws(test.these)
        for test in tests
        if 0 < test.these.draws < fewest_draws(test.these)
    ]
    if few:
        yield f"Next: a claim takes at least {max(few)} draws: `--draws {max(few)}`."
    elif any(test.others and test.others.n < FEWEST_TASKS for test in tests):
        yield f"Next: a claim for other tasks takes at least {FEWEST_TASKS} tasks."


def _more_draws(test: Contrast, claim: Inference) -> str:
    """Return the next step for a claim that is not settled, in a sentence without `Next:`.

    It is the number of draws that detect a difference that matters, the last look of a study (at its declared
    maximum of draws), or more tasks or test rows. It is empty if there are enough draws already or the number is
    not known.
    """
    matters = plural(test.rope, "point")
    goal = f"to detect {matters} between {test.method} and {test.baseline}"
    if claim.population == "other tasks":
        goal += " for other tasks"
    low, high = draws_needed(test, claim, test.rope)
    if math.isnan(low) or high <= test.draws[0]:
        return ""
    if test.max_draws and test.draws[0] < test.max_draws:
        return f"the last look of this study, at its declared maximum of {test.max_draws} draws."
    if math.isinf(low):
        what = "tasks" if claim.population == "other tasks" else "test rows"
        return f"more {what}, not more draws, {goal}."
    least = f"{low:.0f}" if low <= MOST else f"more than {MOST:,}"
    many = f"{least} to {high:.0f}" if high <= MOST else f"{least} or more"
    if high == low or low > MOST:
        many = least
    target = high if high <= MOST else max(low, test.draws[0] + 1)
    cost = ""
    if target <= MOST:
        hours = test.seconds * (target - test.draws_mean) / 3600
        cost = f"; `--draws {target:.0f}` takes about {hours:.2g} more device-hours" * (
            hours >= 0.005
        )
    likely = "" if many == least else " (90 % interval)"
    return (
        f"{many} draws{likely} {goal} with a power of 80 %; there are {test.draws[0]} so far{cost}."
    )


def points(value: float) -> str:
    """Return a difference in points with its sign, or a dash."""
    if math.isnan(value):
        return DASH
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def probability(p: float, level: float = ALPHA) -> str:
    """Return a p value with two or three decimals, or `< 0.001`; a dash for NaN.

    If it is at least .0005 and within .0005 of the level, it has four decimals, or three significant digits with a
    level below .05. With a level below .0005, it always has three significant digits.
    """
    if math.isnan(p):
        return DASH
    if level < 0.0005:
        return f"{p:.3g}"
    if p < 0.0005:
        return "< 0.001"
    if abs(p - level) < 0.0005:
        return f"{p:.3g}" if level < ALPHA else f"{p:.4f}"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def p_value(p: float, level: float = ALPHA) -> str:
    """Return `p = 0.030` or `p < 0.001`."""
    shown = probability(p, level)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _names(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
