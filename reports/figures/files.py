"""Figures as files; the same figure gives the same bytes."""

import io
from typing import Any, Final

from matplotlib.figure import Figure

from reports.figures.style import style

# Nothing of when and by which version a file was written.
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
FORMS: Final = tuple(_METADATA)


def save(figure: Figure, form: str, *, transparent: bool = False) -> bytes:
    """The figure as `svg`, `pdf` or `png`.

    Raises:
        ValueError: the form is unknown.
    """
    if form not in _METADATA:
        raise ValueError(f"no form {form!r}; there are {', '.join(FORMS)}")
    out = io.BytesIO()
    with style():
        figure.savefig(out, format=form, metadata=_METADATA[form], transparent=transparent)
    return out.getvalue()
