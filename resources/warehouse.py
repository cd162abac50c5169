"""The catalogue's PostgreSQL: transactions that load and return Arrow tables in bulk.

Belongs here: connections, transactions, migrations, and errors told apart by whether trying again helps.
Not here: any stage's SQL (it lies beside the stage), what the bytes of COPY look like (see `arrow_copy`).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import sqlalchemy
from psycopg.abc import Buffer
from sqlalchemy import exc

from assets.failures import PermanentFailure, TransientFailure
from resources import arrow_copy
from resources.patience import Patience

if TYPE_CHECKING:
    from alembic.config import Config

#: Any fixed number: it names the lock that lets one process migrate at a time.
_MIGRATION_LOCK = 0x0FFE_211E
#: SQLSTATE classes and codes after which the same transaction may succeed: connection failures, too many
#: connections or no memory, the server being shut down or started, conflicts with other transactions.
_TRANSIENT = ("08", "53300", "53200", "57P0", "40001", "40P01", "55P03")
#: A server that refuses a connection gives no code, only words; these pass by themselves.
_PASSING_REFUSALS = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots")
_PARAMETER = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


class WarehouseError(RuntimeError):
    """A statement failed; the message names the table and column where there is one."""


class WarehouseRejected(WarehouseError, PermanentFailure):
    """A statement cannot succeed as it is."""


class WarehouseUnavailable(WarehouseError, TransientFailure):
    """The database could not be reached, or asks for the transaction to be tried again, as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseRules:
    """How patiently the warehouse connects, and how much it moves at once.

    Attributes:
        patience: How a connection is tried again while the server cannot be reached. A transaction is not: who made it
            makes it again.
        connect_timeout_seconds: How long one try may take.
        pool_size: Connections kept open.
        piece_bytes: Arrow or CSV bytes that are encoded or decoded at once.
    """

    patience: Patience = field(default_factory=lambda: Patience(tries=12))
    connect_timeout_seconds: int = 5
    pool_size: int = 5
    piece_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The catalogue's database.

    >>> warehouse = Warehouse("postgresql+psycopg://user:password@127.0.0.1:5432/offerline")
    >>> warehouse.migrate()
    >>> with warehouse.transaction() as transaction:
    ...     transaction.stage("incoming", pa.table({"title": ["Kettle"]}))
    ...     transaction.execute("INSERT INTO catalog.listings ... FROM incoming WHERE title = :title", title="Kettle")
    """

    url: str = field(repr=False)
    rules: WarehouseRules = field(default_factory=WarehouseRules)
    #: By process: a fork must not talk over its parent's connections.
    _engines: dict[int, sqlalchemy.Engine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def engine(self) -> sqlalchemy.Engine:
        """The pool of connections of this process, made when it is first needed."""
        process = os.getpid()
        if process not in self._engines:
            engine = sqlalchemy.create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=self.rules.pool_size,
                connect_args={
                    "connect_timeout": self.rules.connect_timeout_seconds,
                    "application_name": "offerline",
                },
            )
            self._engines.setdefault(process, engine)
        return self._engines[process]

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """A transaction: committed when the block ends, undone when it raises.

        Raises:
            WarehouseUnavailable: the server cannot be reached, or went away; the transaction has left no trace,
                unless it went away during the commit itself.
            WarehouseError: the server refuses the connection, a statement or the commit.
        """
        with closing(self._connect()) as connection, _translated("the transaction"), connection.begin():
            yield Transaction(connection, self.rules)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep every other process that asks for this name waiting until the block ends; see `Transaction.lock`."""
        with self.transaction() as transaction:
            transaction.lock(name)
            yield

    def read(self, sql: str, schema: pa.Schema | None = None, **params: Any) -> pa.Table:
        """The rows of a query in a transaction of their own; see `Transaction.query`."""
        with self.transaction() as transaction:
            return transaction.query(sql, schema, **params)

    def read_batches(self, sql: str, schema: pa.Schema | None = None, **params: Any) -> Iterator[pa.RecordBatch]:
        """The same piece by piece, so that memory does not grow with the result; holds a connection meanwhile."""
        with self.transaction() as transaction:
            yield from transaction.query_batches(sql, schema, **params)

    def migrate(self) -> None:
        """Bring the tables to the newest revision; processes that start at once wait for one another.

        Raises:
            WarehouseError: a revision cannot be applied; none of it was.
        """
        from alembic import command

        with self._migrating() as config:
            command.upgrade(config, "head")

    def downgrade(self, revision: str) -> None:
        """Go back to an earlier revision (`base`: before the first), and lose what later ones hold."""
        from alembic import command

        with self._migrating() as config:
            command.downgrade(config, revision)

    def revision(self) -> str | None:
        """The revision the tables are at; None before the first."""
        with self.transaction() as transaction:
            if transaction.scalar("SELECT to_regclass('catalog.alembic_version')") is None:
                return None
            found = transaction.scalar("SELECT version_num FROM catalog.alembic_version")
        return None if found is None else str(found)

    @contextmanager
    def _migrating(self) -> Iterator["Config"]:
        from alembic.config import Config

        config = Config()
        scripts = str(Path(__file__).with_name("migrations"))
        config.set_main_option("script_location", scripts.replace("%", "%%"))
        with self.transaction() as transaction:
            transaction.execute("SELECT pg_advisory_xact_lock(:key)", key=_MIGRATION_LOCK)
            config.attributes["connection"] = transaction.connection
            yield config

    def _connect(self) -> sqlalchemy.Connection:
        def attempt() -> sqlalchemy.Connection:
            with _translated("connecting to the warehouse", connecting=True):
                return self.engine.connect()

        return self.rules.patience(attempt)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What can be done inside `Warehouse.transaction`. Statements take `:name` parameters."""

    connection: sqlalchemy.Connection
    rules: WarehouseRules = field(default_factory=WarehouseRules)

    def stage(
        self,
        name: str,
        rows: pa.Table | Iterable[pa.RecordBatch],
        *,
        schema: pa.Schema | None = None,
        key: Sequence[str] = (),
    ) -> int:
        """Load rows into a temporary table that lives as long as the transaction, and count them.

        The columns' types follow from the schema: text (JSON too), `text[]` for lists, `numeric(p,s)` for decimals,
        `timestamptz` for times with a zone, `halfvec(n)` for fixed lists of float16; what is not nullable is not
        null. Rows may be a table, a `RecordBatchReader`, or batches (these need a schema).

        Args:
            name: Name of the table.
            rows: What it holds; columns that the schema does not name are left out.
            schema: Columns to load; those of `rows` unless given.
            key: Columns that statements will join on: the planner gets statistics of these.

        Raises:
            WarehouseError: a column is missing, or a value cannot be stored; the message names table and column.
        """
        if schema is None:
            if not isinstance(rows, pa.Table | pa.RecordBatchReader):
                raise WarehouseRejected(f"table {name!r}: batches need a schema")
            schema = rows.schema
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        table = _quoted(name)
        count = 0
        with _translated(f"table {name!r}"):
            columns = ", ".join(
                f"{_quoted(column.name)} {arrow_copy.postgres_type(column)}{'' if column.nullable else ' NOT NULL'}"
                for column in schema
            )
            self.execute(f"CREATE TEMP TABLE {table} ({columns}) ON COMMIT DROP")
            names = ", ".join(_quoted(column) for column in schema.names)
            with self._cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)") as copy:
                copy.write(arrow_copy.COPY_HEADER)
                for piece in arrow_copy.slices(batches, target_bytes=self.rules.piece_bytes):
                    copy.write(arrow_copy.encode_rows(piece, schema, rows_before=count))
                    count += piece.num_rows
                copy.write(arrow_copy.COPY_TRAILER)
            if key:
                self.execute(f"ANALYZE {table} ({', '.join(_quoted(column) for column in key)})")
        return count

    def execute(self, sql: str, **params: Any) -> int:
        """Run one statement and return how many rows it touched (0 where that means nothing).

        Raises:
            WarehouseError: the statement cannot be run, or breaks a constraint.
        """
        with _stated():
            return max(0, self.connection.exec_driver_sql(_pyformat(sql, params), params).rowcount)

    def scalar(self, sql: str, **params: Any) -> Any:
        """The first column of the first row, or None where there is no row."""
        with _stated():
            return self.connection.exec_driver_sql(_pyformat(sql, params), params).scalar()

    def query(self, sql: str, schema: pa.Schema | None = None, **params: Any) -> pa.Table:
        """The rows of a query, in its order.

        Args:
            sql: The query.
            schema: Columns wanted, by name, and how to read them; inferred from the result unless given
                (then JSON comes as text, times in UTC, and numeric without a scale is refused).
            params: Values of the parameters.

        Raises:
            WarehouseError: a column is missing or does not fit; the message names it.
        """
        if schema is None:
            schema = self._describe(sql, params)
        return pa.Table.from_batches(self.query_batches(sql, schema, **params), schema)

    def query_batches(self, sql: str, schema: pa.Schema | None = None, **params: Any) -> Iterator[pa.RecordBatch]:
        """The same piece by piece."""
        if schema is None:
            schema = self._describe(sql, params)
        columns = ", ".join(arrow_copy.select_expression(column, _quoted(column.name)) for column in schema)
        # As a common table expression, a statement that changes rows and returns them is a query too.
        query = f"COPY (WITH result AS (\n{self._merged(sql, params)}\n) SELECT {columns} FROM result) "  # noqa: S608
        with _translated(), self._cursor() as cursor, cursor.copy(f"{query} TO STDOUT (FORMAT csv)".encode()) as copy:
            lines: list[Buffer] = []
            size = 0
            for line in copy:  # the server sends a row at a time
                lines.append(line)
                size += len(line)
                if size >= self.rules.piece_bytes:
                    yield arrow_copy.decode_rows(b"".join(lines), schema)
                    lines, size = [], 0
            if lines:
                yield arrow_copy.decode_rows(b"".join(lines), schema)

    def lock(self, name: str) -> None:
        """Wait until no other transaction holds the lock of this name, and hold it until this one ends."""
        self.execute("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=name)

    @property
    def _driver(self) -> psycopg.Connection[Any]:
        driver = self.connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise WarehouseRejected(f"the URL must begin with postgresql+psycopg://, its driver is {type(driver)}")
        return driver

    def _cursor(self) -> psycopg.Cursor[Any]:
        return self._driver.cursor()

    def _merged(self, sql: str, params: Mapping[str, Any]) -> str:
        """The statement with its values in place, for commands to which the server allows no parameters."""
        with _stated():
            return psycopg.ClientCursor(self._driver).mogrify(_pyformat(sql, params).encode(), params)

    def _describe(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """The result's columns, asked of the server without running the query."""
        with _translated():
            self.execute("SELECT 1")  # the driver begins its transaction with its first statement
            server = self._driver.pgconn
            prepared = server.prepare(b"", self._merged(sql, params).encode())
            if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(prepared)
            result = server.describe_prepared(b"")
            columns = [
                ((result.fname(position) or b"").decode(), result.ftype(position), result.fmod(position))
                for position in range(result.nfields)
            ]
            named = "SELECT format_type(:oid::oid, :modifier)"
            return pa.schema(
                [
                    (name, arrow_copy.arrow_type(name, self.scalar(named, oid=oid, modifier=modifier)))
                    for name, oid, modifier in columns
                ]
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _pyformat(sql: str, params: Mapping[str, Any]) -> str:
    """The statement as the driver wants it; only names that have a value are parameters, `::` stays a cast."""

    def parameter(match: re.Match[str]) -> str:
        return f"%({match[1]})s" if match[1] in params else match[0]

    return _PARAMETER.sub(parameter, sql.replace("%", "%%"))


@contextmanager
def _translated(what: str = "", *, connecting: bool = False) -> Iterator[None]:
    """Turn what the libraries raise into our errors, with `what` in front of the message."""
    try:
        yield
    except exc.TimeoutError as error:
        raise WarehouseUnavailable(f"{what}: every connection is in use: {error}") from error
    except (psycopg.Error, exc.DBAPIError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        kind = WarehouseUnavailable if _passes(cause, connecting) else WarehouseRejected
        raise kind(": ".join(filter(None, [what, _explained(cause)]))) from error
    except exc.SQLAlchemyError as error:
        raise WarehouseRejected(": ".join(filter(None, [what, str(error)]))) from error
    except arrow_copy.UnsupportedColumn as error:
        raise WarehouseRejected(": ".join(filter(None, [what, str(error)]))) from error


@contextmanager
def _stated() -> Iterator[None]:
    """The same for one statement, among whose values may be text that has no bytes."""
    with _translated():
        try:
            yield
        except UnicodeEncodeError as error:
            raise WarehouseRejected(f"{error.object[:100]!r} is no text in UTF-8, as every value must be") from error


def _passes(error: BaseException | None, connecting: bool) -> bool:
    """Whether trying again may help."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate:
        return error.sqlstate.startswith(_TRANSIENT)
    if not isinstance(error, psycopg.OperationalError):
        return False
    message = str(error)
    # A server that has let us in says FATAL only as it ends the connection.
    return not connecting or "FATAL" not in message or any(words in message for words in _PASSING_REFUSALS)


def _explained(error: BaseException | None) -> str:
    if not isinstance(error, psycopg.Error) or not error.diag.message_primary:
        return str(error).strip()
    diag = error.diag
    place = ", ".join(
        f"{kind} {name!r}"
        for kind, name in (
            ("table", diag.table_name), ("column", diag.column_name), ("constraint", diag.constraint_name)
        )
        if name
    )  # fmt: skip
    parts = [diag.message_primary, place, diag.message_detail, (diag.context or "").split("\n")[0]]
    return "; ".join(part for part in parts if part)
