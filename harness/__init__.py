"""Run jobs and store their results. From Python: `run`, `report`, `fit`, `advise` and `load`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.model import Model, Models, load
    from harness.api.studies import Advice, advise, fit, report, run
    from harness.results.report import Report

__all__ = ["Advice", "Model", "Models", "Report", "advise", "fit", "load", "report", "run"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command starts in less time without them.

    Raises:
        ImportError: `methods` or `reports` is another package.
    """
    if name not in __all__:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    prepare()
    from harness.api import model, studies

    return getattr(studies, name, None) or getattr(model, name)


def __dir__() -> list[str]:
    """Return the names that a notebook offers."""
    return sorted([*globals(), *__all__])


def prepare() -> None:
    """Check that `methods` and `reports` are the packages of bench, and let the Hub's client report nothing.

    Raises:
        ImportError: one of them is another package.
    """
    # The Hub's client reads this when it is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    here = Path(__file__).resolve().parent.parent
    for name in ("methods", "reports"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != here:
            where = origin.parent if origin else "missing"
            raise ImportError(
                f"the package {name!r} that Python finds ({where}) is not the one of bench ({here / name}): "
                "start Python or bench in another folder, or remove it from PYTHONPATH"
            )
