"""What is signed: JSON of one spelling, notes, checkpoints, keys; by the vectors of their specifications."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import notes
from pystream.attendance.canonical import decode, encode
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.errors import InvalidValue, MalformedDocument, NotProven

# RFC 8785, appendix B.
DOUBLES = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", DOUBLES)
def test_published_doubles(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert encode(number).decode() == DOUBLES[bits]


def test_published_json() -> None:
    """RFC 8785, sections 3.2.2 and 3.2.3."""
    written = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    wanted = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert encode(decode(written)).decode() == wanted
    names = ["€", "\r", "\ufb33", "1", "😀", "\x80", "ö"]
    wanted_names = ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    made = encode(dict.fromkeys(names, 1))
    assert list(json.loads(made)) == wanted_names


_texts = st.text(st.characters(codec="utf-8"))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    # Those beyond are written as integers that many readers do not read exactly, so nobody does here.
    | st.floats(-(2**53) + 1, 2**53 - 1)
    | _texts,
    lambda values: st.lists(values) | st.dictionaries(_texts, values),
)


@given(_values)
def test_a_value_has_one_spelling(value: Any) -> None:
    made = encode(value)
    assert decode(made) == value
    assert encode(decode(made)) == made
    assert encode(decode(json.dumps(value, indent=1).encode())) == made


@pytest.mark.parametrize("value", [2**53, -(2**53), float("inf"), float("nan"), b"", {1}])
def test_what_has_no_spelling(value: object) -> None:
    with pytest.raises(ValueError):
        encode([value])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "line 1: this is not JSON"),
        (b'{"a":1,\n}', "line 2: this is not JSON"),
        (b'{"a":1,"a":2}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"1e999", "number"),
        (b"9007199254740992", "2^53"),
        (b"9" * 5000, "2^53"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00":1}', "surrogate"),
        (b'\n"\xff"', "line 2: this is not UTF-8"),
        (b"[" * 100_000, "deep"),
        (b"1 2", "line 1"),
    ],
)
def test_what_is_not_read(text: bytes, what: str) -> None:
    with pytest.raises(MalformedDocument, match=re.escape(what)):
        decode(text)


# Notes

# The example of c2sp.org/signed-note, and those of golang.org/x/mod/sumdb/note.
SPECIFIED = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPECIFIED_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72"
    "IneyaQM=\n"
)
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBw"
    "JnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+Q"
    "Q=\n"
)
# A checkpoint of a public log (Certificate Transparency, staging), with what a witness has signed; the log
# has signed it with a key of another kind, too.
PUBLIC = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalA\
pkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfT\
W9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0W\
BxtqB0DrAWfBw==
"""
ARCHE = (
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)
REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


def keys(*texts: str) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in texts]


def test_published_notes() -> None:
    text, signers = notes.check(SPECIFIED_NOTE, keys(SPECIFIED))
    assert (text, [str(each.key) for each in signers]) == (
        "This is an example message.\n",
        [SPECIFIED],
    )
    both = notes.note(PETER_TEXT, [PETER_LINE, ENOCH_LINE])
    text, signers = notes.check(both, keys(ENOCH, PETER))
    assert (text, [each.key.name for each in signers]) == (
        PETER_TEXT,
        ["PeterNeumann", "EnochRoot"],
    )
    assert [each.key.name for each in notes.check(both, keys(ENOCH))[1]] == ["EnochRoot"]
    assert notes.check(both, keys(SPECIFIED))[1] == []


def test_the_published_key_signs_what_it_has_signed() -> None:
    key = SigningKey.parse(PETER_SECRET)
    assert (str(key.verifier), key.text()) == (PETER, PETER_SECRET)
    assert notes.sign(PETER_TEXT, key) == PETER_LINE
    assert "seed" not in repr(key)


def test_a_published_cosignature() -> None:
    text, signers = notes.check(PUBLIC, keys(ARCHE, REMORA))
    assert text == PUBLIC.partition("\n\n")[0] + "\n"
    assert [(str(each.key), each.seconds) for each in signers] == [
        (ARCHE, None),
        (REMORA, 1779573024),
    ]
    for spoilt in (
        PUBLIC.replace("1432088532", "1432088533"),
        PUBLIC.replace("AAAABqEiEg", "AAAABqEiEh"),
        PUBLIC.replace("BxtqB0DrAWfBw", "BxtqB0DrAWfCw"),
    ):
        with pytest.raises(NotProven, match="has not signed"):
            notes.check(spoilt, keys(REMORA))


@given(st.integers(0, len(PETER) - 1), st.integers(1, 255))
def test_a_spoilt_key_is_none(at: int, by: int) -> None:
    spoilt = PETER[:at] + chr(ord(PETER[at]) ^ by) + PETER[at + 1 :]
    with pytest.raises(InvalidValue):
        VerifierKey.parse(spoilt)
    with pytest.raises(InvalidValue):
        VerifierKey.parse(PETER[:at])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        "text\n",
        "text\n\n",
        f"\n\n{PETER_LINE}",
        f"{PETER_TEXT}{PETER_LINE}",
        f"{PETER_TEXT}\n{PETER_LINE[:-1]}",
        f"{PETER_TEXT}\n{PETER_LINE}\n",
        f"{PETER_TEXT}\r\n{PETER_LINE}",
        f"{PETER_TEXT}\n{PETER_LINE}{PETER_LINE.replace('—', '-')}",
        f"{PETER_TEXT}\n{PETER_LINE.replace('AM=', 'AN=')}",
        f"{PETER_TEXT}\n{PETER_LINE.replace('PeterNeumann', 'Peter+Neumann')}",
        f"{PETER_TEXT}\n— PeterNeumann\n",
        f"{PETER_TEXT}\n— PeterNeumann x08goA==\n".replace("x08goA==", "x08gow=="),
        f"{PETER_TEXT}\n{PETER_LINE * 101}",
        f"{'x' * (1 << 16)}\n\n{PETER_LINE}",
    ],
)
def test_what_is_no_note(note: str) -> None:
    with pytest.raises(MalformedDocument):
        notes.parse(note)


@given(st.text(st.sampled_from("\n— ax+=8/\x00ü"), max_size=40) | st.text(max_size=40))
def test_any_text_is_a_note_or_none(text: str) -> None:
    for note in (text, f"{PETER_TEXT}\n{PETER_LINE}{text}", f"{text}\n{PETER_LINE}"):
        try:
            notes.check(note, keys(PETER))
        except (MalformedDocument, NotProven):
            continue


def test_keys_in_files(tmp_path: Path) -> None:
    key, cosigner = SigningKey.generate("a.example/acme"), SigningKey.generate("b", cosigns=True)
    secret, public = tmp_path / "secret", tmp_path / "public"
    notes.write_key(secret, key)
    notes.write_key(public, key.verifier)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert notes.read_signing_key(secret) == key
    assert notes.read_verifier_keys(public) == (key.verifier,)
    with pytest.raises(FileExistsError):
        notes.write_key(secret, cosigner)
    public.write_text(f"# the log's\n{key.verifier}\n\n  {cosigner.verifier}\r\n")
    assert notes.read_verifier_keys(public) == (key.verifier, cosigner.verifier)
    public.write_text(f"{key.verifier}\n{key.text()}\n")
    with pytest.raises(InvalidValue, match="line 2"):
        notes.read_verifier_keys(public)
    for content in (b"\xff", b"#" * (1 << 17)):
        public.write_bytes(content)
        with pytest.raises(InvalidValue, match="no file of keys"):
            notes.read_verifier_keys(public)
    public.write_bytes(b"")
    with pytest.raises(InvalidValue):
        notes.read_signing_key(public)


def test_a_cosigner_of_no_time() -> None:
    cosigner = SigningKey("b", bytes(32), cosigns=True)
    for seconds in (253_402_300_799, 0):
        note = notes.note("text\n", [notes.sign("text\n", cosigner, seconds)])
        assert notes.check(note, [cosigner.verifier])[1][0].seconds == seconds
    for seconds in (253_402_300_800, 2**64 - 1):
        note = notes.note("text\n", [notes.sign("text\n", cosigner, seconds)])
        with pytest.raises(NotProven, match="year"):
            notes.check(note, [cosigner.verifier])


# Checkpoints

KEY = SigningKey("example.org/acme", bytes(32))
WITNESS = SigningKey("acme.example/office", bytes([1]) * 32, cosigns=True)
CHECKPOINT = Checkpoint("example.org/acme", 2, 1234, bytes(range(32)), True, 12, (1200, bytes(32)))
CHECKPOINT_TEXT = """\
example.org/acme/2
1234
AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
epoch 2
clock synchronised
clock-error-ms 12
previous 1200 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""


def test_a_checkpoint_is_a_note() -> None:
    assert CHECKPOINT.text() == CHECKPOINT_TEXT
    note = CHECKPOINT.signed(KEY)
    assert note.startswith(f"{CHECKPOINT_TEXT}\n— example.org/acme ")
    assert checkpoints.check(note, [KEY.verifier]) == (CHECKPOINT, [])
    both = checkpoints.cosigned(note, WITNESS, 1_773_162_000)
    found, cosigners = checkpoints.check(both, [WITNESS.verifier, KEY.verifier])
    assert (found, [(each.key.name, each.seconds) for each in cosigners]) == (
        CHECKPOINT,
        [("acme.example/office", 1_773_162_000)],
    )
    # A cosigner sees that it is there, and not what the log's own key has to say.
    other = SigningKey("example.org/other", bytes([2]) * 32)
    for trusted in ([], [WITNESS.verifier], [other.verifier]):
        with pytest.raises(NotProven, match="no trusted key"):
            checkpoints.check(both, trusted)
    # Another log's key signs for its own log only.
    foreign = notes.note(CHECKPOINT_TEXT, [notes.sign(CHECKPOINT_TEXT, other)])
    with pytest.raises(NotProven, match="no trusted key"):
        checkpoints.check(foreign, [other.verifier])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("example.org/acme/2", "example.org/acme/3"),
        ("example.org/acme/2", "example.org/acme"),
        ("example.org/acme/2", "example org/acme/2"),
        ("1234\n", "01234\n"),
        ("1234\n", "-1\n"),
        ("1234\n", "9007199254740992\n"),
        ("1234\n", "\u0661\n"),
        ("Hh8=", "Hh9="),
        ("Hh8=", "Hh8"),
        ("epoch 2\n", ""),
        ("clock synchronised", "clock right"),
        ("clock-error-ms 12", "clock-error-ms"),
        ("previous 1200 ", "previous "),
        ("AAA=\n", "AAA=\nmore\n"),
        ("AAA=\n", "AAA="),
    ],
)
def test_what_is_no_checkpoint(old: str, new: str) -> None:
    assert CHECKPOINT_TEXT.replace(old, new) != CHECKPOINT_TEXT
    with pytest.raises(MalformedDocument):
        Checkpoint.parse(CHECKPOINT_TEXT.replace(old, new))


@given(
    st.integers(0, 2**53 - 1),
    st.binary(min_size=32, max_size=32),
    st.booleans(),
    st.none() | st.tuples(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32)),
)
def test_what_a_checkpoint_says(
    number: int, root: bytes, is_synchronised: bool, previous: tuple[int, bytes] | None
) -> None:
    made = Checkpoint("a/b", number, number, root, is_synchronised, number, previous)
    assert Checkpoint.parse(made.text()) == made
