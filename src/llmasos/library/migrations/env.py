"""Alembic's entry: runs the migrations on the connection that the caller put into the configuration."""

from alembic import context

from llmasos.library.revision import VERSION_TABLE
from llmasos.library.schema import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables,
    version_table=VERSION_TABLE,
    # SQLite can roll back DDL too, given the explicit BEGIN that llmasos.library.database sends; without this, a
    # crash half-way would leave tables and no version.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
