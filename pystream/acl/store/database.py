"""One database, SQLite or PostgreSQL: opening it, its transactions, and what its errors mean.

SQLite runs in WAL mode: readers and the one writer do not wait for each other, and several
processes may use the file at once. What was committed is on the disk (`synchronous=FULL`). A
transaction that writes says so when it begins (BEGIN IMMEDIATE): one that only finds out later
that it has to would fail whenever somebody else wrote in between, however long it is ready to wait.

Messages say what is wrong with a database, and nothing of what is in it: PostgreSQL's own quote values of
rows and of parameters (`DETAIL: Key (name)=(...)`), and end up in logs.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError

from pystream.acl.store import tables
from pystream.acl.store.prepared import for_both
from pystream.errors import InvalidValue, NoStore, StoreError

# How long a transaction waits for that of another process.
_WAIT_SECONDS = 10
# Names the lock of PostgreSQL under which the tables are made and changed.
_MIGRATING = 0x7079_7374_7265_616D

# What is deleted is overwritten (secure_delete), for the key store erases by that.
_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "secure_delete=ON")

# Options of a URL of PostgreSQL's that may be told: others may be a password, or name a file that has one.
_PLACES = frozenset(("host", "port"))

# Classes of SQLSTATE (PostgreSQL, appendix A) whose messages are about the server, the session or the
# tables. Those of the others, on data (22) and constraints (23) above all, quote values.
_TELLING = frozenset(("08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"))

# SQLite's result codes that an operator can do something about.
_SQLITE_ADVICE = {
    "SQLITE_FULL": "the disk is full. Nothing of this change was kept; free some space",
    "SQLITE_IOERR": "the file cannot be written or read (disk error, or a limit on its size)."
    " Nothing of this change was kept",
    "SQLITE_BUSY": f"another process has been writing for {_WAIT_SECONDS} s. Nothing of this change"
    " was kept; try again",
    "SQLITE_READONLY": "this user may not write the file or its folder",
    "SQLITE_CANTOPEN": "the file cannot be opened or made; look at its folder, and who may write there",
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_CORRUPT": "the file is damaged; stop the server and bring back a backup",
}


_TURN = for_both(select(tables.revision.c.value).with_for_update())


@dataclass(frozen=True, slots=True)
class Schema:
    """What tables a database has: the revision that makes them, and the folder with all steps to it.
    No two schemas have a revision of one name: so a database is never taken for the other kind."""

    head: str
    migrations: str
    noun: str


MAIN = Schema(tables.HEAD, "migrations", "store")


class Database:
    """An engine with transactions that read or write, and errors in sentences. `made`: it was empty, or
    not there."""

    def __init__(
        self, url: str, *, migrate: bool, create: bool = True, schema: Schema = MAIN
    ) -> None:
        parsed = _parsed(url)
        self._schema = schema
        # As messages name it: never with a password, which may stand among the options, too.
        self.name = parsed.database if _is_sqlite(parsed) else _where(parsed)
        self.made = False
        self._joint = _Joint()
        self._turn = threading.Lock()
        with self._in_sentences():
            self.engine = _engine(parsed, schema.noun, create=migrate and create)
            try:
                self._arrive_at_head(migrate, create)
            except BaseException:
                self.engine.dispose()
                raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        if self._joint.connection is not None:
            yield self._joint.connection
            return
        with self._in_sentences(), self.engine.connect() as connection:
            if not self._sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        """For one statement that reads, of `Prepared`: it sees one moment by itself, so that no transaction
        has to be begun and ended around it."""
        if self._joint.connection is not None:
            yield self._joint.connection
            return
        with self._in_sentences(), self.engine.connect() as connection:
            if not self._sqlite:
                connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is kept whole where the block ends well, and else not at all."""
        if self._joint.stack is None:
            with ExitStack() as stack:
                yield self._write_in(stack)
            return
        if self._joint.connection is None:
            self._joint.connection = self._write_in(self._joint.stack)
        with self._in_sentences():
            yield self._joint.connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that this thread writes in the block is one transaction. It begins with the first that is
        written, and what is read after that sees it. An error that leaves `writing` has to leave this
        block as well, and the outermost one, where one is in another."""
        if self._joint.stack is not None:
            yield
            return
        with _Undoing() as undoing, ExitStack() as stack:
            self._joint.stack, self._joint.undoing = stack, undoing
            stack.callback(self._joint.end)
            yield

    @contextmanager
    def undoing(self, undo: Callable[[], None]) -> Iterator[None]:
        """For what cannot be in the transaction that the block writes: `undo` is called, after it, where an
        error ends that or the one of which it is a part."""
        if self._joint.undoing is not None:
            self._joint.undoing.callback(undo)
            yield
            return
        with _Undoing() as undoing:
            undoing.callback(undo)
            yield

    def _write_in(self, stack: ExitStack) -> Connection:
        stack.enter_context(self._in_sentences())
        stack.enter_context(self._own_turn())
        connection = stack.enter_context(self.engine.connect())
        connection.execution_options(pystream_writes=True)
        stack.enter_context(connection.begin())
        return connection

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        """Threads of this process go on at once, one after the other: SQLite has whoever comes to a file that
        is being written look again after 1 ms, 3 ms, 8 ms and so on."""
        if not self._sqlite:
            yield
            return
        if not self._turn.acquire(timeout=_WAIT_SECONDS):
            raise StoreError(f"{self.name}: {_SQLITE_ADVICE['SQLITE_BUSY']}")
        try:
            yield
        finally:
            self._turn.release()

    def checkpoint(self) -> bool:
        """Empties SQLite's write-ahead log into the file. False where some of it is still there,
        since for a second somebody has read an older moment."""
        with self._in_sentences(), closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 1000")
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                found = cursor.fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}")
            return found is not None and not found[0]

    def copy_to(self, path: str) -> None:
        """Writes what SQLite's file holds at one moment into an empty file, without what was deleted."""
        with self._in_sentences(), closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM INTO ?", (path,))

    @property
    def path(self) -> str | None:
        """SQLite's file."""
        return self.engine.url.database if self._sqlite else None

    @property
    def _sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def _arrive_at_head(self, migrate: bool, create: bool) -> None:
        with self.reading() as connection:
            found = _revision(connection)
        head, noun = self._schema.head, self._schema.noun
        if found == head:
            return
        if not migrate:
            raise StoreError(
                f"{self.name}: the {noun} is {_of_revision(found)}, and this pystream needs revision"
                f" {head}: let the new program's `pystream serve` or any `pystream tenant` command"
                " open it first"
            )
        if found is None and not create:
            raise NoStore(f"there is no {noun} in {self.name}")
        with self.writing() as connection:
            if not self._sqlite:
                lock = text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": _MIGRATING})
            # Another process may have been here since.
            found = _revision(connection)
            if found != head:
                self._upgrade(connection, found)
            self.made = found is None

    def _upgrade(self, connection: Connection, found: str | None) -> None:
        # Imported for this alone: a store that is as it should be costs no command Alembic's start.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        folder = os.path.join(os.path.dirname(__file__), self._schema.migrations)
        config.set_main_option("script_location", folder.replace("%", "%%"))
        config.attributes["connection"] = connection
        known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise StoreError(
                f"{self.name}: the {self._schema.noun} is {_of_revision(found)}, which a newer"
                " pystream made, or which is another kind of database: upgrade this pystream, or"
                " name the right one"
            )
        command.upgrade(config, "head")

    @contextmanager
    def _in_sentences(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreError(f"{self.name}: {_sentence(error.orig)}") from error
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: {_sentence(error)}") from error
        except StatementError as error:
            # Before the database was asked; the message has the parameters in it.
            raise StoreError(f"{self.name}: {type(error.orig).__name__} in a statement") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {error}") from error


def take_turn(connection: Connection) -> None:
    """Waits for whoever else writes and takes a turn; SQLite's transaction has waited by itself. What
    is numbered within a turn can be seen in that order."""
    _TURN.rows(connection, {})


def plan_anew(connection: Connection) -> None:
    """For the rest of a transaction PostgreSQL keeps no plan, nor any of what it asks for foreign keys:
    `prepared` tells why."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


class _Joint(threading.local):
    """The transaction that this thread's next ones belong to: a place for one, and the one itself, once
    something was written."""

    stack: ExitStack | None = None
    undoing: ExitStack | None = None
    connection: Connection | None = None

    def end(self) -> None:
        self.stack = self.undoing = self.connection = None


class _Undoing(ExitStack):
    """What it is told to call is called where an error ends it."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool | None:
        if error is None:
            self.pop_all()
        return super().__exit__(kind, error, trace)


def _parsed(url: str) -> URL:
    if "://" not in url:
        url = f"sqlite:///{url}"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text may hold a password.
        raise InvalidValue(
            "the store's URL is none: sqlite:////path or postgresql://host/name"
        ) from None
    if _is_sqlite(parsed):
        if parsed.database in (None, "", ":memory:") or parsed.query:
            raise InvalidValue("the store's SQLite URL has to name a file, and nothing else")
    elif parsed.get_backend_name() != "postgresql":
        raise InvalidValue(
            f"the store's URL names {parsed.get_backend_name()!r}; sqlite and postgresql are there"
        )
    return parsed


def _where(url: URL) -> str:
    """A URL with those options alone that say where the server is."""
    found = {name: value for name, value in url.query.items() if name in _PLACES}
    return url.set(query=found).render_as_string()


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: URL, noun: str, *, create: bool) -> Engine:
    if not _is_sqlite(url):
        try:
            return create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                connect_args={
                    "connect_timeout": _WAIT_SECONDS,
                    "options": f"-c lock_timeout={_WAIT_SECONDS}s -c timezone=UTC",
                },
            )
        except ModuleNotFoundError as error:
            raise StoreError(
                f"a store in PostgreSQL needs the Python package {error.name}, which is not installed:"
                " pip install '.[server,postgresql]' in its checkout"
            ) from None
    assert url.database is not None
    _touch(url.database, noun, create)
    engine = create_engine(url, connect_args={"timeout": _WAIT_SECONDS})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _touch(path: str, noun: str, create: bool) -> None:
    """Makes a file that is not there for its owner's eyes only, as SQLite's beside it then are.
    Without `create`, nothing is made."""
    # What is there is not opened: closing it would take from this process the locks that SQLite has on it.
    if os.path.isdir(path):
        raise StoreError(f"{path}: {os.strerror(errno.EISDIR)}")
    if os.path.exists(path):
        return
    if not create:
        raise NoStore(f"there is no {noun} at {path}")
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
        os.close(os.open(os.path.realpath(path), flags, 0o600))
    except FileExistsError:
        # Another process was here first.
        return
    except FileNotFoundError as error:
        raise StoreError(f"{path}: there is no such folder to make the {noun} in") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    # Transactions are begun by `_on_begin` only.
    connection.isolation_level = None
    _log_ahead(connection)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _log_ahead(connection: sqlite3.Connection) -> None:
    """WAL mode. Of several that change a new file to it at once SQLite lets one do so and refuses the
    others without waiting, however long they would."""
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= end:
                raise
            time.sleep(0.002)


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("pystream_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _of_revision(revision: str | None) -> str:
    return "empty" if revision is None else f"of revision {revision}"


def _sentence(error: Any) -> str:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorname", "")
        for known, advice in _SQLITE_ADVICE.items():
            if code == known or code.startswith(f"{known}_"):
                return f"{advice} ({code})"
    state = getattr(error, "sqlstate", None)
    if state == "55P03":
        return _SQLITE_ADVICE["SQLITE_BUSY"]
    if state is None:
        # SQLite's, which name columns, or of a server that was not reached.
        return " ".join(str(error).split())
    said = error.diag.message_primary if state[:2] in _TELLING else error.diag.constraint_name
    return f"{type(error).__name__}{f', {said}' if said else ''} ({state})"
