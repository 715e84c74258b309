"""`bench plot`: draw a figure of the results into a file."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.atomic_write import write_output
from harness.commands.stored_runs import ResultQuery, comparison_of
from harness.errors import UsageError
from methods.core.suggestions import did_you_mean
from reports.analysis.paired_runs import NothingToCompare
from reports.figures import COSTS, FIGURES, FILE_FORMATS, Options, save


def list_figures() -> None:
    """Print the figures with a description each."""
    table = Table("figure", "what it shows", box=None, pad_edge=False)
    for name, drawing in FIGURES.items():
        table.add_row(name, drawing.title)
    Console().print(table)


def write_figure(
    query: ResultQuery,
    name: str,
    *,
    baseline: str | None,
    cost: str,
    option: str | None,
    output: Path | None,
    temperature: bool = False,
) -> None:
    """Draw a figure, write it to a file and print the file's name.

    Args:
        query: which results.
        name: one of `reports.figures.FIGURES`.
        baseline: the method that the others are compared with.
        cost: the horizontal axis of `pareto`.
        option: the option that `option` varies, `NAME` or `NAME=DEFAULT`.
        output: an SVG, PDF or PNG file; None: `NAME.svg`.
        temperature: for `reliability`, scale the probabilities by the stored temperature.

    Raises:
        UsageError: there is no such figure, file format, cost or option; or the query matches
            nothing, or results of several backbones or recipes.
        CannotWrite: the file cannot be written.
    """
    target = output or Path(f"{name}.svg")
    options = _options(
        name, target, cost, option, temperature=temperature
    )  # raises before anything is read
    try:
        content = save(FIGURES[name].draw(comparison_of(query, baseline), options), _format(target))
    except NothingToCompare as error:
        raise UsageError(f"--option: {error}") from error
    write_output(target, content)
    print(target)  # noqa: T201


def _format(target: Path) -> str:
    return target.suffix.removeprefix(".").lower()


def _options(name: str, target: Path, cost: str, option: str | None, *, temperature: bool) -> Any:
    """Return the `reports.figures.Options`, or raise UsageError naming everything unknown."""
    problems = []
    if name not in FIGURES:
        problems.append(_unknown("figure", name, list(FIGURES)))
    elif _format(target) not in FILE_FORMATS:
        endings = " or ".join(f".{form}" for form in FILE_FORMATS)
        problems.append(f"--output: {target} must end in {endings}")
    if cost not in COSTS:
        problems.append(_unknown("cost", cost, list(COSTS)))
    if temperature and name != "reliability":
        problems.append("--temperature applies to the figure reliability only")
    if problems:
        raise UsageError(*problems)
    return Options(
        cost=next(known for known in COSTS if known == cost),
        temperature=temperature,
        option=option,
    )


def _unknown(noun: str, name: str, known: list[str]) -> str:
    return f"no {noun} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
