"""Statements that every sign-in asks.

SQLAlchemy takes several times as long for one of them as SQLite does: it looks whether it has compiled it
before, and what its values and its rows are. So these are compiled once for each kind of database, and run by
its driver within SQLAlchemy's transaction. Values go in and come out as the driver has them: SQLite has 0 and
1 for no and yes, and a list of numbers goes in as `numbers` has it.

PostgreSQL plans what is read each time, for what there is then. A plan that it keeps from when a table was
short is to look at all of it, for each who comes in, once a long list has come, until it has counted that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, any_, bindparam, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable

Values = Mapping[str, Any]


class Prepared:
    """A statement of each dialect's, which is made by the name of the one that is asked. Methods raise as
    SQLAlchemy's do."""

    def __init__(self, statement: Callable[[str], Executable]) -> None:
        self._statement = statement
        self._texts: dict[str, tuple[str, Sequence[str] | None]] = {}

    def rows(self, connection: Connection, values: Values) -> list[tuple[Any, ...]]:
        text, order = self._text(connection)
        with _raised_as_sqlalchemy_does(connection):
            cursor: Any = connection.connection.cursor()
            if order is None:
                cursor.execute(text, values, prepare=False)
            else:
                cursor.execute(text, _bound(order)(values))
            return list(cursor.fetchall())

    def run(self, connection: Connection, many: Sequence[Values]) -> int:
        """Once with each of these values; returns how many rows that has met."""
        text, order = self._text(connection)
        with _raised_as_sqlalchemy_does(connection):
            cursor = connection.connection.cursor()
            cursor.executemany(text, list(map(_bound(order), many)))
            return int(cursor.rowcount)

    def _text(self, connection: Connection) -> tuple[str, Sequence[str] | None]:
        """What the driver is given, and the order of the values, where they have no names in it."""
        name = connection.dialect.name
        found = self._texts.get(name)
        if found is None:
            statement: Any = self._statement(name)
            compiled = statement.compile(dialect=connection.dialect)
            found = self._texts[name] = str(compiled), compiled.positiontup
        return found


def for_both(statement: Executable) -> Prepared:
    return Prepared(lambda _: statement)


def among(dialect: str, column: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """That a column is one of the numbers that are bound by that name, however many these are."""
    if dialect == "sqlite":
        listed = func.json_each(bindparam(name)).table_valued("value", name=f"these_{name}")
        return column.in_(select(listed.c.value))
    return column == any_(bindparam(name, type_=ARRAY(BigInteger)))


def numbers(connection: Connection, values: Sequence[int]) -> str | list[int]:
    """A value for `among`."""
    return json.dumps(values) if connection.dialect.name == "sqlite" else list(values)


def _bound(order: Sequence[str] | None) -> Callable[[Values], Any]:
    """What makes of values what the driver wants."""
    if order is None:
        return lambda values: values
    if len(order) < 2:
        return lambda values: [values[name] for name in order]
    return itemgetter(*order)


@contextmanager
def _raised_as_sqlalchemy_does(connection: Connection) -> Iterator[None]:
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        if connection.dialect.is_disconnect(error, connection.connection, None):
            # Nothing is rolled back on what is gone, and nobody gets it again.
            connection.invalidate(error)
        raise DBAPIError(None, None, error) from error
