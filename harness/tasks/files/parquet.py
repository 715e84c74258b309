"""Read tables from Parquet files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.tasks.files.file_table import FileTable, Reading, unique_names
from harness.tasks.files.problems import Problems
from harness.wording import escaped

_INTEGERS: Final = {32: "int32", 64: "int64"}  # in which a date is stored, by its bits


def read_parquet(path: Path, content: bytes, problems: Problems, how: Reading) -> FileTable:
    """Return the table in the bytes of a Parquet file.

    Raises:
        UsageError: they are not a Parquet file.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        names = [name.strip() for name in file.schema_arrow.names]
        columns = unique_names(names, path, problems, how)
        if not columns:
            return FileTable(path, ())
        kept = [name for name in columns if how.keeps(name)]
        if how.only and list(columns) == file.schema_arrow.names:
            table = file.read(columns=kept)
        else:  # a column without a name, or with that of another, has a new one
            table = file.read().rename_columns(list(columns)).select(kept)
        rows = _plain_rows(table)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{escaped(str(path))} is not a readable Parquet file: {reason}") from None
    return FileTable(path, columns, rows, [f"row {number}" for number in range(1, len(rows) + 1)])


def _plain_rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table of pyarrow.

    Numbers of single precision have the digits that they have there. In a column with a date beyond the year 9999,
    the stored integers are texts.
    """
    import pyarrow

    columns: dict[str, list[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pyarrow.types.is_temporal(column.type):
            try:
                columns[name] = column.to_pylist()
            except (ValueError, OverflowError):  # beyond the year 9999
                columns[name] = [
                    None if value is None else str(value)
                    for value in column.cast(_INTEGERS[column.type.bit_width]).to_pylist()
                ]
        elif pyarrow.types.is_float32(column.type) or pyarrow.types.is_float16(column.type):
            columns[name] = as_written(column.to_pylist(), f"float{column.type.bit_width}")
        else:
            columns[name] = column.to_pylist()
    if not columns:  # none of the file's columns is needed
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def as_written(values: Sequence[float | None], kind: str = "float32") -> list[float | None]:
    """Return numbers of single or half precision with the digits that they have there: 0.1 and not 0.10000000149."""
    import numpy

    precise = numpy.dtype(kind).type
    return [None if value is None else float(str(precise(value))) for value in values]
