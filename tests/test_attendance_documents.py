"""Reports, receipts and exports: what is true of them is proven, and nothing else is."""

from __future__ import annotations

import io
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream._core import Evidence, check_consistency, leaf_hashes
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import documents, verification
from pystream.attendance.canonical import encode
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.documents import Leaf, Scope
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.attendance.options import Options
from pystream.attendance.verification import NOT_AVAILABLE, RECOMPUTED, SIGNED, Verdict
from pystream.errors import MalformedDocument, NotProven
from tests.evidence import at, beacons, film, live, other
from tests.proofs import KEY, OFFICE, SEVEN, SIX, TRUSTED, Log, leaves, viewers

INVALID = (MalformedDocument, NotProven)


def verified(text: bytes, export: bytes | None = None, *kept: str) -> Verdict:
    file = None if export is None else io.BytesIO(export)
    return verification.verify(text, TRUSTED, file, kept)


@cache
def hour() -> Log:
    return Log.of(viewers())


def test_a_report_is_computed_again_from_the_log() -> None:
    log = hour()
    bare = verified(log.report())
    assert bare.proofs == [SIGNED] * 12 and bare.leaves is None
    verdict = verified(log.report(), log.export())
    # Of each key a day and the programme, on the stream and on all.
    assert verdict.proofs == [RECOMPUTED] * 12
    assert (verdict.events, verdict.leaves, verdict.gone) == (1801, 1801, 0)
    assert verdict.document.about == {"title": "Kurs"}
    # Reformatting changes nothing of what is said.
    pretty = json.dumps(json.loads(log.report()), indent=2, ensure_ascii=False)
    assert verified(pretty.encode(), log.export()).proofs == verdict.proofs


def test_a_receipt_needs_no_log() -> None:
    log = hour()
    for key in "ABC":
        verdict = verified(log.receipt(key))
        assert (verdict.proofs, verdict.events, verdict.leaves) == ([RECOMPUTED] * 4, 601, None)
        verdict = verified(log.receipt(key), log.export())
        assert (verdict.proofs, verdict.events, verdict.leaves) == ([RECOMPUTED] * 4, 601, 1801)


def test_a_proof_is_small() -> None:
    """600 events among a million cost as much each as one would, or less."""
    log = hour()
    size = len(log.receipt("A"))
    assert size / 601 < 1000
    apart = Log.of([*live(SIX, SIX + 6000, key="A"), *viewers("B")])
    assert len(apart.receipt("A")) < 4096


def test_the_log_goes_on_behind_a_report() -> None:
    begun = Log.of(viewers("AB"))
    report, receipt = begun.report(begun.cosigned()), begun.receipt("A")
    grown = Log([*begun.leaves, *leaves(viewers("AB", SEVEN, at("20:00")))])
    verdict = verified(
        report, grown.export(), begun.checkpoint(100), begun.cosigned(), grown.checkpoint()
    )
    assert (verdict.proofs, verdict.leaves) == ([RECOMPUTED] * 8, 1201)
    assert [each.key for each in verdict.cosigners] == [OFFICE.verifier]
    assert verified(receipt, grown.export()).events == 601
    with pytest.raises(NotProven, match="ends before a checkpoint"):
        verified(grown.report(), begun.export())
    with pytest.raises(NotProven, match="ends before a checkpoint"):
        verified(report, begun.export(), grown.checkpoint())


def test_a_report_of_some_streams_and_days() -> None:
    events = [
        *live(at("23:30"), at("00:30", "2026-03-11")),
        *live(SIX, SEVEN, stream="Z"),
        *film(SIX, stream="Y", key="B"),
        *beacons(SIX, SEVEN, key="B"),
        other("check", SIX, answered=5, key="B"),
        other("download", SIX),
        {"kind": "restore", "t0": 5, "t1": 6},
        {"kind": "clock", "t": at("23:59"), "step_ms": -3},
    ]
    scope = Scope(("Y",), at("12:00"), at("12:00", "2026-03-11"), ("2026-03-10",))
    options = Options("live", timezone="Europe/Berlin", verified=True)
    log = Log.of(events, options=options, scope=scope)
    verdict = verified(log.report(), log.export())
    assert [(row["key"], row["day"]) for row in verdict.document.rows] == [
        ("A", "2026-03-10"),
        ("B", "2026-03-10"),
    ]
    # All but the other stream and the restore, which was long before.
    assert verdict.events == len(events) - 600 - 1
    with pytest.raises(NotProven, match="of another key, or that it is not about"):
        verified(log.receipt("A"))


ANY: tuple[str | None, set[str] | None] = (None, None)
OUTAGE = {"kind": "outage", "t0": 10, "t1": 20}


@pytest.mark.parametrize(
    ("event", "of", "span", "is_taken"),
    [
        (other("download", 10), ANY, (10, 11), True),
        (other("download", 10), ANY, (11, 20), False),
        (other("download", 10), ANY, (0, 10), False),
        (other("check", 10, answered=None), ("A", {"X", "Y"}), (0, 20), True),
        (other("playlist", 10), ("B", None), (0, 20), False),
        (other("key", 10), (None, {"X"}), (0, 20), False),
        (beacons(10, 11)[0], ("A", set()), (0, 20), False),
        (OUTAGE, ("B", {"X"}), (19, 30), True),
        (OUTAGE, ANY, (20, 30), False),
        (OUTAGE, ANY, (0, 11), True),
        (OUTAGE, ANY, (0, 10), False),
        (OUTAGE | {"stream": "Y"}, ("B", {"Y"}), (0, 20), True),
        (OUTAGE | {"stream": "Y"}, (None, {"X"}), (0, 20), False),
        ({"kind": "restore", "t0": 10, "t1": 20}, ("B", {"X"}), (19, 20), True),
        ({"kind": "restore", "t0": 10, "t1": 20}, ANY, (20, 21), False),
        ({"kind": "clock", "t": 10, "step_ms": 1}, ("B", {"X"}), (10, 11), True),
        ({"kind": "clock", "t": 10, "step_ms": 1}, ANY, (11, 20), False),
    ],
)
def test_which_events_a_document_is_about(
    event: dict[str, Any],
    of: tuple[str | None, set[str] | None],
    span: tuple[int, int],
    is_taken: bool,
) -> None:
    assert Evidence().select(json.dumps(event).encode(), *of, *span) == is_taken


def test_an_empty_log_has_an_empty_report() -> None:
    log = Log.of([])
    assert verified(log.report(), log.export()).proofs == []
    assert verified(log.receipt("A"), log.export()).events == 0


# What the log's holder does


def _edit(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    event = json.loads(log[at].event or b"")
    event["m1"] -= chance.randint(1, 5999)
    return [*log[:at], *leaves([event]), *log[at + 1 :]]


def _back_date(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    event = json.loads(log[at].event or b"")
    event["t"] -= chance.randint(1, 86_400_000)
    return [*log[:at], *leaves([event]), *log[at + 1 :]]


def _salt(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    return [*log[:at], *leaves([json.loads(log[at].event or b"")]), *log[at + 1 :]]


def _drop(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    return [*log[:at], *log[at + 1 :]]


def _add(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    return [*log[:at], *leaves([json.loads(log[at].event or b"")]), *log[at:]]


def _swap(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    to = chance.choice([n for n in range(len(log)) if n != at])
    swapped = list(log)
    swapped[at], swapped[to] = swapped[to], swapped[at]
    return swapped


def _fork(log: list[Leaf], at: int, chance: random.Random) -> list[Leaf]:
    rest = [json.loads(leaf.event or b"") for leaf in log[at:]]
    return [*log[:at], *leaves([event | {"key": "D"} for event in rest])]


FORGERIES = [_edit, _back_date, _salt, _drop, _add, _swap, _fork]


@pytest.mark.slow
def test_an_operator_who_changes_what_was_cosigned_is_found_out() -> None:
    """A thousand records, each of another log: the operator has all keys but the cosigner's, and makes tree,
    checkpoint, proof and export anew."""
    honest = Log.of(live(SIX, SIX + 6000 * 120))
    cosigned = honest.cosigned()
    seen, _ = checkpoints.check(cosigned, TRUSTED)
    more = leaves(live(SIX + 6000 * 120, SIX + 6000 * 140))
    chance = random.Random(12)
    found = 0
    for n in range(1000):
        forge = FORGERIES[n % len(FORGERIES)]
        forged = forge(honest.leaves, chance.randrange(len(honest.leaves)), chance)
        log = Log([*forged, *more])
        note = log.checkpoint()
        new, _ = checkpoints.check(note, TRUSTED)
        proof = log.hashes().consistency(seen.size, new.size)
        with pytest.raises(NotProven):
            check_consistency((seen.size, seen.root), (new.size, new.root), proof)
        report = log.report(note)
        with pytest.raises(NotProven, match="are not those of a checkpoint"):
            verified(report, log.export(note), cosigned)
        found += 1
    assert found == 1000


def test_what_is_not_changed_is_consistent() -> None:
    honest = Log.of(live(SIX, SIX + 6000 * 120))
    seen, _ = checkpoints.check(honest.cosigned(), TRUSTED)
    log = Log([*honest.leaves, *leaves(live(SIX + 6000 * 120, SIX + 6000 * 140))])
    new, _ = checkpoints.check(log.checkpoint(), TRUSTED)
    proof = log.hashes().consistency(seen.size, new.size)
    check_consistency((seen.size, seen.root), (new.size, new.root), proof)
    assert verified(log.report(), log.export(), honest.cosigned()).gone == 0


def changed(text: bytes, change: Callable[[Any], object], key: SigningKey | None = None) -> bytes:
    """A document with something changed; with a key, signed again."""
    value = json.loads(text)
    change(value)
    if key is not None:
        unsigned = {name: each for name, each in value.items() if name != "signature"}
        value["signature"]["value"] = b64encode(key.sign(encode(unsigned))).decode()
    return encode(value)


def _more(row: dict[str, Any]) -> None:
    row["access_ms"] += 1


CHANGES: dict[str, Callable[[Any], object]] = {
    "a row's time": lambda it: _more(it["rows"][0]),
    "a row's key": lambda it: it["rows"][0].update(key="D"),
    "a row less": lambda it: it["rows"].pop(),
    "a row twice": lambda it: it["rows"].append(it["rows"][0]),
    "a flag": lambda it: it["rows"][0]["flags"].append("overlap"),
    "an interval": lambda it: it["rows"][0]["intervals"].append([5, 6]),
    "a grade": lambda it: it["rows"][0].update(evidence_grade="player"),
    "the zone": lambda it: it.update(zone="Asia/Tokyo"),
    "the look-ahead": lambda it: it["options"].update(lookahead=1000),
    "the union": lambda it: it["options"].update(union=False),
    "a window": lambda it: it["options"]["windows"][0].reverse(),
    "a longer window": lambda it: it["options"].update(windows=[[SIX, SEVEN]]),
    "the time": lambda it: it["scope"].update(end=SIX + 60_000),
    "the streams": lambda it: it["scope"].update(streams=["Z"]),
    "the days": lambda it: it["scope"].update(days=[]),
    "a field more": lambda it: it.update(more=1),
    "a row's field more": lambda it: it["rows"][0].update(more=1),
    "an option more": lambda it: it["options"].update(more=1),
}


# Of this log the rows are the same with these.
UNSEEN: dict[str, Callable[[Any], object]] = {
    "the mode": lambda it: it["options"].update(mode="file"),
    "the bridge": lambda it: it["options"].update(bridge=60_000),
    "what it is about": lambda it: it["about"].update(title="Kurs 2"),
    "the time zones' release": lambda it: it.update(tzdata="1970.1"),
}


@pytest.mark.parametrize("name", CHANGES | UNSEEN)
def test_a_changed_document_is_not_valid(name: str) -> None:
    change = (CHANGES | UNSEEN)[name]
    for text in (hour().report(), hour().receipt("A")):
        with pytest.raises(INVALID):
            verified(changed(text, change))


@pytest.mark.parametrize("name", CHANGES)
def test_nor_is_one_that_the_operator_has_changed(name: str) -> None:
    """It is signed again, and does not follow from the evidence."""
    log = hour()
    with pytest.raises(INVALID):
        verified(changed(log.report(), CHANGES[name], KEY), log.export())
    with pytest.raises(INVALID):
        verified(changed(log.receipt("A"), CHANGES[name], KEY))


EVENTS: dict[str, Callable[[Any], object]] = {
    "a field": lambda it: it["events"][7]["event"].update(t=SIX),
    "a kind": lambda it: it["events"][7]["event"].update(kind="download"),
    "more fields": lambda it: it["events"][7]["event"].update(more=1),
    "a salt": lambda it: it["events"][7].update(salt="00" * 16),
    "a place": lambda it: it["events"][7].update(at=it["events"][7]["at"] + 1),
    "two places": lambda it: it["events"].reverse(),
    "an event less": lambda it: it["events"].pop(7),
    "an event twice": lambda it: it["events"].insert(7, it["events"][7]),
    "no events": lambda it: it.update(events=[]),
    "another key": lambda it: it.update(key="B"),
    "the proof": lambda it: it.update(proof=it["proof"][:-44] + it["proof"][-44:].swapcase()),
    "less proof": lambda it: it.update(proof=b64encode(b64decode(it["proof"])[32:]).decode()),
    "no whole hash": lambda it: it.update(proof=b64encode(b64decode(it["proof"])[1:]).decode()),
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_receipt_with_something_changed_is_not_valid(name: str, key: SigningKey | None) -> None:
    with pytest.raises(INVALID):
        verified(changed(hour().receipt("A"), EVENTS[name], key))


def test_an_event_kept_from_a_receipt_is_missed() -> None:
    """The rows are computed without it, and all is signed: the log alone has it."""
    log = hour()
    place = next(n for n, leaf in enumerate(log.leaves) if b'"key":"A"' in (leaf.event or b""))
    short = Log(
        [*log.leaves[:place], Leaf(log.leaves[place].hash, None, None), *log.leaves[place + 1 :]]
    )
    assert verified(short.receipt("A")).events == 600
    with pytest.raises(NotProven):
        verified(short.receipt("A"), log.export())


def test_so_is_one_that_changes_no_row() -> None:
    log = Log.of([*viewers("A"), other("playlist", SEVEN)])
    short = Log([*log.leaves[:-1], Leaf(log.leaves[-1].hash, None, None)])
    assert short.rows() == log.rows()
    with pytest.raises(NotProven, match="has not all events"):
        verified(short.receipt("A"), log.export())


def test_an_event_that_was_logged_in_another_spelling_is_none() -> None:
    """Whoever holds the log may hash anything."""
    (plain,) = leaves([other("playlist", SIX)])
    assert plain.salt is not None and plain.event is not None
    for event in (
        plain.event.replace(b"}", b',"u":1}'),
        plain.event.replace(b":", b": ", 1),
        plain.event.replace(b'"A"', b'"\\u0041"'),
    ):
        odd = Leaf(leaf_hashes(plain.salt, [event]), plain.salt, event)
        log = Log([*hour().leaves, odd])
        with pytest.raises(MalformedDocument, match="line 1803: the event is not spelt"):
            verified(log.report(), log.export())
        held, note = [(1801, odd)], log.checkpoint()
        text = documents.receipt("A", held, log.hashes(), [], log.options, log.scope, note, KEY)
        # With a field more it is none; what is spelt otherwise is another leaf.
        with pytest.raises(MalformedDocument if b'"u"' in event else NotProven):
            verified(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"m0":', b'"m0":1'),
        (b'"key":"A"', b'"key":"B"'),
        (b'"primary":true', b'"primary":false'),
        (b'"salt":"', b'"salt":"0'),
        (b'{"event":', b'{"event": '),
        (b'"kind":"segment"', b'"kind":"segments"'),
        (b'}\n{"event"', b'}\n\n{"event"'),
        (b'}\n{"event"', b'}{"event"'),
        (b'"}\n', b'","more":1}\n'),
    ],
)
def test_an_export_with_one_line_changed_is_not_valid(old: bytes, new: bytes) -> None:
    report, export = hour().report(), hour().export()
    begin, end = export[:100_000], export[100_000:]
    with pytest.raises(INVALID):
        verified(report, begin + end.replace(old, new, 1))


def test_an_export_with_other_lines_is_not_valid() -> None:
    report, export = hour().report(), hour().export()
    first, *rest = export.splitlines(keepends=True)
    spoilt = rest[70].replace(b'"salt":"', b'"salt":"').swapcase()
    cases: dict[str, list[bytes]] = {
        "has 1800 of the 1801": [first, *rest[1:]],
        "has 0 of the 1801": [first],
        "more than the 1801": [first, *rest, rest[-1]],
        "the first 1801 leaves": [first, rest[1], rest[0], *rest[2:]],
        "line 72: this is no leaf": [first, *rest[:70], spoilt, *rest[71:]],
        "line 1: this is no export": rest,
        "line 1802: the line has no end": [first, *rest[:-1], rest[-1][:-1]],
        "line 3: the line has no end, or is too long": [first, rest[0], b"x" * (3 << 20)],
        "line 2: ": [first, b'{"event":,"salt":"' + b"0" * 32 + b'"}\n', *rest],
    }
    for what, parts in cases.items():
        with pytest.raises(INVALID, match=what):
            verified(report, b"".join(parts))
    with pytest.raises(MalformedDocument, match="line 1: "):
        verified(report, b"")


def test_checkpoints_of_other_logs() -> None:
    log = hour()
    later = Log(log.leaves, epoch=2)
    with pytest.raises(NotProven, match="of another log"):
        verified(log.report(), later.export())
    with pytest.raises(NotProven, match="of another log"):
        verified(log.report(), log.export(), later.checkpoint())
    with pytest.raises(ValueError, match="export"):
        verified(log.report(), None, log.checkpoint())


# Keys


def test_only_trusted_keys_count() -> None:
    log = hour()
    impostor = Log(log.leaves, key=SigningKey("example.org/acme", bytes([7]) * 32))
    for text in (impostor.report(), impostor.receipt("A")):
        with pytest.raises(NotProven, match="no key that is trusted"):
            verified(text)
    # A document of one, in front of a log of another.
    with pytest.raises(NotProven, match="no trusted key of this log"):
        verified(log.report(impostor.checkpoint()))
    with pytest.raises(NotProven, match="no trusted key of this log"):
        verified(log.report(), impostor.export())
    neighbour = Log(log.leaves, key=SigningKey("example.org/other", bytes([8]) * 32))
    keys = (*TRUSTED, neighbour.key.verifier)
    with pytest.raises(NotProven, match="whose key has not signed this"):
        verification.verify(log.report(neighbour.checkpoint()), keys)
    for trusted in ([], [OFFICE.verifier]):
        with pytest.raises(NotProven):
            verification.verify(log.report(), trusted)
    # A cosigner has seen a checkpoint, and says nothing of rows, whatever it is called.
    cosigner = SigningKey(KEY.name, bytes([9]) * 32, cosigns=True)
    text = Log(log.leaves, key=cosigner).report(log.checkpoint())
    with pytest.raises(NotProven, match="no key that is trusted"):
        verification.verify(text, (*TRUSTED, cosigner.verifier))
    as_cosigner = VerifierKey(KEY.name, KEY.verifier.public, cosigns=True)
    with pytest.raises(NotProven, match="no key that is trusted"):
        verification.verify(log.report(), [as_cosigner])


# Erasing


def test_what_is_erased_is_not_available_and_everything_else_is_proven() -> None:
    log = hour()
    report = log.report()
    receipts = {key: log.receipt(key) for key in "ABC"}
    erased = log.erase("B")
    verdict = verified(report, erased.export())
    proofs = {
        (row["key"], proof)
        for row, proof in zip(verdict.document.rows, verdict.proofs, strict=True)
    }
    assert proofs == {("A", RECOMPUTED), ("B", NOT_AVAILABLE), ("C", RECOMPUTED)}
    assert (verdict.gone, verdict.leaves, verdict.events) == (600, 1801, 1201)
    for key, text in receipts.items():
        assert verified(text).proofs == [RECOMPUTED] * 4
        assert verified(text, erased.export()).gone == 600, key
        if key != "B":
            assert erased.receipt(key) == text
    with pytest.raises(ValueError, match="is gone"):
        documents.receipt(
            "B",
            [(0, Leaf(bytes(32), None, None))],
            log.hashes(),
            [],
            log.options,
            log.scope,
            log.checkpoint(),
            KEY,
        )
    # What is left of others has to be true still.
    for change in (lambda it: _more(it["rows"][0]), lambda it: it["rows"].pop(0)):
        with pytest.raises(NotProven):
            verified(changed(report, change, KEY), erased.export())
    # Erasing is no way to have a key watch longer: some of its events are left.
    place = next(n for n, leaf in enumerate(log.leaves) if b'"key":"A"' in (leaf.event or b""))
    partly = list(log.leaves)
    partly[place] = Leaf(partly[place].hash, None, None)
    with pytest.raises(NotProven, match="row 1 "):
        verified(report, Log(partly).export())


def test_erased_leaves_behind_the_checkpoint_are_not_the_report_s() -> None:
    begun = Log.of(viewers("A"))
    grown = Log([*begun.leaves, *leaves(live(SEVEN, SEVEN + 60_000, key="B"))]).erase("B")
    verdict = verified(begun.report(), grown.export())
    assert (verdict.gone, verdict.proofs) == (0, [RECOMPUTED] * 4)


# Any bytes


@cache
def samples() -> tuple[bytes, bytes, bytes]:
    log = Log.of(viewers("AB", SIX, SIX + 60_000))
    return log.report(), log.receipt("A"), log.export()


_places = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=3)), max_size=4)
_telling = st.sampled_from(b'"{}[],:\n\\019.-eEtfn\xff').map(lambda byte: bytes([byte]))


def spoilt(text: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, removed, added in changes:
        begin = round(place * len(text))
        text = text[:begin] + added + text[begin + removed :]
    return text


@given(_places | st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2), _telling), max_size=3))
def test_any_bytes_are_valid_or_not(changes: list[tuple[float, int, bytes]]) -> None:
    report, receipt, export = samples()
    for text, log in (
        (spoilt(report, changes), export),
        (spoilt(receipt, changes), None),
        (report, spoilt(export, changes)),
    ):
        try:
            verdict = verified(text, log)
        except INVALID:
            continue
        # Nothing but blanks was changed, or what was put in was there.
        assert RECOMPUTED in verdict.proofs
        assert log in (None, export)
        whole = documents.parse(text)
        assert whole.signed in (documents.parse(report).signed, documents.parse(receipt).signed)


_scalars = st.none() | st.booleans() | st.integers(-5, 2**53) | st.floats() | st.text(max_size=3)
_json = st.recursive(
    _scalars, lambda of: st.lists(of, max_size=2) | st.dictionaries(st.text(max_size=3), of)
)


@given(st.data(), st.sampled_from([0, 1]))
def test_any_value_in_any_place_is_a_document_or_none(data: Any, which: int) -> None:
    """Signed, too: the operator may write what it will."""
    value = json.loads(samples()[which])
    at: Any = None
    name: Any = None
    inside: Any = value
    while isinstance(inside, dict | list) and inside:
        names = list(inside) if isinstance(inside, dict) else range(len(inside))
        at, name = inside, data.draw(st.sampled_from(list(names)))
        inside = inside[name]
        if data.draw(st.booleans()):
            break
    at[name] = data.draw(_json)
    try:
        unsigned = {name: each for name, each in value.items() if name != "signature"}
        text = json.dumps(value | _signature(unsigned)).encode()
    except (ValueError, AttributeError):
        return
    with suppress(*INVALID):
        verified(text, samples()[2])


def _signature(unsigned: dict[str, Any]) -> dict[str, Any]:
    verifier = KEY.verifier
    value = b64encode(KEY.sign(encode(unsigned))).decode()
    return {"signature": {"key": f"{verifier.name}+{verifier.id.hex()}", "value": value}}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"format":5}',
        b'{"format":"pystream attendance report 2"}',
        b'{"format":"pystream attendance report 1"}',
        b"[" * 200_000,
    ],
    ids=range(8),
)
def test_what_is_no_document(text: bytes) -> None:
    with pytest.raises(MalformedDocument):
        documents.parse(text)


@pytest.mark.parametrize("depth", [200, 300, 500, 900, 1100, 100_000])
def test_depths_are_survived(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    for text in hour().report(), hour().receipt("A"):
        for old in ('"title":"Kurs"', '"about":{', '"kind":"segment"'):
            member = f'"more":{nested}'
            new = f"{old}{member}," if old.endswith("{") else f"{old},{member}"
            with suppress(*INVALID):
                verified(text.decode().replace(old, new, 1).replace(",}", "}").encode())


def test_times_are_survived() -> None:
    """As far as numbers go."""
    far = 2**53 - 1

    def change(it: Any) -> None:
        it["options"] |= {"windows": [[-far, far]], "breaks": [[-far, 5], [SEVEN, far]]}
        it["scope"] |= {"begin": 0, "end": far}
        it["options"] |= {"lookahead": 10**12 - 1, "bridge": 10**12 - 1}

    with pytest.raises(NotProven, match="row 1 "):
        verified(changed(hour().report(), change, KEY), hour().export())


def test_a_document_has_an_end() -> None:
    with pytest.raises(MalformedDocument, match="64 MB"):
        documents.parse(b" " * (documents.LONGEST + 1))


def test_a_zone_that_nobody_knows() -> None:
    with pytest.raises(MalformedDocument, match="time zone"):
        verified(changed(hour().report(), lambda it: it.update(zone="Europe/Bonn"), KEY))


def test_another_release_of_time_zones_is_told() -> None:
    def change(it: Any) -> None:
        it["tzdata"] = "2001.1"
        _more(it["rows"][0])

    with pytest.raises(NotProven, match=r"time zones of 2001\.1, here are"):
        verified(changed(hour().report(), change, KEY), hour().export())


def test_a_checkpoint_says_how_long_the_log_was() -> None:
    """Of the same root, but another size."""
    log = hour()
    root = log.hashes().root(1801)
    for size in (1800, 1802, 4096):
        note = Checkpoint(KEY.name, 1, size, root, True, 12).signed(KEY)
        with pytest.raises(NotProven):
            verified(log.report(note), log.export())
