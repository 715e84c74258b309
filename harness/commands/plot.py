"""What `plot` does: a figure of the results, as a file."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.commands.report import Selection, comparison_of
from harness.errors import CannotWrite, UsageError


def list_figures() -> None:
    """`bench plot` without a name: what there is."""
    from rich.console import Console
    from rich.table import Table

    from reports.figures import FIGURES

    table = Table("figure", "what it shows", box=None, pad_edge=False)
    for name, drawing in FIGURES.items():
        table.add_row(name, drawing.title)
    Console().print(table)


def write_figure(
    chosen: Selection,
    name: str,
    *,
    baseline: str | None,
    cost: str,
    option: str | None,
    output: Path | None,
) -> None:
    """`bench plot`.

    Raises:
        UsageError: no figure, form, cost or option of that name; or the selection is empty or
            mixed.
        CannotWrite: the file cannot be written.
    """
    from reports.analysis.paired_runs import Nothing
    from reports.figures import FIGURES, save

    target = output or Path(f"{name}.svg")
    options = _options(
        name, target, cost, option
    )  # what is wrong with the request is said before anything is read
    comparison = comparison_of(chosen, baseline)
    try:
        data = save(FIGURES[name].draw(comparison, options), _form(target))
    except Nothing as error:
        raise UsageError(f"--option: {error}") from error
    try:
        target.write_bytes(data)
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror}") from error
    print(target)  # noqa: T201  # the answer


def _form(target: Path) -> str:
    return target.suffix.removeprefix(".").lower()


def _options(name: str, target: Path, cost: str, option: str | None) -> Any:
    """The choices about the figure.

    Raises:
        UsageError: something in them is unknown; everything that is wrong is named.
    """
    from reports.figures import COSTS, FIGURES, FORMS, Options

    problems = []
    if name not in FIGURES:
        problems.append(_unknown("figure", name, list(FIGURES)))
    elif _form(target) not in FORMS:
        problems.append(
            f"--output: {target} must end in {' or '.join(f'.{form}' for form in FORMS)}"
        )
    if cost not in COSTS:
        problems.append(_unknown("cost", cost, list(COSTS)))
    if problems:
        raise UsageError(*problems)
    return Options(cost=next(known for known in COSTS if known == cost), option=option)


def _unknown(noun: str, given: str, known: list[str]) -> str:
    near = get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"no {noun} {given!r}{hint} There are {', '.join(known)}"
        if hint
        else f"no {noun} {given!r}; there are {', '.join(known)}"
    )
