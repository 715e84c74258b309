"""Tables of the subspace study: claims of the paper (Falissard et al. 2023) and the results of these runs."""

import math
from collections.abc import Iterable, Iterator, Sequence

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.analysis.estimates import EXPLAINED
from reports.analysis.inferences import Inference
from reports.analysis.sampled_dev_scores import SampledDevScores
from reports.analysis.selection_rules import RuleComparison
from reports.analysis.verdict import p_value, points, probability
from reports.document import DASH, Table, TableCell, interval, number, plural
from reports.statistics.conventions import ALPHA
from reports.statistics.correlation import Correlation


def subspace(comparison: Comparison) -> list[Table]:
    """Return the tables for which there is data: `bench run --rules all` or sampled dev scores."""
    tables = [_rules(comparison.rules), _samples(comparison.samples)]
    return [table for table in tables if table is not None]


def _rules(rules: Sequence[RuleComparison]) -> Table | None:
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
        "changed",
        "dev - test",
    )
    return Table(
        title="Subspace study: selection rules on the same training runs",
        head=head,
        rows=tuple(_rule(rule) for rule in rules),
        labels=2,
        legend=" ".join([(
            "own: the rule that selects the reported checkpoint. score: mean test score, all tasks with equal "
            "weight. against own: paired by task, size and draw; interval and p: "
            f"{tested(rule.test for rule in rules)}; Holm over the rules of a method. changed: runs whose "
            "test score the rule changes. dev - test: dev score of the selected checkpoint minus its test "
            "score (the dev score of a simplex is that of sampled models, its test score that of the centre); "
            f"{DASH}: not stored."
        ), *_lost_pairs(rules), *_claim(rules)]),
    )  # fmt: skip


def _rule(rule: RuleComparison) -> tuple[TableCell, ...]:
    test, gap = rule.test, rule.optimism
    return (
        TableCell(rule.method),
        TableCell(f"{rule.name} (own)" if rule.own else rule.name),
        TableCell(number(rule.score, 1)),
        TableCell(points(test.effect) if test else "", strong=bool(test and test.widest.settled)),
        TableCell(interval(test.widest.low, test.widest.high) if test else ""),
        TableCell(probability(test.widest.p_raw) if test else ""),
        TableCell(probability(test.widest.p_adj) if test else ""),
        TableCell("" if rule.own else f"{rule.moved}/{rule.runs}"),
        TableCell(
            f"{points(gap.mean)}{'' if math.isnan(gap.low) else ' ' + interval(gap.low, gap.high)}"
            if gap
            else DASH
        ),
    )


def _lost_pairs(rules: Sequence[RuleComparison]) -> list[str]:
    """Return a sentence on the lost pairs of each method, with which no comparison is settled."""
    lost: dict[str, int] = {}
    for rule in rules:
        if rule.test and rule.test.failed:
            lost[rule.method] = max(lost.get(rule.method, 0), rule.test.failed)
    parts = [f"{count} of {method}" for method, count in lost.items()]
    if not parts:
        return []
    names = ", ".join(parts)
    return [
        f"Pairs lost because runs have no score: {names}; comparisons with lost pairs are never settled."
    ]


def _claim(rules: Sequence[RuleComparison]) -> list[str]:
    """Return the paper's claim on the stochastic dev metric and the results for it."""
    own = [rule.method for rule in rules if rule.own and rule.name == "stochastic"]
    tests = [
        (rule, rule.test)
        for rule in rules
        if rule.method in own and rule.name == "centroid" and rule.test
    ]
    if not tests:
        return []
    claim = "The paper: selection by the dev score of sampled models contributes to higher scores."
    return [claim, *(f"Here, {_result(rule, test)}" for rule, test in tests)]


def _result(rule: RuleComparison, test: Contrast) -> str:
    """Return the gain of selection by sampled models, which is minus the difference of the centroid rule."""
    low, high = -test.widest.high, -test.widest.low
    bounds = "" if math.isnan(low) else f" {interval(low, high)}"
    result = (
        f"for {rule.method}: {points(-test.effect)} points{bounds} relative to selection by the centroid, "
        f"a different test score in {rule.moved} of {plural(rule.runs, 'run')}"
    )
    return f"{result}; {outcome(test.widest)}."


def tested(tests: Iterable[Contrast | None]) -> str:
    """Return what the claims are about and by which tests, joined by "or"."""
    claims = [test.widest for test in tests if test]
    names = dict.fromkeys(
        f"{EXPLAINED[claim.population]} ({claim.test})"
        for claim in claims
        if not math.isnan(claim.p_raw)
    )
    return " or ".join(names) or "no test"


def outcome(claim: Inference) -> str:
    """Return whether a claim is settled, with its p and what bars it."""
    p = "" if math.isnan(claim.p_adj) else p_value(claim.p_adj)
    if claim.settled:
        return f"settled ({p})"
    reach = claim.smallest > ALPHA
    limit = f"no p below {probability(claim.smallest)} is possible" if reach else ""
    reasons = "; ".join(filter(None, (p, *claim.barred, limit)))
    return f"not settled ({reasons}), which is not evidence of equality"


def _samples(samples: Sequence[SampledDevScores]) -> Table | None:
    if not samples:
        return None
    tasks = plural(max(each.by_mean.n for each in samples), "task")
    return Table(
        title="Subspace study: sampled dev scores",
        head=("method", "statistic", "runs", "copies", "points", "with test", "p", "p Holm"),
        rows=tuple(row for each in samples for row in _sample_rows(each)),
        labels=2,
        legend=" ".join([(
            "Dev scores at the selected step, one per copy of the dev set, each measured on a sampled model. "
            "spread, mean: standard deviation and mean over the copies of a run, in points. with test: "
            "Spearman correlation with the test score over the draws of a task and size (at least three), "
            "averaged over sizes; mean over tasks with a t interval and an exact sign-flip test over tasks, "
            f"which are the clusters ({tasks}). Exploratory; Holm over the {_tests(samples)} of this table. "
            "The paper: sampled dev scores reflect the whole simplex instead of one point. Relation to the "
            "test score:"
        ), *(
            f"for {each.method}, the spread {_relation(each.by_spread, each.spread_p_adj)}; the mean "
            f"{_relation(each.by_mean, each.mean_p_adj)}."
            for each in samples
        )]),
    )  # fmt: skip


def _sample_rows(samples: SampledDevScores) -> Iterator[tuple[TableCell, ...]]:
    low, high = samples.copies
    runs = (TableCell(str(samples.runs)), TableCell(str(low) if low == high else f"{low}-{high}"))
    for name, value, correlation, p_adj in (
        ("spread", samples.spread, samples.by_spread, samples.spread_p_adj),
        ("mean", samples.mean, samples.by_mean, samples.mean_p_adj),
    ):
        labels = (TableCell(samples.method), TableCell(name))
        yield (*labels, *runs, TableCell(f"{value:.1f}"), *correlation_entries(correlation, p_adj))


def _tests(samples: Sequence[SampledDevScores]) -> str:
    """Return the number of tests, and the smallest p that they can reach if it is above the level."""
    tests = 2 * len(samples)
    smallest = [
        correlation.smallest
        for each in samples
        for correlation in (each.by_spread, each.by_mean)
        if not math.isnan(correlation.p)
    ]
    least = min(1.0, tests * min(smallest, default=1.0))
    reach = "" if least <= ALPHA else f" (which cannot reach a p below {probability(least)})"
    return f"{tests} tests{reach}"


def correlation_entries(
    correlation: Correlation, p_adj: float
) -> tuple[TableCell, TableCell, TableCell]:
    """Return a correlation with its interval, its p and its adjusted p."""
    if math.isnan(correlation.rho):
        return TableCell(DASH), TableCell(DASH), TableCell(DASH)
    low, high = correlation.low, correlation.high
    bounds = "" if math.isnan(low) else f" {interval(low, high, 2)}"
    rho = TableCell(f"{correlation.rho:+.2f}{bounds}", strong=p_adj <= ALPHA)
    return rho, TableCell(probability(correlation.p)), TableCell(probability(p_adj))


def _relation(correlation: Correlation, p_adj: float) -> str:
    if math.isnan(correlation.rho):
        return "does not vary enough to tell"
    p = "" if math.isnan(p_adj) else f", adjusted {p_value(p_adj)}"
    return f"correlates with the test score at {correlation.rho:+.2f} (exploratory{p})"
