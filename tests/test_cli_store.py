"""`pystream tenant`, `stream` and `traffic` from outside: processes on a real store."""

from __future__ import annotations

import csv
import fcntl
import hmac
import io
import json
import os
import pty
import re
import sqlite3
import struct
import subprocess
import sys
import termios
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import pypdfium2
import pytest

from pystream.acl.entrances import links
from pystream.acl.entrances.verifiers import new_secret
from pystream.acl.passwords import generate
from pystream.acl.store import Store
from pystream.acl.store.issuing import MOST_AT_ONCE, Issuer
from pystream.acl.streams import StreamSettings
from pystream.acl.traffic import Kind, Metered, hours_of
from pystream.attendance import purpose
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.settings import load
from tests.program import COMMAND, run

MEDIA = Path(__file__).parent / "media"
PLAIN = MEDIA / "plain.mp4"
PAGES = (
    *("traffic", "tenant", "tenant add", "tenant list", "tenant set", "tenant remove", "stream"),
    *("stream add", "stream list", "stream set", "stream remove", "stream changes"),
    *("stream embed", "stream end"),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings that name a store beside them."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PYSTREAM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pystream.toml").write_text("[store]\nurl = 'sqlite:///acl.db'\n")
    return tmp_path


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


# Help and usage


def test_help_tells_all_and_fits_a_terminal() -> None:
    wanted = {
        "tenant": "add list set remove",
        "tenant remove": "--config --store --json",
        "tenant add": "--display --timezone --max-rate --notice-file --by --config --store --json",
        "tenant list": "--config --store --json",
        "stream": "add list set remove changes embed end",
        "stream embed": "--url --config --store --json",
        "stream end": "--by --config --store --json",
        "stream set": "--source --title --format --segment-duration --access --encryption"
        " --rotate-every --cache --pace --max-viewers --download --no-download --download-source"
        " --download-rate --origin --embed-origin --max-devices --device-mode --session --idle"
        " --unchecked --by --config --store --json",
        "stream remove": "--by --config --store --json",
        "traffic": "--month --format --json --config --store",
    }
    for page in PAGES:
        text = done(*page.split(), "--help", env=os.environ | {"COLUMNS": "200"})
        words = set(re.findall(r"(?:--)?[a-z][a-z-]*", text))
        assert words >= set(wanted.get(page, "").split()), page
        assert re.search(r"^exit codes:$", text, re.M), page
        assert text.startswith(f"usage: pystream {page} "), page
        assert max(map(len, text.splitlines())) <= 80, page
        if page == "stream set":
            assert "its first minute goes out at once" in " ".join(text.split())
        assert done(*page.split(), "-h", env=os.environ | {"COLUMNS": "200"}) == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("tenant", "no action is given: add, list, set, remove, privacy, export, delete ("),
        ("tenant ad", "there is no action 'ad'"),
        ("tenant add", "NAME"),
        ("tenant add a --colour red", "there is no option --colour"),
        ("tenant add t", "'t': such paths are the server's own"),
        ("tenant add A", "'A' is no tenant name"),
        ("tenant add a --timezone Mars/North", "'Mars/North' is no time zone"),
        ("tenant add a --max-rate fast", "--max-rate: bits a second are wanted"),
        ("tenant add a --max-rate 5", "tenant add: --max-rate: 1000 or more"),
        ("tenant set a", "no setting is given"),
        ("tenant list a", "too many arguments"),
        ("stream", "no action is given: add, list, set, remove, changes"),
        ("stream add acme", "TENANT/STREAM is wanted"),
        ("stream add acme/", "TENANT/STREAM is wanted"),
        ("stream add acme/a/b --source x", "TENANT/STREAM is wanted"),
        ("stream add acme/a", "--source is required"),
        ("stream add acme/a --source live", "live streams are not there yet"),
        ("stream add acme/a --source x --access secret", "'secret' is none of open, shared"),
        ("stream add acme/a --source x --opens tomorrow", "--opens"),
        ("stream add acme/a --source x --closes 2031-02-30", "--closes"),
        ("stream add acme/a --source x --country de", "'de' is no country"),
        ("stream add acme/a --source x --maximum --embed-origin *", "--embed-lock: '*' lets"),
        ("stream add acme/a --source x --cache shared", "exclude each other"),
        (
            "stream add acme/a --source x --pace fast",
            "--pace: a number from 1 to 1000 is wanted, or off",
        ),
        (
            "stream add acme/a --source x --pace 0.5",
            "--pace: from 1 to 1000 times real time is wanted, or off",
        ),
        ("stream add acme/a --source x --rotate-every 0", "above 0"),
        ("stream add acme/a --source x --rotate-every 3", "no keys to rotate"),
        ("stream add acme/a --source x --segment-duration 0", "from 0.1 to 3600"),
        ("stream add acme/a --source x --origin example.org", "'example.org' is no origin"),
        ("stream add acme/a --source x --download-source y", "none of the stream's sources"),
        ("stream add acme/A --unchecked --source x", "'A' is no stream name"),
        ("stream set acme/a", "no setting is given"),
        ("stream add acme/a --source x --session long", "a number of hours"),
        ("stream add acme/a --source x --session inf", "a number of hours"),
        ("stream add acme/a --source x --idle 0.01", "--idle: from 60 to 604800 seconds"),
        (
            "stream add acme/a --source x --source y --download",
            "so --download-source has to name one",
        ),
        ("traffic", "TENANT"),
        ("traffic a --format xml", "--format"),
        ("traffic a --format csv --json", "exclude each other"),
    ],
)
def test_a_wrong_command_line_is_2(here: Path, arguments: str, said: str) -> None:
    assert said in refused(2, *arguments.split())


def test_all_that_is_wrong_is_said(here: Path) -> None:
    lines = refused(2, *"stream add a/a --source x --cache shared --access secret".split())
    assert len(lines.splitlines()) == 3
    assert not (here / "acl.db").exists()


# Tenants and streams


def test_conditions_and_the_maximum(here: Path) -> None:
    with (here / "pystream.toml").open("a") as file:
        file.write("[geo]\ntest = ['192.0.2.0/24 = DE']\n")
    done("tenant", "add", "acme", "--timezone", "Europe/Berlin")
    words = ("--opens", "2031-05-01 18:00", "--closes", "2031-05-03", "--network", "192.0.2.0/24")
    more = ("--country", "DE", "--country", "AT", "--country-denied", "FR", "--embed-lock")
    film = ("stream", "add", "acme/film", "--source", "x.mp4", "--unchecked")
    made = told(*film, *words, *more)
    assert made["opens_at"] == 1_935_417_600 and made["closes_at"] == 1_935_612_000
    assert (made["networks"], made["countries"]) == (["192.0.2.0/24"], ["DE", "AT"])
    assert made["embed_lock"] is True and made["allow_unknown_country"] is False
    assert made["allow_no_referrer"] is False
    assert told("stream", "set", "acme/film", "--allow-no-referrer")["allow_no_referrer"] is True
    listed = done("stream", "list")
    assert "from 2031-05-01T16:00:00Z; until 2031-05-03T22:00:00Z; 1 network; DE AT" in listed
    away = ("--opens", "none", "--closes", "none", "--country", "none", "--no-embed-lock")
    changed = told("stream", "set", "acme/film", *away)
    assert (changed["opens_at"], changed["closes_at"], changed["countries"]) == (None, None, [])
    # The bundle is exactly its settings, and what stands beside it counts.
    plain = told(*film[:2], "acme/plain", *film[3:])
    maximum = told("stream", "add", "acme/most", *film[3:], "--maximum", "--max-devices", "2")
    differing = {name for name in plain if plain[name] != maximum[name]}
    differing -= {"name", "path", "id", "created_at", "revision"}
    assert differing == {"access", "encryption", "max_devices", "embed_lock"}
    assert (maximum["cache"], maximum["pace"], maximum["max_devices"]) == ("private", 2.0, 2)
    faster = told("stream", "set", "acme/film", "--pace", "off")
    assert faster["pace"] is None
    slower = told("stream", "set", "acme/film", "--maximum")
    assert (slower["pace"], slower["max_devices"]) == (2.0, 1)
    # Whatever was on before.
    told("stream", "set", "acme/film", "--download")
    assert told("stream", "set", "acme/film", "--maximum")["download"] is False


def test_a_server_that_knows_no_countries_is_told_of(here: Path) -> None:
    done("tenant", "add", "acme")
    film = ("stream", "add", "acme/film", "--source", "x.mp4", "--unchecked")
    for words in ((*film, "--country", "DE"), ("stream", "set", "acme/film", "--title", "x")):
        finished = run(*words)
        assert finished.returncode == 0
        begin = f"pystream stream {words[1]}: warning: acme/film: geo.database "
        assert finished.stderr.startswith(begin)
    # The store of a server elsewhere, whose settings are not these.
    done("stream", "set", "acme/film", "--title", "y", "--store", "acl.db")
    done("stream", "set", "acme/film", "--country", "none")


def test_tenants(here: Path) -> None:
    words = ("--display", "ACME [b]GmbH", "--timezone", "Europe/Berlin", "--max-rate", "2G")
    assert done("tenant", "add", "acme", *words) == (
        f"tenant acme is added to a new store, {here}/acl.db\n"
    )
    assert told("tenant", "add", "other") == {
        "name": "other",
        "display": "",
        "timezone": "UTC",
        "max_rate_bps": None,
        "notice": "",
        "attendance_purpose": "",
        "checkpoint_url": "",
        "checkpoint_mail": "",
        "checkpoint_cosigner": "",
        "attendance_days": None,
        "attendance_reports_days": None,
        "attendance_daily_reports_days": None,
        "created_at": told("tenant", "list")["tenants"][1]["created_at"],
    }
    assert "already" in refused(1, "tenant", "add", "acme")
    assert told("tenant", "set", "other", "--max-rate", "500k")["max_rate_bps"] == 500_000
    assert told("tenant", "set", "acme", "--max-rate", "none")["display"] == "ACME [b]GmbH"
    assert done("tenant", "list").splitlines() == [
        "tenant  display       timezone       max bit/s",
        "acme    ACME [b]GmbH  Europe/Berlin",
        "other                 UTC              500,000",
    ]
    assert "no tenant 'nobody'" in refused(1, "tenant", "set", "nobody", "--display", "x")


def test_a_server_that_mails_nothing_is_told_of(here: Path) -> None:
    mail = ("--checkpoint-mail", "office@example.org")
    for words in (("add", "acme", *mail), ("set", "acme", "--display", "x")):
        finished = run("tenant", *words)
        assert finished.returncode == 0
        assert finished.stderr == (
            f"pystream tenant {words[0]}: warning: acme: attendance.mail_server of the settings names no"
            " server of mail, so no checkpoint goes by it\n"
        )
    # The store of a server elsewhere, whose settings are not these.
    done("tenant", "set", "acme", *mail, "--store", "acl.db")
    with open(here / "pystream.toml", "a") as file:
        file.write("[attendance]\nmail_server = 'mail.example.org:587'\n")
        file.write("mail_from = 'video@example.org'\n")
    done("tenant", "set", "acme", *mail)
    done("tenant", "set", "acme", "--checkpoint-mail", "none")


def test_only_a_first_tenant_makes_a_store(here: Path) -> None:
    for words in (
        *("tenant list", "tenant set acme --display x", "stream list", "stream remove acme/film"),
        *("stream changes acme", "traffic acme", f"stream add acme/film --source {PLAIN}"),
        *("stream set acme/film --title x", "tenant list --store other.db"),
    ):
        said = refused(1, *words.split())
        assert "there is no store at" in said and "run this where pystream.toml lies" in said
    assert [each.name for each in here.iterdir()] == ["pystream.toml"]
    # What a command that was killed, or another pystream, has left empty.
    (here / "acl.db").touch()
    assert "there is no store in" in refused(1, "tenant", "list")
    assert "new store" in done("tenant", "add", "acme")
    assert done("tenant", "add", "other") == "tenant other is added\n"
    assert "no such folder" in refused(1, "tenant", "add", "acme", "--store", "nowhere/x.db")


def test_a_tenant_without_a_past_can_be_removed_and_no_other(here: Path) -> None:
    done("tenant", "add", "acme")
    done("tenant", "add", "amce")
    done("tenant", "set", "amce", "--display", "x")
    assert done("tenant", "remove", "amce") == "tenant amce is removed\n"
    assert [each["name"] for each in told("tenant", "list")["tenants"]] == ["acme"]
    assert "no tenant 'amce'" in refused(1, "tenant", "remove", "amce")
    assert told("tenant", "add", "amce")["display"] == ""
    done("stream", "add", "acme/film", "--source", PLAIN)
    for _ in range(2):
        assert "tenant 'acme' stays: it has or had streams" in refused(
            1, "tenant", "remove", "acme"
        )
        run("stream", "remove", "acme/film")
    # Nothing of it is gone either.
    assert len(told("stream", "changes", "acme")["changes"]) == 3
    assert told("tenant", "remove", "amce") == {"name": "amce"}


def test_streams(here: Path) -> None:
    done("tenant", "add", "acme")
    (here / "film.mp4").write_bytes(PLAIN.read_bytes())
    made = told("stream", "add", "acme/film", "--source", "film.mp4", "--title", "Ein Film")
    assert made["path"] == "/acme/film/"
    # The server's current folder is another one.
    assert made["sources"] == [f"{here}/film.mp4"]
    assert (made["pace"], made["download"], made["segment_duration_ms"]) == (2.0, False, 6000)
    words = "--encryption aes-128 --rotate-every 5 --cache shared --pace off --max-viewers 9"
    words += " --download --download-rate 20M --segment-duration 2.5 --format fmp4"
    words += " --origin https://a.example --origin https://b.example --embed-origin *"
    after = told("stream", "set", "acme/film", *words.split())
    assert (
        after
        | {
            "encryption": "aes-128",
            "rotate_every": 5,
            "cache": "shared",
            "pace": None,
            "max_viewers": 9,
            "download": True,
            "download_rate_bps": 20_000_000,
            "segment_duration_ms": 2500,
            "format": "fmp4",
            "origins": ["https://a.example", "https://b.example"],
            "embed_origins": ["*"],
            "title": "Ein Film",
        }
        == after
    )
    assert after["revision"] > made["revision"]
    assert (made["download_path"], after["download_path"]) == (None, "/acme/film/download.mp4")
    taken = (
        "--no-download --download-rate none --rotate-every none --max-viewers none --origin none"
    )
    cleared = told("stream", "set", "acme/film", *taken.split())
    assert (cleared["download"], cleared["download_rate_bps"], cleared["origins"]) == (
        False,
        None,
        [],
    )
    assert (cleared["rotate_every"], cleared["max_viewers"]) == (None, None)
    assert told("stream", "list", "acme")["streams"] == [cleared]
    titles, row = (re.split("  +", line) for line in done("stream", "list").splitlines())
    assert titles == ["stream", "title", "access", "encryption", "format", "cache", "sources"]
    assert row[:-1] == ["acme/film", "Ein Film", "open", "aes-128", "fmp4", "shared"]
    assert "exclude" in refused(2, "stream", "set", "acme/film", "--pace", "3")
    assert "already" in refused(1, "stream", "add", "acme/film", "--source", PLAIN)
    assert done("stream", "remove", "acme/film") == "stream /acme/film/ is removed\n"
    assert "no stream acme/film" in refused(1, "stream", "remove", "acme/film")
    assert told("stream", "list")["streams"] == []
    assert "no tenant 'nobody'" in refused(1, "stream", "list", "nobody")


def test_every_switch_of_a_stream_goes_on_and_off(here: Path) -> None:
    done("tenant", "add", "acme", "--attendance-purpose", purpose.VERSION)
    before = told("stream", "add", "acme/film", "--source", PLAIN, "--access", "personal")
    switches = [each.name for each in fields(StreamSettings) if each.type == "bool"]
    assert len(switches) > 6 and not any(before[name] for name in switches)
    options = {name: "--" + name.replace("_", "-") for name in switches}
    # These two exclude each other.
    for left_out in ("download", "no_skip"):
        some = {name: option for name, option in options.items() if name != left_out}
        on = told("stream", "set", "acme/film", *some.values())
        assert all(on[name] for name in some)
        away = [
            "--skip" if name == "no_skip" else f"--no-{option[2:]}" for name, option in some.items()
        ]
        off = told("stream", "set", "acme/film", *away)
        assert not any(off[name] for name in switches)
    assert "attendance has to be recorded" in refused(2, "stream", "set", "acme/film", "--no-skip")


def test_a_ladder_names_what_can_be_downloaded(here: Path) -> None:
    done("tenant", "add", "acme")
    sources = [MEDIA / f"ladder_{name}.mp4" for name in (90, 180)]
    words = [word for source in sources for word in ("--source", str(source))]
    assert "has to name" in refused(2, "stream", "add", "acme/film", *words, "--download")
    named = ("--download", "--download-source", os.path.relpath(sources[1]))
    made = told("stream", "add", "acme/film", *words, *named)
    assert made["download_source"] == str(sources[1])


def test_who_switches_downloads_on_is_told_their_address(here: Path) -> None:
    done("tenant", "add", "acme")
    add = ("stream", "add", "acme/film", "--source", PLAIN)
    assert "/acme/film/download.mp4" in done(*add, "--download")
    assert "/acme/film/download.mp4" in done("stream", "set", "acme/film", "--title", "x")
    assert "download" not in done("stream", "set", "acme/film", "--no-download")


def test_sources_are_looked_at(here: Path) -> None:
    done("tenant", "add", "acme")
    add = ("stream", "add", "acme/film", "--source")
    assert f"{here}/missing.mp4: No such file" in refused(1, *add, "missing.mp4")
    (here / "text").write_text("no film at all\n" * 9)
    assert f"{here}/text: " in refused(1, *add, "text")
    differ = (MEDIA / "ladder_90.mp4", "--source", MEDIA / "misaligned.mp4")
    assert "key frame" in refused(1, *add, *differ, "--segment-duration", "2")
    assert told("stream", "list")["streams"] == []
    # What packaging would leave out is a warning.
    finished = run(*add, MEDIA / "mp3_beside.mp4")
    assert finished.returncode == 0 and "left out" in finished.stderr
    changed = ("stream", "set", "acme/film", "--source")
    assert "No such file" in refused(1, *changed, "missing.mp4")
    assert told(*changed, "missing.mp4", "--unchecked")["sources"] == [f"{here}/missing.mp4"]
    # Another setting's change looks at no source.
    done("stream", "set", "acme/film", "--title", "x")


def test_the_download_switch_is_on_record(here: Path) -> None:
    done("tenant", "add", "acme", "--by", "eva")
    done("stream", "add", "acme/film", "--source", PLAIN, "--by", "eva")
    done("stream", "set", "acme/film", "--download", "--by", "Max M.")
    done("stream", "set", "acme/film", "--download", "--by", "nobody")
    done("stream", "set", "acme/film", "--no-download", env=os.environ | {"SUDO_USER": "susi"})
    lines = done("stream", "changes", "acme/film").splitlines()
    assert len(lines) == 3
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"{time} eva acme/film: sources: {PLAIN}, format: ts, .*", lines[0])
    assert re.fullmatch(rf"{time} Max M\. acme/film: download: no -> yes", lines[1])
    assert re.fullmatch(rf"{time} susi acme/film: download: yes -> no", lines[2])
    found = told("stream", "changes", "acme")["changes"]
    assert [change["stream"] for change in found] == [None, "film", "film", "film"]
    assert found[2]["values"] == {"download": {"old": False, "new": True}}
    import pwd

    done("tenant", "set", "acme", "--display", "x", env={**os.environ, "SUDO_USER": ""})
    (*_, last) = told("stream", "changes", "acme")["changes"]
    assert last["who"] == pwd.getpwuid(os.getuid()).pw_name


# Passwords


@pytest.fixture
def keys(here: Path) -> None:
    """What a server makes when it is started for the first time."""
    settings = load("pystream.toml", {})
    ensure_keys(settings.keys, {}, 0)
    done("tenant", "add", "acme", "--timezone", "Europe/Berlin")
    for name, access in (("a", "personal"), ("b", "personal"), ("all", "shared")):
        done("stream", "add", f"acme/{name}", "--source", PLAIN, "--access", access)


@pytest.mark.parametrize("action", ["add acme/x", "list acme", "revoke acme --id 1"])
def test_without_keys_passwords_say_who_makes_them_and_leave_nothing(
    here: Path, action: str
) -> None:
    text = refused(1, "password", *action.split())
    assert "there is no master key" in text and "`pystream serve`" in text
    assert sorted(each.name for each in here.iterdir()) == ["pystream.toml"]
    assert "`pystream serve`" in refused(1, "keyring", "status")


def named(*viewers: str) -> None:
    """Has viewers come in whom links name."""
    settings = load("pystream.toml", {})
    with (
        Store.open(settings.store.url) as store,
        open_key_store(settings.keys, {}, migrate=False) as keys,
    ):
        Issuer(store.viewers, keys).named(store.tenant("acme").id, viewers, 1_900_000_000)


@pytest.mark.usefixtures("keys")
def test_a_list_says_what_each_password_opens_and_until_when() -> None:
    done("password", "add", "acme/a", "acme/b", "--valid-until", "30.06.2031", "--label", "two")
    done(
        "password", "add", "acme/a", "--valid-from", "2031-05-01 18:00", "--label", "one", "--test"
    )
    done("password", "add", "acme/all", "--shared", "--label", "everybody")
    table = done("password", "list", "acme")
    rows = {re.split("  +", line)[1]: re.split("  +", line)[2:] for line in table.splitlines()}
    assert rows["two"] == ["a b", "personal", "valid", "2031-06-30"]
    assert rows["one"] == ["a", "personal, test", "to come", "2031-05-01 18:00+02:00"]
    assert rows["everybody"] == ["all", "shared", "valid"]
    assert ",two,,2031-06-30,," in done("password", "list", "acme", "--csv")
    found = {each["label"]: each for each in told("password", "list", "acme")["passwords"]}
    assert found["two"]["valid_until"] == "2031-06-30T22:00:00Z"
    assert found["one"]["valid_from"] == "2031-05-01T16:00:00Z"
    assert (found["one"]["valid_until"], found["one"]["revoked_at"]) == (None, None)
    assert (found["two"]["streams"], found["everybody"]["streams"]) == (["a", "b"], ["all"])


@pytest.mark.usefixtures("keys")
def test_what_is_as_usual_of_all_streams_takes_no_room() -> None:
    def columns() -> list[str]:
        return done("stream", "list").splitlines()[0].split()

    assert columns() == ["stream", "access", "sources"]
    done("stream", "set", "acme/a", "--format", "fmp4", "--closes", "2031-06-30")
    assert columns() == ["stream", "access", "format", "conditions", "sources"]
    assert "until 2031-06-30T22:00:00Z" in done("stream", "list")


@pytest.mark.usefixtures("keys")
def test_ids_are_text_that_no_reader_rounds() -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    (listed,) = told("password", "list", "acme/a")["passwords"]
    assert made["id"] == listed["id"] and int(listed["id"]) > 0
    places = [told("stream", "list")["streams"], told("audit", "acme")["entries"]]
    assert all(isinstance(each["id"], str) for place in places for each in place)
    assert told("password", "revoke", "acme", "--id", made["id"]) == {"revoked": 1}


@pytest.mark.usefixtures("keys")
def test_passwords_are_listed_in_the_order_in_which_they_were_made() -> None:
    ids = [each["id"] for each in told("password", "add", "acme/a", "--count", "9")["passwords"]]
    listed = told("password", "list", "acme/a")["passwords"]
    assert [each["id"] for each in listed] == ids != sorted(ids, key=int)


@pytest.mark.usefixtures("keys")
def test_an_import_says_which_lines_are_there_already(here: Path) -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    (here / "own.csv").write_text(f"password\n7Q4M-0XKD-93TP-11ZB-PV5E\n{made['password']}\n")
    said = refused(1, "password", "import", "acme/a", "--list", "own.csv")
    assert said.endswith("own.csv: line 3: the tenant has this password already\n")
    assert len(told("password", "list", "acme")["passwords"]) == 1


@pytest.mark.usefixtures("keys")
def test_a_long_list_is_stored_in_parts_and_what_is_in_is_told(here: Path) -> None:
    """Whoever writes waits for one part alone; of all that is added at once there is a most."""
    said = refused(2, "password", "add", "acme/a", "--count", str(MOST_AT_ONCE + 1))
    assert "at most 50,000 passwords are added at once" in said
    (here / "long.csv").write_text("\n".join(generate() for _ in range(MOST_AT_ONCE + 3)))
    full = f"""CREATE TRIGGER full BEFORE INSERT ON password WHEN NEW.number > {MOST_AT_ONCE}
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"""

    with closing(sqlite3.connect(here / "acl.db")) as store:
        store.execute(full)
    said = refused(1, "password", "import", "acme/a", "--list", "long.csv")
    assert (
        "long.csv: the 50,000 passwords before line 50,001 are added, the others are not: " in said
    )
    with closing(sqlite3.connect(here / "acl.db")) as store:
        assert store.execute("SELECT COUNT(*) FROM password").fetchone() == (MOST_AT_ONCE,)
        store.execute("DROP TRIGGER full")
    rest = "".join((here / "long.csv").read_text().splitlines(keepends=True)[MOST_AT_ONCE:])
    said = done("password", "import", "acme/a", "--list", "-", input=rest)
    assert said == "3 passwords added\n"


@pytest.mark.usefixtures("keys")
def test_who_erases_is_told_what_a_reader_keeps(here: Path) -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    with closing(sqlite3.connect(here / "keys.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM record_key").fetchall()
        erased = run("password", "erase", "acme", "--id", made["id"])
    assert (erased.returncode, erased.stdout) == (0, "1 password erased\n")
    assert "still in its write-ahead log" in erased.stderr
    assert done("password", "erase", "acme", "--id", made["id"]) == "1 password erased\n"
    # Its row is told of, and named by nothing but its number; no list to be imported has it.
    (row,) = told("password", "list", "acme/a")["passwords"]
    assert (row["id"], row["password"], row["label"]) == (made["id"], None, None)
    assert row["state"] == "erased"
    assert re.search(r"^\(erased\) .* erased$", done("password", "list", "acme"), re.MULTILINE)
    assert len(done("password", "list", "acme", "--csv").splitlines()) == 1
    said = refused(2, "password", "restrict", "acme", "--id", made["id"], "--reason", "x")
    assert "the password was erased, and there is nothing of it to keep" in said


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("action", ["revoke", "erase"])
def test_an_id_that_nobody_has_is_an_error_and_changes_nothing(action: str) -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    text = refused(1, "password", action, "acme", "--id", made["id"], "1")
    assert "no password with the id 1; nothing was changed" in text
    for id in (str(2**63), "1e3", "0"):
        text = refused(2, "password", action, "acme", "--id", made["id"], id)
        assert "ids are wanted as" in text
    (listed,) = told("password", "list", "acme")["passwords"]
    assert listed["revoked_at"] is None and listed["password"]
    # Who is revoked already is no mistake.
    assert done("password", "revoke", "acme", "--id", made["id"]) == "1 password revoked\n"
    assert done("password", "revoke", "acme", "--id", made["id"]) == "0 passwords revoked\n"


@pytest.mark.usefixtures("keys")
def test_cards_are_printed_of_some_as_often_as_that_is_wanted() -> None:
    made = done("password", "add", "acme/a", "--count", "3").split()
    done("password", "add", "acme/b")
    to = ("--url", "https://a.example/", "-o", "x.pdf", "--overwrite")
    cards = ("password", "cards", "acme/a", *to)

    def texts() -> str:
        pages = pypdfium2.PdfDocument(Path("x.pdf").read_bytes())
        return re.sub(r"\W", "", "".join(p.get_textpage().get_text_range() for p in pages))

    assert done(*cards) == "x.pdf: 3 cards\n"
    for _ in range(2):
        done(*cards, "--list", "-", input=f"{made[2].lower()}\n{made[0]}\n")
        places = [texts().find(each.replace("-", "")) for each in made]
        assert places[1] == -1 and -1 < places[2] < places[0]
    (other,) = told("password", "list", "acme/b")["passwords"]
    assert "no password to print" in refused(1, *cards, "--id", other["id"])
    (labelled,) = done("password", "add", "acme/a", "--label", "Group B").split()
    assert done(*cards, "--label", "Group B") == "x.pdf: 1 card\n"
    assert labelled.replace("-", "") in texts()
    assert "no password to print" in refused(1, *cards, "--label", "Group")
    assert "not allowed with" in refused(2, *cards, "--label", "x", "--id", other["id"])
    assert "line 2" in refused(1, *cards, "--list", "-", input=f"{made[0]}\nx\n")
    assert done("audit", "acme/a").count("2 passwords shown") == 2


@pytest.mark.usefixtures("keys")
def test_an_id_of_a_viewer_whom_links_name_is_no_password_to_print_or_replace() -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    named("member-778-xy")
    (viewer,) = told("password", "list", "acme", "--viewers")["passwords"]
    for words in (
        ("rotate", "acme"),
        ("cards", "acme/a", "--url", "https://a.example/", "-o", "x"),
    ):
        text = refused(1, "password", *words, "--id", made["id"], viewer["id"])
        assert f"nobody types what has the id {viewer['id']}" in text, text
    assert not Path("x").exists()
    (listed,) = told("password", "list", "acme")["passwords"]
    assert listed["password"] == made["password"] and listed["revoked_at"] is None


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("action", ["revoke", "erase", "end", "rotate", "set --label x"])
def test_a_list_with_lines_that_nobody_has_tells_all_of_them_and_changes_nothing(
    action: str,
) -> None:
    first, second = done("password", "add", "acme/a", "--count", "2").split()
    before = told("password", "list", "acme")
    lists = {
        f"{first}\nx\n\n{second}\ny\nz\n": "standard input: line 2: the tenant has no such"
        " password; lines 5 to 6: the tenant has no such password; nothing was changed; the other 2"
        " are the tenant's",
        "y\n": "line 1: the tenant has no such password; nothing was changed",
        # As a program that failed before writes it.
        "": "the list is empty; nothing was changed",
        f"x\n{first}\n" * 30: "and more, 30 lines in all; nothing was changed; the other 30",
    }
    name, *more = action.split()
    for text, said in lists.items():
        shown = refused(1, "password", name, "acme", "--list", "-", *more, input=text)
        assert said in " ".join(shown.split()) and first not in shown
    assert told("password", "list", "acme") == before
    pages = done("password", name, "--help")
    assert "All of a list or nothing" in pages and max(map(len, pages.splitlines())) <= 80


@pytest.mark.usefixtures("keys")
def test_passwords_are_replaced_in_their_order_all_or_none() -> None:
    add = ("password", "add", "acme/a", "acme/b", "--label", "Group A", "--max-devices", "2")
    first, second = done(*add, "--count", "2").split()
    rotate = ("password", "rotate", "acme", "--list", "-")
    new, fresh = done(*rotate, input=f"{second}\n{first.lower()}\n").split()
    found = {each["password"]: each for each in told("password", "list", "acme")["passwords"]}
    assert found[first]["revoked_at"] and found[second]["revoked_at"]
    for text in (new, fresh):
        assert found[text]["label"] == "Group A" and found[text]["streams"] == ["a", "b"]
        assert found[text]["max_devices"] == 2 and found[text]["revoked_at"] is None
    text = refused(1, *rotate, input=f"{new}\n{first}\n")
    assert "lets nobody in any more" in text and first not in text
    found = {each["password"]: each for each in told("password", "list", "acme")["passwords"]}
    assert len(found) == 4 and found[new]["revoked_at"] is None
    (last,) = told("password", "rotate", "acme", "--id", found[new]["id"], "--grace", "2h")[
        "passwords"
    ]
    assert last["replaces"] == found[new]["id"]
    found = {each["id"]: each for each in told("password", "list", "acme")["passwords"]}
    old = found[last["replaces"]]
    assert old["revoked_at"] is None and old["valid_until"] and found[last["id"]]["password"]
    assert "a time like 90s" in refused(2, *rotate, "--grace", "2")
    assert "--grace: a time of 1s or more is wanted" in refused(2, *rotate, "--grace", "0s")
    assert "at most 30d" in refused(2, *rotate, "--grace", "31d")


@pytest.mark.usefixtures("keys")
def test_what_can_be_changed_of_passwords() -> None:
    made = told("password", "add", "acme/a", "--count", "2", "--label", "A", "--max-devices", "1")
    ids = [each["id"] for each in made["passwords"]]
    change = ("password", "set", "acme", "--id", *ids)
    said = done(*change, "--label", "B", "--valid-until", "30.06.2031", "--max-devices", "none")
    assert said == "2 passwords set\n"
    for each in told("password", "list", "acme")["passwords"]:
        assert (each["label"], each["max_devices"]) == ("B", None)
        assert each["valid_until"] == "2031-06-30T22:00:00Z"
    assert "--valid-until: it is not after --valid-from" in refused(
        2, *change, "--valid-from", "2032-01-01"
    )
    assert "that is over" in refused(2, *change, "--valid-until", "2020-01-01")
    assert "--valid-from: no date" in refused(2, *change, "--valid-from", "2031-13-01")
    # What cannot be of one of them is done to none.
    done("password", "set", "acme", "--id", ids[1], "--valid-from", "2031-06-01")
    told_before = told("password", "list", "acme")
    late = ("--label", "C", "--valid-until", "2031-05-01")
    assert "--valid-until: it is not after --valid-from" in refused(2, *change, *late)
    assert told("password", "list", "acme") == told_before
    done("password", "set", "acme", "--id", ids[1], "--valid-from", "none")
    assert "no setting is given" in refused(2, *change)
    assert told(*change, "--valid-until", "none") == {"set": 2}
    for each in told("password", "list", "acme")["passwords"]:
        assert (each["label"], each["valid_until"]) == ("B", None)


@pytest.mark.usefixtures("keys")
def test_sessions_of_a_password_and_of_a_stream_are_ended() -> None:
    (made,) = told("password", "add", "acme/a")["passwords"]
    end = ("password", "end", "acme")
    said = done(*end, "--list", "-", "--by", "Ina", input=f"{made['password']}\n")
    assert said == "the sessions of 1 password are ended\n"
    assert "nothing was changed" in refused(1, *end, "--id", made["id"], "1")
    assert told("stream", "end", "acme/a", "--by", "Ina") == {"tenant": "acme", "name": "a"}
    assert "no stream" in refused(1, "stream", "end", "acme/x")
    with Store.open("sqlite:///acl.db", create=False) as store:
        ended = [(each.password_id, each.stream_id) for each in store.viewers.endings(0)]
        assert ended == [(int(made["id"]), None), (None, store.stream("acme", "a").id)]
    (listed,) = told("password", "list", "acme")["passwords"]
    assert listed["revoked_at"] is None
    assert done("audit", "acme").count(" Ina ") == 2
    assert "1 to 200 characters" in refused(2, *end, "--id", made["id"], "--by", "")


def test_the_help_of_links_is_all_that_a_site_needs_to_sign_one() -> None:
    text = done("link", "--help")
    assert "docstring" not in text and max(map(len, text.splitlines())) <= 80
    found = re.search(r"of the lines\n((?:  \S+\n)+)and the key (\S+) it is (\S+)\.\n", text)
    assert found and found[2] == "000102...1f"
    signed = "\n".join(line.strip() for line in found[1].splitlines())
    mac = hmac.digest(bytes(range(32)), signed.encode(), "sha256")
    assert urlsafe_b64encode(mac).rstrip(b"=").decode() == found[3]
    query = "&".join([*signed.split("\n")[2:], f"signature={found[3]}"])
    link = links.verify("/acme/film/", query, {"7f": bytes(range(32))}, now=1_936_702_799)
    assert link.viewer == "4711"
    for name in ("devices", "not_before", "origins", "networks", "countries", "scope=tenant"):
        assert name in text.partition("A link is")[2], name


@pytest.mark.usefixtures("keys")
def test_a_link_is_for_the_page_of_its_stream() -> None:
    done("verifier", "add", "acme", "--kind", "link")
    link = ("link", "acme/a", "--expires", "2h")
    assert told(*link)["url"].startswith("/acme/a/?expires=")
    url = "https://video.example.org/films/acme/a/"
    for page in (url, f"{url}master.m3u8", f"{url}download.mp4"):
        assert told(*link, "--url", page)["url"].startswith(f"{page}?expires=")
    # A link to any of these would open nothing.
    for other in ("https://video.example.org", f"{url}?a=b", f"{url}#b", f"{url}x", url[:-1]):
        assert (
            "the address of the stream's page is wanted, as in https://video.example.org/acme/a/"
            in (refused(2, *link, "--url", other))
        )
    assert "https://" in refused(2, *link, "--url", "/acme/a/")


@pytest.mark.usefixtures("keys")
def test_a_verifiers_name_and_secret_are_told_apart() -> None:
    text = done("verifier", "add", "acme", "--kind", "link", "--name", "2031")
    assert re.fullmatch(r"name    2031\nsecret  [0-9a-f]{64}\n", text)
    made = told("verifier", "add", "acme", "--kind", "link", "--name", "2032")
    assert made["name"] == "2032" and re.fullmatch(r"[0-9a-f]{64}", made["secret"])


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://login.example.org/x", "the URL has to begin with https:// for this address"),
        ("https://login.example.org:0/x", "the URL's port has to be from 1 to 65535"),
        ("https://login.example.org:8443/x", "outgoing.ports has to have port 8443, or the URL"),
        ("https://10.0.0.1/x", "this is no public address; only the operator can allow it"),
        ("http://93.184.216.34/x", "the URL has to begin with https:// for this address"),
        ("ftp://login.example.org/x", "a URL like https://login.example.org/path is wanted"),
    ],
)
def test_an_address_that_can_never_be_called_is_refused(url: str, said: str) -> None:
    for kind in ("question", "jwks"):
        told_of = refused(2, "verifier", "add", "acme", "--kind", kind, "--url", url)
        assert told_of.startswith("pystream verifier add: --url: ") and said in told_of
    assert told("verifier", "list", "acme") == {"verifiers": []}


@pytest.mark.usefixtures("keys")
def test_an_address_that_the_operator_allows_is_none_that_can_never_be_called(here: Path) -> None:
    with (here / "pystream.toml").open("a") as file:
        file.write("[outgoing]\nallow = ['10.0.0.0/8']\nports = [80, 443]\n")
    # What a name leads to is looked at when it is called.
    for name, url in enumerate(("http://10.0.0.1/x", "http://intern.example.org/x")):
        add = ("verifier", "add", "acme", "--kind", "question", "--name", str(name), "--url", url)
        assert f"name    {name}\n" in done(*add)
    said = refused(
        2, "verifier", "add", "acme", "--kind", "question", "--url", "https://10.0.0.1:81"
    )
    assert "outgoing.ports has to have port 81" in said


@pytest.mark.usefixtures("keys")
def test_a_secret_that_the_customer_has_is_not_said_back(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text("mySharedSecret\n")
    for more in ((), ("--json",)):
        place = ("acme", "--kind", "bunny", "--secret-file", str(file))
        assert "mySharedSecret" not in done("verifier", "add", *place, *more)


def test_the_help_of_verifiers_says_what_a_tokens_key_is() -> None:
    pytest.importorskip("msgspec")
    from pystream.acl.entrances.jwt import verify
    from pystream.server.office.api import verifiers

    text = done("verifier", "add", "--help")
    assert max(map(len, text.splitlines())) <= 80
    found = re.search(r"base64\.(urlsafe_b64decode\(secret \+ \"==\"\))", text)
    assert found and found[1] in str(verifiers.add.handler.__doc__)
    secret = new_secret("jwt")
    key = eval(found[1], {"secret": secret, "urlsafe_b64decode": urlsafe_b64decode})

    def signature(of: str, by: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(by, of.encode(), "sha256")).rstrip(b"=").decode()

    def part(value: dict[str, Any]) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"aud": "acme/film", "sub": "4711", "iat": 1, "exp": 99, "jti": "x"}
    signed = f"{part({'alg': 'HS256', 'kid': '7f'})}.{part(claims)}"
    jwks = {"keys": [{"kty": "oct", "kid": "7f", "k": secret}]}
    token = f"{signed}.{signature(signed, key)}"
    opened = verify(token, jwks, tenant="acme", stream="film", now=9, algorithms={"HS256"})
    assert opened.viewer == "4711"
    example = re.search(
        r"secret `([\w-]{43})`, the signature of\s+`(\S+)` is\s+`(\S+)`",
        str(verifiers.add.handler.__doc__),
    )
    assert example and example[3] == signature(example[2], urlsafe_b64decode(f"{example[1]}=="))


@pytest.mark.usefixtures("keys")
def test_the_code_that_embeds_a_stream_names_its_page_and_who_may() -> None:
    url = "https://video.example.org/acme/a/"
    embed = ("stream", "embed", "acme/a", "--url")
    finished = run(*embed, url)
    assert finished.returncode == 0 and f'<iframe src="{url}"' in finished.stdout
    assert "no site may embed acme/a yet" in finished.stderr
    # Browsers complain where two attributes say it.
    assert finished.stdout.count("fullscreen") == 1
    done("stream", "set", "acme/a", "--embed-origin", "https://www.example.org", "--title", '"A"')
    html = done(*embed, url)
    assert 'title="&quot;A&quot;"' in html and len(html.splitlines()) == 1
    found = told(*embed, url)
    assert found["embed_origins"] == ["https://www.example.org"] and found["html"] == html.strip()
    assert "https://" in refused(2, *embed, "video.example.org")
    # In a frame of another page of the server, nobody would find the film.
    for other in ("https://video.example.org", "https://video.example.org/acme/", url[:-1]):
        assert f"--url: the address of the stream's page is wanted, as in {url} (" in refused(
            2, *embed, other
        )
    behind = "https://www.example.org/film/acme/a/?exp=1&sig=x"
    assert f'src="{behind.replace("&", "&amp;")}"' in done(*embed, behind)


@pytest.mark.usefixtures("keys")
def test_a_password_that_would_open_nothing_is_not_made() -> None:
    assert "--valid-until: no date" in refused(2, "password", "add", "acme/a", "--valid-until", "x")
    text = refused(2, "password", "add", "acme/a", "--valid-until", "2020-01-01")
    assert "--valid-until 2020-01-01: that is over" in text
    assert told("password", "list", "acme")["passwords"] == []
    text = done("stream", "add", "acme/c", "--source", PLAIN, "--access", "personal")
    assert "nobody can come in until `pystream password add acme/c` makes" in text
    done("password", "add", "acme/a")
    assert "nobody" not in done("stream", "set", "acme/a", "--access", "personal")
    text = done("stream", "set", "acme/all", "--max-devices", "3")
    assert "password add acme/all --shared`" in text and "--max-devices does nothing" in text
    assert "nobody" not in done("stream", "set", "acme/all", "--title", "x")
    # Those of the other kind open nothing either, nor those that are over.
    done("stream", "set", "acme/a", "--access", "shared")
    assert "nobody" in done("stream", "set", "acme/a", "--access", "shared")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(("access", "kind"), [("signed", "link"), ("external", "jwt")])
def test_a_stream_that_no_verifier_opens_is_told_of(access: str, kind: str) -> None:
    wanted = f"nobody can come in until `pystream verifier add acme/c --kind {kind}`"
    add = ("stream", "add", "acme/c", "--source", PLAIN, "--access", access)
    assert wanted in done(*add)
    there = ("stream", "set", "acme/c", "--access", access)
    # The one of the other access is none of this one.
    done("verifier", "add", "acme", "--kind", "jwt" if kind == "link" else "link")
    assert wanted in done(*there)
    done("verifier", "add", "acme", "--kind", kind, "--name", "k")
    assert "nobody" not in done(*there)
    done("verifier", "revoke", "acme", "k")
    assert wanted in done(*there)


@pytest.mark.usefixtures("keys")
def test_what_is_counted_is_on_record_in_words_where_its_stream_is() -> None:
    done("password", "add", "acme/a", "--count", "3")
    done("password", "list", "acme/a")
    (made, *_, last) = done("stream", "changes", "acme/a").splitlines()
    assert "->" not in made
    assert last.endswith(" acme/a: 3 passwords added")
    assert "3 passwords shown" in done("audit", "acme/a")
    assert "passwords" not in done("stream", "changes", "acme/b")
    # Whom it is about is said, although the name has not changed.
    done("person", "add", "acme", "ina", "--role", "auditor")
    done("person", "role", "acme", "ina", "dpo")
    assert "person: ina, role: auditor -> dpo" in done("audit", "acme")


@pytest.mark.usefixtures("keys")
def test_cards_that_cannot_be_printed_are_not_shown(here: Path) -> None:
    done("password", "add", "acme/a", "--count", "3")
    cards = ("password", "cards", "acme/a", "-o", "cards.pdf", "--url")
    (line,) = refused(2, *cards, "www.example.org").splitlines()
    assert "url: an address is wanted" in line
    assert not (here / "cards.pdf").exists()
    assert "shown" not in done("audit", "acme")
    done(*cards, "https://www.example.org/acme/a/")
    assert done("audit", "acme").count("3 passwords shown") == 1
    text = refused(1, *cards, "https://www.example.org/acme/a/")
    assert "cards.pdf: it is there already; --overwrite replaces it" in text
    assert done("audit", "acme").count("3 passwords shown") == 1
    done(*cards, "https://www.example.org/acme/a/", "--overwrite")


def test_a_new_stream_is_told_with_the_address_of_its_page(here: Path) -> None:
    done("tenant", "add", "acme")
    add = ("stream", "add", "acme/film", "--source", PLAIN)
    (here / "pystream.toml").write_text(
        "[server]\nlisten = ['unix:/run/x', '*:8123']\npath_prefix = '/tv'\n[store]\nurl = 'acl.db'\n"
    )
    said = done(*add)
    assert said.startswith("stream /tv/acme/film/ is added: a page, and /tv/acme/film/master.m3u8")
    assert said.endswith("With `pystream serve` here: http://localhost:8123/tv/acme/film/\n")


# Traffic


@pytest.fixture
def traffic(here: Path) -> Path:
    done("tenant", "add", "acme", "--timezone", "Europe/Berlin")
    film, other = (
        int(told("stream", "add", f"acme/{name}", "--source", PLAIN)["id"])
        for name in ("film", "b")
    )
    hour = hours_of("2031-05", "Europe/Berlin").start
    with Store.open(str(here / "acl.db")) as store:
        rows = [
            Metered(1, film, hour, Kind.SEGMENT, 1000, 1_500_000_000, 2),
            Metered(2, film, hour + 1, Kind.SEGMENT, 1, 1, 0),
            Metered(3, film, hour, Kind.PLAYLIST, 10, 2000, 0),
            Metered(4, other, hour, Kind.DOWNLOAD, 1, 5, 1),
            Metered(5, other, hour - 1, Kind.KEY, 1, 16, 0),
        ]
        assert store.add_traffic(rows, hour * 3600) == ()
    return here


def test_traffic_as_a_table(traffic: Path) -> None:
    assert done("traffic", "acme", "--month", "2031-05").splitlines() == [
        "stream  kind      requests          bytes  aborted",
        "b       download         1              5        1",
        "film    playlist        10          2,000        0",
        "film    segment      1,001  1,500,000,001        2",
        "total                1,012  1,500,002,006        3",
    ]
    assert done("traffic", "acme").splitlines()[1].split() == ["total", "0", "0", "0"]


def test_traffic_for_programs(traffic: Path) -> None:
    text = done("traffic", "acme", "--month", "2031-05", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["stream"], row["kind"], row["bytes"]) for row in rows] == [
        ("b", "download", "5"),
        ("film", "playlist", "2000"),
        ("film", "segment", "1500000001"),
    ]
    assert {row["month"] for row in rows} == {"2031-05"}
    found = told("traffic", "acme", "--month", "2031-05")
    assert found == json.loads(done("traffic", "acme", "--month", "2031-05", "--format", "json"))
    assert (found["tenant"], found["timezone"]) == ("acme", "Europe/Berlin")
    assert found["total"] == {"requests": 1012, "bytes": 1_500_002_006, "aborted": 3}
    keep = ("stream", "kind", *found["total"], "stream_id")
    assert [{k: str(row[k]) for k in keep} for row in found["rows"]] == [
        {k: row[k] for k in keep} for row in rows
    ]
    assert told("traffic", "acme", "--month", "2031-04")["total"]["bytes"] == 16


def test_traffic_of_nobody(traffic: Path) -> None:
    assert "no tenant 'nobody'" in refused(1, "traffic", "nobody")
    assert "'2031-13' is no month" in refused(2, "traffic", "acme", "--month", "2031-13")


# Where the store is


def test_the_store_is_where_the_settings_say(here: Path) -> None:
    done("tenant", "add", "a")
    assert (here / "acl.db").exists()
    done("tenant", "add", "b", "--store", "other.db")
    done("tenant", "add", "c", "--store", f"sqlite:///{here}/other.db")
    (here / "x").mkdir()
    (here / "x" / "y.toml").write_text("")
    done("tenant", "add", "d", "--config", "x/y.toml")
    assert (here / "x" / "pystream.db").exists()
    done("tenant", "add", "e", env=os.environ | {"PYSTREAM_CONFIG": "x/y.toml"})
    done("tenant", "add", "f", env=os.environ | {"PYSTREAM_STORE_URL": "other.db"})

    def names(*words: str) -> list[str]:
        return [tenant["name"] for tenant in told("tenant", "list", *words)["tenants"]]

    assert names() == ["a"]
    assert names("--store", "other.db") == ["b", "c", "f"]
    assert names("--config", "x/y.toml") == ["d", "e"]


def test_what_is_wrong_with_settings_or_store_is_1(here: Path) -> None:
    (here / "bad.toml").write_text("[store]\n\nurI = 1\n")
    line = refused(1, "tenant", "list", "--config", "bad.toml")
    assert (
        line == "pystream tenant list: bad.toml:3: store.urI: there is no such key; is url meant?\n"
    )
    missing = refused(1, "tenant", "list", "--config", "none.toml")
    assert missing == "pystream tenant list: none.toml: No such file or directory\n"
    (here / "text").write_text("no database\n" * 99)
    assert "text: the file is no SQLite" in refused(1, "tenant", "list", "--store", "text")
    assert "there is no store at no/x.db" in refused(1, "tenant", "list", "--store", "no/x.db")
    password = refused(1, "tenant", "list", "--store", "postgresql://eva:GEHEIM@127.0.0.1:1/x")
    assert "GEHEIM" not in password and "bug" not in password


WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from pystream.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["sqlalchemy", "msgspec", "alembic"])
def test_without_the_servers_packages(here: Path, name: str) -> None:
    words = [sys.executable, "-P", "-c", WITHOUT, name, "tenant", "add", "acme"]
    finished = subprocess.run(words, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert f"({name} is missing)" in finished.stderr and "pystream-hls" in finished.stderr


def on_a_terminal(*arguments: str) -> str:
    """What a command shows on one of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    words = [*COMMAND, *arguments]
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "CI")}
    child = subprocess.Popen(words, stdout=theirs, env=environment | {"TERM": "xterm-256color"})
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:
        pass  # EIO: the other end is closed
    finally:
        os.close(ours)
    assert child.wait() == 0
    return b"".join(parts).decode()


def test_a_terminal_gets_a_table(traffic: Path) -> None:
    text = on_a_terminal("traffic", "acme", "--month", "2031-05")
    assert "\x1b[" in text and "─" in text and "1,500,000,001" in text


@pytest.mark.usefixtures("keys")
def test_a_terminal_shows_passwords_and_viewers_in_one_piece() -> None:
    made = done(
        "password", "add", "acme/a", "--label", "Hall 1, Dr. Müller", "--count", "2"
    ).split()
    viewers = ["member-778-xy", str(uuid4())]
    named(*viewers)

    def lines(*words: str) -> list[list[str]]:
        text = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(*words))
        return [re.split("  +", line.strip()) for line in text.splitlines() if line.strip()]

    head, _, *rows = lines("password", "list", "acme")
    # What is the same everywhere takes no room.
    assert head == ["password", "label", "opens", "state"]
    assert sorted(row[0] for row in rows) == sorted(made)
    assert all(row[1:] == ["Hall 1, Dr. Müller", "a", "valid"] for row in rows)
    head, _, *rows = lines("password", "list", "acme", "--viewers")
    assert head == ["viewer", "state", "first came in"]
    assert sorted(row[0] for row in rows) == sorted(viewers)
    assert all(row[1:] == ["valid", "2030-03-17 18:46:40+01:00"] for row in rows)
    done(
        "password",
        "add",
        "acme/a",
        "--test",
        "--max-devices",
        "2",
        "--valid-from",
        "2031-05-01 18:00",
    )
    # Where there is too much, the rest stands below what it is about, and nothing is cut off.
    text = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal("password", "list", "acme"))
    below = [line.rstrip() for line in text.splitlines()]
    assert all(len(line) <= 80 for line in below)
    assert {line for line in below if line and not line.startswith(" ")} > set(made)
    assert "  label Hall 1, Dr. Müller  opens a  kind personal  state valid" in below
    assert "devices 2" in text


@pytest.mark.parametrize(("command", "library"), [("tenant", "sqlalchemy"), ("demo", "trio")])
def test_without_the_servers_packages_it_says_which_they_are(command: str, library: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from pystream.cli import main;"
        f" sys.exit(main([{command!r}, {'list' if command == 'tenant' else 'x.mp4'!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"({library} is missing); they are the extra `server`" in done.stderr
