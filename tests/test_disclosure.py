"""What a node says that it keeps: the document, the text, and that they say what is true."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pystream.acl.disclosure import LANGUAGES, Practice, document, notice
from pystream.acl.retention import OF_THE_CONTRACT, DataClass, Rules
from pystream.acl.store import Store
from pystream.acl.store.inventory import INVENTORY
from pystream.acl.streams import Tenant, TenantSettings
from pystream.acl.viewers import notice_version
from pystream.server.keys import ensure_keys
from pystream.server.settings import load
from tests.databases import with_tables
from tests.program import run
from tests.test_serve import SAMPLE, Node, node_in
from tests.waiting import until

WELL_KNOWN = "/.well-known/pystream-privacy.json"
ACME = Tenant(
    id=1, name="acme", settings=TenantSettings(display="ACME", notice="abc"), created_at=0
)


# The document


def test_every_class_is_told_with_the_days_of_its_rule() -> None:
    rules = Rules(sessions=5, audit=77)
    kept = {each["class"]: each for each in document(Practice(rules))["kept"]}
    assert list(kept) == [str(data) for data in DataClass]
    for data in DataClass:
        each = kept[data]
        assert each["days"] == rules.days(data)
        assert (each["from"] is None) == (data in OF_THE_CONTRACT)
        assert each["what"] and each["purpose"]
        people = "of the customer's people", "of attackers", "of the operator's people"
        assert each["personal"] in ("no", "pseudonymous", *people)
    assert {data for held in INVENTORY.values() for data in held.data} <= set(map(DataClass, kept))


def test_a_tenants_document_names_its_notice() -> None:
    assert "tenant" not in document(Practice(Rules()))
    assert document(Practice(Rules()), ACME)["tenant"] == {
        "name": "acme",
        "display": "ACME",
        "notice": "abc",
        "notice_version": notice_version("abc"),
    }
    bare = replace(ACME, settings=TenantSettings())
    assert document(Practice(Rules()), bare)["tenant"]["notice_version"] is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_says_the_same(language: str) -> None:
    rules = Rules(
        sessions=11,
        expired_passwords=222,
        revoked_passwords=33,
        attendance=66,
        traffic_hours=444,
        key_backups=55,
    )
    text = notice(Practice(rules), language)
    assert [int(each) for each in re.findall(r"\d+", text)] == [11, 222, 33, 56, 66, 444]
    assert "{" not in text
    attacked = notice(Practice(rules, records_attacks=True), language)
    assert attacked.startswith(text) and " 7 " in attacked.removeprefix(text)
    told = notice(Practice(rules, asks_with_address=True), language)
    assert told.startswith(text) and len(told) > len(text)
    asked = document(Practice(rules, asks_with_address=True))
    assert asked["address_told_to_customer"] is True and asked["address_told_in_part"] is False
    in_part = Practice(rules, asks_with_address="truncated")
    assert (
        document(in_part)["address_told_to_customer"]
        is document(in_part)["address_told_in_part"]
        is True
    )
    assert notice(in_part, language).startswith(text)
    assert (
        "first part of your network" if language == "en" else "vordere Teil Ihrer Netzadresse"
    ) in (" ".join(notice(in_part, language).removeprefix(text).split()))


def test_what_is_in_memory_and_in_the_log_is_told() -> None:
    """Each purpose for which an address, a site or an answer is held, as the server has it."""
    told = document(Practice(Rules()))
    held = {each["what"]: each for each in told["in_memory"]}
    (tries,) = [each for what, each in held.items() if what.startswith("first part of")]
    for of in ("password", "link or token that opens nothing", "sign in to the console"):
        assert of in tries["what"]
    assert "networks or countries" in held["network address"]["purpose"]
    assert any("Referer" in what for what in held) and any("about a token" in what for what in held)
    (sessions,) = [each for each in told["kept"] if each["class"] == "sessions"]
    assert any("link" in what for what in sessions["what"])
    assert told["log"]["requests"] is False and len(told["log"]["what"]) == 1
    assert "network address" in told["never_kept"]
    kept = document(Practice(Rules(), records_attacks=True))["never_kept"]
    assert "network address of whoever does not attack the server" in kept
    assert "network address" not in kept
    logged = document(Practice(Rules(), logs_requests=True))["log"]
    assert logged["requests"] is True and "each request" in logged["what"][1]


# Served


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        made.settings('path_prefix = "/video"', "[retention]\nsessions_days = 12")
        with Store.open(with_tables(str(tmp_path / "pystream.db"))) as store:
            store.add_tenant("acme", TenantSettings(notice="abc"), who="x", now=0)
        made.start()
        made.hear("READY=1")
        yield made


@pytest.mark.slow
def test_a_node_serves_it(node: Node) -> None:
    def got(query: str = "") -> Any:
        status, headers, data = node.get(f"{WELL_KNOWN}{query}")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert headers["access-control-allow-origin"] == "*"
        return json.loads(data)

    practice = load(str(node.folder / "pystream.toml"), {}).practice
    assert practice.rules.sessions == 12
    assert got() == document(practice)
    told = got("?tenant=acme")["tenant"]
    assert (told["notice"], told["notice_version"]) == ("abc", notice_version("abc"))
    # Who shows it says which one it was: no cache may keep an old one.
    assert node.get(f"{WELL_KNOWN}?tenant=acme")[1]["cache-control"] == "no-cache"
    for query, status in (
        ("?tenant=nobody", 404),
        ("?tenant=../x", 404),
        ("?" + "&".join(f"{each}=1" for each in "abcdefghi"), 400),
    ):
        assert node.get(f"{WELL_KNOWN}{query}")[0] == status, query
    assert node.get(f"/video{WELL_KNOWN}")[0] == 200
    assert got()["log"]["requests"] is False
    node.settings('path_prefix = "/video"', "[retention]\nsessions_days = 13\n[log]\naccess = true")
    node.signal(signal.SIGHUP)
    until(lambda: got()["kept"][4]["days"] == 13)
    until(lambda: got()["log"]["requests"] is True)


# Commands


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PYSTREAM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pystream.toml").write_text("[retention]\nkey_backups_days = 20\n")
    ensure_keys(load("pystream.toml", {}).keys, {}, 1_936_699_200)
    return tmp_path


def done(*arguments: str) -> str:
    finished = run(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_help_tells_all_and_fits_a_terminal() -> None:
    pages = {
        "tenant privacy": "--format --locale --config --json",
        "tenant export": "--output --overwrite --by --config --json",
        "tenant delete": "--confirm --force --output --overwrite --by --config --json",
        "retention": "plan run proof --check",
        "retention plan": "--config --json",
        "retention run": "--config --json",
        "retention proof": "--check --config --json",
    }
    for page, words in pages.items():
        text = done(*page.split(), "--help")
        assert set(words.split()) <= set(re.findall(r"(?:--)?[a-z][a-z-]*", text)), page
        assert text.startswith(f"usage: pystream {page}") and "exit codes:" in text
        assert max(map(len, text.splitlines())) <= 80, page


@pytest.mark.slow
def test_the_end_of_a_contract(here: Path) -> None:
    """Text for the notice; the archive; deletion, which has to be confirmed; and the proof, checked."""
    done("tenant", "add", "acme", "--display", "ACME")
    done("stream", "add", "acme/film", "--source", str(SAMPLE), "--access", "personal")
    text = done("password", "add", "acme/film").strip()
    # As a report is, and all else that is handed on.
    assert "21 Tagen" in done("tenant", "privacy", "acme")
    assert "21 days" in done("tenant", "privacy", "acme", "--locale", "en")
    told = json.loads(done("tenant", "privacy", "acme", "--format", "json"))
    assert told["tenant"]["display"] == "ACME" and told["erasure"]["key_backups_days"] == 20
    assert run("tenant", "privacy", "nobody").returncode == 1
    (here / "acme.zip").write_text("older")
    (here / "acme.zip").chmod(0o644)
    refused = run("tenant", "export", "acme", "-o", "acme.zip")
    assert refused.returncode == 1 and "--overwrite replaces it" in refused.stderr
    assert "acme.zip: " in done("tenant", "export", "acme", "-o", "acme.zip", "--overwrite")
    assert (here / "acme.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile("acme.zip") as archive:
        assert text in archive.read("passwords.csv").decode()
        assert (
            '"played_at", windows and breaks are in milliseconds'
            in archive.read("README.txt").decode()
        )
    for words, code, said in (
        ((), 2, "--confirm with the tenant's name is wanted"),
        (("--confirm", "acne"), 2, "nothing was deleted"),
        (("--confirm", "acme"), 1, "has streams that are served, 'film' among them"),
    ):
        finished = run("tenant", "delete", "acme", *words, stdin=subprocess.DEVNULL)
        assert (finished.returncode, finished.stdout) == (code, "")
        assert said in finished.stderr
    assert len(json.loads(done("password", "list", "acme", "--json"))["passwords"]) == 1
    deletes = ("tenant", "delete", "acme", "--confirm", "acme", "--force", "-o", "proof.json")
    (here / "proof.json").write_text("another tenant's")
    kept = run(*deletes)
    assert (kept.returncode, kept.stdout) == (1, "")
    assert "--overwrite replaces it; nothing was deleted" in kept.stderr
    assert (here / "proof.json").read_text() == "another tenant's"
    (here / "proof.json").unlink()
    finished = run(*deletes)
    assert finished.returncode == 0
    assert "open nothing of it after 21 days" in finished.stderr
    assert (here / "proof.json").read_text() == finished.stdout
    assert (here / "proof.json").stat().st_mode & 0o777 == 0o600
    proof = json.loads(finished.stdout)
    assert proof["names"]["tenant"] == "acme" and proof["document"]["counts"]["password"] == 1
    assert json.loads(done("tenant", "list", "--json")) == {"tenants": []}
    assert "its log has it" in done("retention", "proof", "--check", "proof.json")
    proof["names"]["tenant"] = "other"
    (here / "forged.json").write_text(json.dumps(proof))
    forged = run("retention", "proof", "--check", "forged.json")
    assert forged.returncode == 1 and "the names are not those" in forged.stderr
    (here / "nothing.json").write_text("[")
    assert "this is no proof" in run("retention", "proof", "--check", "nothing.json").stderr


@pytest.mark.slow
def test_what_is_old_is_planned_deleted_and_proven(here: Path) -> None:
    done("tenant", "add", "acme")
    done("stream", "add", "acme/film", "--source", str(SAMPLE), "--access", "personal")
    # Long over when they come from the customer's own list.
    rows = (f"SID-{n}-7HXW2MQ9KD4TPA,2020-01-01" for n in range(3))
    (here / "own.csv").write_text("\n".join(("password,valid_until", *rows)))
    done("password", "import", "acme/film", "--list", "own.csv")
    for _ in range(2):
        plan = json.loads(done("retention", "plan", "--json"))
        assert plan["counts"]["expired_passwords"] == 3
        assert plan["days"]["expired_passwords"] == 365
    assert re.search(r"^expired passwords +365 +3$", done("retention", "plan"), re.M)
    ran = json.loads(done("retention", "run", "--json"))
    assert ran["document"]["counts"]["expired_passwords"] == 3
    (here / "run.json").write_text(json.dumps(ran))
    assert "its log has it" in done("retention", "proof", "--check", "run.json")
    assert "proof " in done("retention", "run")
    assert json.loads(done("password", "list", "acme", "--json")) == {"passwords": []}
    listed = json.loads(done("retention", "proof", "--json"))["proofs"]
    assert [each["document"]["kind"] for each in listed] == ["retention"] * 2
    import sqlite3

    with sqlite3.connect("pystream.db") as database:
        database.execute("UPDATE proof SET document = replace(document, ': 3', ': 2') WHERE id = 1")
    database.close()
    changed = run("retention", "proof")
    assert changed.returncode == 1 and "entry 1 of 2" in changed.stderr
