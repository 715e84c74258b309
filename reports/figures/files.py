"""Write figures as files; the same figure gives the same bytes."""

import io
from typing import Any, Final

from matplotlib.figure import Figure

from reports.figures.style import style

# removes the date and the version of matplotlib
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
FILE_FORMATS: Final = tuple(_METADATA)


def save(figure: Figure, file_format: str, *, transparent: bool = False) -> bytes:
    """Return the figure as the bytes of an `svg`, `pdf` or `png` file.

    Raises:
        ValueError: the file format is unknown.
    """
    if file_format not in _METADATA:
        known = ", ".join(FILE_FORMATS)
        raise ValueError(f"unknown file format {file_format!r}; choose one of {known}")
    out = io.BytesIO()
    with style():
        metadata = _METADATA[file_format]
        figure.savefig(out, format=file_format, metadata=metadata, transparent=transparent)
    return out.getvalue()
