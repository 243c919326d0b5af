"""`pystream attendance`: evidence files line by line, options, and what is printed."""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pystream._core import Evidence
from pystream.attendance import replay as reading
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options, milliseconds, span, zones
from pystream.errors import InvalidValue, MalformedEvidence
from tests.evidence import BERLIN, at, beacons, film, live, other, replayed, segment
from tests.oracles.attendance import Event, is_specified, lines
from tests.proofs import TRUSTED, Log, viewers
from tests.test_cli import on_terminal, run

SIX = at("18:00")
LIVE = ("--mode", "live", "--timezone", BERLIN)
SEGMENT = segment(SIX, 0)
BEACON = beacons(SIX, SIX + 1)[0]
CHECK = other("check", SIX, answered=None)
OUTAGE = {"kind": "outage", "t0": 5, "t1": 6}
RESTORE = {"kind": "restore", "t0": 5, "t1": 6}
CLOCK = {"kind": "clock", "t": SIX, "step_ms": -5}


def text(event: Event, **others: Any) -> bytes:
    return json.dumps(event | others).encode()


def without(event: Event, name: str) -> bytes:
    return json.dumps({key: value for key, value in event.items() if key != name}).encode()


def swapped(event: Event, name: str, value: str) -> bytes:
    """With a value as it is written."""
    members = [
        f"{json.dumps(key)}: {value if key == name else json.dumps(old)}"
        for key, old in event.items()
    ]
    return f"{{{', '.join(members)}}}".encode()


def twice(event: Event, name: str, first: str) -> bytes:
    """With a name that came earlier, too."""
    return f'{{"{name}": {first}, '.encode() + text(event)[1:]


MORE = SEGMENT | {"more": 0}
DEEP = "[" * 99 + "]" * 99
EVENTS = {
    "segment": text(SEGMENT),
    "beacon": text(BEACON),
    "check": text(CHECK),
    "answered": text(CHECK, answered=130_000),
    "download": text(other("download", 0)),
    "playlist": text(other("playlist", 4_102_444_800_000)),
    "key": text(other("key", SIX)),
    "outage": text(OUTAGE),
    "outage of a stream": text(OUTAGE, stream=""),
    "restore": text(RESTORE, stream=None),
    "clock": text(CLOCK),
    "empty text": text(SEGMENT, key="", session="", rendition=""),
    "ten minutes": text(SEGMENT, m0=-600_000, m1=0),
    "largest": text(SEGMENT, m0=2**53 - 2, m1=2**53 - 1),
    "least": text(CLOCK, step_ms=-(2**53) + 1),
    "minus nought": swapped(SEGMENT, "m0", "-0"),
    "whole rate": text(BEACON, rate=4),
    "rate in powers": swapped(BEACON, "rate", "2.5E-1"),
    "blanks": b' \t{ "kind" :\t"clock", "t": 5 ,"step_ms":0\r} \r',
    "more fields": text(SEGMENT, more={"a": [1, {}, [], None, True, 5.5, "x"]}),
    "a field of another kind": text(SEGMENT, rate="fast", answered={}, t0=-1.5),
    "not a number that counts": swapped(MORE, "more", "1e999"),
    "100 levels": swapped(MORE, "more", DEEP),
    "1000 digits": swapped(MORE, "more", "1" * 1000),
    "half a pair where no text is due": swapped(MORE, "more", r'"\ud800"'),
    "half a pair in a name": text(SEGMENT, **{"\ud800": 1}),
    "a pair": swapped(SEGMENT, "key", r'"\ud83d\ude00"'),
    "escapes": swapped(SEGMENT, "key", r'"\"\\\/\b\f\n\r\t\u00e4"'),
    "an escaped name": text(SEGMENT).replace(b'"m0"', rb'"\u006d0"'),
    "an escaped kind": swapped(SEGMENT, "kind", r'"\u0073egment"'),
    "a name twice": twice(SEGMENT, "t", '"never"'),
    "kind twice": twice(SEGMENT, "kind", '"beacon"'),
}

MALFORMED = {
    "M01": b'{"kind":"segment",',
    "M02": b"[1]",
    "M03": without(SEGMENT, "m0"),
    "M04": text(SEGMENT, t=str(SIX)),
    "M05": text(SEGMENT, m1=True),
    "M06": swapped(SEGMENT, "t", f"{SIX}.0"),
    "M07": text(SEGMENT, m1=0),
    "M08": text(SEGMENT, m1=600_001),
    "M09": text(OUTAGE, t1=5),
    "M10": text(SEGMENT, kind="Segment"),
    "M11": text(BEACON, state="waiting"),
    "M12": text(BEACON, rate=4.001),
    "M13": text(BEACON, sn=-1),
    "M14": text(SEGMENT, primary=1),
    "M15": swapped(BEACON, "rate", "NaN"),
    "M16": text(CHECK, answered=-1),
    "M17": without(CHECK, "answered"),
    "M18": text(OUTAGE, stream=None),
    "M19": text(RESTORE, t0=7),
    "M20": text(SEGMENT, t=4_102_444_800_001),
    "M22": text(SEGMENT, key=None),
    "M25": swapped(SEGMENT, "key", r'"\udc00"'),
    "no text": b"nothing",
    "a number": b"5",
    "text": b'"segment"',
    "null": b"null",
    "no object, and no JSON": b"[1",
    "two objects": text(CLOCK) + b" " + text(CLOCK),
    "a comma too many": b'{"kind":"clock","t":5,"step_ms":0,}',
    "no comma": b'{"kind":"clock" "t":5,"step_ms":0}',
    "no colon": b'{"kind" "clock"}',
    "single quotes": b"{'kind':'clock','t':5,'step_ms':0}",
    "a byte order mark": b"\xef\xbb\xbf" + text(CLOCK),
    "a form feed": b"\x0c",
    "a no-break space": b"\xc2\xa0",
    "no UTF-8": text(SEGMENT, more="x").replace(b'"x"', b'"\xff"'),
    "a surrogate in UTF-8": text(SEGMENT, more="x").replace(b'"x"', b'"\xed\xa0\x80"'),
    "a tab in text": text(SEGMENT, key="A").replace(b'"A"', b'"\t"'),
    "an escape of nothing": swapped(SEGMENT, "key", r'"\x"'),
    "three digits": swapped(SEGMENT, "key", r'"\u00e"'),
    "half a pair and text": swapped(SEGMENT, "key", r'"\ud83dx"'),
    "two halves in the wrong order": swapped(SEGMENT, "key", r'"\ude00\ud83d"'),
    "a leading nought": swapped(SEGMENT, "m0", "00"),
    "a leading plus": swapped(SEGMENT, "m0", "+1"),
    "no digit before the point": swapped(BEACON, "rate", ".5"),
    "no digit behind it": swapped(BEACON, "rate", "1."),
    "no digit in the exponent": swapped(BEACON, "rate", "1e"),
    "an exponent": swapped(SEGMENT, "t", "1e3"),
    "infinite": swapped(BEACON, "rate", "Infinity"),
    "too fast for a double": swapped(BEACON, "rate", "1e999"),
    "rate as text": text(BEACON, rate="1"),
    "rate true": text(BEACON, rate=True),
    "slow": text(BEACON, rate=0.2499),
    "before 1970": text(SEGMENT, t=-1),
    "beyond": text(SEGMENT, m0=2**53 - 1, m1=2**53),
    "far beyond": swapped(SEGMENT, "m0", "1" + "0" * 400),
    "below": text(CLOCK, step_ms=-(2**53)),
    "hidden as text": text(BEACON, hidden="false"),
    "answered as text": text(CHECK, answered="5"),
    "session a number": text(SEGMENT, session=5),
    "rendition missing though it does not count": without(
        SEGMENT | {"primary": False}, "rendition"
    ),
    "media of a segment that does not count": text(SEGMENT, primary=False, m1=-1),
    "no kind": without(SEGMENT, "kind"),
    "kind null": text(SEGMENT, kind=None),
    "no step": without(CLOCK, "step_ms"),
    "the last one counts": twice(SEGMENT, "t", "5").replace(f'"t": {SIX}'.encode(), b'"t": null'),
    "deep and not closed": swapped(MORE, "more", "[" * 200),
}


def read(*parts: bytes) -> None:
    Evidence().read(b"\n".join(parts))


@pytest.mark.parametrize("name", EVENTS)
def test_events(name: str) -> None:
    assert is_specified(EVENTS[name])
    read(EVENTS[name])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_lines(name: str) -> None:
    """M21 and M23 are tests of their own, below; M24 and M26 are events."""
    assert not is_specified(MALFORMED[name])
    with pytest.raises(MalformedEvidence) as raised:
        read(text(CLOCK), b"", MALFORMED[name], b"{")
    assert raised.value.line == 3
    assert str(raised.value) == f"line 3: {raised.value.what}"


def test_blank_lines_are_counted() -> None:
    read(b"", b" ", b"\t\r", text(SEGMENT), b"\r", b"")
    with pytest.raises(MalformedEvidence) as raised:
        read(b"", b" \t\r", text(CLOCK), b"", b"5", b"")
    assert raised.value.line == 5


def test_the_first_malformed_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several threads read, and a later part is through before an earlier one."""
    monkeypatch.setattr(reading, "_PART", 3000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    events = live(SIX, SIX + 600_000)
    wanted = replayed(events, Options(mode="live"))
    rng = random.Random(21)
    for _ in range(30):
        written = [text(event) for event in events]
        rng.shuffle(written)
        file = tmp_path / "events.jsonl"
        file.write_bytes(b"\n".join(written) + rng.choice((b"", b"\n")))
        assert [
            dict(r, intervals=[list(s) for s in r["intervals"]])
            for r in reading.replay(file, Options(mode="live"))
        ] == wanted
        bad = sorted(rng.sample(range(100), 3))
        for place in bad:
            written[place] = b"5"
        file.write_bytes(b"\n".join(written))
        with pytest.raises(MalformedEvidence) as raised:
            reading.replay(file, Options(mode="live"))
        assert raised.value.line == bad[0] + 1


@pytest.mark.slow
@settings(deadline=None, max_examples=1000)
@given(st.sampled_from([*EVENTS.values(), *MALFORMED.values()]), st.data())
def test_lines_are_what_another_reader_says(line: bytes, data: Any) -> None:
    """Any bytes are events or a malformed line: these ones changed, cut, and put into each other."""
    alphabet = b'"\\{}[],: \t\r0123456789.-+eEtrufalsn\x00\x1f\x7f\xc3\xa4\xed\xa0\xff'
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(line)))
        end = data.draw(st.integers(begin, min(len(line), begin + 6)))
        new = data.draw(st.lists(st.sampled_from(alphabet), max_size=4))
        line = line[:begin] + bytes(new) + line[end:]
    if len(line) > 900 or not line.strip(b" \t\r"):
        return
    if is_specified(line):
        read(line)
    else:
        with pytest.raises(MalformedEvidence):
            read(line)


# Options


@pytest.mark.parametrize(
    ("written", "ms"),
    [("6", 6000), ("1.001", 1001), ("0.5", 500), ("007.05", 7050), ("999999999.999", 10**12 - 1)],
)
def test_seconds(written: str, ms: int) -> None:
    assert milliseconds(written) == ms


@pytest.mark.parametrize(
    "written",
    [
        "",
        "six",
        "-1",
        "+1",
        "1.",
        ".5",
        "1.2345",
        "1e3",
        "1_0",
        " 1",
        "1\n",
        "1000000000",
        "\u0661",
        "1,5",
    ],
)
def test_what_are_no_seconds(written: str) -> None:
    with pytest.raises(InvalidValue):
        milliseconds(written)


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("2026-03-10T18:00:00+01:00", SIX),
        ("2026-03-10T17:00:00Z", SIX),
        ("2026-03-10T17:00:00.5Z", SIX + 500),
        ("2026-03-10T17:00:00.05Z", SIX + 50),
        ("2026-03-10T13:29:59.999-03:30", SIX - 1),
        ("2026-03-11T16:59:00+23:59", SIX),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_instants(written: str, ms: int) -> None:
    assert span(f"{written}/9999-12-31T23:59:59Z")[0] == ms


@pytest.mark.parametrize(
    "written",
    [
        "today",
        "2026-03-10T18:00:00",
        "2026-03-10T18:00:00z",
        "2026-03-10 18:00:00Z",
        "2026-03-10T18:00Z",
        "2026-02-29T18:00:00Z",
        "2026-03-10T24:00:00Z",
        "2026-03-10T18:60:00Z",
        "2026-03-10T18:00:60Z",
        "2026-03-10T18:00:00.Z",
        "2026-03-10T18:00:00.0001Z",
        "2026-03-10T18:00:00+24:00",
        "2026-03-10T18:00:00+01:60",
        "2026-03-10T18:00:00+0100",
        "2026-03-10T18:00:00+01",
        "20260310T180000Z",
        "2026-3-10T18:00:00Z",
        "2026-03-10T18:00:00Z ",
        "0000-01-01T00:00:00Z",
        "\u0662026-03-10T18:00:00Z",
    ],
)
def test_what_are_no_instants(written: str) -> None:
    for both in (f"{written}/9999-12-31T23:59:59Z", f"0001-01-01T00:00:00Z/{written}"):
        with pytest.raises(InvalidValue):
            span(both)


def test_zones_are_those_of_the_database() -> None:
    assert {"UTC", "Europe/Berlin", "US/Eastern", "Etc/GMT+5", "EST5EDT"} <= zones()
    assert not zones() & {"posixrules", "localtime", "right/UTC", "posix/UTC", "zone.tab", ""}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "events.jsonl"
    path.write_bytes(lines(live(SIX, SIX + 60_000)))
    return path


HALF = "2026-03-10T18:00:00+01:00/2026-03-10T18:00:30+01:00"
WRONG = {
    "O01": ("--timezone", BERLIN),
    "O02": ("--mode", "vod"),
    "O03": (*LIVE, "--colour", "red"),
    "O04": (*LIVE, "--timezone", "Mars/Olympus", "--timezone", "UTC"),
    "O05": (*LIVE, "--window", f"{HALF.split('/')[0]}/{HALF.split('/')[0]}"),
    "O06": (*LIVE, "--window", "2026-03-10T18:00:00/2026-03-10T19:00:00"),
    "O07": (*LIVE, "--window", HALF, "--break", "/".join(reversed(HALF.split("/")))),
    "O08": (*LIVE, "--break", HALF),
    "O09": (*LIVE, "--require-visible"),
    "O10": ("--mode", "file", "--live-only", "60"),
    "O11": (*LIVE, "--target-duration", "0.000"),
    "O12": (*LIVE, "--bridge", "-1"),
    "O13": (*LIVE, "--lookahead", "six"),
    "O14": (*LIVE, "--window", "today"),
    "O15": (*LIVE, "--live-only", "1.2345"),
    "O16": (*LIVE, "--bridge"),
    "another case": (*LIVE, "--timezone", "europe/berlin"),
    "a file that is no zone": (*LIVE, "--timezone", "zone1970.tab"),
    "a way out": (*LIVE, "--timezone", "../zoneinfo/UTC"),
    "joined": ("--mode=live",),
    "joined behind another": (*LIVE, "--lookahead=6"),
    "cut short": (*LIVE, "--verif"),
    "two files": (*LIVE, "another.jsonl"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_wrong_command_lines(name: str, evidence: Path, tmp_path: Path) -> None:
    """O17: before any line is judged."""
    malformed = tmp_path / "malformed.jsonl"
    malformed.write_bytes(b"5")
    for file in (evidence, malformed):
        done = run("attendance", "replay", file, *WRONG[name], "--json")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("pystream attendance replay: ")


@pytest.mark.slow
def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing.jsonl"):
        done = run("attendance", "replay", file, *LIVE, "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert str(file) in done.stderr
    assert run("attendance", "replay", *LIVE).returncode == 2
    done = run("attendance", "forget")
    assert done.returncode == 2 and "replay" in done.stderr


@pytest.mark.slow
def test_malformed_files_print_nothing(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(live(SIX, SIX + 60_000)) + b"\n" + text(SEGMENT, key=5) + b"\n")
    for options in (LIVE, (*LIVE, "--json")):
        done = run("attendance", "replay", file, *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"pystream attendance replay: {file}: line 12: key is no text\n"


@pytest.mark.slow
def test_options_stand_anywhere_and_the_last_one_counts(evidence: Path) -> None:
    wanted = run("attendance", "replay", evidence, *LIVE, "--lookahead", "2", "--json").stdout
    words = (
        "--lookahead",
        "7",
        "--mode",
        "file",
        "--json",
        *LIVE,
        evidence,
        "--lookahead",
        "2.000",
    )
    assert run("attendance", "replay", *words).stdout == wanted
    (row,) = map(json.loads, wanted.splitlines())
    assert row["access_ms"] == 9 * 6000 + 2000 and row["day"] == "2026-03-10"


@pytest.mark.slow
def test_every_field_and_their_order(evidence: Path) -> None:
    windows = ("--window", HALF, "--window", HALF, "--break", HALF)
    done = run("attendance", "replay", evidence, *LIVE, *windows, "--union", "--verified", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["stream"], row["day"]) for row in rows] == [
        ("Y", "2026-03-10"),
        ("Y", None),
        (None, "2026-03-10"),
        (None, None),
    ]
    wanted = (
        "key stream day access_ms media_ms window_ms window_media_ms verified_ms hidden_ms certifiable_ms"
        " overlap_ms max_devices outage_ms outage_credit_ms deep_buffer_ms checks_shown checks_answered"
        " evidence_grade intervals flags"
    )
    assert all(list(row) == wanted.split() for row in rows)
    assert rows[0]["intervals"] == [[SIX, SIX + 60_000]] and rows[1]["intervals"] == []


@pytest.mark.slow
def test_a_table_for_people(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    events = [*live(SIX, SIX + 3_723_000, key="\x1b[2J"), *film(SIX, 60_000, key="ä")]
    file.write_bytes(lines(events))
    done = run("attendance", "replay", file, *LIVE)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "key          stream  day          access    media  certifiable  devices  evidence   flags",
        '"\\u001b[2J"  Y       2026-03-10  1:02:06  1:02:06      1:02:06        1  delivered',
        "ä            Y       2026-03-10  0:00:36  0:01:00      0:00:36        1  delivered",
    ]
    code, drawn = on_terminal("attendance", "replay", file, *LIVE, columns=120)
    assert code == 0 and "1:02:06" in drawn and "\x1b[2J" not in drawn


@pytest.mark.slow
@pytest.mark.parametrize("action", [(), ("replay",), ("verify",)])
def test_help_tells_all_and_fits_a_terminal(action: tuple[str, ...]) -> None:
    done = run("attendance", *action, "--help", env=os.environ | {"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    options = (
        "--mode --target-duration --lookahead --bridge --timezone --window --break --verified"
        " --require-visible --live-only --credit-outage --union --json"
    )
    if action == ("verify",):
        options = "--public-key --evidence --checkpoint --json"
        assert set(re.findall(r"--[a-z-]+", done.stdout)) >= set(options.split())
    elif action:
        assert set(re.findall(r"--[a-z-]+", done.stdout)) >= set(options.split())
        assert set(replayed(live(SIX, SIX + 1), Options(mode="live"))[0]) - {
            "key",
            "stream",
            "day",
        } <= set(re.findall(r"[a-z_]+", done.stdout))
    assert re.search(r"^exit codes:$", done.stdout, re.M)
    assert re.search(r"^examples:$", done.stdout, re.M)
    assert max(map(len, done.stdout.splitlines())) <= 80


# Proofs


@dataclass
class Proofs:
    """What an organiser has in a folder."""

    report: Path
    receipt: Path
    log: Path
    erased: Path
    checkpoint: Path
    keys: Path


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Proofs:
    folder = tmp_path_factory.mktemp("proofs")
    names = ("report.json", "receipt.json", "log.jsonl", "erased.jsonl", "checkpoint", "acme.pub")
    made = Proofs(*(folder / name for name in names))
    log = Log.of(viewers("AB"))
    made.report.write_bytes(log.report(log.cosigned()))
    made.receipt.write_bytes(log.receipt("A"))
    made.log.write_bytes(log.export())
    made.erased.write_bytes(log.erase("B").export())
    made.checkpoint.write_text(log.cosigned(500))
    made.keys.write_text("".join(f"{key}\n" for key in TRUSTED))
    return made


def proven(*words: str | Path, keys: Path) -> dict[str, Any]:
    done = run("attendance", "verify", *words, "--public-key", keys, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_report_and_a_receipt_are_proven(proofs: Proofs) -> None:
    found = proven(proofs.report, keys=proofs.keys)
    assert {row["proof"] for row in found["rows"]} == {"signed"}
    assert (found["valid"], found["kind"], found["leaves"]) == (True, "report", None)
    found = proven(
        proofs.report, "--evidence", proofs.log, "--checkpoint", proofs.checkpoint, keys=proofs.keys
    )
    assert {row["proof"] for row in found["rows"]} == {"recomputed"}
    assert found["checkpoint"] | {"root": None} == {
        "origin": "example.org/acme/1",
        "epoch": 1,
        "size": 1201,
        "root": None,
        "clock_synchronised": True,
        "clock_error_ms": 12,
    }
    assert found["cosigners"] == [{"name": "acme.example/office", "at": "2026-03-10T17:00:00Z"}]
    assert (found["missing_cosigners"], found["about"]) == ([], {"title": "Kurs"})
    assert (found["events"], found["leaves"], found["leaves_not_available"]) == (1201, 1201, 0)
    # The rows are those of a replay of the events, and say what they rest on besides.
    assert [{**row, "proof": ""} for row in found["rows"]] == [
        {**row, "intervals": [list(each) for each in row["intervals"]], "proof": ""}
        for row in Log.of(viewers("AB")).rows()
    ]
    found = proven(proofs.receipt, keys=proofs.keys)
    assert (found["kind"], found["events"]) == ("receipt", 601)
    assert found["missing_cosigners"] == ["acme.example/office"]


@pytest.mark.slow
def test_what_is_proven_is_told(proofs: Proofs) -> None:
    done = run(
        *("attendance", "verify", proofs.report, "--evidence", proofs.erased),
        *("--public-key", proofs.keys),
    )
    assert done.returncode == 0
    told, _, table = done.stdout.partition("\n\n")
    facts = dict(re.split("  +", line, maxsplit=1) for line in told.splitlines())
    assert len(facts.pop("root")) == 64
    assert facts.pop("signed by") == str(TRUSTED[0])
    assert facts == {
        "valid": "a report",
        "log": "example.org/acme/1, 1,201 leaves",
        "clock": "synchronised, wrong by at most 12 ms",
        "cosigned by": "acme.example/office at 2026-03-10T17:00:00Z",
        "evidence": "601 events of 1,201 leaves, 600 of them not available",
        "rows": "4 recomputed, 4 not available",
    }
    title, *rows = table.splitlines()
    assert title.split()[-1] == "proof"
    assert [row.endswith("not available") for row in rows] == [False] * 4 + [True] * 4


@pytest.mark.slow
def test_what_is_not_proven_is_not_valid(proofs: Proofs, tmp_path: Path) -> None:
    spoilt, other = tmp_path / "spoilt", tmp_path / "other.pub"
    text = proofs.report.read_text()
    spoilt.write_text(text.replace("Europe/Berlin", "Europe/Vienna"))
    other.write_text(f"{SigningKey.generate('example.org/acme').verifier}\n")
    export = proofs.log.read_text().replace('"primary":true', '"primary":false', 1)
    changed = tmp_path / "changed.jsonl"
    changed.write_text(export)
    printed = tmp_path / "report.pdf"
    printed.write_bytes(b"%PDF-1.3\n%\x93\x8c\x8b\x9e")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(proofs.log.read_text().replace('}\n{"event"', "}\n", 1))
    cases: dict[str, tuple[str | Path, ...]] = {
        "has not signed this": (spoilt, "--public-key", proofs.keys),
        "no key that is trusted": (proofs.report, "--public-key", other),
        "not those of a checkpoint": (
            *(proofs.report, "--public-key", proofs.keys, "--evidence", changed),
        ),
        "line 2: this is no leaf": (
            *(proofs.receipt, "--public-key", proofs.keys, "--evidence", broken),
        ),
        "neither a report nor": (proofs.keys.parent / "empty", "--public-key", proofs.keys),
        "what is signed is its JSON": (printed, "--public-key", proofs.keys),
    }
    (proofs.keys.parent / "empty").write_text("{}")
    for what, words in cases.items():
        done = run("attendance", "verify", *words, "--json")
        assert (done.returncode, "not valid: " in done.stderr, what in done.stderr) == (
            1,
            True,
            True,
        )
        found = json.loads(done.stdout)
        assert found.keys() == {"valid", "error"}
        assert not found["valid"] and what in found["error"]
        done = run("attendance", "verify", *words)
        assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.slow
def test_without_a_trusted_key_nothing_is_said(proofs: Proofs, tmp_path: Path) -> None:
    cosigner, empty = tmp_path / "cosigner.pub", tmp_path / "empty.pub"
    cosigner.write_text(f"{TRUSTED[1]}\n")
    empty.write_text("# nobody\n")
    trusted = ("--public-key", proofs.keys)
    cases: dict[str, tuple[str | Path, ...]] = {
        "--public-key": (proofs.report,),
        "no key of a log": (proofs.report, "--public-key", cosigner),
        "is no key of a log": (proofs.report, "--public-key", empty),
        "line 1: this is no key of Ed25519": (proofs.report, "--public-key", proofs.report),
        "No such file": (proofs.report, "--public-key", tmp_path / "none"),
        "No such": (tmp_path / "none", *trusted),
        "No": (proofs.report, *trusted, "--evidence", tmp_path / "none"),
        "needs --evidence": (proofs.report, *trusted, "--checkpoint", proofs.checkpoint),
        "Is a directory": (tmp_path, *trusted),
        "REPORT|RECEIPT": trusted,
        "too many": (proofs.report, proofs.report, *trusted),
    }
    for what, words in cases.items():
        done = run("attendance", "verify", *words)
        assert (done.returncode, done.stdout) == (2, ""), what
        assert what in done.stderr
