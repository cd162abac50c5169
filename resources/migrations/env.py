"""Alembic's environment: runs the revisions on the connection that `Warehouse.migrate` hands over.

Belongs here: where the revision is recorded. Not here: URLs, engines, tables.
"""

from alembic import context

#: Schema of the catalogue and of Alembic's own table, which must exist before the first revision runs.
SCHEMA = "catalog"

connection = context.config.attributes["connection"]
connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
context.configure(connection=connection, version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
