"""The store in PostgreSQL: how it is reached, and rows by COPY.

In binary and with the types named: in text it takes the client more than twice the time, and so does packing
by hand in Python, since psycopg packs in C. The rest goes through SQLAlchemy, as with SQLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DBAPIError

from entrepot.ledger.store.place import PostgresDatabase, require_driver
from entrepot.ledger.store.rows import Row
from entrepot.ledger.store.sqlite import on_conflict_add
from entrepot.ledger.store.tables import METADATA, USAGE_DAYS, USAGE_HOURS

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 5
LOST_AFTER_S = 30  # a server that acknowledges nothing for so long is gone
LOCK_TIMEOUT_S = 10


class PostgresStore:
    """The dialect of the store in a PostgreSQL database.

    Raises: DataError when the driver is not installed.
    """

    def __init__(self, place: PostgresDatabase) -> None:
        require_driver()
        self._place = place

    def engine(self) -> Engine:
        """Return an engine that connects to the database."""
        url = make_url(self._place.address).set(drivername="postgresql+psycopg")
        arguments = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "fallback_application_name": "entrepot",
            "keepalives_idle": LOST_AFTER_S // 3,
            "keepalives_interval": LOST_AFTER_S // 6,
            "keepalives_count": 3,
            "tcp_user_timeout": 1000 * LOST_AFTER_S,
        }
        engine = create_engine(url, connect_args=arguments, hide_parameters=True)
        event.listen(engine, "connect", _set_up)
        return engine

    def prepare(self) -> None:
        """Do nothing: the operator makes the database."""

    def identity(self) -> int:
        """Return 0: a database that is dropped ends its connections, and is seen anew with the next one."""
        return 0

    def hold_still(self, connection: Connection) -> None:
        """Let the transaction that begins on a connection read everything as it is at one instant."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> bool:
        """Write rows and return whether all were new; if not, the caller takes back what was written.

        Raises: sqlalchemy.exc.DBAPIError as for any other statement.
        """
        import psycopg

        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(_COPY[table.name]) as copy:
                copy.set_types(_COPY_TYPES[table.name])
                for row in rows:
                    copy.write_row(row)
        except psycopg.errors.UniqueViolation:
            return False
        except psycopg.Error as error:
            raise DBAPIError.instance(
                "COPY", None, error, psycopg.Error, hide_parameters=True, dialect=connection.dialect
            ) from error
        return True

    def add_usage(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add sums to the rows of a roll-up; those that are not there yet are made."""
        columns = ["{" + ",".join(map(str, column)) + "}" for column in zip(*rows, strict=True)]
        connection.exec_driver_sql(_ADD[table.name], tuple(columns))


def _set_up(connection: psycopg.Connection[Any], _: object) -> None:
    # Not in `options` of the connection: the address may have its own.
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
    connection.commit()


def _add_text(table: Table) -> str:
    arrays = ", ".join(["%s::bigint[]"] * len(table.c))
    columns = ", ".join(table.c.keys())
    return f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({arrays}) {on_conflict_add(table)}"


def _copy_text(table: Table) -> str:
    columns = ", ".join(f'"{name}"' for name in table.c.keys())  # noqa: SIM118 (a collection of columns)
    return f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)"


def _types(table: Table) -> list[str]:
    """Return the names of the types of a table's columns, which COPY in binary has to be told."""
    return [_TYPES[type(column.type)] for column in table.c]


_TYPES = {
    BigInteger: "int8",
    Boolean: "bool",
    Double: "float8",
    Integer: "int4",
    LargeBinary: "bytea",
    Text: "text",
}
_COPY = {table.name: _copy_text(table) for table in METADATA.sorted_tables}
_COPY_TYPES = {table.name: _types(table) for table in METADATA.sorted_tables}
_ADD = {table.name: _add_text(table) for table in (USAGE_HOURS, USAGE_DAYS)}
