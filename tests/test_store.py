"""The store, on real databases: what it keeps, what it refuses, and what survives which end."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Executable,
    Integer,
    String,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    select,
    text,
    update,
)

import pystream.acl.store
from pystream.acl.store import Store, database, tables
from pystream.acl.store.database import Database
from pystream.acl.store.prepared import for_both
from pystream.acl.streams import (
    MAXIMUM,
    RESERVED_TENANTS,
    StreamSettings,
    TenantSettings,
    changed,
    check,
    check_stream_name,
    check_tenant_name,
    problems,
)
from pystream.acl.traffic import Kind, Metered, hours_of, month_of
from pystream.errors import Exists, InvalidValue, NotFound, StoreError
from pystream.server import log
from tests import postgresql

MIGRATIONS = Path(pystream.acl.store.__file__).parent / "migrations"
# 2031-05-15 12:00 UTC
NOON = 1_936_699_200
HOUR = NOON // 3600
FILM = StreamSettings(sources=("/films/a.mp4",))


# Databases


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an SQLite store may be."""
    return tmp_path / "store.db"


def with_film(store: Store) -> int:
    """A tenant with a stream, whose id it gives."""
    store.add_tenant("acme", TenantSettings(), who="eva", now=NOON)
    return store.add_stream("acme", "film", FILM, who="eva", now=NOON).id


def script(code: str, *words: object, **options: Any) -> subprocess.Popen[str]:
    """Another process of Python's, that can be talked to."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def result(process: subprocess.Popen[str], said: str = "") -> str:
    out, err = process.communicate(said)
    assert process.returncode == 0, err
    return out


def raw(file: Path, *statements: str) -> list[Any]:
    """What somebody does to a store by hand."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


# Migrations


def test_migrations_make_the_tables_that_the_code_knows(empty: str) -> None:
    Store.open(empty).close()
    engine = create_engine(empty.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_migrations_make_the_same_constraints(file: Path, tmp_path: Path) -> None:
    """Alembic compares no CHECK and no AUTOINCREMENT; SQLite's own text of the tables has them."""
    Store.open(str(file)).close()
    engine = create_engine(f"sqlite:///{tmp_path}/direct.db")
    tables.metadata.create_all(engine)
    engine.dispose()

    def schema(path: Path) -> dict[str, set[str]]:
        wanted = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        listed = raw(path, f"{wanted} AND name <> 'alembic_version'")
        # Columns and constraints may come in any order: added columns are the last ones.
        return {name: parts(sql) for name, sql in listed}

    def parts(sql: str) -> set[str]:
        """What stands between commas that are in no inner brackets."""
        head, _, inside = sql.partition("(")
        pieces = re.split(r",(?![^(]*\))", inside.strip().removesuffix(")"))
        return {" ".join(each.split()) for each in (head, *pieces)}

    assert schema(file) == schema(tmp_path / "direct.db")
    assert "ck_stream_id" in str(schema(file)["stream"])


def test_the_newest_migration_is_the_one_the_code_wants() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == tables.HEAD


def test_migrations_go_down_and_up_again(empty: str) -> None:
    Store.open(empty).close()
    engine = create_engine(empty.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()
    with Store.open(empty) as store:
        assert store.snapshot().tenants == ()


def test_a_store_as_it_should_be_costs_no_start_of_alembic(file: Path) -> None:
    code = "import sys; from pystream.acl.store import Store; Store.open(sys.argv[1]);"
    code += " print('alembic' in sys.modules)"
    assert result(script(code, file)) == "True\n"
    assert result(script(code, file)) == "False\n"


def test_a_store_of_a_newer_program_is_refused(file: Path) -> None:
    Store.open(str(file)).close()
    raw(file, "UPDATE alembic_version SET version_num = '9999'")
    for migrate in (True, False):
        with pytest.raises(StoreError, match=r"store\.db: the store is of revision 9999"):
            Store.open(str(file), migrate=migrate)


def test_what_a_store_in_postgresql_needs_is_told() -> None:
    code = "import sys; sys.modules['psycopg'] = None\nfrom pystream.acl.store import Store\n"
    code += "try: Store.open('postgresql://pystream@/x')\nexcept Exception as error: print(error)"
    said = result(script(code))
    assert "psycopg, which is not installed: pip install '.[server,postgresql]'" in said


def test_a_tenant_that_is_removed_is_news_and_its_number_never_comes_again(url: str) -> None:
    with Store.open(url) as store:
        first = store.add_tenant("acme", TenantSettings(), who="x", now=NOON)
        before = store.revision()
        store.remove_tenant("acme")
        assert store.revision() > before and store.snapshot().tenants == ()
        assert store.add_tenant("acme", TenantSettings(), who="x", now=NOON).id > first.id
        store.add_stream("acme", "film", FILM, who="x", now=NOON)
        store.remove_stream("acme", "film", who="x", now=NOON)
        changes = store.changes("acme", None)
        with pytest.raises(StoreError, match="'acme' stays"):
            store.remove_tenant("acme")
        assert store.changes("acme", None) == changes
        with pytest.raises(NotFound):
            store.remove_tenant("nobody")


def test_a_worker_makes_no_store(file: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at .*store\.db"):
        Store.open(str(file), migrate=False)
    assert not file.exists()


def test_a_worker_does_not_migrate(empty: str) -> None:
    if empty.startswith("sqlite"):
        Path(empty.removeprefix("sqlite:///")).touch()
    with pytest.raises(StoreError, match="the store is empty, and this pystream needs revision"):
        Store.open(empty, migrate=False)
    Store.open(empty).close()
    Store.open(empty, migrate=False).close()


def test_who_opens_a_new_file_waits_for_who_makes_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def ends(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                other.execute("COMMIT")

        monkeypatch.setattr(time, "sleep", ends)
        Store.open(str(file)).close()
    assert len(waits) == 3


OPEN_AT_ONCE = """
import sys
from pystream.acl.store import Store
print("ready", flush=True)
sys.stdin.read()
Store.open(sys.argv[1]).close()
"""


def test_threads_that_write_wait_for_each_other(file: Path) -> None:
    """SQLite would have them sleep and look again, and so at last: here it looks once."""
    with Store.open(str(file)) as store:
        engine = store.database.engine
        engine.dispose()

        def impatient(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA busy_timeout = 0").close()

        event.listen(engine, "connect", impatient)

        def add(number: int) -> None:
            store.add_tenant(f"tenant-{number}", TenantSettings(), who="eva", now=1)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(40)))
        assert len(store.tenants()) == 40


@pytest.mark.slow
def test_several_open_an_empty_store_at_once(empty: str) -> None:
    openers = [script(OPEN_AT_ONCE, empty) for _ in range(4)]
    for opener in openers:
        assert opener.stdout is not None and opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.close()
        opener.stdin = None
    for opener in openers:
        result(opener)
    with Store.open(empty) as store:
        assert store.revision() == 0


# Settings


def test_tenants_are_added_and_changed(store: Store) -> None:
    acme = store.add_tenant(
        "acme",
        TenantSettings(display="ACME GmbH", timezone="Europe/Berlin", max_rate_bps=2 * 10**9),
        who="eva",
        now=NOON,
    )
    other = store.add_tenant("9-lives", TenantSettings(), who="eva", now=NOON + 1)
    assert store.tenants() == (other, acme)
    assert store.tenant("acme") == acme
    assert (acme.settings.display, acme.created_at) == ("ACME GmbH", NOON)
    after = store.set_tenant("acme", {"max_rate_bps": None}, who="max", now=NOON + 2)
    assert after == replace(acme, settings=replace(acme.settings, max_rate_bps=None))
    assert store.tenants() == (other, after)


def test_streams_are_added_changed_and_removed(store: Store) -> None:
    with_film(store)
    ladder = StreamSettings(
        sources=("/films/360.mp4", "/films/720.mp4"),
        title="Ein Film, „gut“",
        format="fmp4",
        segment_duration_ms=4000,
        encryption="aes-128",
        rotate_every=10,
        cache="shared",
        pace=None,
        download=True,
        download_source="/films/720.mp4",
        download_rate_bps=20_000_000,
        origins=("https://www.example.org", "http://[::1]:8080"),
        embed_origins=("*",),
        max_viewers=500,
        session_s=12 * 3600,
        idle_s=None,
        max_devices=2,
        device_mode="kick_oldest",
    )
    made = store.add_stream("acme", "ladder", ladder, who="eva", now=NOON + 1)
    assert made.settings == ladder
    assert store.stream("acme", "ladder") == made
    assert [each.name for each in store.streams()] == ["film", "ladder"]
    after = store.set_stream("acme", "ladder", {"max_viewers": 9}, who="eva", now=NOON + 2)
    assert after.settings == replace(ladder, max_viewers=9)
    assert after.revision > made.revision
    store.remove_stream("acme", "ladder", who="eva", now=NOON + 3)
    assert [each.name for each in store.streams("acme")] == ["film"]
    with pytest.raises(NotFound, match="no stream acme/ladder"):
        store.stream("acme", "ladder")


def test_a_stream_of_an_old_name_is_another_one(store: Store) -> None:
    """Grants and traffic of the old one are not the new one's."""
    old = with_film(store)
    store.remove_stream("acme", "film", who="eva", now=NOON)
    new = store.add_stream("acme", "film", FILM, who="eva", now=NOON).id
    assert new > old
    store.remove_stream("acme", "film", who="eva", now=NOON)
    assert store.add_stream("acme", "film", FILM, who="eva", now=NOON).id > new


def test_what_is_there_or_is_not(store: Store) -> None:
    with_film(store)
    with pytest.raises(Exists, match="there is a tenant 'acme' already"):
        store.add_tenant("acme", TenantSettings(), who="eva", now=NOON)
    with pytest.raises(Exists, match="there is a stream acme/film already"):
        store.add_stream("acme", "film", FILM, who="eva", now=NOON)
    missing: dict[str, Any] = {"who": "eva", "now": NOON}
    for ask in (
        lambda: store.tenant("nobody"),
        lambda: store.set_tenant("nobody", {"display": "x"}, **missing),
        lambda: store.streams("nobody"),
        lambda: store.stream("nobody", "film"),
        lambda: store.add_stream("nobody", "film", FILM, **missing),
        lambda: store.changes("nobody"),
        lambda: store.traffic("nobody", "2031-05"),
    ):
        with pytest.raises(NotFound, match="there is no tenant 'nobody'"):
            ask()
    for change in (
        lambda: store.set_stream("acme", "none", {"title": "x"}, **missing),
        lambda: store.remove_stream("acme", "none", **missing),
    ):
        with pytest.raises(NotFound, match="there is no stream acme/none"):
            change()
    # One tenant's stream is no other one's.
    store.add_tenant("other", TenantSettings(), who="eva", now=NOON)
    with pytest.raises(NotFound):
        store.stream("other", "film")
    assert store.streams("other") == ()


def test_the_revision_grows_with_settings_and_nothing_else(store: Store) -> None:
    seen = [store.revision()]

    def grown() -> bool:
        seen.append(store.revision())
        assert store.snapshot().revision == seen[-1]
        return seen[-1] > seen[-2]

    stream = with_film(store)
    assert grown()
    store.set_tenant("acme", {"display": "A"}, who="eva", now=NOON)
    assert grown()
    store.set_stream("acme", "film", {"download": True}, who="eva", now=NOON)
    assert grown()
    assert store.stream("acme", "film").revision == seen[-1]
    # What is so already, what is refused, and what is sent, is no news.
    store.set_stream("acme", "film", {"download": True}, who="eva", now=NOON)
    store.set_tenant("acme", {"display": "A"}, who="eva", now=NOON)
    with pytest.raises(InvalidValue):
        store.set_stream("acme", "film", {"pace": 0.5}, who="eva", now=NOON)
    store.add_traffic([Metered(1, stream, HOUR, Kind.KEY, 1, 1, 0)], NOON)
    assert not grown()
    store.remove_stream("acme", "film", who="eva", now=NOON)
    assert grown()


def test_news_are_what_changed_and_nothing_else(store: Store) -> None:
    """A worker asks for them while it serves: of thousands of streams, it gets the one."""
    film = with_film(store)
    known = store.snapshot()
    assert store.changed_since(-1) == known
    assert store.changed_since(known.revision) == replace(known, streams=())
    other = store.add_stream("acme", "other", FILM, who="a", now=NOON)
    assert store.changed_since(known.revision).streams == (other,)
    before = store.revision()
    store.remove_stream("acme", "film", who="a", now=NOON)
    (gone,) = store.changed_since(before).streams
    assert (gone.id, gone.removed_at) == (film, NOON)
    assert store.snapshot().streams == (other,)
    before = store.revision()
    store.set_tenant("acme", {"max_rate_bps": 1_000_000}, who="a", now=NOON)
    assert store.changed_since(before) == replace(store.snapshot(), streams=())


OPERATIONS = st.tuples(
    st.sampled_from(["add", "set", "remove", "tenant", "follow"]), st.sampled_from("abc")
)


def test_a_store_that_is_away_is_told_once_however_often_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio = pytest.importorskip("trio")
    from trio.testing import MockClock

    from pystream.server import worker

    class Asked(Store):
        times = 0

        def revision(self) -> int:
            self.times += 1
            return super().revision()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(following.follow, store)
            nursery.start_soon(following.follow, store)
            while store.times < 6:
                await trio.sleep(1)
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(log, "_told", {})
    with Asked.open(str(tmp_path / "store.db")) as store:
        following = worker.Streams(store.snapshot())
        with closing(sqlite3.connect(tmp_path / "store.db")) as by_hand:
            by_hand.execute("DROP TABLE revision")
        trio.run(main, clock=MockClock(rate=1000))
    assert [each.message for each in caplog.records] == ["store-unreachable"]


@pytest.mark.needs("pg_ctlcluster")
def test_a_connection_that_the_database_ends_is_not_asked_again(
    postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(postgresql.url(postgres), migrate=True)
    own = for_both(select(func.pg_backend_pid()))
    with (
        pytest.raises(StoreError, match=r"terminating connection|closed the connection"),
        database.asking() as connection,
    ):
        ((ended,),) = own.rows(connection, {})
        postgresql.execute(postgresql.url(postgres), f"SELECT pg_terminate_backend({ended}, 20000)")
        own.rows(connection, {})
    assert not caplog.records
    with database.asking() as connection:
        assert own.rows(connection, {}) != [(ended,)]
    database.engine.dispose()


def test_what_lasts_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_told", {})
    for second in range(0, 300, 7):
        log.lasting("store-unreachable", StoreError("away"), lambda at=second: at)  # type: ignore[misc]
        log.lasting("key-store-unreachable", StoreError("away"), lambda at=second: at)  # type: ignore[misc]
    told = Counter(each.message for each in caplog.records)
    # At 0, 63, 126, 189 and 252.
    assert told == {"store-unreachable": 5, "key-store-unreachable": 5}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OPERATIONS, max_size=25))
def test_who_follows_the_news_knows_what_a_newcomer_does(
    tmp_path: Path, operations: list[tuple[str, str]]
) -> None:
    worker = pytest.importorskip("pystream.server.worker")
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, Store.open(f"{folder}/db") as store:
        store.add_tenant("acme", TenantSettings(), who="a", now=NOON)
        following = worker.Streams(store.snapshot())
        for number, (what, name) in enumerate([*operations, ("follow", "")]):
            with suppress(NotFound, Exists):
                if what == "add":
                    store.add_stream("acme", name, FILM, who="a", now=NOON)
                elif what == "set":
                    store.set_stream("acme", name, {"title": str(number)}, who="a", now=NOON)
                elif what == "remove":
                    store.remove_stream("acme", name, who="a", now=NOON)
                elif what == "tenant":
                    changes = {"max_rate_bps": 1_000_000 + number}
                    store.set_tenant("acme", changes, who="a", now=NOON)
                else:
                    following.learn(store.changed_since(following.revision))
        newcomer = worker.Streams(store.snapshot())
    assert following.revision == newcomer.revision
    assert following.tenant_bps("acme") == newcomer.tenant_bps("acme")
    for name in "abc":
        found = newcomer.find("acme", name)
        assert following.find("acme", name) == found
        assert found is None or following.tenant_of(found.id) == "acme"


def test_changes_say_who_and_when(store: Store) -> None:
    with_film(store)
    store.set_stream("acme", "film", {"download": True}, who="max", now=NOON + 60)
    store.set_stream("acme", "film", {"origins": ("*",)}, who="max", now=NOON + 70)
    store.set_tenant("acme", {"display": "A"}, who="eva", now=NOON + 80)
    store.remove_stream("acme", "film", who="eva", now=NOON + 90)
    all_of_it = store.changes("acme")
    assert [(each.who, each.at - NOON, each.stream) for each in all_of_it] == [
        ("eva", 0, None),
        ("eva", 0, "film"),
        ("max", 60, "film"),
        ("max", 70, "film"),
        ("eva", 80, None),
        ("eva", 90, "film"),
    ]
    assert all_of_it[1].values["sources"] == (None, ("/films/a.mp4",))
    assert all_of_it[2].values == {"download": (False, True)}
    assert all_of_it[3].values == {"origins": ((), ("*",))}
    assert all_of_it[4].values == {"display": ("", "A")}
    assert all_of_it[5].values == {"removed_at": (None, NOON + 90)}
    assert store.changes("acme", "film") == tuple(each for each in all_of_it if each.stream)


@pytest.mark.parametrize("who", ["", "a\nb", "x" * 201])
def test_a_change_has_an_author(store: Store, who: str) -> None:
    with_film(store)
    before = store.changes("acme")
    for change in (
        lambda: store.add_tenant("new", TenantSettings(), who=who, now=NOON),
        lambda: store.set_tenant("acme", {"display": "A"}, who=who, now=NOON),
        lambda: store.add_stream("acme", "new", FILM, who=who, now=NOON),
        lambda: store.set_stream("acme", "film", {"download": True}, who=who, now=NOON),
        lambda: store.remove_stream("acme", "film", who=who, now=NOON),
    ):
        with pytest.raises(InvalidValue, match="who changes settings"):
            change()
    assert store.changes("acme") == before


# Values


@pytest.mark.parametrize("name", ["countries", "countries_denied"])
def test_a_country_is_one_of_iso_3166(name: str) -> None:
    def bound(*codes: str) -> StreamSettings:
        more: dict[str, Any] = {name: codes}
        return replace(FILM, **more)

    for code in ("DE", "AT", "CH", "GB", "XK"):
        check(bound(code))
    for code in ("XX", "UK", "EU", "DD", "ZZ"):
        with pytest.raises(InvalidValue, match=f"^{name}: '{code}' is no country; .*3166-1"):
            check(bound("DE", code))
        # What is stored is served on.
        assert not problems(bound(code))


@pytest.mark.parametrize("name", ["a", "0", "acme-2", "x" * 63])
def test_names(name: str) -> None:
    check_tenant_name(name)
    check_stream_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "A", "a_b", "a b", "a/b", "a.b", "ä", "x" * 64, "a\n", "..", "٣"]
)
def test_what_is_no_name(name: str) -> None:
    for check_name in (check_tenant_name, check_stream_name):
        with pytest.raises(InvalidValue, match="small letters, digits and hyphens"):
            check_name(name)


def test_some_names_are_the_servers_own() -> None:
    assert {"t", "s", "api", "console"} == RESERVED_TENANTS
    for name in RESERVED_TENANTS:
        with pytest.raises(InvalidValue, match="the server's own"):
            check_tenant_name(name)
        check_stream_name(name)


SHARED = {"cache": "shared", "pace": None, "encryption": "aes-128"}
TWO = ("/a.mp4", "/b.mp4")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, ()),
        (SHARED, ()),
        (SHARED | {"encryption": "none"}, ()),
        (SHARED | {"pace": 2.0}, ("cache: 'shared' and a pace exclude",)),
        (SHARED | {"encryption": "aes-128-per-viewer"}, ("per-viewer keys exclude",)),
        (
            SHARED | {"encryption": "none", "access": "personal"},
            ("has to be encrypted",),
        ),
        (SHARED | {"access": "signed"}, ()),
        ({"access": "closed"}, ("access: 'closed' is none of open, shared",)),
        ({"format": "webm"}, ("format: 'webm' is none of ts, fmp4",)),
        ({"encryption": "AES-128"}, ("encryption: 'AES-128' is none of",)),
        ({"cache": "public"}, ("cache: 'public' is none of",)),
        ({"rotate_every": 5}, ("no keys to rotate",)),
        ({"rotate_every": 5, "encryption": "aes-128"}, ()),
        ({"rotate_every": 0, "encryption": "aes-128"}, ("rotate_every: 1 or more",)),
        ({"segment_duration_ms": 99}, ("segment_duration_ms: from 100",)),
        ({"pace": 0.99}, ("pace: from 1 to 1000",)),
        ({"pace": float("nan")}, ("pace: from 1 to 1000",)),
        ({"pace": 1.0}, ()),
        ({"sources": ()}, ("sources: from 1 to 32",)),
        ({"sources": ("a.mp4",)}, ("'a.mp4' is no absolute path",)),
        ({"sources": ("/a\n.mp4",)}, ("is no absolute path",)),
        ({"sources": ("/a", "/a")}, ("one is named twice",)),
        ({"sources": TWO, "download": True}, ("has to name one of them",)),
        ({"sources": TWO, "download": True, "download_source": "/b.mp4"}, ()),
        ({"download_source": "/b.mp4"}, ("none of the stream's sources",)),
        ({"download_rate_bps": 10}, ("download_rate_bps: 1000 or more",)),
        ({"max_viewers": 0}, ("max_viewers: 1 or more",)),
        ({"title": "x\ny"}, ("title: at most 200",)),
        ({"title": "x" * 201}, ("title: at most 200",)),
        ({"origins": ("*",)}, ()),
        ({"origins": ("*", "https://a.example")}, ("'*' stands for all",)),
        ({"origins": ("https://a.example/",)}, ("is no origin",)),
        ({"origins": ("https://A.example",)}, ("is no origin",)),
        ({"origins": ("null",)}, ("is no origin",)),
        ({"embed_origins": ("https://a.example; script-src *",)}, ("embed_origins: ",)),
        ({"embed_origins": ("https://a.example:8443",)}, ()),
        ({"opens_at": 5, "closes_at": 5}, ("closes_at: it is over before it begins",)),
        ({"opens_at": 5, "closes_at": 6}, ()),
        # No list could show when that is.
        ({"opens_at": 253_402_300_800}, ("opens_at: a time",)),
        ({"closes_at": -1}, ("closes_at: a time",)),
        ({"networks": ("192.0.2.1/24",)}, ("networks: '192.0.2.1/24' is an address inside",)),
        ({"networks": ("192.0.2.0/24", "2001:db8::/32")}, ()),
        ({"countries": ("de",)}, ("countries: 'de' is no country",)),
        ({"countries": ("DE",), "countries_denied": ("DE",)}, ("both let in and kept out",)),
        ({"embed_lock": True}, ()),
        ({"embed_lock": True, "embed_origins": ("*",)}, ("embed_lock: '*' lets every site",)),
        ({"embed_lock": True, "origins": ("*",)}, ("embed_lock: '*' lets every site",)),
        (SHARED | {"networks": ("192.0.2.0/24",)}, ()),
        (SHARED | {"encryption": "none", "countries": ("DE",)}, ("has to be encrypted",)),
        (SHARED | {"encryption": "none", "closes_at": 9}, ("has to be encrypted",)),
        (MAXIMUM, ()),
    ],
)
def test_settings_of_a_stream(changes: dict[str, Any], wrong: tuple[str, ...]) -> None:
    found = problems(changed(FILM, changes))
    assert len(found) == len(wrong), found
    for sentence, said in zip(found, wrong, strict=True):
        assert said in sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timezone": "Europe/Nowhere"}, "is no time zone"),
        ({"timezone": "Europe"}, "is no time zone"),
        ({"timezone": "../../etc/passwd"}, "is no time zone"),
        ({"timezone": ""}, "is no time zone"),
        ({"display": "a\x1bb"}, "display: at most"),
        ({"max_rate_bps": 0}, "max_rate_bps: 1000 or more"),
        ({"max_rate": 1}, "there is no setting 'max_rate'"),
    ],
)
def test_settings_of_a_tenant(store: Store, changes: dict[str, Any], said: str) -> None:
    store.add_tenant("acme", TenantSettings(), who="eva", now=NOON)
    with pytest.raises(InvalidValue, match=said):
        store.set_tenant("acme", changes, who="eva", now=NOON)
    assert store.tenant("acme").settings == TenantSettings()


def test_maximum_is_exactly_these_settings() -> None:
    """A password of each viewer's own, keys of each viewer's own, a pace, in no cache, on one device, and
    locked to the sites that are named, and not as a file."""
    assert dict(MAXIMUM) == {
        "access": "personal",
        "encryption": "aes-128-per-viewer",
        "pace": 2.0,
        "cache": "private",
        "max_devices": 1,
        "embed_lock": True,
        "download": False,
    }


def test_everything_that_is_wrong_is_said_at_once(store: Store) -> None:
    with_film(store)
    wrong = StreamSettings(sources=("a",), format="x", access="secret")
    with pytest.raises(InvalidValue) as caught:
        store.add_stream("acme", "other", wrong, who="eva", now=NOON)
    assert len(caught.value.problems) == 3
    assert [each.name for each in store.streams()] == ["film"]


def test_a_row_spoiled_by_hand_costs_its_own_stream_only(file: Path) -> None:
    with Store.open(str(file)) as store:
        with_film(store)
        store.add_stream("acme", "other", FILM, who="eva", now=NOON)
        raw(file, "UPDATE stream SET format = 'webm', pace = 0 WHERE name = 'film'")
        spoiled, sound = store.streams()
        assert len(problems(spoiled.settings)) == 2
        assert problems(sound.settings) == ()


# Traffic


def counted(store: Store, month: str = "2031-05") -> dict[tuple[int, str], tuple[int, int, int]]:
    return {
        (row.stream_id, row.kind.name): (row.requests, row.bytes, row.aborted)
        for row in store.traffic("acme", month)
    }


def test_traffic_is_what_was_counted_since_it_was_read(store: Store) -> None:
    film = with_film(store)
    segments = Metered(1, film, HOUR, Kind.SEGMENT, 10, 1000, 1)
    playlists = Metered(2**63 - 1, film, HOUR, Kind.PLAYLIST, 3, 30, 0)
    assert store.add_traffic([segments, playlists], NOON) == ()
    for _ in range(3):
        store.add_traffic([segments, replace(playlists, requests=5, bytes=51)], NOON)
    assert counted(store) == {(film, "SEGMENT"): (10, 1000, 1), (film, "PLAYLIST"): (5, 51, 0)}
    # A meter may have several rows of one stream, hour and kind.
    for _ in range(3):
        store.add_traffic([segments, replace(segments, incarnation=3)], NOON)
    assert counted(store)[film, "SEGMENT"] == (20, 2000, 2)
    # Another hour of the month is another row of the store.
    store.add_traffic([replace(segments, incarnation=4, hour=HOUR + 1)], NOON)
    assert counted(store)[film, "SEGMENT"] == (30, 3000, 3)


def test_a_row_may_be_shown_twice_in_one_call(store: Store) -> None:
    film = with_film(store)
    row = Metered(1, film, HOUR, Kind.SEGMENT, 10, 1000, 1)
    assert store.add_traffic([row, row, replace(row, requests=11)], NOON) == ()
    assert counted(store)[film, "SEGMENT"] == (11, 1000, 1)


def test_rows_that_a_meter_let_go_are_forgotten(store: Store) -> None:
    film = with_film(store)
    row = Metered(1, film, HOUR, Kind.SEGMENT, 10, 1000, 1)
    kept = replace(row, incarnation=2)
    store.add_traffic([row, kept], NOON)
    store.forget([], NOON)
    store.forget([row], NOON)
    store.add_traffic([row, kept], NOON)
    assert counted(store)[film, "SEGMENT"] == (30, 3000, 3)


@pytest.mark.parametrize("others", [0, 1, 600])
def test_traffic_of_streams_that_are_gone_is_left_out(store: Store, others: int) -> None:
    row = Metered(1, with_film(store), HOUR, Kind.SEGMENT, 10, 1000, 1)
    gone = tuple(replace(row, stream_id=10_000 + n, incarnation=2 + n) for n in range(others))
    assert store.add_traffic([*gone, row], NOON) == gone
    assert counted(store) == {(row.stream_id, "SEGMENT"): (10, 1000, 1)}


def test_counts_that_went_back_are_left_out(store: Store) -> None:
    film = with_film(store)
    row = Metered(1, film, HOUR, Kind.SEGMENT, 10, 1000, 1)
    store.add_traffic([row], NOON)
    for less in (replace(row, requests=9), replace(row, bytes=0), replace(row, aborted=-1)):
        assert store.add_traffic([less], NOON) == (less,)
    assert counted(store)[film, "SEGMENT"] == (10, 1000, 1)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 6),
            st.sampled_from(list(Kind)),
            st.tuples(*[st.integers(0, 2**40)] * 3),
            st.sampled_from(("count", "count", "read", "let go")),
        ),
        max_size=20,
    )
)
def test_traffic_equals_what_the_meters_counted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Whatever was read how often, and let go when."""
    with Store.open(str(tmp_path_factory.mktemp("traffic") / "store.db")) as store:
        film = with_film(store)
        rows: dict[int, Metered] = {}
        wanted: dict[tuple[int, str], tuple[int, ...]] = {}
        for number, (incarnation, kind, more, what) in enumerate(steps, 1):
            row = rows.setdefault(incarnation, Metered(incarnation, film, HOUR, kind, 0, 0, 0))
            counts = (row.requests + more[0], row.bytes + more[1], row.aborted + more[2])
            rows[incarnation] = Metered(row.incarnation, film, HOUR, row.kind, *counts)
            if any(more):
                name = (film, Kind(row.kind).name)
                wanted[name] = tuple(map(sum, zip(wanted.get(name, (0, 0, 0)), more, strict=True)))
            if what != "count":
                store.add_traffic(rows.values(), NOON)
            if what == "let go":
                gone = rows.pop(incarnation)
                store.forget([gone], NOON)
                # The row's next use has another name.
                again = replace(gone, incarnation=100 * number + incarnation)
                rows[incarnation] = replace(again, requests=0, bytes=0, aborted=0)
        store.add_traffic(rows.values(), NOON)
        assert counted(store) == wanted


def test_what_belongs_to_no_stream_is_said_and_the_rest_is_kept(store: Store) -> None:
    film = with_film(store)
    good = Metered(1, film, HOUR, Kind.KEY, 1, 16, 0)
    strange = [
        replace(good, stream_id=film + 1),
        replace(good, stream_id=0),
        replace(good, kind=99),
    ]
    assert store.add_traffic([strange[0], good, *strange[1:]], NOON) == tuple(strange)
    assert counted(store) == {(film, "KEY"): (1, 16, 0)}


def test_traffic_of_a_removed_stream_stays(store: Store) -> None:
    old = with_film(store)
    row = Metered(1, old, HOUR, Kind.DOWNLOAD, 1, 10**15, 0)
    store.add_traffic([row], NOON)
    store.remove_stream("acme", "film", who="eva", now=NOON)
    new = store.add_stream("acme", "film", FILM, who="eva", now=NOON).id
    # What was still on the way when it was removed counts, too.
    store.add_traffic([replace(row, requests=2), replace(row, incarnation=2, stream_id=new)], NOON)
    assert counted(store) == {
        (old, "DOWNLOAD"): (2, 10**15, 0),
        (new, "DOWNLOAD"): (1, 10**15, 0),
    }
    store.add_tenant("other", TenantSettings(), who="eva", now=NOON)
    assert store.traffic("other", "2031-05") == ()


def test_rows_of_a_meter_that_is_gone_are_forgotten(store: Store) -> None:
    film, day = with_film(store), 86400
    alive = Metered(1, film, HOUR, Kind.KEY, 5, 80, 0)
    gone = replace(alive, incarnation=2, kind=Kind.PLAYLIST)
    store.add_traffic([alive, gone], NOON)
    # One that is shown is alive, even where there is nothing new.
    for days in range(0, 100, 7):
        store.add_traffic([alive], NOON + days * day)
        store.forget([], NOON + days * day)
    assert counted(store) == {(film, "KEY"): (5, 80, 0), (film, "PLAYLIST"): (5, 80, 0)}
    store.add_traffic([alive, gone], NOON + 100 * day)
    assert counted(store) == {(film, "KEY"): (5, 80, 0), (film, "PLAYLIST"): (10, 160, 0)}


@pytest.mark.parametrize(
    ("month", "zone", "first", "hours"),
    [
        ("2031-05", "UTC", "2031-05-01T00", 744),
        ("2031-05", "Europe/Berlin", "2031-04-30T22", 744),
        # Summer time begins and ends: an hour less, an hour more.
        ("2031-03", "Europe/Berlin", "2031-02-28T23", 743),
        ("2031-10", "Europe/Berlin", "2031-09-30T22", 745),
        ("2032-02", "UTC", "2032-02-01T00", 696),
        ("2031-12", "Pacific/Auckland", "2031-11-30T11", 744),
        # 18:30 UTC: the hour of 18:00 began in April.
        ("2031-05", "Asia/Kolkata", "2031-04-30T19", 744),
    ],
)
def test_months_are_a_time_zones(month: str, zone: str, first: str, hours: int) -> None:
    from datetime import datetime

    found = hours_of(month, zone)
    assert found.start == datetime.fromisoformat(f"{first}:00+00:00").timestamp() / 3600
    assert len(found) == hours


def test_months_leave_no_hour_out_and_share_none() -> None:
    for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"):
        months = [f"{year}-{month:02}" for year in (2031, 2032) for month in range(1, 13)]
        ranges = [hours_of(month, zone) for month in months]
        assert all(a.stop == b.start for a, b in zip(ranges, ranges[1:], strict=False))
        for month, hours in zip(months, ranges, strict=True):
            assert {month_of(h * 3600, zone) for h in (hours[0], hours[-1])} == {month}


@pytest.mark.parametrize("month", ["2031", "2031-13", "2031-5", "2031-05-01", "1969-12", "٢٠٣١-05"])
def test_what_is_no_month(store: Store, month: str) -> None:
    with_film(store)
    with pytest.raises(InvalidValue, match="is no month"):
        store.traffic("acme", month)


def test_a_month_begins_where_the_tenant_lives(store: Store) -> None:
    film = with_film(store)
    store.set_tenant("acme", {"timezone": "Europe/Berlin"}, who="eva", now=NOON)
    first = hours_of("2031-05", "Europe/Berlin").start
    for hour in (first - 1, first):
        store.add_traffic([Metered(hour, film, hour, Kind.KEY, 1, 16, 0)], NOON)
    assert counted(store, "2031-04") == counted(store, "2031-05") == {(film, "KEY"): (1, 16, 0)}


# Several at once, and untimely ends

WRITER = """
import sys
from pystream.acl.store import Store
from pystream.acl.traffic import Metered
url, name, film, hour, rounds = sys.argv[1:]
with Store.open(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(1, int(rounds) + 1):
        row = Metered(ord(name), int(film), int(hour), 2, n, 7 * n, 0)
        store.add_traffic([row], 1936699200)
        store.set_tenant("acme", {"display": f"{name} {n}"}, who=name, now=1936699200)
"""


@pytest.mark.slow
def test_two_processes_write_at_once(url: str) -> None:
    with Store.open(url) as store:
        film = with_film(store)
        before = store.revision()
        writers = [script(WRITER, url, name, film, HOUR, 60) for name in ("a", "b")]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        # Reading waits for nobody, and sees revision and settings of one moment.
        seen = [(snapshot := store.snapshot()).revision]
        while any(writer.poll() is None for writer in writers):
            snapshot = store.snapshot()
            assert snapshot.revision >= seen[-1]
            seen.append(snapshot.revision)
        for writer in writers:
            result(writer)
        assert counted(store)[film, "SEGMENT"] == (120, 7 * 120, 0)
        changes = [each for each in store.changes("acme") if each.who in "ab"]
        assert store.revision() - before == len(changes) == 120
        # Each found the other's value, or its own last one.
        after = [each.values["display"][1] for each in changes]
        assert [each.values["display"][0] for each in changes] == ["", *after[:-1]]


SAME_ROW = """
import sys
from pystream.acl.store import Store
from pystream.acl.traffic import Metered
url, film, hour = sys.argv[1], *map(int, sys.argv[2:])
with Store.open(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(1, 61):
        store.add_traffic([Metered(i, film, hour, 2, n, 7 * n, 0) for i in range(5)], 1936699200)
"""


@pytest.mark.slow
def test_an_old_writer_and_its_successor_add_nothing_twice(url: str) -> None:
    """One that was thought to be dead, and still reads the same meter."""
    with Store.open(url) as store:
        film = with_film(store)
        writers = [script(SAME_ROW, url, film, HOUR) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            result(writer)
        assert counted(store)[film, "SEGMENT"] == (300, 7 * 300, 0)


KILLED = """
import sys
from pystream.acl.store import Store
from pystream.acl.traffic import Metered
url, film, hour, first = sys.argv[1], *map(int, sys.argv[2:])
with Store.open(url) as store:
    n = first
    while True:
        n += 1
        print(n, flush=True)
        rows = [Metered(m + 2 * k, film, hour + m, k, n, 3 * n, 0) for m in (0, 1) for k in (1, 2)]
        store.add_traffic(rows, 1936699200)
"""


@pytest.mark.slow
def test_traffic_is_exact_after_kills(url: str) -> None:
    """The counters in memory outlive the writer; whatever it had committed, the next one goes on."""
    chance = random.Random(10)
    with Store.open(url) as store:
        film = with_film(store)
        n = 0
        for _ in range(4):
            writer = script(KILLED, url, film, HOUR, n)
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 30)):
                n = int(writer.stdout.readline())
            writer.kill()
            n = max([n, *map(int, writer.communicate()[0].split())])
        rows = [Metered(m + 2 * k, film, HOUR + m, k, n, 3 * n, 0) for m in (0, 1) for k in (1, 2)]
        store.add_traffic(rows, NOON)
        wanted = (2 * n, 6 * n, 0)
        assert counted(store) == {(film, "PLAYLIST"): wanted, (film, "SEGMENT"): wanted}


# A store that cannot be read or written

FILLING = """
import resource, sys
from pystream.acl.store import Store
from pystream.acl.traffic import Metered
from pystream.errors import StoreError
path, film, hour, limit = sys.argv[1], *map(int, sys.argv[2:])
with Store.open(path) as store:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    n = 0
    try:
        while n < 1000:
            n += 1
            rows = [Metered(h, film, hour + h, 2, n, n, 0) for h in range(300)]
            store.add_traffic(rows, 1936699200)
    except StoreError as error:
        print(error)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    # What there was is there, and reads.
    (row,) = store.traffic("acme", "2031-05")
    assert row.requests == 300 * (n - 1) == row.bytes, (n, row)
    if limit:
        store.add_traffic(rows, 1936699200)
        (row,) = store.traffic("acme", "2031-05")
        assert row.requests == 300 * n
"""


@pytest.mark.slow
def test_a_file_that_may_not_grow_keeps_what_it_had(file: Path) -> None:
    with Store.open(str(file)) as store:
        film = with_film(store)
    said = result(script(FILLING, file, film, HOUR - 360, 300_000))
    assert said.startswith(f"{file}: the file cannot be written or read")
    assert "Nothing of this change was kept" in said


@pytest.mark.slow
@pytest.mark.needs("unshare")
def test_a_full_disk_keeps_what_it_had(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with Store.open(str(tmp_path / "store.db")) as store:
        film = with_film(store)
    room = (tmp_path / "store.db").stat().st_size + 200 * 1024
    mount = f"mount -t tmpfs -o size={room} none {disk}"
    probe = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine allows no mount")
    words = " ".join(map(str, (film, HOUR - 360, 0)))
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-ec"),
            f'{mount}; cp {tmp_path}/store.db {disk}; exec "$0" -c "$1" {disk}/store.db {words}',
            *(sys.executable, FILLING),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{disk}/store.db: the disk is full.")


@pytest.mark.parametrize("linked", [False, True])
def test_a_new_store_is_its_owners_only(file: Path, tmp_path: Path, linked: bool) -> None:
    link = file
    if linked:
        link = tmp_path / "elsewhere" / "link.db"
        link.parent.mkdir()
        link.symlink_to(file)
    before = os.umask(0)
    try:
        with Store.open(str(link)) as store:
            with_film(store)
            files = [path for path in sorted(file.parent.iterdir()) if path.is_file()]
            assert [path.name for path in files] == ["store.db", "store.db-shm", "store.db-wal"]
            assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    finally:
        os.umask(before)
    # One that is there is as its owner has it.
    file.chmod(0o640)
    with Store.open(str(file)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_what_is_committed_is_on_the_disk(file: Path) -> None:
    with Store.open(str(file)) as store, store._database.reading() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/store.db", "missing/store.db: there is no such folder"),
        ("folder", "folder: Is a directory"),
        ("text", "text: the file is no SQLite database"),
    ],
)
def test_a_store_that_cannot_be_opened(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database at all\n" * 99)
    with pytest.raises(StoreError) as caught:
        Store.open(str(tmp_path / name))
    assert said in str(caught.value)
    assert (tmp_path / "text").read_text() == "no database at all\n" * 99


def test_a_damaged_store_says_so(file: Path) -> None:
    with Store.open(str(file)) as store:
        with_film(store)
    data = bytearray(file.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(StoreError, match="bring back a backup"):
        Store.open(str(file))


def test_what_the_database_says_has_no_values_in_it(url: str) -> None:
    """PostgreSQL quotes rows and parameters, and SQLAlchemy parameters; messages end up in logs."""
    word = "wellensittich-4711"
    wrong: dict[str, tuple[Executable, list[dict[str, str]] | None]] = {
        "(23505)": (update(tables.tenant).values(name=word), None),
        "(22P02)": (select(cast(bindparam("word", word, String), Integer)), None),
        "InvalidRequestError": (
            update(tables.tenant).values(name=bindparam("word")),
            [{"word": word}, {}],
        ),
        "(42P01)": (text("DELETE FROM nowhere"), None),
    }
    if url.startswith("sqlite"):
        del wrong["(22P02)"]
        wrong["UNIQUE"] = wrong.pop("(23505)")
        wrong["no such table"] = wrong.pop("(42P01)")
    with Store.open(url) as store:
        for name in ("acme", "other"):
            store.add_tenant(name, TenantSettings(), who="eva", now=1)
        for said, (statement, rows) in wrong.items():
            with pytest.raises(StoreError) as caught, store.database.writing() as connection:
                connection.execute(statement, rows)
            message = str(log.fault(caught.value)["error"])
            assert said in message and word not in message


def test_who_waits_too_long_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(url).close()
    # PostgreSQL's takes whole seconds.
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.1 if url.startswith("sqlite") else 1)
    with Store.open(url) as holder, Store.open(url) as waiter:
        with_film(holder)
        with holder._database.writing() as connection:
            connection.execute(text("UPDATE revision SET value = value + 1"))
            with pytest.raises(StoreError, match="another process has been writing"):
                waiter.set_tenant("acme", {"display": "x"}, who="eva", now=NOON)
        waiter.set_tenant("acme", {"display": "x"}, who="eva", now=NOON)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////a?mode=ro",
        "mysql://a/b",
        "://",
        "sqlite+x://y",
    ],
)
def test_what_is_no_url_of_a_store(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InvalidValue, StoreError), match="URL"):
        Store.open(url)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://eva:GEHEIM@127.0.0.1:1/none",
        "postgresql://eva@127.0.0.1:1/none?password=GEHEIM&sslpassword=GEHEIM",
        "postgresql://eva:GEHEIM@[x/none",
        "postgresql://eva:GEHEIM@127.0.0.1:port/none",
        "mysql://eva:GEHEIM@127.0.0.1/none",
        "sqlite://eva:GEHEIM@127.0.0.1/none",
    ],
)
def test_a_password_is_not_repeated(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((StoreError, InvalidValue)) as caught:
        Store.open(url)
    assert "GEHEIM" not in str(caught.value)
