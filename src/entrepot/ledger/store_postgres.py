"""The store in PostgreSQL: how it is reached, and rows by COPY.

psycopg's own row-by-row COPY looks at the type of each value; the columns of a table are known, so whole
batches are packed here by their layout. The rest goes through SQLAlchemy, as with SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DBAPIError

from entrepot.ledger.rows import Row
from entrepot.ledger.store_place import PostgresDatabase, require_driver
from entrepot.ledger.store_sqlite import on_conflict_add
from entrepot.ledger.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    FEEDBACK,
    RESERVES,
    USAGE_DAYS,
    USAGE_HOURS,
)

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 5
LOST_AFTER_S = 30  # a server that acknowledges nothing for so long is gone
LOCK_TIMEOUT_S = 10
_REQUEST_ID_BYTES = 16
_NULL = b"\xff\xff\xff\xff"
_LENGTH = Layout(">i")
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"


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

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> bool:
        """Write rows and return whether all were new; if not, the caller takes back what was written.

        Raises: sqlalchemy.exc.DBAPIError as for any other statement.
        """
        import psycopg

        packed = _PACKED[table.name](rows)
        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(_COPY[table.name]) as copy:
                copy.write(packed)
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
    return f"INSERT INTO {table.name} SELECT * FROM unnest({arrays}) {on_conflict_add(table)}"


def _copy_text(table: Table) -> str:
    return f"COPY {table.name} ({', '.join(table.c.keys())}) FROM STDIN (FORMAT BINARY)"


def _layout(column: Column[Any]) -> str | None:
    """Return how a value of fixed size is packed; None for one whose size varies, or that may be NULL."""
    if column.nullable:
        return None
    match column.type:
        case LargeBinary() if column.name == "request_id":
            return f"{_REQUEST_ID_BYTES}s"
        case BigInteger():
            return "q"
        case Integer():
            return "i"
        case Boolean():
            return "?"
        case _:
            return None


def _packing(table: Table) -> Callable[[Sequence[Row]], bytes]:
    """Return a function that packs rows as PostgreSQL's binary COPY wants them.

    A row is the number of its fields, then each as a length and a value. Neighbours of fixed size are packed
    with one call.
    Source: PostgreSQL 15 documentation, COPY, "Binary Format".
    """
    parts: list[Callable[[Row], bytes]] = []
    head = len(table.c).to_bytes(2, "big")
    columns = enumerate(zip(table.c, map(_layout, table.c), strict=True))
    for is_fixed, run in groupby(columns, key=lambda found: found[1][1] is not None):
        found = list(run)
        if is_fixed:
            parts.append(_fixed(found[0][0], [layout for _, (_, layout) in found if layout is not None]))
        else:
            parts += [_single(index, column) for index, (column, _) in found]

    def packed(rows: Sequence[Row]) -> bytes:
        return b"".join(_pieces(rows, head, parts))

    return packed


def _pieces(rows: Sequence[Row], head: bytes, parts: list[Callable[[Row], bytes]]) -> Iterator[bytes]:
    yield _COPY_HEAD
    for row in rows:
        yield head
        for part in parts:
            yield part(row)
    yield _COPY_END


def _fixed(first: int, layouts: list[str]) -> Callable[[Row], bytes]:
    layout = Layout(">" + "".join(f"i{one}" for one in layouts))
    values: list[Any] = [0] * (2 * len(layouts))
    values[0::2] = [Layout(">" + one).size for one in layouts]
    last, pack = first + len(layouts), layout.pack

    def part(row: Row) -> bytes:
        values[1::2] = row[first:last]
        return pack(*values)

    return part


def _single(index: int, column: Column[Any]) -> Callable[[Row], bytes]:
    number = Layout(">id").pack
    length = _LENGTH.pack

    def double(row: Row) -> bytes:
        value = row[index]
        return _NULL if value is None else number(8, value)

    def binary(row: Row) -> bytes:
        value = row[index]
        return _NULL if value is None else length(len(value)) + value

    def text(row: Row) -> bytes:
        value = row[index].encode()
        return length(len(value)) + bytes(value)

    match column.type:
        case Double():
            return double
        case LargeBinary():
            return binary
        case _:
            return text


_COPIED = (RESERVES, DECISIONS, CLOSINGS, CORRECTIONS, FEEDBACK)
_PACKED = {table.name: _packing(table) for table in _COPIED}
_COPY = {table.name: _copy_text(table) for table in _COPIED}
_ADD = {table.name: _add_text(table) for table in (USAGE_HOURS, USAGE_DAYS)}
