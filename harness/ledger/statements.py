"""Statements that several modules of the ledger use."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from harness.ledger.tables import Environment, Setting

CHUNK = 500  # values that one statement receives at most: some SQLite builds allow only 999


def table_of(table_class: type[SQLModel]) -> Table:
    """Return the SQLAlchemy table of a SQLModel class."""
    return table_class.__table__  # type: ignore[attr-defined,no-any-return]  # SQLModel adds it to table classes


def chunks(items: Sequence[Any], length: int) -> Iterator[list[Any]]:
    """Yield consecutive lists of at most `length` items."""
    for start in range(0, len(items), length):
        yield list(items[start : start + length])


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: str
) -> None:
    """Insert rows, except those whose value of the column `key` is in the table."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        insert(table).values(list(rows)).on_conflict_do_nothing(index_elements=[key])
    )


def insert_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert one row and return its id."""
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def text_ids(
    connection: Connection, table_class: type[Environment | Setting], texts: Sequence[str]
) -> dict[str, int]:
    """Return the id of each text in a table that stores every text once. Insert texts that are missing."""
    table = table_of(table_class)
    ids: dict[str, int] = {}
    for part in chunks(texts, CHUNK):
        insert_missing(connection, table, [{"json": text} for text in part], "json")
        ids |= dict(
            connection.execute(select(table.c.json, table.c.id).where(table.c.json.in_(part))).all()
        )
    return ids


def now() -> str:
    """Return the current UTC time in whole seconds, as the ledger stores it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
