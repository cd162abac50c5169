"""A listing in what Dagster keeps of its runs.

Belongs here: finding and rewriting the events that name it. Not here: what names it (see `mentions`).
"""

import json
from collections.abc import Iterator

import sqlalchemy

from orchestration.erasure.mentions import Mentions
from orchestration.erasure.receipt import Removed

#: Dagster's tables that hold events as JSON, and the column.
EVENT_TABLES = {
    "event_logs": "event",
    "asset_keys": "last_materialization",
    "asset_check_executions": "evaluation_event",
}


def erase_from_events(database_url: str, mentions: Mentions) -> Iterator[Removed]:
    """Cut the listing out of every event in Dagster's database, and tell how many of a table named it."""
    engine = sqlalchemy.create_engine(database_url)
    try:
        with engine.begin() as connection:
            present = set(sqlalchemy.inspect(connection).get_table_names())
            for table, column in EVENT_TABLES.items():
                if table not in present:
                    continue
                count = sum(_cut_events(connection, table, column, mentions))
                if count:
                    yield Removed(store="Dagster", place=f"{table}.{column}", count=count, what="events")
    finally:
        engine.dispose()


def _cut_events(connection: sqlalchemy.Connection, table: str, column: str, mentions: Mentions) -> Iterator[int]:
    """Cut the listing out of a table of events, one after the other."""
    events = sqlalchemy.table(table, sqlalchemy.column("id"), sqlalchemy.column(column))
    named = sqlalchemy.select(events.c.id, events.c[column]).where(
        sqlalchemy.or_(*(events.c[column].contains(name, autoescape=True) for name in mentions.in_json))
    )
    for number, text in connection.execute(named).all():
        event = json.loads(text) if isinstance(text, str) else text
        cut = mentions.cut_from_event(event)
        if cut != event:
            value = json.dumps(cut) if isinstance(text, str) else cut
            connection.execute(sqlalchemy.update(events).where(events.c.id == number).values({column: value}))
            yield 1
