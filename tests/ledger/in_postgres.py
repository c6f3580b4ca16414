"""A copy of a store in a schema of its own in PostgreSQL, to ask both the same questions.

`ENTREPOT_TEST_POSTGRES_URL` names a database in which schemas may be made; without it the one at
127.0.0.1:5432 is tried. Where there is none the test is skipped and says so.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import METADATA

VARIABLE = "ENTREPOT_TEST_POSTGRES_URL"
DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/test"


@contextmanager
def in_postgres(store: Store) -> Iterator[Store]:
    """Give what has the rows of the store in PostgreSQL; reports need no more of a store than its engine."""
    url = make_url(os.environ.get(VARIABLE, DEFAULT_URL)).set(drivername="postgresql+psycopg")
    schema = f"entrepot_test_{secrets.token_hex(8)}"
    options = {"options": f"-csearch_path={schema}", "connect_timeout": 3}
    engine = create_engine(url, connect_args=options)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    except OperationalError as error:
        engine.dispose()
        pytest.skip(f"no PostgreSQL at {url.render_as_string()} ({error.orig}); set {VARIABLE}")
    try:
        with store.engine.connect() as here, engine.begin() as there:
            METADATA.create_all(there)
            for table in METADATA.sorted_tables:
                rows = [dict(row) for row in here.execute(select(table)).mappings()]
                if rows:
                    there.execute(table.insert(), rows)
        yield cast(Store, SimpleNamespace(engine=engine))
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
        engine.dispose()
