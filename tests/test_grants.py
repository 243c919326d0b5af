"""Grants: what is issued opens its stream in its time, and nothing else opens anything."""

from __future__ import annotations

import hashlib
import hmac
import string
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.grants import LENGTH, LONGEST_S, SKEW_S, Grant, Grants
from pystream.errors import GrantError

NOW = 1_936_699_200
KEY, OTHER = b"k" * 32, b"o" * 32
SESSION = bytes(range(16))
# RFC 4648 5
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.fixture
def grants() -> Grants:
    return Grants({3: KEY, 2: OTHER}, 3)


def refused(grants: Grants, token: str, stream: int = 7, now: int = NOW) -> str:
    with pytest.raises(GrantError) as caught:
        grants.check(token, stream, now)
    return caught.value.kind


def bits(token: str) -> bytes:
    return urlsafe_b64decode(token + "==")


def spelled(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_grant_opens_its_stream_in_its_time(grants: Grants) -> None:
    token = grants.issue(7, SESSION, NOW, 600, flags=5)
    assert len(token) == LENGTH and set(token) <= set(ALPHABET)
    wanted = Grant(7, SESSION, not_before=NOW, expires=NOW + 600, flags=5)
    # The first check verifies, the second remembers.
    for now in (NOW, NOW, NOW - SKEW_S, NOW + 599):
        assert grants.check(token, 7, now) == wanted
    for now, kind in (
        (NOW - SKEW_S - 1, "early"),
        (NOW + 600, "expired"),
        (NOW + 10**9, "expired"),
    ):
        assert refused(grants, token, now=now) == kind
        assert refused(Grants({3: KEY}, 3), token, now=now) == kind
    for stream in (0, 6, 8, 2**32 - 1):
        assert refused(grants, token, stream) == "stream"
    # What was refused once is none the worse for it.
    assert grants.check(token, 7, NOW) == wanted


def test_a_session_can_be_told_when_its_time_is_over(grants: Grants) -> None:
    token = grants.issue(7, SESSION, NOW, 600)
    assert grants.session_of(token) == SESSION
    for wrong in (f"{token[:-5]}AAAAA", "nonsense", ""):
        with pytest.raises(GrantError):
            grants.session_of(wrong)


def test_the_bytes_are_those_that_are_documented(grants: Grants) -> None:
    """Other programs may issue grants: the layout is a promise."""
    payload = struct.pack(">BBIII16s", 0x23, 5, NOW + 600, NOW, 7, SESSION)
    tag = hmac.new(KEY, b"pystream grant 2\0" + payload, hashlib.sha256).digest()[:16]
    assert grants.issue(7, SESSION, NOW, 600, flags=5) == spelled(payload + tag)


@given(
    stream=st.integers(0, 2**32 - 1),
    session=st.binary(min_size=16, max_size=16),
    now=st.integers(0, 2**32 - 1 - LONGEST_S),
    lifetime=st.integers(1, LONGEST_S),
    flags=st.integers(0, 255),
)
def test_all_values_come_back(
    stream: int, session: bytes, now: int, lifetime: int, flags: int
) -> None:
    grants = Grants({0: KEY}, 0)
    token = grants.issue(stream, session, now, lifetime, flags=flags)
    assert grants.check(token, stream, now) == Grant(stream, session, now, now + lifetime, flags)


def test_every_bit_counts(grants: Grants) -> None:
    data = bits(grants.issue(7, SESSION, NOW, 600))
    kinds = set()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        kinds.add(refused(grants, spelled(bytes(changed))))
    # Changed in the version, it is malformed; anywhere else, nobody has signed it.
    assert kinds == {"malformed", "forged"}


def test_a_grant_has_one_spelling(grants: Grants) -> None:
    """Session 0xff..., so that it is spelled with both signs that plain base64 has others for."""
    token = grants.issue(7, b"\xff\xef\xbe\xfb" * 4, NOW, 600)
    assert "_" in token and "-" in token
    grants.check(token, 7, NOW)
    place = ALPHABET.index(token[-1])
    assert place % 16 == 0
    others = [token[:-1] + ALPHABET[place + more] for more in range(1, 16)]
    others += [token.replace("-", "+"), token.replace("_", "/"), f"{token}=", f" {token}"]
    others += [
        f"{token}\n",
        token[:-1],
        f"{token}A",
        token.swapcase(),
        f"{token[:20]}\n{token[20:]}",
    ]
    others += [f"{token[:-1]}=", f"{token[:-1]}\u0661", "", "=" * 62, "A" * 62 + "=", token * 1000]
    for other in others:
        assert refused(grants, other) in ("malformed", "forged"), other
    for other in others[:15]:
        assert refused(grants, other) == "malformed"


@given(st.text(max_size=70) | st.text(ALPHABET, min_size=62, max_size=62))
def test_any_text_is_no_grant(text: str) -> None:
    with pytest.raises(GrantError):
        Grants({0: KEY}, 0).check(text, 7, NOW)


def test_the_last_key_is_still_good_and_the_one_before_is_not(grants: Grants) -> None:
    last = Grants({2: OTHER}, 2).issue(7, SESSION, NOW, 600)
    assert grants.check(last, 7, NOW).stream_id == 7
    assert refused(grants, Grants({1: b"x" * 32}, 1).issue(7, SESSION, NOW, 600)) == "forged"
    # The number says which key, not whether.
    assert refused(grants, Grants({3: OTHER}, 3).issue(7, SESSION, NOW, 600)) == "forged"


def test_the_viewer_is_told_the_same_whatever_is_wrong(grants: Grants) -> None:
    token = grants.issue(7, SESSION, NOW, 600)
    told = set()
    for other, stream, now in (
        ("nonsense", 7, NOW),
        (spelled(bytes(46)), 7, NOW),
        (token[:-9] + "A" * 9, 7, NOW),
        (token, 8, NOW),
        (token, 7, NOW + 600),
        (token, 7, NOW - 600),
    ):
        with pytest.raises(GrantError) as caught:
            grants.check(other, stream, now)
        told.add(str(caught.value))
    assert len(told) == 1


def test_what_is_remembered_is_bounded() -> None:
    """Neither many viewers nor many made-up grants take more memory."""
    grants = Grants({0: KEY}, 0, remembered=100)
    tokens = [grants.issue(7, n.to_bytes(16), NOW, 600) for n in range(1000)]
    for token in tokens:
        grants.check(token, 7, NOW)
        assert len(grants._young) + len(grants._old) <= 100
    kept = {**grants._young, **grants._old}
    assert tokens[-1] in kept
    for n in range(1000):
        refused(grants, spelled(n.to_bytes(46)))
        refused(grants, spelled(b"\x20" + n.to_bytes(45)))
    assert {**grants._young, **grants._old} == kept
    # Who goes on watching is not displaced by those who come and go.
    for token in tokens[:500]:
        grants.check(token, 7, NOW)
        grants.check(tokens[-1], 7, NOW)
        assert tokens[-1] in grants._young or tokens[-1] in grants._old
    for token in tokens:
        assert grants.check(token, 7, NOW).stream_id == 7


def test_what_cannot_be_issued(grants: Grants) -> None:
    for words in (
        (7, b"short", NOW, 600),
        (7, SESSION, NOW, 0),
        (7, SESSION, NOW, -1),
        (7, SESSION, NOW, LONGEST_S + 1),
        (2**32, SESSION, NOW, 600),
        (-1, SESSION, NOW, 600),
        (7, SESSION, 2**32 - 1, 600),
    ):
        with pytest.raises(ValueError, match=r"session|fit"):
            grants.issue(*words)
    with pytest.raises(ValueError, match="fit"):
        grants.issue(7, SESSION, NOW, 600, flags=256)
    for keys, current in (({}, 0), ({0: KEY}, 1), ({16: KEY}, 16), ({0: b"short"}, 0)):
        with pytest.raises(ValueError, match="grant key"):
            Grants(keys, current)


# Renewal, as live streams will have it


@given(st.lists(st.integers(1, 900), max_size=60), st.integers(1, 3600), st.integers(60, 600))
def test_pain_50_who_fetches_the_playlist_watches_to_the_hard_end_and_who_does_not_is_out(
    pauses: list[int], whole: int, window: int
) -> None:
    """A player that comes back after each of the pauses, with the grant that it was given last."""
    grants = Grants({3: bytes(32)}, 3)
    ends = NOW + whole
    token = grants.issue(7, SESSION, NOW, min(window, whole), flags=1)
    grant, now = grants.check(token, 7, NOW), NOW
    for pause in pauses:
        now += pause
        if now >= grant.expires:
            # It was away for longer than half a window at least, or that was the end.
            assert pause >= window // 2 or now >= ends
            with pytest.raises(GrantError) as caught:
                grants.renewed(grant, now, window, ends)
            assert caught.value.kind == "expired"
            break
        new = grants.renewed(grant, now, window, ends)
        if new is None:
            assert grant.expires - now > window // 2 or grant.expires == ends
            continue
        # What was named under the old one is still to be had.
        assert grants.check(token, 7, now) == grant
        assert now + window // 2 >= grant.expires
        token, before, grant = new, grant, grants.check(new, 7, now)
        assert grant.expires == min(now + window, ends) > before.expires
        assert (grant.session, grant.flags, grant.stream_id) == (SESSION, 1, 7)


def test_a_player_that_asks_in_time_never_meets_an_end_but_the_hard_one(grants: Grants) -> None:
    window, ends = 60, NOW + 3 * 3600 + 17
    grant = grants.check(grants.issue(7, SESSION, NOW, window), 7, NOW)
    given = 1
    for now in range(NOW, ends, window // 2 - 1):
        new = grants.renewed(grant, now, window, ends)
        if new is not None:
            grant, given = grants.check(new, 7, now), given + 1
    assert grant.expires == ends
    # Not one for each playlist, or each would be verified anew.
    assert given <= 2 + (ends - NOW) // (window // 2)
