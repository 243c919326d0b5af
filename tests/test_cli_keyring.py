"""`pystream keyring` from outside: processes on real key stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import pystream.cli
from pystream.acl.retention import DAY_S
from pystream.acl.store import key_backups
from pystream.acl.store.keystore import KeyStore, RecordKey
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.settings import load
from tests.program import run

SAMPLE = Path(pystream.cli.__file__).parent / "sample.mp4"
PAGES = (
    "keyring",
    *(f"keyring {name}" for name in ("status", "rotate", "backup", "restore", "adopt")),
)
# 2031-05-16 12:00 UTC
NOON = 1_936_699_200

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings, where a node has been once."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PYSTREAM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pystream.toml").write_text("[store]\nurl = 'sqlite:///acl.db'\n")
    ensure_keys(load("pystream.toml", {}).keys, {}, NOON)
    return tmp_path


def opened() -> KeyStore:
    return open_key_store(load("pystream.toml", os.environ).keys, os.environ)


def with_records(tenant_id: int, number: int) -> tuple[RecordKey, ...]:
    with opened() as keys:
        return keys.add_record_keys(tenant_id, number, NOON)


def done(*arguments: str | Path, **options: Any) -> str:
    finished = run(*arguments, **options)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


def told(*arguments: str | Path) -> Any:
    """What --json prints: one object in one line."""
    (line,) = done(*arguments, "--json").splitlines()
    return json.loads(line)


def refused(code: int, *arguments: str | Path, **options: Any) -> str:
    finished = run(*arguments, **options)
    assert (finished.returncode, finished.stdout) == (code, ""), finished.stderr
    assert all(line.startswith("pystream ") for line in finished.stderr.splitlines())
    assert finished.stderr
    return finished.stderr


def test_help_tells_all_and_fits_a_terminal() -> None:
    wanted = {
        "keyring": "status rotate backup restore adopt --keep-days --replace --without-list",
        "keyring adopt": "--config --json",
        "keyring status": "--config --json",
        "keyring rotate": "master tenant pepper --config --json",
        "keyring backup": "--keep-days --config --json",
        "keyring restore": "--replace --without-list --config --json",
    }
    for page in PAGES:
        text = done(*page.split(), "--help", env=os.environ | {"COLUMNS": "200"})
        words = set(re.findall(r"(?:--)?[a-z][a-z-]*", text))
        assert words >= set(wanted[page].split()), page
        assert re.search(r"^exit codes:$", text, re.M), page
        assert text.startswith(f"usage: pystream {page} "), page
        assert max(map(len, text.splitlines())) <= 80, page
    assert "  keyring " in done("--help")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "",
            "no action is given: status, rotate, backup, restore, adopt (pystream keyring --help)",
        ),
        ("rotat", "there is no action 'rotat'"),
        ("rotate", "master|tenant"),
        ("rotate moon", "master|tenant"),
        ("rotate master acme", "rotate master, rotate tenant TENANT, or rotate pepper is wanted"),
        ("rotate tenant", "rotate master, rotate tenant TENANT, or rotate pepper is wanted"),
        ("backup", "DIR"),
        ("backup x --keep-days 0", "--keep-days: a whole number above 0"),
        ("restore", "FILE"),
        ("status --store x", "there is no option --store"),
    ],
)
def test_a_wrong_command_line_is_2(here: Path, arguments: str, said: str) -> None:
    assert said in refused(2, "keyring", *arguments.split())


def test_the_master_key_and_a_tenants_key_are_rotated(here: Path) -> None:
    done("tenant", "add", "acme")
    made = with_records(1, 3)
    before = told("keyring", "status")
    (old,) = before["master_keys"]
    assert old["wraps"] == 3 and (before["tenants"], before["records"]) == (1, 3)

    rotated = told("keyring", "rotate", "master")
    lines = (here / "pystream.key").read_text().splitlines()
    assert rotated["rotated"] == 3 and len(lines) == 2
    new, *rest = rotated["master_keys"]
    assert rest == [old["name"]]
    after = told("keyring", "status")
    assert after["master_keys"] == [{"name": new, "wraps": 3}, {"name": old["name"], "wraps": 0}]
    assert (after["root"], after["peppers"]) == (before["root"], before["peppers"])

    assert told("keyring", "rotate", "tenant", "acme") == {"tenant": "acme", "rotated": 3}
    assert done("keyring", "rotate", "tenant", "acme") == (
        "the key of acme is new; 3 record keys wrapped anew\n"
    )
    (here / "pystream.key").write_text(f"{lines[0]}\n")
    with opened() as keys:
        found = keys.record_keys(1, [each.reference for each in made])
    assert found == {each.reference: each.key for each in made}
    for line in lines:
        assert line not in str((before, rotated, after))


def test_a_rotation_that_was_interrupted_makes_no_second_key(here: Path) -> None:
    """After the new master key was written, and before anything was wrapped anew."""
    from pystream.acl.keys import add_master_key

    add_master_key(str(here / "pystream.key"))
    assert told("keyring", "rotate", "master")["rotated"] == 2
    assert len((here / "pystream.key").read_text().split()) == 2
    assert "2 keys wrapped anew" in done("keyring", "rotate", "master")
    assert len((here / "pystream.key").read_text().split()) == 3


def test_a_master_key_of_the_environment_is_rotated_by_its_owner(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (here / "pystream.key").read_text().strip(), "ab" * 32
    file = (here / "pystream.key").read_bytes()
    monkeypatch.setenv("PYSTREAM_MASTER_KEY", old)
    line = refused(1, "keyring", "rotate", "master")
    assert "PYSTREAM_MASTER_KEY holds the master key" in line and old not in line
    monkeypatch.setenv("PYSTREAM_MASTER_KEY", f"{new} {old}")
    assert told("keyring", "rotate", "master")["rotated"] == 2
    monkeypatch.setenv("PYSTREAM_MASTER_KEY", new)
    assert told("keyring", "status")["master_keys"][0]["wraps"] == 2
    assert (here / "pystream.key").read_bytes() == file


def test_status_for_people(here: Path) -> None:
    done("tenant", "add", "acme")
    with_records(1, 1)
    done("keyring", "rotate", "master")
    text = done("keyring", "status")
    new, old = (each["name"] for each in told("keyring", "status")["master_keys"])
    assert [line.split(maxsplit=1)[0] for line in text.splitlines()][:4] == [
        *("what", "root", "master", "older")
    ]
    assert f"master key        {new}, wraps 3 keys\n" in text
    assert f"older master key  {old}, wraps 0 keys\n" in text
    assert "record keys       1\n" in text
    assert "destroyed keys    0 on the erasure list\n" in text


def test_a_backup_comes_back_without_what_was_erased(here: Path) -> None:
    made = with_records(1, 2)
    (here / "vault").mkdir()
    (here / "vault" / "keys-20000101T000000Z.db").touch()
    found = told("keyring", "backup", "vault", "--keep-days", "30")
    assert found["deleted"] == ["vault/keys-20000101T000000Z.db"]
    with opened() as keys:
        keys.erase(1, [made[0].reference], NOON)
    back = told("keyring", "restore", found["backup"])
    assert (back["records"], back["erased"], back["lost"]) == (1, 1, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", back["made_at"])
    with opened() as keys:
        assert set(keys.record_keys(1, [e.reference for e in made])) == {made[1].reference}
    with_records(1, 1)
    line = refused(1, "keyring", "restore", found["backup"])
    assert "1 of its record keys are not in the backup" in line
    assert "would be lost: nothing was changed; with --replace they are, for good" in line
    # Not all of these were erased by somebody.
    assert re.search(r"^destroyed keys +1 on the erasure list$", done("keyring", "status"), re.M)
    text = done("keyring", "restore", found["backup"], "--replace")
    assert "with 1 record key; 1 that were erased since are left out" in text


def test_backups_are_kept_for_as_long_as_notices_say(here: Path) -> None:
    for name in ("vault", "another"):
        (here / name).mkdir()
    with opened() as keys:
        now = int(time.time())
        oldest, old, young = (
            key_backups.backup(keys, "vault", now - days * DAY_S) for days in (401, 31, 29)
        )
    said = refused(1, "keyring", "restore", oldest)
    assert "retention.erasures_days" in said and "--without-list" in said
    assert told("keyring", "restore", oldest, "--without-list")["lost"] == 0
    assert told("keyring", "backup", "vault")["deleted"] == [oldest, old]
    assert (here / young).exists()
    kept = run("keyring", "backup", "another", "--keep-days", "31")
    assert kept.returncode == 0 and kept.stdout.endswith(".db is written\n")
    assert "warning: backups of 31 days are kept" in kept.stderr
    assert "is in none after 31: retention.key_backups_days" in kept.stderr


def test_what_is_wrong_with_keys_or_the_world_is_1(here: Path) -> None:
    assert "there is no tenant 'acme'" in _without_tenants("keyring", "rotate", "tenant", "acme")
    done("tenant", "add", "acme")
    assert "tenant 1 has no key yet" in refused(1, "keyring", "rotate", "tenant", "acme")
    text = refused(1, "keyring", "backup", "nowhere")
    assert "nowhere: there is no such folder" in text and "mkdir -m 700 nowhere" in text
    assert "nothing.db: No such file" in refused(1, "keyring", "restore", "nothing.db")
    missing = {"env": os.environ | {"PYSTREAM_KEYS_STORE": "other.db"}}
    assert "there is no key store at" in refused(1, "keyring", "status", **missing)
    assert not (here / "other.db").exists()
    (here / "pystream.key").chmod(0o640)
    assert "chmod 600" in refused(1, "keyring", "status")
    (here / "pystream.key").unlink()
    assert "pystream.key: the master key is missing" in refused(1, "keyring", "rotate", "master")
    wrong = {"env": os.environ | {"PYSTREAM_MASTER_KEY": "ab" * 32}}
    line = refused(1, "keyring", "status", **wrong)
    assert "bring the old master key back" in line and "abab" not in line


def _without_tenants(*words: str) -> str:
    from pystream.acl.store import Store

    Store.open("acl.db").close()
    return refused(1, *words)


@pytest.mark.parametrize("name", ["sqlalchemy", "msgspec"])
def test_without_the_servers_packages(here: Path, name: str) -> None:
    code = (
        f"import sys; sys.modules[{name!r}] = None; from pystream.cli import main;"
        " sys.exit(main(['keyring', 'status']))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 1
    assert f"({name} is missing)" in finished.stderr and "pystream-hls" in finished.stderr


def test_a_store_and_a_foreign_key_store_are_told_apart(here: Path) -> None:
    from pystream.acl.store import Store
    from pystream.acl.store.keystore import root_name

    done("tenant", "add", "acme")
    done("stream", "add", "acme/film", "--source", SAMPLE, "--access", "personal")
    with opened() as keys, Store.open("acl.db") as store:
        root = root_name(keys.root())
        store.claim(root)
        store.claim(root)
    done("password", "add", "acme/film")
    for name in ("keys.db", "keys.db-wal", "keys.db-shm"):
        (here / name).unlink(missing_ok=True)
    (here / "pystream.key").unlink()
    ensure_keys(load("pystream.toml", {}).keys, {}, NOON)
    foreign = told("keyring", "status")["root"]
    said = f"this store belongs to the key store whose root is {root}, and the one that keys.store"
    for words in ("password add acme/film", "tenant export acme -o x.zip", "retention run"):
        assert said in refused(1, *words.split())
    checked = run("serve", "--check")
    assert (checked.returncode, said in checked.stderr) == (1, True)
    served = run("serve", timeout=60, env=os.environ | {"PYSTREAM_SERVER_WORKERS": "1"})
    assert (served.returncode, said in served.stderr) == (1, True)
    assert f"has the root {foreign}; nothing was changed" in refused(1, "keyring", "adopt", root)
    assert told("keyring", "adopt", foreign) == {"root": foreign}
    done("password", "add", "acme/film")
