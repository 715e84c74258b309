"""Run jobs and store their results. From Python: `run`, `report`, `fit`, `advise` and `load`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.model import Model, Models, load
    from harness.api.studies import Advice, advise, fit, report, run
    from harness.results.report import Report

__all__ = ["Advice", "Model", "Models", "Report", "advise", "fit", "load", "report", "run"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command starts in less time without them."""
    if name not in __all__:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from harness.api import model, studies

    return getattr(studies, name, None) or getattr(model, name)
