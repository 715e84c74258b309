"""`bench plot`: draw a figure of the results into a file."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.atomic_write import write_output
from harness.errors import UsageError
from harness.results.query import ResultQuery
from harness.results.runs import comparison_of
from methods.core.suggestions import did_you_mean
from reports.analysis.paired_runs import NothingToCompare
from reports.figures import COSTS, FIGURES, FILE_FORMATS, Layout, Options, save


def list_figures() -> None:
    """Print the figures with a description each."""
    table = Table("figure", "what it shows", box=None, pad_edge=False)
    for name, drawing in FIGURES.items():
        table.add_row(name, drawing.title)
    Console().print(table)


@dataclass(frozen=True, kw_only=True)
class FigureRequest:
    """Which figure to draw, as the user typed it."""

    name: str  # one of `reports.figures.FIGURES`
    cost: str  # the horizontal axis of `pareto`
    option: str | None  # the option that `option` varies, `NAME` or `NAME=DEFAULT`
    layout: Layout  # width and caption
    temperature: bool  # whether `reliability` scales the probabilities by the stored temperature


def write_figure(
    query: ResultQuery, request: FigureRequest, *, baseline: str | None, output: Path | None
) -> None:
    """Draw a figure, write it to a file and print the file's name.

    Args:
        query: which results.
        request: which figure.
        baseline: the method that the others are compared with.
        output: an SVG, PDF or PNG file; None: `NAME.svg`.

    Raises:
        UsageError: there is no such figure, file format, cost or option; or the query matches
            nothing, or results of several backbones or recipes.
        CannotWrite: the file cannot be written.
    """
    target = output or Path(f"{request.name}.svg")
    options = _options(request, target)  # raises before anything is read
    try:
        canvas = FIGURES[request.name].draw(comparison_of(query, baseline), options)
        content = save(canvas, _format(target))
    except NothingToCompare as error:
        raise UsageError(f"--option: {error}") from error
    write_output(target, content)
    print(target)  # noqa: T201


def _format(target: Path) -> str:
    return target.suffix.removeprefix(".").lower()


def _options(request: FigureRequest, target: Path) -> Options:
    """Return the options of the figure, or raise UsageError naming everything unknown."""
    problems = []
    name, cost = request.name, request.cost
    if name not in FIGURES:
        problems.append(_unknown("figure", name, list(FIGURES)))
    elif _format(target) not in FILE_FORMATS:
        endings = " or ".join(f".{form}" for form in FILE_FORMATS)
        problems.append(f"--output: {target} must end in {endings}")
    if cost not in COSTS:
        problems.append(_unknown("cost", cost, list(COSTS)))
    if request.temperature and name != "reliability":
        problems.append("--temperature applies to the figure reliability only")
    if problems:
        raise UsageError(*problems)
    return Options(
        layout=request.layout,
        cost=next(known for known in COSTS if known == cost),
        option=request.option,
        temperature=request.temperature,
    )


def _unknown(noun: str, name: str, known: list[str]) -> str:
    return f"no {noun} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
