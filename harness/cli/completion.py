"""What the shell offers when Tab is pressed: names of methods, tasks, figures, options and jobs. It never fails."""

from collections.abc import Callable, Iterable

import typer

Complete = Callable[[typer.Context, str], list[str]]


def _harmless(names: Callable[[typer.Context, str], Iterable[str]]) -> Complete:
    """Return a completion that offers nothing where its names cannot be read."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [name for name in names(ctx, incomplete) if name.startswith(incomplete)]
        except Exception:  # a message would be written into the line that is being typed
            return []

    return complete


def _after_comma(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names, each after the entries of a list that are already typed."""
    typed = incomplete[: incomplete.rfind(",") + 1]
    return [f"{typed}{name}" for name in names if name not in typed.split(",")]


@_harmless
def methods(_: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer methods and their aliases, also within a list."""
    from methods import ALIASES, REGISTRY, plugins_offered

    return _after_comma(
        incomplete, ["all", *REGISTRY, *ALIASES, *[plugin.name for plugin in plugins_offered()]]
    )


@_harmless
def tasks(_: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer tasks and groups of tasks, also within a list."""
    from harness.tasks import GROUPS, REGISTRY

    return _after_comma(incomplete, [*GROUPS, *REGISTRY])


@_harmless
def settings(_: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer METHOD.OPTION= for `--set`."""
    from methods import REGISTRY, options_of

    method, dot, _option = incomplete.partition(".")
    if not dot:
        return [f"{name}." for name in REGISTRY]
    return [f"{method}.{option}=" for option in sorted(options_of(method))]


@_harmless
def figures(_: typer.Context, __: str) -> Iterable[str]:
    """Offer the figures of `bench plot`."""
    from reports.figures import FIGURES

    return FIGURES


@_harmless
def digests(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Offer the digests of finished jobs in the database that the line names."""
    import os
    from pathlib import Path

    from harness.ledger.database import is_url
    from harness.ledger.overview import Overview

    db = ctx.params.get("db") or os.environ.get("BENCH_DB", "results.db")
    if not is_url(db) and not Path(db).exists():
        return []
    with Overview(db) as ledger:
        return ledger.digests(incomplete)
