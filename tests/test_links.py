"""Signed links: what the specification says is let in, and no change of it is."""

from __future__ import annotations

import hashlib
import re
import subprocess
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pystream.acl.entrances import SKEW_S, links
from pystream.acl.entrances.conditions import Conditions
from pystream.acl.entrances.links import Link, sign, verify
from pystream.errors import EntranceError

NOW = 1_936_699_200
END = NOW + 3600
KEY, OTHER = bytes(range(32)), b"o" * 32
KEYS = {"7f": KEY, "old": OTHER}
LINK = Link(tenant="acme", stream="film", key="7f", expires=END)
EVERYTHING = Link(
    tenant="acme",
    stream="film",
    key="7f",
    expires=END,
    not_before=NOW,
    viewer="auth0|47+11/a=~",
    max_devices=2,
    conditions=Conditions(
        origins=("https://*.example.org", "https://www.example.com:8443"),
        networks=("192.0.2.0/24", "2001:db8::/32"),
        countries=("AT", "DE"),
    ),
)


def refused(query: str, path: str = "/acme/film/", now: int = NOW, keys: Any = KEYS) -> str:
    with pytest.raises(EntranceError) as caught:
        verify(path, query, keys, now=now)
    return caught.value.reason


def by_hand(text: str, key: bytes = KEY) -> str:
    """HMAC as RFC 2104 2 writes it, and base64url as RFC 4648 5: none of the code under test."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + text.encode()).digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()
    return urlsafe_b64encode(outer).decode()[:43]


# The text that the specification signs, line by line, and the query that carries it.
VECTORS = [
    (
        ["/acme/film/", f"expires={END}", "key=7f", "viewer=4711"],
        f"expires={END}&key=7f&viewer=4711",
    ),
    (["/acme/", f"expires={END}", "key=7f", "scope=tenant"], f"scope=tenant&key=7f&expires={END}"),
    (
        [
            "/acme/film/",
            "countries=AT,DE",
            "devices=2",
            f"expires={END}",
            "key=7f",
            "networks=192.0.2.0/24,2001:db8::/32",
            f"not_before={NOW}",
            "origins=https://*.example.org,https://www.example.com:8443",
            "viewer=auth0|47+11/a=~",
        ],
        # As PHP's `http_build_query` writes it.
        f"key=7f&expires={END}&not_before={NOW}&devices=2&viewer=auth0%7C47%2B11%2Fa%3D~"
        "&origins=https%3A%2F%2F%2A.example.org%2Chttps%3A%2F%2Fwww.example.com%3A8443"
        "&networks=192.0.2.0%2F24%2C2001%3Adb8%3A%3A%2F32&countries=AT%2CDE",
    ),
]


@pytest.mark.parametrize(("lines", "query"), VECTORS)
def test_a_link_that_another_program_signed(lines: list[str], query: str) -> None:
    text = "\n".join(["pystream-link-1", *lines])
    link = verify("/acme/film/", f"{query}&signature={by_hand(text)}", KEYS, now=NOW)
    assert sign(link, KEY).endswith(f"&signature={by_hand(text)}")
    assert link.stream == (None if "scope" in query else "film")
    assert (link.tenant, link.key, link.expires) == ("acme", "7f", END)
    if "countries" in query:
        assert link == EVERYTHING


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(("lines", "query"), VECTORS)
def test_openssl_signs_the_same(lines: list[str], query: str) -> None:
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}"]
    text = "\n".join(["pystream-link-1", *lines]).encode()
    done = subprocess.run([*command, "-binary"], input=text, capture_output=True, check=True)
    signature = urlsafe_b64encode(done.stdout).decode().rstrip("=")
    verify("/acme/film/", f"{query}&signature={signature}", KEYS, now=NOW)


NODE = """
const { createHmac } = require("crypto");
const key = "KEY", expires = END, viewer = "4711";
const text = `pystream-link-1\\n/acme/film/\\nexpires=${expires}\\nkey=7f\\nviewer=${viewer}`;
const signature =
    createHmac("sha256", Buffer.from(key, "hex")).update(text).digest("base64url");
process.stdout.write(new URLSearchParams({ expires, key: "7f", viewer, signature }).toString());
"""


@pytest.mark.slow
@pytest.mark.needs("node")
def test_a_site_in_javascript_signs_as_the_specification_shows() -> None:
    assert 'createHmac("sha256", Buffer.from(key, "hex"))' in str(links.__doc__)
    program = NODE.replace("KEY", KEY.hex()).replace("END", str(END))
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert verify("/acme/film/", done.stdout, KEYS, now=NOW).viewer == "4711"


def test_the_vector_in_the_specification() -> None:
    (signature,) = re.findall(r"^`(\S{43})`", str(links.__doc__), re.MULTILINE)
    text = "pystream-link-1\n/acme/film/\nexpires=1936702800\nkey=7f\nviewer=4711"
    assert signature == by_hand(text)
    assert verify(
        "/acme/film/",
        f"expires=1936702800&key=7f&viewer=4711&signature={signature}",
        KEYS,
        now=NOW,
    ) == replace(LINK, viewer="4711")


OPAQUE = st.text("abcXYZ019._~|:/+=-", min_size=1, max_size=128)
LINKS = st.builds(
    Link,
    tenant=st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True),
    stream=st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True),
    key=st.sampled_from(sorted(KEYS)),
    expires=st.integers(NOW + 1, 9_999_999_999),
    not_before=st.none() | st.integers(1, NOW),
    viewer=st.none() | OPAQUE,
    max_devices=st.none() | st.integers(1, 999),
    conditions=st.builds(
        Conditions,
        origins=st.sampled_from([(), ("https://example.org",), ("https://*.a.example",)]),
        networks=st.sampled_from([(), ("10.0.0.0/8", "2001:db8::/32")]),
        countries=st.sampled_from([(), ("DE",), ("AT", "DE")]),
    ),
)


@pytest.mark.slow
@given(LINKS)
def test_what_is_signed_comes_back(link: Link) -> None:
    path = f"/{link.tenant}/{link.stream or 'film'}/"
    assert verify(path, sign(link, KEYS[link.key]), KEYS, now=NOW) == link


@pytest.mark.slow
@given(st.data())
def test_any_change_is_refused_or_says_the_same(data: st.DataObject) -> None:
    """One character put in, taken out or changed, bits flipped, cut, lengthened. Only another
    spelling of the same values (another order, `%2f` for `/`) is the same link."""
    query = data.draw(st.sampled_from([sign(LINK, KEY), sign(EVERYTHING, KEY)]))
    place = data.draw(st.integers(0, len(query) - 1))
    put = data.draw(st.characters() | st.sampled_from("&=%+0"))
    changed = data.draw(
        st.sampled_from(
            [
                query[:place] + put + query[place:],
                query[:place] + query[place + 1 :],
                query[:place] + put + query[place + 1 :],
                query[:place] + chr(ord(query[place]) ^ 1 << place % 7) + query[place + 1 :],
                query[:place],
                query + query[place:],
                query[place:] + query[:place],
            ]
        )
    )
    assume(changed != query)
    try:
        link = verify("/acme/film/", changed, KEYS, now=NOW)
    except EntranceError as error:
        assert error.reason in ("malformed", "forged", "unknown_key")
    else:
        assert link in (LINK, EVERYTHING)
        assert re.fullmatch(r"[!-~]+", changed)


def test_every_bit_of_the_signature_counts() -> None:
    query = sign(LINK, KEY)
    head, signature = query[:-43], query[-43:]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, sign_ in enumerate(signature):
        for bit in range(6):
            other = alphabet[alphabet.index(sign_) ^ 1 << bit]
            changed = signature[:place] + other + signature[place + 1 :]
            assert refused(head + changed) == "forged"
    for other in (
        signature[:-1],
        signature + "A",
        signature + "=",
        signature + "%3D",
        "",
        "A" * 43,
    ):
        assert refused(head + other) == "forged"


def test_a_link_opens_its_stream_and_no_other() -> None:
    query = sign(LINK, KEY)
    for path in ("/acme/film2/", "/acme/fil/", "/other/film/", "/film/acme/"):
        assert refused(query, path) == "forged"
    # The same key at another tenant would be that tenant's mistake; the path is signed all the same.
    whole = sign(replace(LINK, stream=None), KEY)
    assert verify("/acme/other-film/", whole, KEYS, now=NOW).stream is None
    assert refused(whole, "/other/film/") == "forged"
    # Neither becomes the other by a parameter.
    assert refused(f"{query}&scope=tenant") == "forged"
    assert refused(whole.replace("&scope=tenant", "")) == "forged"


@pytest.mark.parametrize(
    "path",
    [
        "/acme/../other/film/",
        "/acme/film/../",
        "//acme/film/",
        "/acme//film/",
        "/acme/film//",
        "/acme/film",
        "acme/film/",
        "/acme/./film/",
        "/acme/%66ilm/",
        "/acme/fi%2flm/",
        "/Acme/film/",
        "/acme/film/\n",
        "/acme/film/master.m3u8",
        "/acme/fılm/",
        "/",
        "",
    ],
)
def test_a_path_has_one_spelling(path: str) -> None:
    assert refused(sign(LINK, KEY), path) == "malformed"


def test_percent_encoding_is_undone_once() -> None:
    query = sign(replace(LINK, viewer="a/b"), KEY)
    assert "viewer=a/b" in query
    for spelled in ("a%2fb", "a%2Fb", "%61/b"):
        written = query.replace("a/b", spelled)
        assert verify("/acme/film/", written, KEYS, now=NOW).viewer == "a/b"
    for spelled in (
        "a%252fb",
        "a%2",
        "a%",
        "a%zzb",
        "a%u002fb",
        "a%c0%afb",
        "a%00b",
        "a%0ab",
        "a\u2215b",
    ):
        assert refused(query.replace("a/b", spelled)) == "malformed"
    # A line feed would be a line of its own in what is signed.
    lines = "4711\nzeta=1"
    text = f"pystream-link-1\n/acme/film/\nexpires={END}\nkey=7f\nviewer={lines}"
    forged = f"expires={END}&key=7f&viewer=4711%0Azeta=1&signature={by_hand(text)}"
    assert refused(forged) == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        "&viewer=4711",
        f"&expires={END}",
        "&EXPIRES=9999999999",
        "&utm_source=mail",
        "&signature=A",
        "&=1",
        "&viewer",
        "&viewer[]=1",
        "&scope=all",
        "&scope=",
        "#fragment",
        ";viewer=1",
        "&viewer=&devices=1",
    ],
)
def test_parameters_are_known_and_single(change: str) -> None:
    query = sign(replace(LINK, viewer="1"), KEY)
    # Where no ampersand is before it, it belongs to the signature.
    assert refused(query + change) == ("malformed" if change[0] == "&" else "forged")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expires", "0"),
        ("expires", "-1"),
        ("expires", "01936702800"),
        ("expires", "1936702800.0"),
        ("expires", "1e9"),
        ("expires", "19367028000"),
        ("expires", "١٩٣٦٧٠٢٨٠٠"),
        ("not_before", "+1"),
        ("devices", "0"),
        ("devices", "1000"),
        ("devices", "two"),
        ("viewer", "anna@example.org"),
        ("viewer", "Dr. Anna"),
        ("viewer", "x" * 129),
        ("viewer", ""),
        ("key", "x" * 17),
        ("key", "../7f"),
        ("origins", "https://example.org/"),
        ("origins", "https://b.example,https://a.example"),
        ("origins", "https://a.example,https://a.example"),
        ("origins", "*"),
        ("networks", "192.0.2.1/24"),
        ("networks", "10.0.0.0/8,"),
        ("countries", "de"),
        ("countries", "DE,AT"),
        ("countries", ""),
    ],
)
def test_values_that_no_link_has(name: str, value: str) -> None:
    """Signed with the right key: it is the form that is wrong."""
    values = {"expires": str(END), "key": "7f", name: value}
    text = "\n".join(
        ["pystream-link-1", "/acme/film/", *(f"{key}={values[key]}" for key in sorted(values))]
    )
    query = "&".join(f"{key}={values[key]}" for key in values)
    assert refused(f"{query}&signature={by_hand(text)}") == "malformed"


def test_a_link_has_its_time() -> None:
    query = sign(replace(LINK, not_before=NOW), KEY)
    for now in (NOW - SKEW_S, NOW, END, END + SKEW_S - 1):
        verify("/acme/film/", query, KEYS, now=now)
    assert refused(query, now=NOW - SKEW_S - 1) == "early"
    assert refused(query, now=END + SKEW_S) == "expired"
    # Whoever made it up is not told that it would be over.
    assert refused(query[:-1] + "*", now=END + SKEW_S) == "forged"


def test_two_keys_are_good_and_a_third_is_not() -> None:
    verify("/acme/film/", sign(replace(LINK, key="old"), OTHER), KEYS, now=NOW)
    assert refused(sign(replace(LINK, key="gone"), KEY)) == "unknown_key"
    assert refused(sign(LINK, OTHER)) == "forged"
    assert refused(sign(LINK, KEY), keys={}) == "unknown_key"
    # What stands in for a key that nobody has signs nothing.
    assert refused(sign(replace(LINK, key="gone"), bytes(32))) == "unknown_key"
    assert refused(sign(replace(LINK, key="old"), KEY)) == "forged"


@given(st.text(max_size=80) | st.text("expirs=&key7f%signatu0123456789", max_size=200))
def test_any_text_is_no_link(query: str) -> None:
    with pytest.raises(EntranceError):
        verify("/acme/film/", query, KEYS, now=NOW)


def test_a_query_has_an_end() -> None:
    assert refused("&" * 5000) == "malformed"
    assert refused(f"{sign(LINK, KEY)}&viewer={'x' * 5000}") == "malformed"


def test_what_cannot_be_signed() -> None:
    for change in (
        {"viewer": "anna@example.org"},
        {"viewer": "a&b"},
        {"tenant": "Acme"},
        {"stream": "a/b"},
        {"key": ""},
        {"expires": -1},
        {"max_devices": 0},
        {"conditions": Conditions(countries=("DE", "AT"))},
        {"conditions": Conditions(countries=("DE",), allow_unknown_country=True)},
        {"conditions": Conditions(countries_denied=("DE",))},
        {"conditions": Conditions(expires=END)},
    ):
        with pytest.raises(ValueError, match=r"a link|no link"):
            sign(replace(LINK, **change), KEY)
    for change, wanted in (
        ({"viewer": "anna@example.org"}, "128 letters, .*, no e-mail address"),
        ({"max_devices": 1000}, "1 to 999 devices"),
    ):
        with pytest.raises(ValueError, match=rf"^no link can say that: .*{wanted}"):
            sign(replace(LINK, **change), KEY)
    for key in (b"", b"short", KEY + b"0"):
        with pytest.raises(ValueError, match="32 bytes"):
            sign(LINK, key)
        with pytest.raises(ValueError, match="32 bytes"):
            verify("/acme/film/", sign(LINK, KEY), {"7f": key}, now=NOW)


def test_nothing_of_the_link_is_in_the_error_or_its_repr() -> None:
    query = sign(EVERYTHING, KEY)
    told = set()
    for other, now in ((query[:-1] + "*", NOW), (query, END * 2), ("viewer=secret", NOW)):
        with pytest.raises(EntranceError) as caught:
            verify("/acme/film/", other, KEYS, now=now)
        told.add(str(caught.value))
        assert caught.value.__cause__ is None
    assert len(told) == 1
    assert "auth0" not in repr(verify("/acme/film/", query, KEYS, now=NOW))
