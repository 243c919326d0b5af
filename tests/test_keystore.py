"""The key store, on real databases: what it wraps, erases, rotates and brings back."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, text

import pystream.acl.store
from pystream.acl.keys import (
    MOST_MASTER_KEYS,
    Keyring,
    add_master_key,
    create_master_key,
    root_of,
)
from pystream.acl.sealing import MasterKeys, Peppers, Place, seal, unseal
from pystream.acl.store import Store, key_backups, key_tables
from pystream.acl.store.erasures import ErasureList
from pystream.acl.store.keystore import KeyStore, RecordKey, Traces
from pystream.errors import (
    Exists,
    InvalidValue,
    MasterKeyError,
    NoStore,
    NotFound,
    SealError,
    StoreError,
)
from tests import postgresql

MIGRATIONS = Path(pystream.acl.store.__file__).parent / "key_migrations"
# 2031-05-16 12:00 UTC
NOON = 1_936_699_200
TODAY, DAY = NOON // 86400, 86400
ROOT = bytes(range(32))
needs_postgresql = pytest.mark.needs("pg_ctlcluster")


class Node:
    """A folder with a master key, an erasure list, and a key store there or elsewhere."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.master = folder / "pystream.key"
        self.erasures = folder / "erasures.txt"
        self.file = folder / "keys.db"

    def masters(self) -> MasterKeys:
        return MasterKeys.load(str(self.master), {})

    def open(self, **options: Any) -> KeyStore:
        return KeyStore.open(self.url, self.masters, str(self.erasures), **options)

    def restore(self, path: str, **options: Any) -> key_backups.Restored:
        given: dict[str, Any] = {"listed_since": 0} | options
        return key_backups.restore(path, self.url, self.masters, str(self.erasures), **given)

    def bytes(self) -> bytes:
        """All that SQLite's files hold."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("keys.db*")))


NUMBERS = count(1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    """On an empty database."""
    create_master_key(str(tmp_path / "pystream.key"))
    if request.param == "sqlite":
        return Node(tmp_path, str(tmp_path / "keys.db"))
    socket, name = request.getfixturevalue("postgres"), f"keys{next(NUMBERS)}"
    postgresql.execute(postgresql.url(socket), f"CREATE DATABASE {name}")
    return Node(tmp_path, postgresql.url(socket, name))


@pytest.fixture
def keys(node: Node) -> Iterator[KeyStore]:
    with node.open() as opened:
        opened.set_up(ROOT, NOON)
        yield opened


@pytest.fixture
def file_node(tmp_path: Path) -> Node:
    """In SQLite."""
    create_master_key(str(tmp_path / "pystream.key"))
    return Node(tmp_path, str(tmp_path / "keys.db"))


@pytest.fixture
def file_keys(file_node: Node) -> Iterator[KeyStore]:
    with file_node.open() as opened:
        opened.set_up(ROOT, NOON)
        yield opened


def raw(file: Path, *statements: str) -> list[Any]:
    """What somebody does to a key store by hand."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


def wrapped(file: Path, reference: bytes) -> bytes:
    (row,) = raw(file, f"SELECT wrapped FROM record_key WHERE reference = x'{reference.hex()}'")
    assert len(row[0]) == 61
    return bytes(row[0])


def opened(keys: KeyStore, tenant_id: int, *made: RecordKey) -> bool:
    """Whether all of these are there, as they were made."""
    found = keys.record_keys(tenant_id, [each.reference for each in made])
    assert set(found.items()) <= {(each.reference, each.key) for each in made}
    return len(found) == len(made)


# Tables


def test_migrations_make_the_tables_that_the_code_knows(node: Node) -> None:
    node.open().close()
    url = node.url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url if "://" in url else f"sqlite:///{url}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, key_tables.metadata) == []
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()
    with node.open() as store:
        assert store.revision() == 0
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == key_tables.HEAD


def test_migrations_make_the_same_constraints(file_node: Node) -> None:
    """Alembic compares no CHECK; SQLite's own text of the tables has them."""
    file_node.open().close()
    engine = create_engine(f"sqlite:///{file_node.folder}/direct.db")
    key_tables.metadata.create_all(engine)
    engine.dispose()

    def schema(path: Path) -> dict[str, set[str]]:
        wanted = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        return {
            name: {" ".join(line.strip(" ,\t").split()) for line in sql.splitlines()}
            for name, sql in raw(path, f"{wanted} AND name <> 'alembic_version'")
        }

    assert schema(file_node.file) == schema(file_node.folder / "direct.db")


def test_a_store_is_no_key_store(file_node: Node) -> None:
    main = str(file_node.folder / "store.db")
    Store.open(main).close()
    file_node.open().close()
    with pytest.raises(StoreError, match=r"the store is of revision k0001, .* another kind"):
        Store.open(file_node.url)
    file_node.url = main
    with pytest.raises(StoreError, match=r"the key store is of revision \d+, .* another kind"):
        file_node.open()


def test_a_new_key_store_is_its_owners_only(file_node: Node) -> None:
    before = os.umask(0)
    try:
        with file_node.open() as keys:
            keys.set_up(ROOT, NOON)
            (made,) = keys.add_record_keys(7, 1, NOON)
            keys.erase(7, [made.reference], NOON)
            for path in file_node.folder.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    finally:
        os.umask(before)
    assert file_node.erasures.exists()


def test_a_worker_makes_no_key_store(file_node: Node) -> None:
    with pytest.raises(StoreError, match=r"there is no key store at .*keys\.db"):
        file_node.open(migrate=False)
    assert not file_node.file.exists()


# Root and pepper


def test_the_root_is_made_once(node: Node) -> None:
    with node.open() as keys:
        for ask in (keys.root, keys.peppers):
            with pytest.raises(NoStore, match="there are no keys yet"):
                ask()
        keys.set_up(ROOT, NOON)
        pepper, revision = keys.peppers(), keys.revision()
        keys.set_up(bytes(32), NOON + 1)
        assert (keys.root(), keys.peppers(), keys.revision()) == (ROOT, pepper, revision)
    with node.open(migrate=False) as keys:
        assert (keys.root(), keys.peppers()) == (ROOT, pepper)
    assert len(pepper.newest.secret) == 32 and pepper.newest.secret != ROOT


def test_players_keep_their_keys_where_there_was_no_root_yet(file_node: Node) -> None:
    from pystream.server.keys import ensure_keys, open_key_store
    from pystream.server.settings import load

    folder = file_node.folder
    (folder / "pystream.toml").write_text("")
    keys = load(str(folder / "pystream.toml"), {}).keys
    (master,) = (bytes.fromhex(line) for line in file_node.master.read_text().split())
    before = Keyring(root_of(master)).content_key(1, "v", "v0", 0)
    ensure_keys(keys, {}, NOON)
    for _ in range(2):
        with open_key_store(keys, {}) as store:
            assert Keyring(store.root()).content_key(1, "v", "v0", 0) == before
        add_master_key(str(file_node.master))
        with open_key_store(keys, {}) as store:
            store.rotate_master()
        ensure_keys(keys, {}, NOON)


def test_a_new_node_has_a_root_of_its_own(tmp_path: Path) -> None:
    from pystream.server.keys import ensure_keys, open_key_store
    from pystream.server.settings import load

    (tmp_path / "pystream.toml").write_text("")
    keys = load(str(tmp_path / "pystream.toml"), {}).keys
    ensure_keys(keys, {}, NOON)
    master = bytes.fromhex((tmp_path / "pystream.key").read_text())
    with open_key_store(keys, {}) as store:
        root = store.root()
    assert root not in (master, root_of(master)) and len(root) == 32
    ensure_keys(keys, {}, NOON)
    with open_key_store(keys, {}) as store:
        assert store.root() == root


def test_a_lost_master_key_is_not_made_anew(file_node: Node) -> None:
    from pystream.server.keys import ensure_keys
    from pystream.server.settings import load

    (file_node.folder / "pystream.toml").write_text("")
    keys = load(str(file_node.folder / "pystream.toml"), {}).keys
    ensure_keys(keys, {}, NOON)
    file_node.master.unlink()
    with pytest.raises(MasterKeyError, match=r"the master key is missing, .*: bring it back"):
        ensure_keys(keys, {}, NOON)
    assert not file_node.master.exists()


def test_a_wrong_master_key_is_told_apart(node: Node, keys: KeyStore) -> None:
    name = node.masters().newest
    node.master.unlink()
    with pytest.raises(MasterKeyError, match=r"pystream\.key: No such file"):
        node.open()
    create_master_key(str(node.master))
    other = node.masters().newest
    for migrate in (True, False):
        with pytest.raises(MasterKeyError) as caught:
            node.open(migrate=migrate)
        assert f"the key of root was wrapped under the master key {name}" in str(caught.value)
        assert f"there are {other} only" in str(caught.value)


def test_what_was_changed_by_hand_does_not_open(file_node: Node, file_keys: KeyStore) -> None:
    file_keys.add_record_keys(7, 1, NOON)
    raw(file_node.file, "UPDATE tenant_key SET tenant_id = 8, wrapped = wrapped")
    with pytest.raises(SealError, match="the key of tenant 8/1: "):
        file_keys.add_record_keys(8, 1, NOON)
    raw(file_node.file, "UPDATE root SET wrapped = (SELECT wrapped FROM pepper)")
    with pytest.raises(SealError, match="the key of root: "):
        file_keys.root()


# Record keys


def test_record_keys_are_made_and_found(node: Node, keys: KeyStore) -> None:
    made = keys.add_record_keys(7, 1200, NOON)
    other = keys.add_record_keys(8, 2, NOON)
    assert len({each.reference for each in (*made, *other)}) == 1202
    assert len({each.key for each in (*made, *other)}) == 1202
    assert {len(each.reference) for each in made} == {16}
    assert opened(keys, 7, *made) and opened(keys, 8, *other)
    assert keys.record_key(8, other[0].reference) == other[0].key
    assert keys.record_keys(7, []) == {} and keys.add_record_keys(7, 0, NOON) == ()
    status = keys.status()
    assert (status.tenants, status.records, status.rotating) == (2, 1202, ())
    assert made[0].key.hex() not in repr(made[0])


def test_a_tenants_keys_are_nobody_elses(keys: KeyStore) -> None:
    (made,), (other,) = keys.add_record_keys(7, 1, NOON), keys.add_record_keys(8, 1, NOON)
    assert keys.record_keys(8, [made.reference]) == {}
    for tenant, reference in ((8, made.reference), (9, made.reference), (7, bytes(16))):
        with pytest.raises(NotFound, match=f"tenant {tenant} has no key {reference.hex()}"):
            keys.record_key(tenant, reference)
    # An attempt on a foreign one erases nothing else, either.
    for wanted in ([made.reference, other.reference], [bytes(16), other.reference]):
        with pytest.raises(NotFound):
            keys.erase(8, wanted, NOON)
    assert opened(keys, 7, made) and opened(keys, 8, other)


def test_rows_that_were_exchanged_do_not_open(file_node: Node, file_keys: KeyStore) -> None:
    one, other = file_keys.add_record_keys(7, 2, NOON)
    bytes_of_other = wrapped(file_node.file, other.reference)
    change = f"UPDATE record_key SET wrapped = x'{bytes_of_other.hex()}' WHERE reference ="
    raw(file_node.file, f"{change} x'{one.reference.hex()}'")
    with pytest.raises(SealError, match=f"the key {one.reference.hex()} of tenant 7: "):
        file_keys.record_key(7, one.reference)
    assert opened(file_keys, 7, other)
    file_keys.add_record_keys(8, 1, NOON)
    raw(file_node.file, "UPDATE record_key SET tenant_id = 8")
    with pytest.raises(SealError):
        file_keys.record_key(8, other.reference)


# Erasing


def test_what_is_erased_is_gone(node: Node, keys: KeyStore) -> None:
    first, second, third = keys.add_record_keys(7, 3, NOON)
    left = Traces.NONE if node.url.startswith("/") else Traces.SERVER
    assert keys.erase(7, [first.reference, second.reference], NOON) is left
    for each in (first, second):
        with pytest.raises(NotFound, match="or it was erased"):
            keys.record_key(7, each.reference)
    assert opened(keys, 7, third)
    wanted = {first.reference: TODAY, second.reference: TODAY}
    assert ErasureList(str(node.erasures)).read() == wanted
    # Again, and with one more, on another day.
    keys.erase(7, [first.reference], NOON + DAY)
    keys.erase(7, [first.reference, third.reference], NOON + DAY)
    wanted[third.reference] = TODAY + 1
    assert ErasureList(str(node.erasures)).read() == wanted
    assert keys.status().erasures == 3
    lines = node.erasures.read_text().splitlines()
    assert lines[-1] == f"{third.reference.hex()} 2031-05-17"


def test_a_tenant_is_erased_with_all_that_is_its(node: Node, keys: KeyStore) -> None:
    made, other = keys.add_record_keys(7, 3, NOON), keys.add_record_keys(8, 2, NOON)
    keys.rotate_tenant(7, NOON)
    keys.erase_tenant(7, NOON)
    keys.erase_tenant(7, NOON)
    assert not keys.record_keys(7, [each.reference for each in made])
    assert opened(keys, 8, *other)
    assert (keys.status().tenants, keys.status().records, keys.status().erasures) == (1, 2, 1)
    # A new contract has a new key.
    assert opened(keys, 7, *keys.add_record_keys(7, 1, NOON))


def test_who_erases_a_key_does_not_look_at_all_of_them(node: Node, keys: KeyStore) -> None:
    explain = "EXPLAIN QUERY PLAN " if keys.database.path else "EXPLAIN "
    plans: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "FROM record_key" in statement and not statement.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql(explain + statement, values)
            plans.append(" ".join(str(row[-1]) for row in rows))

    made = keys.add_record_keys(7, 3000, NOON)
    if keys.database.path is None:
        postgresql.execute(node.url, "ANALYZE")
    event.listen(keys.database.engine, "before_cursor_execute", note)
    keys.erase(7, [made[0].reference], NOON)
    assert plans and not [each for each in plans if re.search(r"(?i)\bscan (on )?record_key", each)]
    assert not opened(keys, 7, made[0]) and opened(keys, 7, *made[1:])


def test_an_erasure_on_the_list_is_done_by_the_next_one_who_opens(node: Node) -> None:
    """Whoever wrote it died before the key was deleted; or an old database came back."""
    with node.open() as keys:
        keys.set_up(ROOT, NOON)
        made = keys.add_record_keys(7, 3, NOON)
        tenant = keys.add_record_keys(8, 2, NOON)
        ErasureList(str(node.erasures)).add({made[1].reference: TODAY})
    with node.open() as keys:
        assert set(keys.record_keys(7, [m.reference for m in made])) == {
            made[0].reference,
            made[2].reference,
        }
        assert keys.status().erasures == 1
        assert keys.apply_erasures({made[0].reference: TODAY, bytes(16): TODAY}) == 1
        assert keys.apply_erasures({made[0].reference: TODAY, bytes(16): TODAY}) == 0
        assert opened(keys, 7, made[2]) and opened(keys, 8, *tenant)


def test_a_table_that_was_brought_back_alone_has_no_erased_key_either(
    node: Node, keys: KeyStore
) -> None:
    """The database's own list is the newer one, and knows of it."""
    (made, kept) = keys.add_record_keys(7, 2, NOON)
    named = f"reference = '\\x{made.reference.hex()}'"
    if keys.database.path is not None:
        named = f"reference = x'{made.reference.hex()}'"
    with keys.database.writing() as connection:
        connection.execute(text(f"CREATE TABLE dumped AS SELECT * FROM record_key WHERE {named}"))
    keys.erase(7, [made.reference], NOON)
    with keys.database.writing() as connection:
        connection.execute(text("INSERT INTO record_key SELECT * FROM dumped"))
        connection.execute(text("DROP TABLE dumped"))
    assert opened(keys, 7, made, kept)
    with node.open() as again:
        assert not opened(again, 7, made) and opened(again, 7, kept)


def test_a_long_list_is_applied_by_few_questions(node: Node, keys: KeyStore) -> None:
    """Each start of a node asks them, and whoever watches waits for it."""
    made = keys.add_record_keys(7, 1500, NOON)
    keys.erase(7, [each.reference for each in made[1:]], NOON)
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(keys.database.engine, "before_cursor_execute", note)
    listed = ErasureList(str(node.erasures)).read()
    assert len(listed) == 1499 and keys.apply_erasures(listed) == 0
    assert len([each for each in asked if "SELECT" in each]) == 3
    assert opened(keys, 7, made[0])


def test_a_list_that_is_new_has_what_the_database_has(node: Node, keys: KeyStore) -> None:
    """Of a second node, or of one whose list was lost."""
    made = keys.add_record_keys(7, 2, NOON)
    keys.erase(7, [made[0].reference], NOON)
    node.erasures.unlink()
    node.open().close()
    assert ErasureList(str(node.erasures)).read() == {made[0].reference: TODAY}


def test_no_byte_of_an_erased_key_stays(file_node: Node) -> None:
    """In the file, its free pages, and the write-ahead log; among many, of which some have gone."""
    chance = random.Random(6)
    with file_node.open() as keys:
        keys.set_up(ROOT, NOON)
        made = list(keys.add_record_keys(7, 3000, NOON))
        assert all(
            wrapped(file_node.file, each.reference) in file_node.bytes() for each in made[:20]
        )
        chance.shuffle(made)
        for part in (made[:1], made[1:700], made[700:2990]):
            before = raw(file_node.file, "SELECT reference, wrapped FROM record_key")
            rows = dict(before)
            gone = [each.reference for each in part]
            assert keys.erase(7, gone, NOON) is Traces.NONE
            after = file_node.bytes()
            # 20 bytes of it would do to know it again.
            pieces = {after[n : n + 20] for n in range(len(after) - 19)}
            for reference in gone:
                for begin in (0, 20, 41):
                    assert rows[reference][begin : begin + 20] not in pieces
            assert (file_node.folder / "keys.db-wal").stat().st_size == 0


def test_a_reader_keeps_the_log_and_it_is_said(file_node: Node, file_keys: KeyStore) -> None:
    made = file_keys.add_record_keys(7, 2, NOON)
    gone = wrapped(file_node.file, made[0].reference)
    with closing(sqlite3.connect(file_node.file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record_key").fetchall()
        assert file_keys.erase(7, [made[0].reference], NOON) is Traces.LOG
        assert gone in file_node.bytes()
        assert not file_keys.record_keys(7, [made[0].reference])
        reader.execute("COMMIT")
        assert file_keys.scrub() is Traces.NONE
        assert gone not in file_node.bytes()


def test_a_list_that_cannot_be_written_erases_nothing(file_node: Node, file_keys: KeyStore) -> None:
    (made,) = file_keys.add_record_keys(7, 1, NOON)
    file_node.erasures.mkdir()
    with pytest.raises(StoreError, match=r"erasures\.txt: Is a directory: nothing was erased"):
        file_keys.erase(7, [made.reference], NOON)
    assert opened(file_keys, 7, made)


# The list


def test_a_line_that_was_never_finished_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "erasures.txt"
    listed = ErasureList(str(path))
    listed.add({bytes(16): TODAY})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole + whole[:length])
        assert listed.read() == {bytes(16): TODAY}
        listed.add({b"\1" * 16: TODAY + 1})
        assert listed.read() == {bytes(16): TODAY, b"\1" * 16: TODAY + 1}
        path.write_bytes(whole[:length])
        listed.add({b"\1" * 16: TODAY + 1})
        assert listed.read() == {b"\1" * 16: TODAY + 1}


@pytest.mark.parametrize(
    "line", ["", "x", f"{'0' * 32} 2031-05-32", f"{'0' * 31} 2031-05-15", f"{'0' * 32}  2031-05-15"]
)
def test_a_list_with_another_line_is_refused(file_node: Node, line: str) -> None:
    """A line that was spoiled may be an erasure."""
    file_node.erasures.write_text(f"{'0' * 32} 2031-05-15\n{line}\n{'1' * 32} 2031-05-15\n")
    with pytest.raises(StoreError, match=r"erasures\.txt:2: this is no entry"):
        file_node.open()


@given(st.binary(max_size=200))
def test_any_list_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("list") / "erasures.txt"
    path.write_bytes(data)
    try:
        entries = ErasureList(str(path)).read()
    except StoreError:
        return
    assert len(entries) <= data.count(b"\n")


# Rotating


def test_a_new_master_key_opens_all_by_itself(node: Node, keys: KeyStore) -> None:
    made, other = keys.add_record_keys(7, 3, NOON), keys.add_record_keys(8, 2, NOON)
    pepper, old = keys.peppers(), node.masters().newest
    assert keys.rotate_master() == 0
    add_master_key(str(node.master))
    new = node.masters().newest
    assert keys.status().masters == {new: 0, old: 4}
    assert keys.rotate_master() == 4
    assert keys.rotate_master() == 0
    assert keys.status().masters == {new: 4, old: 0}
    # Without the old line.
    node.master.write_text(node.master.read_text().splitlines()[0])
    for store in (keys, node.open()):
        assert (store.root(), store.peppers()) == (ROOT, pepper)
        assert opened(store, 7, *made) and opened(store, 8, *other)
    store.close()


def test_a_process_that_runs_follows_a_rotation(node: Node, keys: KeyStore) -> None:
    """It had read the master keys before there was a new one."""
    made = keys.add_record_keys(7, 1, NOON)
    with node.open() as other:
        add_master_key(str(node.master))
        other.rotate_master()
        node.master.write_text(node.master.read_text().splitlines()[0])
    assert keys.root() == ROOT and opened(keys, 7, *made)
    keys.add_record_keys(9, 1, NOON)
    # And one that wraps before it meets anything new.
    with node.open() as other:
        add_master_key(str(node.master))
        other.add_record_keys(10, 1, NOON)
    assert keys.status().masters[node.masters().newest] == 1


def test_a_tenants_new_key_opens_all_by_itself(node: Node, keys: KeyStore) -> None:
    made, other = keys.add_record_keys(7, 1200, NOON), keys.add_record_keys(8, 2, NOON)
    revision = keys.revision()
    assert keys.rotate_tenant(7, NOON) == 1200
    assert keys.revision() > revision
    assert opened(keys, 7, *made) and opened(keys, 8, *other)
    more = keys.add_record_keys(7, 2, NOON)
    assert keys.rotate_tenant(7, NOON) == 1202
    assert opened(keys, 7, *made, *more)
    assert keys.status().tenants == 2 and keys.status().rotating == ()
    assert keys.rotate_tenant(8, NOON) == 2
    with pytest.raises(NotFound, match="tenant 9 has no key yet"):
        keys.rotate_tenant(9, NOON)


def test_a_tenant_that_goes_while_its_key_is_rotated_is_gone(node: Node, keys: KeyStore) -> None:
    keys.add_record_keys(7, 3, NOON)
    other, transactions = keys.add_record_keys(8, 2, NOON), count(1)

    def go(_: Any) -> None:
        """The new key is there, and one record key is wrapped under it."""
        if next(transactions) == 3:
            beside.erase_tenant(7, NOON)

    engine = keys.database.engine
    with node.open(migrate=False) as beside:
        event.listen(engine, "engine_connect", go)
        assert keys.rotate_tenant(7, NOON, 1) == 1
        event.remove(engine, "engine_connect", go)
    assert keys.held(7) == (0, 0) and opened(keys, 8, *other)


def test_no_byte_of_an_old_tenant_key_stays(file_node: Node, file_keys: KeyStore) -> None:
    (made,) = file_keys.add_record_keys(7, 1, NOON)
    ((old,),) = raw(file_node.file, "SELECT wrapped FROM tenant_key")
    gone = wrapped(file_node.file, made.reference)
    assert old in file_node.bytes() and gone in file_node.bytes()
    file_keys.rotate_tenant(7, NOON)
    assert old not in file_node.bytes() and gone not in file_node.bytes()
    assert opened(file_keys, 7, made)


class Passwords:
    """What the main store has of passwords: a generation and an index each, and the sealed text."""

    def __init__(self, peppers: Peppers, *texts: bytes) -> None:
        self.texts = texts
        newest = peppers.newest
        self.rows = {text: (newest.generation, newest.index(7, text)) for text in texts}

    def find(self, peppers: Peppers, text: bytes) -> bool:
        return self.rows[text] in peppers.indexes(7, text)

    def reindex(self, peppers: Peppers) -> int:
        newest = peppers.newest
        old = [t for t, row in self.rows.items() if row[0] != newest.generation][:2]
        for each in old:
            self.rows[each] = (newest.generation, newest.index(7, each))
        # Whoever looks one up meanwhile finds it.
        assert all(self.find(peppers, each) for each in self.texts)
        return len(old)


def test_a_new_pepper_finds_all_passwords(keys: KeyStore) -> None:
    before = keys.peppers()
    passwords = Passwords(before, *(b"PASSWORD%d" % n for n in range(7)))
    after = keys.rotate_pepper(passwords.reindex, NOON + 5)
    assert after == keys.peppers() and len(after.active) == 1
    assert after.newest.generation == NOON + 5
    assert after.newest.secret != before.newest.secret
    assert all(passwords.find(after, each) for each in passwords.texts)


def test_a_pepper_that_was_begun_goes_on(keys: KeyStore) -> None:
    before = keys.peppers()
    passwords = Passwords(before, b"A", b"B", b"C")
    both = keys.begin_pepper(NOON + 5)
    passwords.reindex(both)
    assert keys.begin_pepper(NOON + 9) == both == keys.peppers()
    assert len(both.active) == 2 and both.active[1] == before.newest
    assert keys.status().peppers == (NOON, NOON + 5)
    assert keys.rotate_pepper(passwords.reindex, NOON + 9).newest == both.newest
    assert keys.finish_pepper() == keys.peppers() == Peppers.of(both.newest)
    # Two in one second, or under a clock that was put back, are two.
    assert keys.begin_pepper(NOON).newest.generation == NOON + 6


class Crash(BaseException):
    pass


@pytest.fixture
def rotations(node: Node) -> list[Callable[[KeyStore], object]]:
    return [
        KeyStore.rotate_master,
        lambda keys: keys.rotate_tenant(7, NOON, batch=2),
        lambda keys: keys.rotate_pepper(lambda peppers: 0, NOON + 5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_rotation_may_end_at_any_statement(
    node: Node, rotations: list[Callable[[KeyStore], object]], which: int
) -> None:
    """And at any commit; all keys are readable then, and the next one ends it."""
    rotate = rotations[which]
    with node.open() as keys:
        keys.set_up(ROOT, NOON)
        made, other = keys.add_record_keys(7, 3, NOON), keys.add_record_keys(8, 1, NOON)
        for stop in count(1):
            if which == 0:
                add_master_key_or_start_again(node)
            before = keys.peppers()
            done = ends(keys, rotate, stop)
            with node.open() as again:
                assert again.root() == ROOT
                assert opened(again, 7, *made) and opened(again, 8, *other)
                assert {*before.active} & {*again.peppers().active} or done
                rotate(again)
                assert again.status().rotating == () and len(again.peppers().active) == 1
                assert list(again.status().masters.values())[1:] == [0] * (
                    len(again.status().masters) - 1
                )
                assert opened(again, 7, *made) and opened(again, 8, *other)
            if done:
                break
        assert stop > 8


def ends(keys: KeyStore, rotate: Callable[[KeyStore], object], stop: int) -> bool:
    """Rotates up to the statement or commit of this number; whether it came to its end."""
    statements = 0

    def stopping(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == stop:
            raise Crash

    for name in ("before_cursor_execute", "commit"):
        event.listen(keys.database.engine, name, stopping)
    try:
        rotate(keys)
    except Crash:
        return False
    finally:
        for name in ("before_cursor_execute", "commit"):
            event.remove(keys.database.engine, name, stopping)
    return True


def add_master_key_or_start_again(node: Node) -> None:
    """With no more than two lines."""
    node.master.write_text(node.master.read_text().splitlines()[0] + "\n")
    add_master_key(str(node.master))


KILLED = """
import os, signal, sys
from sqlalchemy import event
from pystream.acl.sealing import MasterKeys
from pystream.acl.store.keystore import KeyStore
url, master, erasures, what, stop = sys.argv[1:]
keys = KeyStore.open(url, lambda: MasterKeys.load(master, {}), erasures)
statements = 0
def stopping(*_):
    global statements
    statements += 1
    if statements == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
for name in ("before_cursor_execute", "commit"):
    event.listen(keys.database.engine, name, stopping)
if what == "tenant":
    keys.rotate_tenant(7, 1936699200, batch=2)
elif what == "master":
    keys.rotate_master()
else:
    keys.erase(7, [bytes.fromhex(what)], 1936699200)
"""


def killed(node: Node, what: str, stop: int) -> bool:
    words = (node.url, node.master, node.erasures, what, stop)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.slow
def test_a_rotation_whose_process_is_killed_goes_on(node: Node) -> None:
    chance = random.Random(11)
    with node.open() as keys:
        keys.set_up(ROOT, NOON)
        made, other = keys.add_record_keys(7, 5, NOON), keys.add_record_keys(8, 1, NOON)
        ends = 0
        for what in ("tenant", "master") * 2:
            if what == "master":
                add_master_key_or_start_again(node)
            ends += killed(node, what, chance.randrange(1, 12))
            assert keys.root() == ROOT
            assert opened(keys, 7, *made) and opened(keys, 8, *other)
            keys.rotate_tenant(7, NOON)
            keys.rotate_master()
            assert opened(keys, 7, *made) and keys.status().rotating == ()
        assert ends >= 3


@pytest.mark.slow
def test_an_erasure_that_ends_at_any_statement_is_done_or_was_not(node: Node) -> None:
    with node.open() as keys:
        keys.set_up(ROOT, NOON)
        for stop in count(1):
            (made,) = keys.add_record_keys(7, 1, NOON)
            done = ends(keys, partial(erase, made), stop)
            assert erased_as_listed(node, made) or not done
            if done:
                break
        assert stop > 5


@pytest.mark.slow
def test_an_erasure_whose_process_is_killed_is_done_or_was_not(node: Node) -> None:
    """Before it was on the list, and after."""
    with node.open() as keys:
        keys.set_up(ROOT, NOON)
        for stop, listed in ((2, False), (7, True)):
            (made,) = keys.add_record_keys(7, 1, NOON)
            assert killed(node, made.reference.hex(), stop)
            assert erased_as_listed(node, made) is listed


def erase(made: RecordKey, keys: KeyStore) -> Traces:
    return keys.erase(7, [made.reference], NOON)


def erased_as_listed(node: Node, made: RecordKey) -> bool:
    """Whether a key is on the list: it is gone then for the next one who opens, and else it is
    there."""
    listed = made.reference in ErasureList(str(node.erasures)).read()
    with node.open() as again:
        assert bool(again.record_keys(7, [made.reference])) is not listed
    return listed


ADDING = """
import sys
from pystream.acl.sealing import MasterKeys
from pystream.acl.store.keystore import KeyStore
url, master, erasures = sys.argv[1:]
with KeyStore.open(url, lambda: MasterKeys.load(master, {}), erasures) as keys:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(40):
        for each in keys.add_record_keys(7, 5, 1936699200):
            print(each.reference.hex(), each.key.hex())
"""


@pytest.mark.slow
def test_keys_are_made_while_others_rotate(node: Node, keys: KeyStore) -> None:
    made = list(keys.add_record_keys(7, 200, NOON))
    words = [sys.executable, "-c", ADDING, node.url, str(node.master), str(node.erasures)]
    streams = ("stdin", "stdout", "stderr")
    pipes: Any = {"text": True, **dict.fromkeys(streams, subprocess.PIPE)}
    adding = [subprocess.Popen(words, **pipes) for _ in range(2)]
    for process in adding:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in adding:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    masters = 1
    while any(process.poll() is None for process in adding):
        keys.rotate_tenant(7, NOON)
        # Old lines stay: who reads a moment before a rotation wants them.
        if (masters := masters + 1) <= MOST_MASTER_KEYS:
            add_master_key(str(node.master))
        keys.rotate_master()
        assert opened(keys, 7, *made)
    for process in adding:
        said, wrong = process.communicate()
        assert process.returncode == 0, wrong
        for line in said.splitlines():
            made.append(RecordKey(*map(bytes.fromhex, line.split())))
    assert len(made) == 600 and opened(keys, 7, *made)


@pytest.mark.slow
@needs_postgresql
@pytest.mark.parametrize(
    "write",
    [
        lambda keys, reference: keys.add_record_keys(7, 1, NOON),
        lambda keys, reference: keys.erase(7, [reference], NOON),
        lambda keys, reference: keys.rotate_tenant(7, NOON),
        lambda keys, reference: keys.rotate_master(),
        lambda keys, reference: keys.begin_pepper(NOON),
    ],
)
def test_writers_take_turns_on_postgresql_too(
    postgres: str, tmp_path: Path, write: Callable[[KeyStore, bytes], object]
) -> None:
    """Or a key might be wrapped under one that another writer is just deleting."""
    create_master_key(str(tmp_path / "pystream.key"))
    name = f"keys{next(NUMBERS)}"
    postgresql.execute(postgresql.url(postgres), f"CREATE DATABASE {name}")
    node = Node(tmp_path, postgresql.url(postgres, name))
    engine = create_engine(node.url.replace("postgresql:", "postgresql+psycopg:"))
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with node.open() as keys, ThreadPoolExecutor(1) as pool:
        keys.set_up(ROOT, NOON)
        (made,) = keys.add_record_keys(7, 1, NOON)
        with engine.connect() as other, engine.connect() as watching:
            with other.begin():
                other.execute(text("SELECT value FROM revision FOR UPDATE"))
                writing = pool.submit(write, keys, made.reference)
                while not watching.scalar(waiting):
                    watching.rollback()
                    assert not writing.done(), "it waited for nobody"
            writing.result()
    engine.dispose()


# What the files tell


def test_neither_database_alone_tells_anything(file_node: Node, file_keys: KeyStore) -> None:
    password, label = "7KQ4-MOZART-ä", "Frau Dr. Köchel"
    main = file_node.folder / "store.db"
    (made,) = file_keys.add_record_keys(7, 1, NOON)
    row = bytes(range(16))
    secret, name = (Place(7, "password", row, column) for column in ("secret", "label"))
    pepper = file_keys.peppers().newest
    with closing(sqlite3.connect(main)) as connection, connection:
        connection.execute("CREATE TABLE password (id, key, secret, label, generation, found_by)")
        values = (
            *(row, made.reference),
            seal(made.key, secret, password.encode()),
            seal(made.key, name, label.encode()),
            *(pepper.generation, pepper.index(7, password.encode())),
        )
        connection.execute("INSERT INTO password VALUES (?, ?, ?, ?, ?, ?)", values)
    file_keys.rotate_tenant(7, NOON)
    master = bytes.fromhex(file_node.master.read_text())
    secrets = [master, made.key, ROOT, pepper.secret]
    texts = [each.encode(code) for each in (password, label) for code in ("utf-8", "utf-16-le")]
    both = main.read_bytes() + file_node.bytes()
    for each in (*secrets, *texts):
        assert each not in both and each.hex().encode() not in both
    # Both, and the master key, tell it all.
    with closing(sqlite3.connect(main)) as connection:
        _, reference, sealed, *_ = connection.execute("SELECT * FROM password").fetchone()
    assert unseal(file_keys.record_key(7, reference), secret, sealed) == password.encode()
    # And whatever was erased, nothing.
    file_keys.erase(7, [reference], NOON)
    with pytest.raises(NotFound):
        file_keys.record_key(7, reference)


# Backups


@pytest.fixture
def vault(tmp_path: Path) -> str:
    (tmp_path / "vault").mkdir()
    return str(tmp_path / "vault")


def test_what_was_erased_after_a_backup_stays_erased(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    made, other = file_keys.add_record_keys(7, 3, NOON), file_keys.add_record_keys(8, 2, NOON)
    path = key_backups.backup(file_keys, vault, NOON)
    file_keys.erase(7, [made[0].reference], NOON + 5)
    file_keys.erase_tenant(8, NOON + 5)
    file_keys.rotate_tenant(7, NOON)
    # The one that has the key store open sees the old one, without what was erased.
    restored = file_node.restore(path)
    assert (restored.made_at, restored.records, restored.erased) == (NOON, 2, 4)
    for keys in (file_keys, file_node.open()):
        assert not keys.record_keys(7, [made[0].reference])
        assert not keys.record_keys(8, [each.reference for each in other])
        assert opened(keys, 7, *made[1:]) and keys.root() == ROOT
    keys.close()
    with closing(sqlite3.connect(path)) as connection:
        old = connection.execute("SELECT reference, wrapped FROM record_key").fetchall()
    assert len(old) == 5
    gone = {made[0].reference, *(each.reference for each in other)}
    assert not any(row[1] in file_node.bytes() for row in old if row[0] in gone)


def test_a_backup_that_is_copied_back_by_hand_has_no_erased_key_either(
    file_node: Node, vault: str
) -> None:
    with file_node.open() as keys:
        keys.set_up(ROOT, NOON)
        made = keys.add_record_keys(7, 2, NOON)
        path = key_backups.backup(keys, vault, NOON)
        keys.erase(7, [made[0].reference], NOON)
    shutil.copy(path, file_node.file)
    # With another list, it would be readable: the test looks at the right thing.
    with KeyStore.open(file_node.url, file_node.masters, f"{vault}/none.txt") as keys:
        assert opened(keys, 7, *made)
    with file_node.open() as keys:
        assert not keys.record_keys(7, [made[0].reference])
        assert opened(keys, 7, made[1])


def test_a_lost_key_store_comes_back(file_node: Node, vault: str) -> None:
    with file_node.open() as keys:
        keys.set_up(ROOT, NOON)
        made = keys.add_record_keys(7, 2, NOON)
        pepper = keys.peppers()
        keys.erase(7, [made[0].reference], NOON)
        path = key_backups.backup(keys, vault, NOON)
    # With all that lay beside it; the backup has the list of its time as well.
    file_node.file.unlink()
    file_node.erasures.unlink()
    with pytest.raises(
        NotFound, match=r"erasures\.txt: .* would come back: put the list back first"
    ):
        file_node.restore(path)
    assert file_node.restore(path, unlisted=True) == key_backups.Restored(NOON, 1, 0, 0)
    with file_node.open() as keys:
        assert (keys.root(), keys.peppers()) == (ROOT, pepper)
        assert opened(keys, 7, made[1])
    assert ErasureList(str(file_node.erasures)).read() == {made[0].reference: TODAY}
    assert stat.S_IMODE(file_node.file.stat().st_mode) == 0o600


def test_a_list_that_is_missing_is_asked_for_where_nothing_else_tells(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    made = file_keys.add_record_keys(7, 2, NOON)
    path = key_backups.backup(file_keys, vault, NOON)
    file_keys.erase(7, [made[0].reference], NOON)
    listed = file_node.erasures.read_bytes()
    file_node.erasures.unlink()
    # The key store that was backed up knows what was erased.
    assert file_node.restore(path).erased == 1
    assert file_node.erasures.read_bytes() == listed
    # One that a server has made in the place of a lost one does not.
    file_node.erasures.unlink()
    file_node.url = f"sqlite:///{file_node.folder}/new.db"
    with file_node.open() as new:
        new.set_up(bytes(32), NOON)
        with pytest.raises(NotFound, match="put the list back first"):
            file_node.restore(path)
        assert new.root() == bytes(32)
        file_node.erasures.write_bytes(listed)
        assert file_node.restore(path).erased == 1
        assert not new.record_keys(7, [made[0].reference])


def test_a_backup_that_is_older_than_the_list_is_not_brought_back_unawares(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    """What was erased after it was listed for a time."""
    made = file_keys.add_record_keys(7, 2, NOON)
    path = key_backups.backup(file_keys, vault, NOON)
    file_keys.erase(7, [made[0].reference], NOON + DAY)
    now = NOON + 402 * DAY
    assert file_keys.forget_erasures(now // DAY - 400) == 1
    with pytest.raises(NotFound, match=r"is older than the erasure list goes back.*--without-list"):
        file_node.restore(path, listed_since=now - 400 * DAY)
    assert not file_keys.record_keys(7, [made[0].reference])
    assert file_node.restore(path, listed_since=NOON).erased == 0
    assert file_node.restore(path, listed_since=NOON + 1, unlisted=True).erased == 0
    # The test looks at the right thing.
    assert opened(file_keys, 7, *made)


def test_keys_that_are_newer_than_the_backup_are_not_lost_unawares(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    path = key_backups.backup(file_keys, vault, NOON)
    made = file_keys.add_record_keys(7, 3, NOON)
    file_keys.erase(7, [made[0].reference], NOON)
    with pytest.raises(Exists, match=r"keys\.db: 2 of its record keys are not in the backup"):
        file_node.restore(path)
    assert opened(file_keys, 7, *made[1:])
    assert file_node.restore(path, replace=True).lost == 2
    assert not file_keys.record_keys(7, [each.reference for each in made])


def test_a_backup_is_for_its_owner_and_says_what_it_is(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    before = os.umask(0)
    try:
        path = key_backups.backup(file_keys, vault, NOON)
    finally:
        os.umask(before)
    assert path == f"{vault}/keys-20310516T120000Z.db"
    assert sorted(os.listdir(vault)) == ["keys-20310516T120000Z.db", "keys-20310516T120000Z.json"]
    for each in Path(vault).iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    manifest = json.loads(Path(path).with_suffix(".json").read_text())
    assert manifest["made_at"] == "2031-05-16T12:00:00Z"
    assert manifest["root"] == file_keys.status().root
    assert manifest["master_keys"] == [file_node.masters().newest]
    with pytest.raises(Exists, match="there is a backup of this second already"):
        key_backups.backup(file_keys, vault, NOON)
    with pytest.raises(StoreError, match=r"nowhere: there is no such folder"):
        key_backups.backup(file_keys, f"{vault}/nowhere", NOON)


def test_what_is_deleted_is_in_no_backup(file_node: Node, file_keys: KeyStore, vault: str) -> None:
    (made,) = file_keys.add_record_keys(7, 1, NOON)
    gone = wrapped(file_node.file, made.reference)
    assert gone in Path(key_backups.backup(file_keys, vault, NOON)).read_bytes()
    file_keys.erase(7, [made.reference], NOON)
    assert gone not in Path(key_backups.backup(file_keys, vault, NOON + 1)).read_bytes()


def test_backups_go_after_their_days(file_keys: KeyStore, vault: str) -> None:
    (Path(vault) / "keys-of-the-house.db").touch()
    days = (0, 1, 29, 30, 31)
    paths = {day: key_backups.backup(file_keys, vault, NOON - day * DAY) for day in days}
    gone = key_backups.prune(vault, 30, NOON)
    assert set(gone) == {paths[30], paths[31]}
    assert key_backups.prune(vault, 30, NOON) == ()
    left = {name for day in (0, 1, 29) for name in (paths[day], f"{paths[day][:-3]}.json")}
    assert {str(path) for path in Path(vault).iterdir()} == left | {f"{vault}/keys-of-the-house.db"}
    with pytest.raises(StoreError, match=r"there is no such folder.* mkdir -m 700"):
        key_backups.prune(f"{vault}/none", 30, NOON)


def test_a_damaged_backup_is_refused(file_node: Node, file_keys: KeyStore, vault: str) -> None:
    made = file_keys.add_record_keys(7, 2, NOON)
    path = Path(key_backups.backup(file_keys, vault, NOON))
    manifest = path.with_suffix(".json")
    good, facts = path.read_bytes(), manifest.read_text()

    def refused(said: str) -> None:
        with pytest.raises(StoreError, match=said):
            file_node.restore(str(path))
        assert opened(file_keys, 7, *made)

    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused("is not what its manifest says")
    path.write_bytes(good)
    for text_ in ("", "[]", "{}", '{"made_at": 5, "sha256": 5}', "x"):
        manifest.write_text(text_)
        refused("this is no manifest")
    manifest.unlink()
    refused(r"keys-20310516T120000Z\.json: the manifest of this backup is missing.* beside it")
    manifest.write_text(facts)
    path.unlink()
    refused(r"keys-20310516T120000Z\.db: No such file")
    manifest.unlink()
    refused(r"keys-20310516T120000Z\.db: No such file")
    assert file_keys.status().records == 2


def test_a_backup_wants_the_master_key_of_its_time(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    """And without it, whatever is left of erased keys anywhere opens no more."""
    made = file_keys.add_record_keys(7, 2, NOON)
    path, old = key_backups.backup(file_keys, vault, NOON), file_node.masters().newest
    file_keys.erase(7, [made[0].reference], NOON)
    file_keys.rotate_tenant(7, NOON)
    add_master_key(str(file_node.master))
    file_keys.rotate_master()
    assert file_node.restore(path).records == 1
    file_keys.rotate_master()
    new, old_line = file_node.master.read_text().splitlines()
    file_node.master.write_text(f"{new}\n")
    with pytest.raises(MasterKeyError, match=f"was made under the master key {old}, and there are"):
        file_node.restore(path)
    assert opened(file_keys, 7, made[1])
    file_node.master.write_text(f"{new}\n{old_line}\n")
    assert file_node.restore(path).records == 1


def test_over_what_is_no_key_store_nothing_is_restored(
    file_node: Node, file_keys: KeyStore, vault: str
) -> None:
    path = key_backups.backup(file_keys, vault, NOON)
    spoiled = file_node.folder / "spoiled.db"
    spoiled.write_text("no database\n" * 99)
    file_node.url = str(spoiled)
    with pytest.raises(StoreError, match=r"no SQLite database.* stop the server and move the file"):
        file_node.restore(path)


@needs_postgresql
def test_postgresql_is_backed_up_by_its_own_means(postgres: str, tmp_path: Path) -> None:
    create_master_key(str(tmp_path / "pystream.key"))
    name = f"keys{next(NUMBERS)}"
    postgresql.execute(postgresql.url(postgres), f"CREATE DATABASE {name}")
    node = Node(tmp_path, postgresql.url(postgres, name))
    with node.open() as keys, pytest.raises(InvalidValue, match="pg_basebackup"):
        key_backups.backup(keys, str(tmp_path), NOON)


@pytest.mark.slow
@needs_postgresql
def test_postgresql_from_a_base_backup_and_its_log(tmp_path: Path) -> None:
    """Back to a moment before an erasure: readable without the list, and not with it."""
    create_master_key(str(tmp_path / "pystream.key"))
    with postgresql.folder() as folder:
        data, base, archive = f"{folder}/data", f"{folder}/base", f"{folder}/archive"
        postgresql.initialise(data)
        os.mkdir(archive)
        postgresql.give(archive)
        archiving = ("archive_mode=on", f"archive_command=cp %p {archive}/%f")
        node = Node(tmp_path, postgresql.url(folder))
        with postgresql.serving(data, folder, *archiving):
            with node.open() as keys:
                keys.set_up(ROOT, NOON)
                early = keys.add_record_keys(7, 2, NOON)
                postgresql.run("pg_basebackup", "-h", folder, "-U", "pystream", "-D", base)
                late = keys.add_record_keys(7, 2, NOON)
                postgresql.execute(node.url, "SELECT pg_create_restore_point('before')")
                keys.erase(7, [early[0].reference, late[0].reference], NOON)
            # What the log has is in the archive then.
            postgresql.run("pg_ctl", "stop", "-D", data, "-m", "fast")
        Path(base, "recovery.signal").touch()
        postgresql.give(f"{base}/recovery.signal")
        recovery = (
            f"restore_command=cp {archive}/%f %p",
            "recovery_target_name=before",
            "recovery_target_action=promote",
        )
        with postgresql.serving(base, folder, *recovery):
            with KeyStore.open(node.url, node.masters, f"{tmp_path}/none.txt") as keys:
                assert opened(keys, 7, *early, *late) and keys.root() == ROOT
            with node.open() as keys:
                gone = [early[0].reference, late[0].reference]
                assert not keys.record_keys(7, gone)
                assert opened(keys, 7, early[1], late[1])
