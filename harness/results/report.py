"""A report: the comparison of the methods of a study, as text, as a page and as tables of pandas."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.ledger import Ledger
from harness.ledger.database import damage_errors
from harness.redaction import redact
from harness.results.query import ResultQuery, matching_settings
from harness.results.runs import comparison_of
from harness.tasks import Task
from reports import render
from reports.analysis.paired_runs import NothingToCompare
from reports.analysis.run import Run
from reports.analysis.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

NOT_IN_CSV = ("characteristics", "temperature", "classes")
COLUMNS = (
    *("method", "task", "size", "draw", "seed", "status", "score", "dev_score"),
    *("n_train", "n_dev", "n_test", "trained", "stored"),
    *("seconds_training", "seconds_evaluation", "peak_bytes", "digest"),
)


class Report:
    """The comparison of the methods of a study with one baseline.

    A notebook shows it as Markdown, and `print` as `bench report` does.

    Args:
        query: which results.
        baseline: the method that the others are compared with; None: that of the study, or the first method.
        tasks: the user's own tasks, for the texts of their rows.

    Attributes:
        comparison: all numbers of the report.

    Raises:
        UsageError: the query matches nothing, or results of several backbones or recipes.
        CorruptData: a stored result was changed or is damaged.
    """

    def __init__(
        self, query: ResultQuery, baseline: str | None = None, tasks: Sequence[Task] = ()
    ) -> None:
        self._query, self._baseline, self._tasks = query, baseline, tasks
        self.comparison = comparison_of(query, baseline)

    @property
    def verdict(self) -> tuple[str, ...]:
        """A headline, a line on each method that is compared with the baseline, and the next step."""
        return verdict(self.comparison, full=False)

    @property
    def runs(self) -> pd.DataFrame:
        """A row for each run, finished or not. Scores are fractions, and metrics stand in columns of their names."""
        return frame(self.comparison.runs)

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each method, task and size: what `bench report --format csv` writes. Scores are points."""
        import pandas as pd

        from reports.formats.csv import rows

        return pd.DataFrame(rows(self.comparison))

    def text(
        self,
        form: str = "terminal",
        *,
        command: str = "",
        width: int = 100,
        color: bool = False,
        full: bool = False,
        **parts: Any,
    ) -> str:
        """Return the report in one of `reports.FORMATS`.

        Args:
            form: `terminal`, `markdown`, `latex`, `html`, `csv` or `json`.
            command: the command line that its header names; empty: `bench report` with these options.
            width: of a terminal, in characters.
            color: whether the terminal understands styles.
            full: whether it has all tables and notes.
            parts: further arguments of `reports.render`, such as `classes=True`.

        Raises:
            UsageError: the report has no such part.
            ValueError: there is no such format.
        """
        if form == "csv" and (missing := [name for name in NOT_IN_CSV if parts.get(name)]):
            raise UsageError(
                *(
                    f"--{name} is not available with --format csv: choose another"
                    for name in missing
                )
            )
        shows_texts = form == "html" or parts.get("characteristics")
        try:
            return render(
                self.comparison,
                format=form,
                command=command or self._command(form, full=full, **parts),
                width=width,
                color=color,
                full=full,
                texts=self._texts() if shows_texts else None,
                **parts,
            )
        except NothingToCompare as error:
            raise UsageError(str(error)) from error

    def __str__(self) -> str:
        return self.text()

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        return self.text("markdown")

    def _command(self, form: str, **more: Any) -> str:
        """Return the command that writes this report."""
        options = {one.name: getattr(self._query, one.name) for one in fields(self._query)}
        options |= {"baseline": self._baseline, **more}
        options["format"] = None if form == "terminal" else form
        words = [
            word
            for name, value in options.items()
            if value not in (None, False)
            for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
        ]
        return redact(shlex.join(["bench", "report", *words]))

    def _texts(self) -> Callable[[Run], Sequence[Sequence[str]] | None]:
        from harness.results.example_texts import reader

        with damage_errors(self._query.db), Ledger(self._query.db) as ledger:
            settings, _ = matching_settings(ledger, self._query)
            return reader(ledger.entries(settings=settings), self._tasks)


def frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row for each run, with its metrics in columns of their names."""
    import pandas as pd

    return pd.DataFrame(
        [{name: getattr(run, name) for name in COLUMNS} | dict(run.metrics) for run in runs],
        columns=[*COLUMNS, *sorted({name for run in runs for name in run.metrics})],
    )
