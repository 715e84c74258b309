"""What a reader must know before believing a table: each finding with a code, a level and a sentence."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from reports.analysis.paired_runs import PairedRuns, Run, finished, run_status
from reports.document import Note

if TYPE_CHECKING:
    from reports.analysis.cells import Cell
    from reports.analysis.contrasts import Contrast
    from reports.analysis.rankings import Ranking

MENTIONED = 6  # places named in a sentence before it says how many more there are


def inspect(
    paired_runs: PairedRuns,
    cells: Sequence["Cell"],
    tests: Sequence["Contrast"],
    standing: "Ranking | None",
) -> tuple[Note, ...]:
    """All findings, red ones first; `cells` are those of one task and one size."""
    found = [
        *_pairing(paired_runs),
        *_holes(paired_runs, cells),
        *_runs(paired_runs, cells),
        *_designs(paired_runs, cells, tests),
    ]
    found += _winners(standing) if standing else ()
    return tuple(sorted(found, key=lambda note: note.level != "red"))


def _pairing(paired_runs: PairedRuns) -> Iterator[Note]:
    unpaired = []
    for (task, size), blocks in paired_runs.blocks.items():
        for block in blocks:
            runs = [paired_runs.index.get((method, block)) for method in paired_runs.methods]
            if len({run.rows for run in runs if finished(run)}) > 1:
                unpaired.append(f"{task} size {size} draw {block.draw} seed {block.seed}")
    if unpaired:
        text = "methods were given different rows in the same block, so methods that differ are not compared there"
        yield Note("UNPAIRED", "red", f"{text}: {_some(unpaired)}.")
    if paired_runs.repeated:
        places = [f"{run.method} on {_place(run)}" for run in paired_runs.repeated]
        text = "a method has several different results for one block; the first by digest was used"
        yield Note("DUPLICATE_RUNS", "red", f"{text}: {_some(places)}.")
    if paired_runs.unknown:
        yield Note(
            "NOT_FOUND", "amber", f"asked for and not among the runs: {_some(paired_runs.unknown)}."
        )


def _holes(paired_runs: PairedRuns, cells: Sequence["Cell"]) -> Iterator[Note]:
    broken = [cell for cell in cells if cell.diverged]
    if broken:
        places = [
            f"{cell.method} on {cell.task} size {cell.size} ({cell.diverged}/{cell.done})"
            for cell in broken
        ]
        text = "their training broke down, and they count with the score of one constant answer"
        yield Note(
            "DIVERGED",
            "red",
            f"{sum(cell.diverged for cell in broken)} runs: {text}: {_some(places)}.",
        )
    bad = [
        run
        for run in paired_runs.all()
        if run_status(run) in ("failed", "diverged") and not finished(run)
    ]
    if bad:
        counts = " and ".join(
            f"{count} {name}"
            for name in ("diverged", "failed")
            if (count := sum(run_status(run) == name for run in bad))
        )
        names = ("failed", "diverged")
        places = [
            f"{cell.method} on {cell.task} size {cell.size} ({cell.fates[name]} {name})"
            for cell in cells
            for name in names
            if name in cell.fates and cell.done < cell.planned
        ]
        text = f"{counts}: {_some(places)}. They are in no mean, which flatters a method that fails on what is hard"
        yield Note("DROPPED_FAILURES", "red", f"{text}.")
    done, planned = sum(cell.done for cell in cells), sum(cell.planned for cell in cells)
    holes = [cell for cell in cells if cell.state not in ("complete", "infeasible", "unplanned")]
    if holes:
        places = [
            f"{cell.method} on {cell.task} size {cell.size} ({cell.done}/{cell.planned})"
            for cell in holes
        ]
        yield Note(
            "INCOMPLETE", "red", f"{done} of {planned} planned runs have a score: {_some(places)}."
        )
    never = [cell for cell in cells if cell.state == "infeasible"]
    if never:
        places = list(
            dict.fromkeys(f"{cell.method} on {cell.task} size {cell.size}" for cell in never)
        )
        text = "A task that no method can be run on at a size is left out of that size's average"
        yield Note("INFEASIBLE", "amber", f"cannot be run: {_some(places)}. {text}.")


def _runs(paired_runs: PairedRuns, cells: Sequence["Cell"]) -> Iterator[Note]:
    runs = [run for run in paired_runs.all() if finished(run)]
    collapsed = [run for run in runs if run.collapsed]
    if collapsed:
        places = [
            f"{cell.method} on {cell.task} size {cell.size} ({cell.collapsed}/{cell.done})"
            for cell in cells
            if cell.collapsed
        ]
        text = f"{len(collapsed)} of {len(runs)} runs predict one answer for every test row; they count in the means"
        yield Note("COLLAPSED", "amber", f"{text}: {_some(places)}.")
    same = [
        cell
        for cell in cells
        if cell.done >= 3 and cell.collapsed == 0 and _alike(paired_runs, cell)
    ]
    if same:
        places = [f"{cell.method} on {cell.task} size {cell.size}" for cell in same]
        text = "all runs of a cell have the very same score; were the draws and seeds applied?"
        yield Note("DUPLICATE_RUNS", "red", f"{text} {_some(places)}.")
    passes = sorted({run.passes for run in runs})
    if len(passes) > 1:
        text = (
            "numbers of one way are equal to the last digit, those of several to rounding, or, where a step goes through in "
            "parts, to other dropout; seconds and bytes of a pack are shared, so costs are compared by `bench run --timing`"
        )
        yield Note("PACK_MIX", "amber", f"the runs were trained {_some(passes)}: {text}.")
    versions = sorted({run.versions for run in runs if run.versions})
    if len(versions) > 1:
        yield Note(
            "VERSION_MIX",
            "red",
            f"the runs come from {len(versions)} versions or devices: {_some(versions)}.",
        )
    plugins: dict[str, set[str]] = {}
    for run in runs:
        if run.plugin:
            plugins.setdefault(run.method, set()).add(run.plugin)
    for method, found in plugins.items():
        level: Literal["red", "amber"] = "red" if len(found) > 1 else "amber"
        yield Note(
            "PLUG_IN",
            level,
            f"{method} is a method of {' and of '.join(sorted(found))}, and not of bench.",
        )
    if paired_runs.holdout:
        text = (
            "test rows were split off anew for every draw, so draws share rows; the intervals and p values of these tasks are "
            "widened for it (Nadeau and Bengio 2003) by test rows over training rows, which is an approximation and a wide "
            "one when few rows are trained on"
        )
        yield Note("HOLDOUT", "amber", f"{', '.join(paired_runs.holdout)}: {text}.")
    if paired_runs.seen:
        text = "the backbone's own training is known to have included this data; high scores there may be memory"
        yield Note("SEEN", "amber", f"{', '.join(paired_runs.seen)}: {text}.")


def _alike(paired_runs: PairedRuns, cell: "Cell") -> bool:
    runs = [
        run
        for run in paired_runs.runs(cell.method, cell.task or "", cell.size or 0)
        if finished(run)
    ]
    return len({round(run.score or 0.0, 12) for run in runs}) == 1


def _designs(
    paired_runs: PairedRuns, cells: Sequence["Cell"], tests: Sequence["Contrast"]
) -> Iterator[Note]:
    few = [cell for cell in cells if 0 < cell.draws < 3]
    if few:
        single = sum(cell.draws == 1 for cell in few)
        text = f"{len(few)} of {len(cells)} cells rest on fewer than 3 draws"
        yield Note(
            "FEW_SEEDS",
            "amber",
            f"{text}; {single} of them on a single one, which allows no interval.",
        )
    per_draw: dict[tuple[str, int, int], set[int]] = {}
    for _, block in paired_runs.index:
        per_draw.setdefault((block.task, block.size, block.draw), set()).add(block.seed)
    if any(len(seeds) > 1 for seeds in per_draw.values()):
        yield Note(
            "SHARED_DRAW",
            "amber",
            "several seeds share a draw; they are averaged inside it and n counts draws.",
        )
    yield from _declared(paired_runs, tests)
    narrow = sorted(
        {cell.task or "" for cell in cells if cell.draws > 1 and cell.estimand == "E1"}
        - set(paired_runs.holdout)
    )
    if narrow:
        text = "the answers for single test rows are not known, so intervals leave out that other test rows could have been taken"
        yield Note("SEED_ONLY", "amber", f"{_some(narrow)}: {text}.")
    yield from _powers(tests)
    zeros = [test for test in tests if "ZERO_DIFFS" in test.notes]
    if zeros:
        places = [f"{_where(test)} ({test.ties} of {test.n})" for test in zeros]
        text = "paired differences are zero and speak for neither side, more than 30 % of them or so many that no p of .05 is left"
        yield Note("ZERO_DIFFS", "amber", f"{text}: {_some(places)}.")
    flat = [test for test in tests if "NO_VARIANCE" in test.notes]
    if flat:
        text = "all differences are equal, so there is no variance to make an interval or a t test from"
        yield Note("NO_VARIANCE", "amber", f"{text}: {_some([_where(test) for test in flat])}.")


def _declared(paired_runs: PairedRuns, tests: Sequence["Contrast"]) -> Iterator[Note]:
    """Whether what is compared was chosen before anything was seen."""
    said = paired_runs.hypothesis
    if not tests or any(test.planned_for for test in tests):
        return
    if said is None:
        text = "no comparison was named before the first result (`bench run --hypothesis METHOD:BASELINE`)"
    elif said.late:
        text = f"{said.method} over {said.baseline} was named when there were results already"
    elif paired_runs.chosen:
        text = f"this study is for {said.method} over {said.baseline} on all of its tasks and sizes, and some were left out here"
    else:
        text = f"this study is for {said.method} over {said.baseline}, which is not compared here"
    yield Note("POSTHOC_BASELINE", "amber", f"{text}: read every test as exploratory.")


def _winners(standing: "Ranking") -> Iterator[Note]:
    """Whether the best method hangs on how tasks are weighed, or on a single task."""
    by_mean, by_rank = (_either(names) for names in (standing.best_mean, standing.best_rank))
    if set(standing.best_mean).isdisjoint(standing.best_rank):
        yield Note(
            "METRIC_MIX",
            "amber",
            f"the best average is {by_mean}'s, the best mean rank {by_rank}'s.",
        )
    other = [
        (task, names)
        for task, names in standing.best_without
        if set(names).isdisjoint(standing.best_mean)
    ]
    if other:
        shown = _some([f"without {task} it is {_either(names)}'s" for task, names in other])
        yield Note(
            "METRIC_MIX", "amber", f"the best average is {by_mean}'s with all tasks, but {shown}."
        )


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


def _powers(tests: Sequence["Contrast"]) -> Iterator[Note]:
    for family in ("overall", "per size", "cells"):
        members = [test for test in tests if test.family == family]
        label = {"overall": "overall", "per size": "per size", "cells": "per cell"}[family]
        stuck = [test for test in members if "NOT_REACHABLE" in test.notes]
        if stuck:
            worst = max(stuck, key=lambda test: test.reach)
            held = (
                f" after Holm over {worst.m}" if worst.correction == "Holm" and worst.m > 1 else ""
            )
            text = f"{len(stuck)} of {len(members)} comparisons {label} cannot reach .05: with {_units(stuck)}"
            text += f" the smallest p possible is {worst.reach:.3g}{held}"
            yield Note(
                "NOT_REACHABLE",
                "red",
                f"{text}; absence of significance is not evidence of equality.",
            )
        weak = [test for test in members if "UNDERPOWERED" in test.notes and test not in stuck]
        if weak:
            text = (
                f"{len(weak)} of {len(members)} comparisons {label} that are not settled detect only differences above "
                f"{weak[0].rope:g} point{'' if weak[0].rope == 1 else 's'}"
            )
            yield Note(
                "UNDERPOWERED",
                "amber",
                f"{text}; absence of significance is not evidence of equality.",
            )


def underpowered(test: "Contrast") -> str:
    """The sentence that must stand beside a difference which is not settled."""
    design = f"with n={test.n} {test.unit} and SD {test.sd:.1f} points this comparison"
    end = "absence of significance is not evidence of equality."
    if math.isnan(test.mde):
        return f"Under-powered: {end}"
    return f"Under-powered: {design} detects only differences >= {test.mde:.1f} points; {end}"


def _units(tests: Iterable["Contrast"]) -> str:
    pairs = sorted({(test.n, test.unit) for test in tests})
    return " or ".join(f"{n} {unit if n != 1 else unit[:-1]}" for n, unit in pairs[:3])


def _where(test: "Contrast") -> str:
    place = f" on {test.task}" if test.task else ""
    return f"{test.method}{place}" + (f" size {test.size}" if test.size is not None else " overall")


def _place(run: Run) -> str:
    return f"{run.task} size {run.size} draw {run.draw} seed {run.seed}"


def _some(places: Sequence[str]) -> str:
    shown = "; ".join(places[:MENTIONED])
    return shown if len(places) <= MENTIONED else f"{shown}; and {len(places) - MENTIONED} more"
