"""What a stage promises about a table: its columns, their types and the laws they obey.

Belongs here: the vocabulary in which every room's `schema.py` is written. Not here: a stage's own columns,
Dagster, Great Expectations, SQL (they are derived from it elsewhere).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa


class ContractBroken(ValueError):
    """A table does not have the columns its contract promises; the message names table, column and expectation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a contract.

    Attributes:
        name: Column name, in Parquet, PostgreSQL and the documentation alike.
        type: Arrow type of the column in Parquet.
        description: What a reader must know, with the unit where there is one.
        nullable: Whether a value may be absent.
        values: The closed vocabulary, where there is one.
        minimum: Smallest allowed value (inclusive) of a numeric column.
        maximum: Largest allowed value (inclusive) of a numeric column.
        json: Whether the text holds a JSON object (`jsonb` in PostgreSQL).
        pattern: Regular expression that every text value matches (anchored at both ends by the author).
    """

    name: str
    type: pa.DataType
    description: str
    nullable: bool = True
    values: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContract:
    """The promise of one stage's table: an ordered set of columns and the key that is unique in it.

    Attributes:
        stage: The room it belongs to: first part of the asset's key and its group.
        name: The table: last part of the asset's key.
        description: What one row is.
        columns: The columns in order.
        key: The columns that are unique together.
    """

    stage: str
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def __iter__(self) -> Iterator[Column]:
        """Iterate over the columns in their promised order."""
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, nullability included."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    def conform(self, table: pa.Table) -> pa.Table:
        """Return `table` with exactly the promised columns, in order and type.

        Raises:
            ContractBroken: a column is missing, of a type that cannot be cast, or null where it must not be.
        """
        missing = [name for name in self.names if name not in table.column_names]
        if missing:
            raise ContractBroken(f"{self.name}: columns {missing} are missing; found {table.column_names}")
        arrays = []
        for column in self.columns:
            values = table.column(column.name)
            if not column.nullable and values.null_count:
                raise ContractBroken(f"{self.name}.{column.name}: {values.null_count} of {len(values)} values are null")
            try:
                arrays.append(values.cast(column.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ContractBroken(f"{self.name}.{column.name}: expected {column.type}, got {values.type}") from error
        return pa.table(arrays, schema=self.arrow)

    def empty(self) -> pa.Table:
        """A table of no rows that satisfies the contract."""
        return self.arrow.empty_table()
