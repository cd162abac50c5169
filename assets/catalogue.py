"""The current catalogue in PostgreSQL, as the stages see it.

Belongs here: the port to it, and how a contract's columns read in SQL. Not here: connections (see `resources`), the
statements of a stage (they are `.sql` files in its room).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import pyarrow as pa

from assets.contract import TableContract


class Transaction(Protocol):
    """One transaction on the catalogue; leaving it by an exception undoes everything."""

    def stage(self, name: str, rows: pa.Table | Iterable[pa.RecordBatch], *, schema: pa.Schema) -> int:
        """Load `rows` into a temporary table `name` that lives as long as the transaction; return how many."""
        ...

    def lock(self, name: str) -> None:
        """Wait until no other transaction holds the lock of this name, and hold it until this one ends."""
        ...

    def execute(self, sql: str, **params: Any) -> int:
        """Run one statement with `:name` parameters; return the number of rows it touched."""
        ...

    def query(self, sql: str, schema: pa.Schema, **params: Any) -> pa.Table:
        """Return the rows of a query as a table of the given schema."""
        ...


class Catalogue(Protocol):
    """The store of the current catalogue."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction."""
        ...

    def read(self, sql: str, schema: pa.Schema, **params: Any) -> pa.Table:
        """Return the rows of a query as a table of the given schema."""
        ...


@cache
def sql(package: str, name: str) -> str:
    """Return the statement in `sql/<name>.sql` beside the modules of `package`."""
    return files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def column_list(contract: TableContract, alias: str | None = None) -> str:
    """Return the contract's columns as SQL, each with `alias` in front where one is given."""
    return ", ".join(f"{alias}.{name}" if alias else name for name in contract.names)


def typed_columns(contract: TableContract, alias: str) -> str:
    """Return the columns of a staged table as SQL values of the catalogue's types: JSON text becomes `jsonb`."""
    return ", ".join(f"{alias}.{column.name}{'::jsonb' if column.json else ''}" for column in contract)


def upsert_columns(contract: TableContract, alias: str) -> dict[str, str]:
    """Return what an upsert statement in `sql/` is filled with: `columns`, `incoming` values, `excluded` values.

    `alias` names the staged table in the statement.
    """
    return {
        "columns": column_list(contract),
        "incoming": typed_columns(contract, alias),
        "excluded": column_list(contract, "EXCLUDED"),
    }


def select(contract: TableContract, table: str, *, where: str = "true") -> str:
    """Return a query for the contract's columns of a catalogue table, JSON as text, in the order of the key.

    `table` and `where` are SQL written by us, never a value.
    """
    columns = ", ".join(f"{column.name}{'::text' if column.json else ''} AS {column.name}" for column in contract)
    # The C collation orders as Python and Arrow do, whatever the database was set up with.
    order = ", ".join(f'{name} COLLATE "C"' for name in contract.key)
    return f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}"  # noqa: S608
