"""The subspace study as tables: what the paper says of its mechanisms, and what these runs say (Falissard et al. 2023)."""

import math
from collections.abc import Iterable, Iterator, Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.sampled_dev_scores import Samples
from reports.analysis.selection_rules import Rule
from reports.analysis.verdict import points, probability
from reports.document import DASH, Entry, Table
from reports.statistics.conventions import ALPHA
from reports.statistics.correlation import Correlation


def subspace(comparison: Comparison) -> list[Table]:
    """The tables that the runs allow: none without `bench run --rules all` and without sampled dev scores."""
    found = [_rules(comparison.rules), _samples(comparison.samples)]
    return [table for table in found if table is not None]


def _rules(rules: Sequence[Rule]) -> Table | None:
    if not rules:
        return None
    head = (
        "method",
        "rule",
        "score",
        "against own",
        "95 % interval",
        "p",
        "p Holm",
        "other in",
        "dev - test",
    )
    return Table(
        title="Subspace study: selection rules on the same trainings",
        head=head,
        rows=tuple(_rule(rule) for rule in rules),
        labels=2,
        legend=" ".join([(
            "own: the rule that chose the checkpoint which counts. score: on the test rows, tasks alike. against own: paired "
            f"by task, size and draw, with an E1 interval over draws; p: {tested(rule.test for rule in rules)}; Holm over a "
            "method's rules. other in: runs whose test score the rule changes. dev - test: what the dev rows promised of its "
            "choice beyond what the test rows gave, by the method's own dev score (a simplex's is of sampled models, while its "
            f"centre is tested); {DASH}: not kept."
        ), *_missing(rules), *_claim(rules)]),
    )  # fmt: skip


def _rule(rule: Rule) -> tuple[Entry, ...]:
    test, gap = rule.test, rule.optimism
    return (
        Entry(rule.method),
        Entry(f"{rule.name} (own)" if rule.own else rule.name),
        Entry(_number(rule.score)),
        Entry(points(test.effect) if test else "", strong=bool(test and test.settled)),
        Entry(_range(*test.ci, 1) if test else ""),
        Entry(probability(test.p_raw) if test else ""),
        Entry(probability(test.p_adj) if test else ""),
        Entry("" if rule.own else f"{rule.moved}/{rule.runs}"),
        Entry(
            f"{points(gap.mean)}{'' if math.isnan(gap.low) else ' ' + _range(gap.low, gap.high, 1)}"
            if gap
            else DASH
        ),
    )


def _missing(rules: Sequence[Rule]) -> list[str]:
    """How many pairs of each method are lost, which is why its small p settle nothing."""
    lost: dict[str, int] = {}
    for rule in rules:
        if rule.test and rule.test.failed:
            lost[rule.method] = max(lost.get(rule.method, 0), rule.test.failed)
    parts = [f"{count} of {method}" for method, count in lost.items()]
    return (
        [
            f"Pairs lost to runs that ended in no number: {', '.join(parts)}; with them nothing is settled."
        ]
        if parts
        else []
    )


def _claim(rules: Sequence[Rule]) -> list[str]:
    """What the paper says of the stochastic dev metric, and what was found."""
    own = [rule.method for rule in rules if rule.own and rule.name == "stochastic"]
    found = [rule for rule in rules if rule.method in own and rule.name == "centroid" and rule.test]
    if not found:
        return []
    said = "The paper: choosing by the dev score of sampled models is a part of what raises scores."
    return [said, *(f"Here, {_found(rule)}" for rule in found)]


def _found(rule: Rule) -> str:
    """What choosing by sampled models is worth: the centroid's difference with its sign turned."""
    test = rule.test
    assert test is not None
    low, high = -test.ci[1], -test.ci[0]
    size = f"{points(-test.effect)} points{'' if math.isnan(low) else ' ' + _range(low, high, 1)} over the centroid's choice"
    where = f"for {rule.method}: {size}, another test score in {rule.moved} of {rule.runs} runs"
    if test.settled:
        return f"{where}; settled (p = {probability(test.p_adj)})."
    why = f"p = {probability(test.p_adj)}{unreachable(test)}{missing(test)}"
    return f"{where}; not settled ({why}), which is no evidence of equality."


def tested(tests: Iterable[Contrast | None]) -> str:
    """By which tests they are, in words."""
    return (
        " or ".join(
            dict.fromkeys(test.test for test in tests if test and not math.isnan(test.p_raw))
        )
        or "no test"
    )


def unreachable(test: Contrast) -> str:
    """That the design cannot settle anything, where it cannot."""
    if not test.smallest > ALPHA:
        return ""
    equal = f", of which {test.ties} have no difference," if test.tied else ""
    return f"; with {test.n} {test.unit}{equal} no p below {probability(test.smallest)} is possible"


def missing(test: Contrast) -> str:
    """That a small p settles nothing, where pairs were lost."""
    return (
        f"; {test.failed} pair{'' if test.failed == 1 else 's'} missing because runs failed"
        if test.failed
        else ""
    )


def _samples(found: Sequence[Samples]) -> Table | None:
    if not found:
        return None
    return Table(
        title="Subspace study: sampled dev scores",
        head=("method", "of them", "runs", "copies", "points", "with test", "p", "p Holm"),
        rows=tuple(row for one in found for row in _sampled(one)),
        labels=2,
        legend=" ".join([(
            "At the step chosen, the dev score of each copy of the dev rows, seen by sampled models: spread and mean are the "
            "standard deviation and the mean of a run's, in points. with test: Spearman's correlation with the test score over "
            "the draws of a task and size (three or more), averaged over sizes; mean over tasks with a t interval and an exact "
            f"sign flip over tasks, which are the clusters ({_tasks(found)}). Exploratory; Holm over this table's "
            f"{_tests(found)}. The paper: they reflect the whole simplex rather than one point of it. Whether they foretell "
            "the test score:"
        ), *(
            f"for {one.method}, the spread {_says(one.by_spread, one.spread_p_adj)}; the mean "
            f"{_says(one.by_mean, one.mean_p_adj)}."
            for one in found
        )]),
    )  # fmt: skip


def _sampled(one: Samples) -> Iterator[tuple[Entry, ...]]:
    """Two rows, of how far a run's scores lie apart and of their mean."""
    low, high = one.copies
    runs = (Entry(str(one.runs)), Entry(str(low) if low == high else f"{low}-{high}"))
    for name, value, found, p_adj in (
        ("spread", one.spread, one.by_spread, one.spread_p_adj),
        ("mean", one.mean, one.by_mean, one.mean_p_adj),
    ):
        yield (
            Entry(one.method),
            Entry(name),
            *runs,
            Entry(f"{value:.1f}"),
            *correlated(found, p_adj),
        )


def _tasks(found: Sequence[Samples]) -> str:
    most = max(one.by_mean.n for one in found)
    return f"{most} task{'' if most == 1 else 's'}"


def _tests(found: Sequence[Samples]) -> str:
    """How many are adjusted together, and that they cannot settle anything, where they cannot."""
    tests = 2 * len(found)
    reach = [
        each.smallest
        for one in found
        for each in (one.by_spread, one.by_mean)
        if not math.isnan(each.p)
    ]
    least = min(1.0, tests * min(reach, default=1.0))
    return f"{tests} tests" + (
        "" if least <= ALPHA else f", of which no p below {probability(least)} can come"
    )


def correlated(one: Correlation, p_adj: float) -> tuple[Entry, Entry, Entry]:
    """A correlation with its interval, its p, and that adjusted."""
    if math.isnan(one.rho):
        return Entry(DASH), Entry(DASH), Entry(DASH)
    around = "" if math.isnan(one.low) else f" {_range(one.low, one.high, 2)}"
    shown = Entry(f"{one.rho:+.2f}{around}", strong=p_adj <= ALPHA)
    return shown, Entry(probability(one.p)), Entry(probability(p_adj))


def _says(one: Correlation, p_adj: float) -> str:
    if math.isnan(one.rho):
        return "does not vary enough to say"
    told = f"goes with the test score at {one.rho:+.2f}"
    settled = "settled" if p_adj <= ALPHA else "not settled"
    return f"{told}, {settled}" + ("" if math.isnan(p_adj) else f" (p = {probability(p_adj)})")


def _number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.1f}"


def _range(low: float, high: float, digits: int) -> str:
    return DASH if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"
