"""`bench advise`: from a file with labelled texts to a method, its expected score and a model, by usual commands."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.artefacts import model_card
from harness.backbones import checkpoints
from harness.commands.fit import fit
from harness.commands.run import run_grid
from harness.errors import ExitCode, Unavailable, UsageError
from harness.jobs import canonical
from harness.ledger import Ledger
from harness.ledger.database import damage_errors
from harness.results import best_model
from harness.results.best_model import Candidate, Choice
from harness.results.query import ResultQuery
from harness.results.runs import comparison_of
from harness.scheduling.executors import devices
from harness.scheduling.run_options import RunOptions
from harness.scheduling.summary import print_line, progress_printer
from harness.study import automatic, estimate, planning, request
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan
from harness.study.presets import PRESETS
from harness.tasks.files.cells import column_names, joined_names
from harness.tasks.files.column_guess import Guess, guess
from harness.tasks.files.file_table import Reading
from harness.tasks.files.problems import Problems
from harness.tasks.files.table_files import read_bytes, read_table
from harness.wording import duration, listed, plural, short
from reports.analysis.classification import ClassEstimate, class_estimates
from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import HELD_OUT
from reports.analysis.verdict import points, verdict
from reports.statistics.intervals import t_interval

LARGEST: Final = 500  # labels; a file with fewer is used as far as it goes
CONFUSIONS: Final = 2  # pairs of classes that are named
SELDOM: Final = 0.05  # of the rows of a class, below which a confusion is not named
# What is tried until it fits the budget: methods, and draws.
OFFERS: Final = (("features,lora", 4), ("features,lora", 3), ("features,lora", 2), ("features", 4))


@dataclass(frozen=True, kw_only=True)
class AdviseOptions:
    """What the user says on the command line; empty or None: bench guesses it."""

    file: Path
    text: str | None = None
    label: str | None = None
    kind: str | None = None
    model: str | None = None
    budget: float = 600.0  # seconds
    db: str | None = None
    output: Path | None = None


class AdviseOutcome(NamedTuple):
    """How advice ended.

    Attributes:
        code: the exit code.
        query: the results of the study.
        folder: the folder of the model; None: the study did not end, and there is no model.
    """

    code: int
    query: ResultQuery
    folder: Path | None


def advise(options: AdviseOptions) -> AdviseOutcome:
    """Compare methods on a file, say which to use, train it on all rows, and say what to expect of the model.

    Raises:
        BenchError: the file cannot be used, a guess is not possible, or the jobs cannot run.
    """
    out, log = Console(), Console(stderr=True)
    if options.kind == "text":  # neither features nor LoRA's classifier writes
        raise UsageError(
            "advise compares methods on classes and numbers: use `bench run --kind text`"
        )
    folder = options.output or Path(f"{options.file.stem}-model")
    if folder.exists():
        raise UsageError(f"{folder} exists: name another folder with --output")
    db = options.db or f"{options.file.stem}.db"
    columns = _columns(options)
    print_line(
        out, f"texts from {listed(columns.text)}, labels from {columns.label} (--text, --label)"
    )
    grid, plan = _fitted(_grid(options, columns, out), options.budget, log)
    _check_database(db, plan)
    _print_command(out, "run", _words(grid, db))
    query = ResultQuery(db=db, methods=grid.methods, tasks=",".join(plan.tasks), sizes=grid.sizes)
    code = run_grid(grid, RunOptions(db=db, yes=True), _command("run", _words(grid, db)))
    if code not in (ExitCode.SUCCESS, ExitCode.NEGATIVE):  # some jobs may have failed or diverged
        return AdviseOutcome(code, query, None)
    choice = best_model.choose(query, {job.digest for job in plan.jobs})
    _print_advice(out, choice, comparison_of(replace(query, sizes=str(choice.size)), None))
    _print_command(out, "report", ["--db", db])
    _print_command(out, "fit", [str(folder), *_words(grid, db)])
    model = fit(grid, db, folder)
    print_line(out, model_card.expectation(model))
    _print_command(out, "predict", [str(folder), *("a text" for _ in columns.text)])
    return AdviseOutcome(code, query, folder)


def _check_database(db: str, plan: Plan) -> None:
    """Refuse a database whose results are of another backbone or recipe, with which these cannot be compared.

    Raises:
        UsageError: it has such results.
    """
    if not Path(db).exists():
        return
    with damage_errors(db), Ledger(db) as ledger:
        found = {_kind(known.setting) for known in ledger.settings() if known.ended}
    if found - {_kind(job.setting()) for job in plan.jobs}:
        raise UsageError(
            f"{db} has results of another backbone or recipe: name another database with --db"
        )


def _kind(setting: Mapping[str, Any]) -> str:
    return canonical([setting["backbone"], setting["recipe"]])


def _columns(options: AdviseOptions) -> Guess:
    """Return the columns that the user named, or else the likely ones."""
    text = column_names(options.text) if options.text else []
    if text and options.label:
        return Guess(tuple(text), options.label)
    problems = Problems()
    table = read_table(options.file, read_bytes(options.file), problems, Reading())
    problems.raise_if_any()
    return guess(table, text, options.label or "")


def _grid(options: AdviseOptions, columns: Guess, out: Console) -> GridOptions:
    """Return the options of the study: `--preset quick` at the greatest size that the file gives and at half of it."""
    grid = GridOptions(
        preset="quick",
        data=options.file,
        text=joined_names(columns.text),
        label=joined_names([columns.label]) if columns.label.startswith('"') else columns.label,
        kind=options.kind,
        model=options.model,
        sizes=str(LARGEST),
    )
    if options.model is None and (reason := _unavailable(PRESETS["quick"]["model"])):
        print_line(
            out,
            f"note: {reason}; the backbone is the embedded `tiny`, whose scores on real texts are low: name another "
            "with --model",
        )
        grid = replace(grid, model="tiny", pooling="model")
    (largest,) = request.read(grid)[0].sizes
    return replace(grid, sizes=f"{largest // 2},{largest}" if largest > 1 else str(largest))


def _unavailable(model: str) -> str:
    """Return why a backbone cannot be had; empty if it can."""
    try:
        checkpoints.locate(model, checkpoints.revision_of(model))
    except Unavailable as error:
        return str(error).splitlines()[0]
    return ""


def _fitted(grid: GridOptions, budget: float, log: Console) -> tuple[GridOptions, Plan]:
    """Return the first offer that is estimated to fit the budget on this processor, and its plan.

    On other devices, nothing is known before a run, and the budget is not applied.

    Raises:
        UsageError: none does.
    """
    for methods, draws in OFFERS:
        offer = replace(grid, methods=methods, draws=str(draws))
        checked = automatic.resolve(request.read(offer)[0], progress_printer(log))
        plan = planning.plan(checked, progress_printer(log))
        if not devices.is_cpu("auto"):
            print_line(log, "note: --budget is applied only where jobs run on a CPU under Linux")
            return offer, plan
        found = estimate.estimate(checked, plan, progress_printer(log))
        workers = len(devices.choose(["cpu"], 0, len(plan.jobs)))
        seconds = estimate.seconds(list(found.values()), workers)
        if seconds <= budget:
            return offer, plan
    raise UsageError(
        f"even {OFFERS[-1][0]} is estimated to take {duration(seconds)}, more than --budget {duration(budget)}: "
        "raise it, or name a smaller --model"
    )


def _words(grid: GridOptions, db: str) -> list[str]:
    """Return the words of the command that runs a study."""
    named = {
        "preset": grid.preset, "data": grid.data, "text": grid.text, "label": grid.label, "kind": grid.kind,
        "model": grid.model, "pooling": grid.pooling, "methods": grid.methods, "sizes": grid.sizes,
        "draws": grid.draws, "db": db,
    }  # fmt: skip
    return [word for name, value in named.items() if value for word in (f"--{name}", str(value))]


def _print_command(out: Console, name: str, words: Sequence[str]) -> None:
    out.print()
    print_line(out, f"$ {_command(name, words)}")


def _command(name: str, words: Sequence[str]) -> str:
    return f"bench {name} {shlex.join(words)}"


def _print_advice(out: Console, choice: Choice, comparison: Comparison) -> None:
    """Print what to use, and how sure that is; the comparison is that of the greatest size."""
    best = choice.best
    mean = fmean(100 * job.metrics["score"] for job in best.jobs)
    score = model_card.score_title(best.jobs[0].setting["task"])
    out.print()
    print_line(
        out,
        f"Use {best.name}: with {choice.size} training labels (and {best.jobs[0].n_dev} to choose checkpoints) it "
        f"scores {mean:.1f} ({score}) on average over {plural(len({job.draw for job in best.jobs}), 'draw')}.",
    )
    out.print(_table(choice, comparison))
    print_line(out, verdict(comparison)[0])
    if confused := _confused(best.name, class_estimates(comparison.runs)):
        print_line(out, confused)
    if gain := _gain(best, choice.smaller):
        print_line(out, gain)


def _table(choice: Choice, comparison: Comparison) -> Table:
    """Return the mean dev and test scores of the methods at the greatest size, beside the majority class."""
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for name in ("dev", "test"):
        table.add_column(name, justify="right")
    for majority in comparison.majority.values():
        table.add_row("majority class", "", f"{majority:.1f}")
    for one in (choice.best, *choice.others):
        test = fmean(job.metrics["score"] for job in one.jobs)
        table.add_row(one.name, f"{100 * one.dev_score:.1f}", f"{100 * test:.1f}")
    return table


def _confused(method: str, estimates: Sequence[ClassEstimate]) -> str:
    """Return which classes a method takes for others most often; empty if it seldom does, or has no classes."""
    pairs = [
        (count, count / one.support[true], one.classes[true], one.classes[predicted])
        for one in estimates
        if one.method == method and one.confusion.size
        for (true, predicted), count in np.ndenumerate(one.confusion)
        if true != predicted and count > 0 and count >= SELDOM * one.support[true]
    ]
    # The pairs with most rows first: of a rare class, few rows can be a large share.
    shown = [
        f"{short(true)} for {short(predicted)} (in {100 * share:.0f} % of its rows)"
        for _, share, true, predicted in sorted(pairs, reverse=True)[:CONFUSIONS]
    ]
    return f"It takes most often {listed(shown)}." if shown else ""


def _gain(best: Candidate, smaller: Candidate | None) -> str:
    """Return what twice the labels brought on the draws of both sizes; empty if one draw or none has both."""
    if smaller is None:
        return ""
    before = {(job.draw, job.seed): job.metrics["score"] for job in smaller.jobs}
    gains = [
        100 * (job.metrics["score"] - before[job.draw, job.seed])
        for job in best.jobs
        if (job.draw, job.seed) in before
    ]
    if len(gains) < 2:  # one value has no interval
        return ""
    # Draws of one file share rows, as in the report's intervals.
    held_out = bool(best.jobs[0].setting["task"].get("holdout"))
    found = t_interval(gains, overlap=HELD_OUT / (1 - HELD_OUT) if held_out else 0.0)
    interval = (
        "" if math.isnan(found.low) else f" (95 % interval {found.low:z.1f} to {found.high:z.1f})"
    )
    return (
        f"From {smaller.jobs[0].size} to {best.jobs[0].size} labels, {best.name} gained {points(found.mean)} points"
        f"{interval}; more labels may bring as much again, or less."
    )
