"""What Alembic runs: the steps, on the connection and in the transaction of whoever asked."""

from alembic import context

from pystream.acl.store.key_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
