"""What people and programs of a tenant sign in with, and what they may: functions of values."""

from __future__ import annotations

import re
from base64 import b32encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl import sign_in
from pystream.acl.people import (
    RIGHTS,
    SCOPES,
    SUPPORT_LONGEST_S,
    Person,
    Right,
    Role,
    check_leave,
    check_name,
    is_let_in,
    of_person,
    rights_of,
    role_of,
    scopes_of,
)
from pystream.errors import InvalidValue

NOW = 1_936_699_200


# Rights


def person(role: Role, let_in_until: int | None = None) -> Person:
    return Person(
        id=1,
        tenant_id=1,
        tenant="acme",
        name="eva",
        role=role,
        must_change=False,
        has_totp=False,
        created_at=0,
        let_in_until=let_in_until,
    )


def test_every_role_has_its_rights_and_the_admin_all() -> None:
    assert set(RIGHTS) == set(Role) and RIGHTS[Role.ADMIN] == set(Right)
    assert all(rights < set(Right) for role, rights in RIGHTS.items() if role is not Role.ADMIN)


def test_the_operator_sees_neither_passwords_nor_reports_nor_the_log() -> None:
    hidden = {Right.PASSWORDS_READ, Right.PASSWORDS_CHANGE, Right.REPORTS_READ, Right.AUDIT_READ}
    hidden |= {Right.EVENTS_READ, Right.EVENTS_CHANGE, Right.REPORTS_SEAL, Right.EVIDENCE_READ}
    hidden |= {Right.REPORTS_HOLD}
    assert not RIGHTS[Role.OPERATOR] & hidden
    assert not RIGHTS[Role.OPERATOR] & {Right.PEOPLE_CHANGE, Right.TOKENS_CHANGE}


def test_who_plans_an_event_reads_no_report_and_reports_are_sealed_by_admins() -> None:
    readers = {role for role in Role if Right.REPORTS_READ in RIGHTS[role]}
    assert readers == {Role.ADMIN, Role.REPORTER}
    assert Right.EVENTS_CHANGE in RIGHTS[Role.EDITOR]
    assert {role for role in Role if Right.REPORTS_SEAL in RIGHTS[role]} == {Role.ADMIN}
    assert {role for role in Role if Right.REPORTS_HOLD in RIGHTS[role]} == {Role.ADMIN, Role.DPO}


def test_who_only_looks_changes_nothing() -> None:
    for role in (Role.AUDITOR, Role.REPORTER, Role.SUPPORT):
        assert not [each for each in RIGHTS[role] if not each.endswith(":read")]


@pytest.mark.parametrize(
    ("until", "let_in"), [(None, False), (NOW, False), (NOW + 1, True), (NOW - 1, False)]
)
def test_a_support_is_let_in_for_a_time(until: int | None, let_in: bool) -> None:
    support = person(Role.SUPPORT, until)
    assert is_let_in(support, NOW) is let_in
    assert rights_of(support, NOW) == (RIGHTS[Role.SUPPORT] if let_in else frozenset())
    assert of_person(support, NOW).rights == rights_of(support, NOW)


def test_how_long_a_support_is_let_in() -> None:
    check_leave(60)
    check_leave(SUPPORT_LONGEST_S)
    for seconds in (-1, 0, 59, SUPPORT_LONGEST_S + 1):
        with pytest.raises(InvalidValue):
            check_leave(seconds)


def test_no_token_makes_people() -> None:
    assert set(Right) - SCOPES == {Right.PEOPLE_CHANGE}
    assert scopes_of(["streams:read"]) == {Right.STREAMS_READ}
    for wrong in ([], ["people:change"], ["streams:read", "all"]):
        with pytest.raises(InvalidValue, match="scopes: one or several of"):
            scopes_of(wrong)
    with pytest.raises(InvalidValue, match="role: one of tenant-admin"):
        role_of("root")


@pytest.mark.parametrize("name", ["e", "eva", "eva.m@acme.org", "0", "x" * 64, "a_b+c-d"])
def test_names(name: str) -> None:
    check_name("person", name)


@pytest.mark.parametrize(
    "name", ["", "Eva", "x" * 65, "e va", "-e", "é", "e\n", "e/a", "<b>", "e:a"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidValue, match="no name of a person"):
        check_name("person", name)


# Passwords


@pytest.mark.slow
def test_a_password_is_known_again_however_an_accent_is_written() -> None:
    hash = sign_in.hash_password("caf\u00e9 au lait, please")
    assert hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert sign_in.verify(hash, "cafe\u0301 au lait, please")
    assert not sign_in.verify(hash, "cafe au lait, please")
    assert not sign_in.verify(hash, "") and not sign_in.verify(hash, "x" * 1000)
    assert not sign_in.is_outdated(hash)
    assert sign_in.is_outdated(hash.replace("t=3", "t=2"))


@pytest.mark.slow
def test_nobodys_password_is_wrong() -> None:
    assert not sign_in.verify(None, "") and not sign_in.verify(None, "whatever it is")
    assert not sign_in.verify("no hash at all", "whatever it is")


@pytest.mark.parametrize(
    ("password", "wrong"),
    [
        ("short", "at least 12"),
        ("aaaaaaaaaaaaaaaa", "too easy"),
        ("evaevaevaeva12", "too easy"),
        ("acme-acme-acme", "too easy"),
        ("x" * 257, "at most 256"),
        ("twelve chars\n", "at most 256"),
        ("", "at most 256"),
    ],
)
def test_passwords_that_are_refused(password: str, wrong: str) -> None:
    with pytest.raises(InvalidValue, match=wrong):
        sign_in.check_new_password(password, "eva", "acme")


def test_a_passphrase_is_fine() -> None:
    sign_in.check_new_password("correct horse battery", "eva", "acme")


# Codes

RFC_6238 = b"12345678901234567890"
# RFC 6238 appendix B, SHA-1, of whose eight digits the last six are these.
VECTORS = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]


@pytest.mark.parametrize(("now", "code"), VECTORS)
def test_codes_are_those_of_the_standard(now: int, code: str) -> None:
    assert sign_in.totp(RFC_6238, now // 30) == code
    assert sign_in.step_of(RFC_6238, code, now, 0) == now // 30
    assert sign_in.step_of(RFC_6238, f" {code[:3]} {code[3:]}", now, 0) == now // 30


def test_a_code_counts_once_and_for_clocks_that_differ() -> None:
    step = NOW // 30
    code = sign_in.totp(RFC_6238, step)
    for late in (-30, 0, 30):
        assert sign_in.step_of(RFC_6238, code, NOW + late, step - 1) == step
    assert sign_in.step_of(RFC_6238, code, NOW + 60, 0) is None
    assert sign_in.step_of(RFC_6238, code, NOW - 60, 0) is None
    assert sign_in.step_of(RFC_6238, code, NOW, step) is None


@given(st.text(max_size=20))
def test_any_text_is_a_code_or_none(text: str) -> None:
    assert sign_in.step_of(RFC_6238, text, NOW, 0) in (None, *range(NOW // 30 - 1, NOW // 30 + 2))
    sign_in.recovery_digest(text)
    sign_in.token_digest(text)
    sign_in.from_text(text)


def test_what_an_authenticator_reads() -> None:
    uri = sign_in.totp_uri(RFC_6238, "acme", "eva+a@acme.org")
    secret = b32encode(RFC_6238).decode()
    assert uri == (f"otpauth://totp/acme:eva%2Ba%40acme.org?secret={secret}&issuer=acme")


def test_recovery_codes() -> None:
    codes = sign_in.new_recovery_codes()
    assert len(set(codes)) == sign_in.RECOVERY_CODES
    assert all(re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", code) for code in codes)
    digests = {sign_in.recovery_digest(code) for code in codes}
    assert len(digests) == len(codes) and None not in digests
    typed = codes[0].upper().replace("-", " ")
    assert sign_in.recovery_digest(typed) == sign_in.recovery_digest(codes[0])
    assert sign_in.recovery_digest("") is None and sign_in.recovery_digest("0" * 16) is None


# Sessions and tokens


@given(st.binary(min_size=32, max_size=32))
def test_a_cookie_gives_its_secret_back(secret: bytes) -> None:
    text = sign_in.as_text(secret)
    assert sign_in.from_text(text) == secret and len(text) == 43
    assert sign_in.csrf(secret) != text and len(sign_in.csrf(secret)) == 43


@given(st.integers(0, 48), st.sampled_from("0aZ9"))
def test_a_slip_in_a_token_shows(at: int, other: str) -> None:
    token = sign_in.new_token()
    assert re.fullmatch(r"pst_[0-9A-Za-z]{49}", token)
    assert sign_in.token_digest(token) is not None
    at += len("pst_")
    if token[at] != other:
        assert sign_in.token_digest(token[:at] + other + token[at + 1 :]) is None
    assert sign_in.token_digest(token[:-1]) is None and sign_in.token_digest(f"{token}\n") is None
