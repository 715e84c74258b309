"""Diagnostics: what a reader must know before believing a table, each with a code, a level and a sentence."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from reports.analysis.cells import Cell
from reports.analysis.contrasts import Contrast
from reports.analysis.paired_difference import unequal_draws
from reports.analysis.paired_runs import PairedRuns
from reports.analysis.rankings import Ranking
from reports.analysis.run import Run, classes_in, has_score, run_status
from reports.document import Note, plural
from reports.statistics.proportion import upper_bound

ENDS = {
    "failed": "failed",
    "diverged": "diverged",
    "undefined": "with a metric that is not finite",
}
REPEATS = 2 / 3  # groups per row below which rows count as grouped, and a text field as repeating
MAX_PLACES = 6  # places that a sentence lists before it says how many more there are
NOT_EQUAL = "absence of significance is not evidence of equality."


def diagnose(
    paired_runs: PairedRuns,
    cells: Sequence[Cell],
    tests: Sequence[Contrast],
    ranking: Ranking | None,
) -> tuple[Note, ...]:
    """Return all notes, red ones first.

    Args:
        paired_runs: The runs of the report.
        cells: The cells of one task and one size.
        tests: All comparisons with the baseline.
        ranking: The ranks of the methods.
    """
    notes = [
        *_pairing(paired_runs),
        *_unequal_draws(paired_runs),
        *_diverged_and_failed(paired_runs, cells),
        *_untrained(paired_runs, cells),
        *_missing(cells),
        *_equal_results(paired_runs, cells),
        *_provenance(paired_runs),
        *_splits(paired_runs),
        *_draws(paired_runs, cells),
        *_declared(paired_runs, tests),
        *_looks(paired_runs),
        *_row_answers(paired_runs, cells),
        *_power(tests),
        *_differences(tests),
    ]
    notes += _winners(ranking) if ranking else ()
    return tuple(sorted(notes, key=lambda note: note.level != "red"))


def _pairing(paired_runs: PairedRuns) -> Iterator[Note]:
    unpaired = []
    for (task, size), blocks in paired_runs.blocks.items():
        for block in blocks:
            runs = [paired_runs.index.get((method, block)) for method in paired_runs.methods]
            if len({run.rows for run in runs if has_score(run)}) > 1:
                unpaired.append(f"{task} size {size} draw {block.draw} seed {block.seed}")
    if unpaired:
        text = (
            "methods used different rows in the same block, so these methods are not compared there"
        )
        yield _note("UNPAIRED", "red", text, unpaired)
    if paired_runs.repeated:
        places = [f"{run.method} on {_block(run)}" for run in paired_runs.repeated]
        text = "a method has several different results for one block; the first by digest was used"
        yield _note("DUPLICATE_RUNS", "red", text, places)
    if paired_runs.unknown:
        yield _note("NOT_FOUND", "amber", "requested, but not among the runs", paired_runs.unknown)


def _unequal_draws(paired_runs: PairedRuns) -> Iterator[Note]:
    if places := list(unequal_draws(paired_runs).values()):
        text = (
            "sizes have different draws, so numbers over all sizes (¶) come from the draws that all sizes have; "
            "give all sizes the same draws"
        )
        yield _note("UNEQUAL_DRAWS", "amber", text, places)


def _diverged_and_failed(paired_runs: PairedRuns, cells: Sequence[Cell]) -> Iterator[Note]:
    if diverged := sum(cell.diverged for cell in cells):
        places = [f"{_cell(cell)} ({cell.diverged}/{cell.done})" for cell in cells if cell.diverged]
        text = (
            f"the training of {plural(diverged, 'run')} diverged; "
            "such runs count with the score of one constant answer"
        )
        yield _note("DIVERGED", "red", text, places)
    names = ("failed", "diverged", "undefined")
    dropped = [
        status
        for run in paired_runs.all()
        if (status := run_status(run)) in names and not has_score(run)
    ]
    if dropped:
        counts = " and ".join(
            f"{dropped.count(name)} {ENDS[name]}" for name in sorted(names) if name in dropped
        )
        places = [
            f"{_cell(cell)} ({cell.fates[name]} {ENDS[name]})"
            for cell in cells
            for name in names
            if name in cell.fates and cell.done < cell.planned
        ]
        text = "No mean contains these runs, which favours a method that fails on difficult cells"
        yield Note("DROPPED_FAILURES", "red", f"{counts}: {_some(places)}. {text}.")


def _untrained(paired_runs: PairedRuns, cells: Sequence[Cell]) -> Iterator[Note]:
    keys = {_cell(cell): (cell.method, cell.task or "", cell.size or 0) for cell in cells}
    places = [
        f"{name} ({paired_runs.untrained[key]})"
        for name, key in keys.items()
        if key in paired_runs.untrained
    ]
    if places:
        text = "these cells did not train, so nothing is claimed from them; raise --steps or the learning rate"
        yield _note("UNTRAINED", "red", text, places)


def _missing(cells: Sequence[Cell]) -> Iterator[Note]:
    done, planned = sum(cell.done for cell in cells), sum(cell.planned for cell in cells)
    holes = [cell for cell in cells if cell.state not in ("complete", "infeasible", "unplanned")]
    if holes:
        places = [f"{_cell(cell)} ({cell.done}/{cell.planned})" for cell in holes]
        text = f"{done} of {plural(planned, 'planned run')} have a score"
        yield _note("INCOMPLETE", "red", text, places)
    if places := [_cell(cell) for cell in cells if cell.state == "infeasible"]:
        text = "If no method can be run on a task at a size, the average of that size leaves out the task"
        yield Note("INFEASIBLE", "amber", f"cannot be run: {_some(places)}. {text}.")


def _equal_results(paired_runs: PairedRuns, cells: Sequence[Cell]) -> Iterator[Note]:
    runs = [run for run in paired_runs.all() if has_score(run)]
    if collapsed := sum(run.collapsed for run in runs):
        places = [
            f"{_cell(cell)} ({cell.collapsed}/{cell.done})" for cell in cells if cell.collapsed
        ]
        most = 100 * upper_bound(collapsed, len(runs))
        count = f"{collapsed} of {plural(len(runs), 'run')} (95 % upper bound of independent runs {most:.0f} %)"
        text = f"{count} predict one answer for all test rows; they count in the means"
        yield _note("COLLAPSED", "amber", text, places)
    equal = [
        cell
        for cell in cells
        if cell.done >= 3 and cell.collapsed == 0 and _equal_scores(paired_runs, cell)
    ]
    if equal:
        text = "all runs of a cell have exactly the same score; were the draws and seeds applied?"
        yield Note("DUPLICATE_RUNS", "red", f"{text} {_some([_cell(cell) for cell in equal])}.")


def _equal_scores(paired_runs: PairedRuns, cell: Cell) -> bool:
    runs = paired_runs.runs(cell.method, cell.task or "", cell.size or 0)
    return len({round(run.score or 0.0, 12) for run in runs if has_score(run)}) == 1


def _provenance(paired_runs: PairedRuns) -> Iterator[Note]:
    runs = [run for run in paired_runs.all() if has_score(run)]
    passes = sorted({run.passes for run in runs})
    if len(passes) > 1:
        text = (
            "Results of one kind are equal to the last digit; results of different kinds differ by rounding and, "
            "with dropout, by other masks. Seconds and bytes of a pack are shared, so compare "
            "costs with `bench run --timing`"
        )
        yield Note("PACK_MIX", "amber", f"the runs were trained {_some(passes)}. {text}.")
    versions = sorted({run.versions for run in runs if run.versions})
    if len(versions) > 1:
        text = f"the runs come from {len(versions)} versions or devices"
        yield _note("VERSION_MIX", "red", text, versions)
    plugins: dict[str, set[str]] = {}
    for run in runs:
        if run.plugin:
            plugins.setdefault(run.method, set()).add(run.plugin)
    for method, names in plugins.items():
        level: Literal["red", "amber"] = "red" if len(names) > 1 else "amber"
        text = f"{method} is a method of {' and of '.join(sorted(names))}, and not of bench."
        yield Note("PLUG_IN", level, text)


def _splits(paired_runs: PairedRuns) -> Iterator[Note]:
    runs = [run for run in paired_runs.all() if has_score(run)]
    unknown = {run.task for run in runs if run.holdout and run.identities is None}
    if unknown:
        text = (
            "test rows are split off anew for every draw, and these results do not store which; the intervals and "
            "p values of these tasks are widened by test rows divided by training rows (Nadeau and Bengio 2003), "
            "which is too wide for few training rows; results of this version are narrower"
        )
        yield Note("HOLDOUT", "amber", f"{', '.join(sorted(unknown))}: {text}.")
    if ungrouped := sorted({run.task for run in runs if run.groups is None and run.labels}):
        text = "groups of test rows are not stored with these results, so every row counts as independent"
        brief = "UNGROUPED: groups of test rows are not stored, so every row counts as independent."
        yield Note("UNGROUPED", "amber", f"{', '.join(ungrouped)}: {text}.", brief)
    yield from _grouped(runs)
    yield from _repeating_fields(runs)
    yield from _repeated(runs)
    yield from _absent(runs)
    yield from _full(runs)
    for task in paired_runs.tasks:
        if said := paired_runs.findings.get(task):
            yield Note("DATA", "amber", f"{task}: {'; '.join(said)}.", f"DATA: {said[0]}.")
    if paired_runs.seen:
        text = "the backbone is known to have been trained on this data; high scores there may come from memorisation"
        yield Note("SEEN", "amber", f"{', '.join(paired_runs.seen)}: {text}.")


def _grouped(runs: Sequence[Run]) -> Iterator[Note]:
    """Return a note on the tasks whose test rows come in groups, with the design effect."""
    places = []
    for task in sorted({run.task for run in runs}):
        stored = [run for run in runs if run.task == task and run.groups is not None]
        groups = len(np.unique(stored[0].row_groups)) if stored else 0
        if not stored or groups == stored[0].n_test:
            continue
        known = [effect for run in stored if (effect := run.design_effect) is not None]
        if known:
            places.append(
                f"{task}: {stored[0].n_test} rows in {plural(groups, 'group')}, "
                f"design effect {fmean(known):.1f}"
            )
    if places:
        text = "test rows come in groups, within which they are not independent; intervals and p count groups"
        yield _note("GROUPED", "amber", text, places)


def _repeating_fields(runs: Sequence[Run]) -> Iterator[Note]:
    """Return a note on the text fields that repeat much in test rows which no group joins."""
    places = []
    for task in sorted({run.task for run in runs}):
        run = next(run for run in runs if run.task == task)
        grouped = len(np.unique(run.row_groups)) < REPEATS * len(run.row_groups)
        places += [
            f"{task}: {repeats:.1f} rows for each value of text {number}"
            for number, repeats in enumerate(run.field_repeats, start=1)
            if repeats >= 1 / REPEATS and len(run.field_repeats) > 1 and not grouped
        ]
    if places:
        text = "rows that share a text may not be independent; if so, intervals are too narrow (`--group`)"
        yield _note("REPEATING_FIELD", "amber", text, places)


def _repeated(runs: Sequence[Run]) -> Iterator[Note]:
    """Return a note on test rows that are also trained on, with the scores on the other rows."""
    places = []
    for task in sorted({run.task for run in runs}):
        known = [run for run in runs if run.task == task and run.repeated is not None]
        shares = [len(run.repeated) / run.n_test for run in known if run.repeated is not None]
        if not any(shares):
            continue
        scores = []
        for method in sorted({run.method for run in known}):
            pairs = [
                (100 * (run.score or 0.0), 100 * other)
                for run in known
                if run.method == method and (other := run.score_on_other_rows) is not None
            ]
            if pairs:
                both, others = map(fmean, zip(*pairs, strict=True))
                scores.append(f"{method} {others:.1f} instead of {both:.1f}")
        share = f"{task}: {100 * fmean(shares):.1f} % of the test rows"
        places.append(f"{share}; on the others {', '.join(scores)}" if scores else share)
    if places:
        text = "the texts of some test rows are also in the training or dev rows, so a model may have memorised them"
        yield _note("REPEATED", "amber", text, places)


def _absent(runs: Sequence[Run]) -> Iterator[Note]:
    """Return a note on classes of which the test rows of some draws have no example."""
    lacking: dict[tuple[str, str], set[int]] = {}  # the draws, by task and class
    draws: dict[str, set[int]] = {}  # by task
    known: dict[int, set[int]] = {}  # classes by the label array, which many runs share
    for run in runs:
        if run.classes and run.labels:
            draws.setdefault(run.task, set()).add(run.draw)
            for labels in run.labels.values():
                if id(labels) not in known:
                    known[id(labels)] = classes_in(labels)
            tested = set().union(*(known[id(labels)] for labels in run.labels.values()))
            for number, name in enumerate(run.classes):
                if number not in tested:
                    lacking.setdefault((run.task, name), set()).add(run.draw)
    if lacking:
        places = [
            f"{task}: {name!r} in {len(without)} of {plural(len(draws[task]), 'draw')}"
            for (task, name), without in sorted(lacking.items())
        ]
        yield _note("NO_TEST_ROW", "amber", "no test row of a class", places)


def _full(runs: Sequence[Run]) -> Iterator[Note]:
    """Return a note on test rows with as many tokens as fit: what is beyond is cut."""
    places = []
    for task in sorted({run.task for run in runs}):
        shares = [
            run.full / run.n_test for run in runs if run.task == task and run.full is not None
        ]
        if any(shares):
            places.append(f"{task}: {100 * fmean(shares):.1f} % of the test rows")
    if places:
        text = (
            "some rows have as many tokens as fit, and what is beyond is not read "
            "(`--max-length`, `--truncate`)"
        )
        yield _note("CUT", "amber", text, places)


def _draws(paired_runs: PairedRuns, cells: Sequence[Cell]) -> Iterator[Note]:
    few = [cell for cell in cells if 0 < cell.draws < 3]
    if few:
        single = sum(cell.draws == 1 for cell in few)
        text = f"{len(few)} of {plural(len(cells), 'cell')} have fewer than 3 draws"
        yield Note(
            "FEW_SEEDS",
            "amber",
            f"{text}; a single draw, in {plural(single, 'cell')}, allows no interval."
            if single
            else f"{text}.",
        )
    seeds: dict[tuple[str, int, int], set[int]] = {}
    for _, block in paired_runs.index:
        seeds.setdefault((block.task, block.size, block.draw), set()).add(block.seed)
    if any(len(of_draw) > 1 for of_draw in seeds.values()):
        text = "several seeds share a draw; they are averaged within the draw, and n counts draws."
        yield Note("SHARED_DRAW", "amber", text)


def _declared(paired_runs: PairedRuns, tests: Sequence[Contrast]) -> Iterator[Note]:
    """Return a note if the comparison was not declared before the first result."""
    hypothesis = paired_runs.hypothesis
    if not tests or any(test.declared for test in tests):
        return
    if hypothesis is None:
        text = "no comparison was declared before the first result (`bench run --hypothesis METHOD:BASELINE`)"
    else:
        pair = f"{hypothesis.method} over {hypothesis.baseline}"
        if hypothesis.late:
            text = f"{pair} was declared after there were results"
        elif paired_runs.narrowed:
            text = f"this study tests {pair} on all of its tasks and sizes, and this report leaves out some of them"
        else:
            text = f"this study tests {pair}, which this report does not compare"
    brief = (
        "POSTHOC_BASELINE: no hypothesis was declared before the first result: all is exploratory."
    )
    yield Note("POSTHOC_BASELINE", "amber", f"{text}: every test is exploratory.", brief)


def _looks(paired_runs: PairedRuns) -> Iterator[Note]:
    """Return a note if methods were compared before there were more draws or seeds."""
    places = []
    for task, size in sorted(paired_runs.blocks):
        counts = {
            count
            for method in paired_runs.methods
            if method != paired_runs.baseline
            for count in paired_runs.looks(method, task, size)
        }
        if counts:
            numbers = " and ".join(map(str, sorted(counts)))
            places.append(f"{task} size {size} with {numbers} runs per method")
    if places:
        text = "methods were compared before there were more draws or seeds, so later looks have stricter levels"
        yield _note("LOOKS", "amber", text, places)


def _row_answers(paired_runs: PairedRuns, cells: Sequence[Cell]) -> Iterator[Note]:
    tasks = {
        cell.task or "" for cell in cells if cell.draws > 1 and cell.population == "these rows"
    }
    if narrow := sorted(tasks - set(paired_runs.holdout)):
        text = "the answers to single test rows are not stored, so these results support no claim"
        yield Note("SEED_ONLY", "amber", f"{_some(narrow)}: {text}.")


def _power(tests: Sequence[Contrast]) -> Iterator[Note]:
    for family, label in (("overall", "overall"), ("per size", "per size"), ("cells", "per cell")):
        members = [test for test in tests if test.family == family]
        stuck = [test for test in members if "NOT_REACHABLE" in test.notes]
        if stuck:
            worst = max((test.widest for test in stuck), key=lambda claim: claim.reach)
            after = f" after Holm over {worst.m}" if worst.m > 1 else ""
            count = f"{len(stuck)} of {plural(len(members), 'comparison')} {label}"
            text = (
                f"{count} cannot reach {worst.alpha:.2g} for other tasks: with {_units(stuck)} "
                f"the smallest possible p is {worst.reach:.3g}{after}; {NOT_EQUAL}"
            )
            brief = f"no p of {worst.alpha:.2g} for other tasks is possible {label} with {_units(stuck)}{after}."
            level: Literal["red", "amber"] = (
                "amber" if all(test.these.settled for test in stuck) else "red"
            )
            yield Note("NOT_REACHABLE", level, text, f"NOT_REACHABLE: {brief}")
        weak = [test for test in members if "UNDERPOWERED" in test.notes and test not in stuck]
        if weak:
            text = (
                f"{len(weak)} of {plural(len(members), 'comparison')} {label} that are not settled detect only "
                f"differences above {plural(weak[0].rope, 'point')}; {NOT_EQUAL}"
            )
            points = plural(weak[0].rope, "point")
            brief = (
                f"{len(weak)} of {plural(len(members), 'comparison')} {label} would miss {points}."
            )
            yield Note("UNDERPOWERED", "amber", text, f"UNDERPOWERED: {brief}")


def _differences(tests: Sequence[Contrast]) -> Iterator[Note]:
    zeros = [test for test in tests if "ZERO_DIFFS" in test.notes]
    if places := [f"{_contrast(test)} ({test.ties} of {test.n})" for test in zeros]:
        text = (
            "paired differences are zero and support neither method, for more than 30 % of the units or for so many "
            "that no p of .05 is possible"
        )
        yield _note("ZERO_DIFFS", "amber", text, places)
    if flat := [_contrast(test) for test in tests if "NO_VARIANCE" in test.notes]:
        text = "all differences are equal, so there is no variance for an interval or a t test"
        yield _note("NO_VARIANCE", "amber", text, flat)


def _winners(ranking: Ranking) -> Iterator[Note]:
    """Return notes if the best method depends on the weights of the tasks, or on a single task."""
    by_mean, by_rank = " or ".join(ranking.best_mean), " or ".join(ranking.best_rank)
    if set(ranking.best_mean).isdisjoint(ranking.best_rank):
        text = f"{by_mean} has the best average, {by_rank} the best mean rank."
        yield Note("METRIC_MIX", "amber", text)
    if other := [
        f"without {task} {' or '.join(names)} has it"
        for task, names in ranking.best_without
        if set(names).isdisjoint(ranking.best_mean)
    ]:
        text = f"{by_mean} has the best average over all tasks, but {_some(other)}."
        yield Note("METRIC_MIX", "amber", text)


def _units(tests: Iterable[Contrast]) -> str:
    pairs = sorted({(test.n, test.unit) for test in tests})
    return " or ".join(plural(n, unit[:-1]) for n, unit in pairs[:3])


def _cell(cell: Cell) -> str:
    return f"{cell.method} on {cell.task} size {cell.size}"


def _contrast(test: Contrast) -> str:
    place = f" on {test.task}" if test.task else ""
    return f"{test.method}{place}" + (f" size {test.size}" if test.size is not None else " overall")


def _block(run: Run) -> str:
    return f"{run.task} size {run.size} draw {run.draw} seed {run.seed}"


def _note(code: str, level: Literal["red", "amber"], text: str, places: Sequence[str]) -> Note:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return Note(code, level, f"{text}: {_some(places)}.", f"{code}: {text}: {places[0]}{more}.")


def _some(places: Sequence[str]) -> str:
    shown = "; ".join(places[:MAX_PLACES])
    return shown if len(places) <= MAX_PLACES else f"{shown}; and {len(places) - MAX_PLACES} more"
