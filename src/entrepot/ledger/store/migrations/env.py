"""Runs the revisions on the connection that the store hands over.

Alembic runs this file; it needs no alembic.ini and no address of a database, so a user never sees it.
"""

from alembic import context

from entrepot.ledger.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
