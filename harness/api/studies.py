"""Studies in Python: run one, report it, train its best method, or all of that by `advise`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import arguments
from harness.api.arguments import Settings, Value
from harness.api.model import Model, load
from harness.errors import ExitCode, Unavailable, UsageError
from harness.ledger import Ledger, LedgerEntry
from harness.results.query import ResultQuery
from harness.results.report import Report, frame
from harness.results.runs import runs

if TYPE_CHECKING:
    import pandas as pd

SIGNALLED = 128  # a shell adds the number of a signal to it

Names = str | Sequence[str] | None
Numbers = int | Sequence[int] | None


def run(
    *,
    methods: Names = None,
    tasks: Names = None,
    sizes: Numbers = None,
    draws: int | None = None,
    model: str | Path | None = None,
    preset: str | None = None,
    steps: int | None = None,
    set: Settings | None = None,  # noqa: A002  # the option's name
    data: str | Path | None = None,
    text: Names = None,
    label: Names = None,
    test: str | Path | None = None,
    db: str | Path | None = None,
    devices: Names = None,
    yes: bool = True,
    **others: Value,
) -> pd.DataFrame:
    """Train and test the jobs that have not been run yet, as `bench run` does, and return their results.

    The arguments are the options of `bench run`, where they are explained; `--test-limit` is `test_limit`. A list
    stands for values with commas between them, and `set={"simplex.vertices": [2, 6]}` for `--set simplex.vertices=2,6`.

    Args:
        methods: the methods to compare.
        tasks: tasks or groups.
        sizes: numbers of labelled training examples.
        draws: random training sets for each task and size.
        model: the backbone.
        preset: `quick`, `smoke` or `low-data`.
        steps: training steps.
        set: options of methods.
        data: a file of labelled examples.
        text: the column of its texts, or two.
        label: the column of its labels.
        test: a file of test examples.
        db: the database of results; None: `BENCH_DB`, or results.db.
        devices: where jobs run.
        yes: whether a run that is estimated to take more than an hour begins without a question.
        others: the other options of `bench run --help-all`.

    Returns:
        A row for each job, finished or not, as in `Report.runs`.

    Raises:
        TypeError: an argument is unknown.
        BenchError: the request is wrong, or something that it needs is not available.
        KeyboardInterrupt: Ctrl-C, or the question of `yes=False` was denied; finished results are kept.
    """
    from harness.commands.run import run_grid

    named: dict[str, object] = {
        "methods": methods, "tasks": tasks, "sizes": sizes, "draws": draws, "model": model, "preset": preset,
        "steps": steps, "set": set, "data": data, "text": text, "label": label, "test": test,
        "db": arguments.database(db), "devices": devices, "yes": yes,
    }  # fmt: skip
    grid, options = arguments.read("run", {**named, **others})
    entries: list[LedgerEntry] = []

    def read(ledger: Ledger, digests: Sequence[str]) -> None:
        of_grid = frozenset(digests)
        entries[:] = [entry for entry in ledger.entries() if entry.digest in of_grid]

    _raise_if_stopped(run_grid(grid, options, arguments.command("run", grid, options), read))
    return frame(runs(entries, {}))


def report(
    db: str | Path | None = None,
    *,
    baseline: str | None = None,
    methods: Names = None,
    tasks: Names = None,
    sizes: Numbers = None,
    model: str | Path | None = None,
    recipe: int | None = None,
    method_version: str | None = None,
) -> Report:
    """Compare the methods of a study, as `bench report` does.

    Args:
        db: the database of results; None: `BENCH_DB`, or results.db.
        baseline: the method that the others are compared with.
        methods: only these methods.
        tasks: only these tasks or groups.
        sizes: only these sizes.
        model: only this backbone; a part of its name is enough.
        recipe: only this recipe, by number, if there are several.
        method_version: only this version of a method, if its results have several, such as `prefix:2`.

    Raises:
        UsageError: there is no such result, or there are results of several backbones or recipes.
        CorruptData: a stored result was changed or is damaged.
    """
    typed = {
        name: None if value is None else arguments.text_of(name, value)
        for name, value in {
            "methods": methods, "tasks": tasks, "sizes": sizes, "model": model,
            "method_version": method_version,
        }.items()
    }  # fmt: skip
    return Report(ResultQuery(db=arguments.database(db), recipe=recipe, **typed), baseline)


def fit(folder: str | Path, *, db: str | Path | None = None, **options: Value | Settings) -> Model:
    """Train the best method of a study on all labelled rows, as `bench fit` does, and return the model.

    Args:
        folder: a folder that does not exist yet, into which the model is written.
        db: the database of the study; None: `BENCH_DB`, or results.db.
        options: those of the study that `run` had, without those that say how jobs run.

    Raises:
        TypeError: an argument is unknown.
        BenchError: the study has no finished job, or something that it needs is not available.
    """
    from harness.commands.fit import fit as fit_best

    grid = arguments.grid("fit", options)
    return Model(fit_best(grid, arguments.database(db), Path(folder)))


class Advice:
    """The study and the model of `advise`.

    Attributes:
        folder: the folder of the model.
    """

    def __init__(self, query: ResultQuery, folder: Path) -> None:
        self._query = query
        self.folder = folder

    @cached_property
    def report(self) -> Report:
        """The comparison of the methods that were tried."""
        return Report(self._query)

    @cached_property
    def model(self) -> Model:
        """The model that was trained on all rows."""
        return load(self.folder)

    def __repr__(self) -> str:
        return f"<advice: the model is in {self.folder}, the study in {self._query.db}>"


def advise(
    file: str | Path,
    *,
    text: Names = None,
    label: str | None = None,
    kind: str | None = None,
    model: str | Path | None = None,
    budget: str | float = "10m",
    db: str | Path | None = None,
    output: str | Path | None = None,
) -> Advice:
    """Compare methods on a file, train the best one on all rows, and say what to expect of it, as `bench advise` does.

    Args:
        file: labelled texts: CSV, TSV, JSON or Parquet.
        text: the column of the texts, or two; None: a guess, which is printed.
        label: the column of the labels; None: a guess, which is printed.
        kind: `classes` or `number`, where a guess is not possible.
        model: the backbone; None: that of the preset `quick`, or `tiny` without the Hub.
        budget: the most time that the study is estimated to take, on a CPU: seconds, or a text such as `30m`.
        db: the database of results; None: the file's name with `.db`.
        output: the folder of the model; None: the file's name with `-model`.

    Raises:
        BenchError: the file cannot be used, a guess is not possible, or the jobs cannot run.
        KeyboardInterrupt: Ctrl-C; finished results are kept.
    """
    from harness.commands.advise import AdviseOptions
    from harness.commands.advise import advise as give_advice
    from harness.study import option_reader

    outcome = give_advice(
        AdviseOptions(
            file=Path(file),
            text=None if text is None else arguments.text_of("text", text),
            label=label,
            kind=kind,
            model=None if model is None else str(model),
            budget=option_reader.seconds("budget", str(budget)),
            db=None if db is None else str(db),
            output=None if output is None else Path(output),
        )
    )
    _raise_if_stopped(outcome.code)
    if outcome.folder is None:
        raise Unavailable(
            "the study did not end, and there is no model: the messages above say why"
        )
    return Advice(outcome.query, outcome.folder)


def _raise_if_stopped(code: int) -> None:
    """Raise an error for the exit codes that leave no results to return."""
    if code > SIGNALLED:
        raise KeyboardInterrupt
    if code == ExitCode.USAGE:
        raise UsageError("the run was not confirmed: pass yes=True")
