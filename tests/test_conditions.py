"""What a stream asks besides: when, from where, from which country."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.entrances.conditions import NONE, Conditions, problems, verdict
from pystream.acl.entrances.countries import Countries
from pystream.errors import InvalidValue
from tests.oracles.mmdb import MARKER, database

NOW = 1_936_699_200


def asked(conditions: Conditions, **words: Any) -> str | None:
    everything = {
        "now": NOW,
        "origin": None,
        "referrer_origin": None,
        "address": None,
        "country": None,
    }
    return verdict(conditions, **(everything | words))


def test_no_condition_lets_everybody_through() -> None:
    assert asked(NONE) is None
    assert asked(NONE, now=0, origin="null", address="nonsense", country="XX") is None
    assert problems(NONE) == ()


def test_time_window() -> None:
    window = Conditions(not_before=NOW, expires=NOW + 10)
    assert [asked(window, now=NOW + s) for s in (-1, 0, 9, 10)] == ["early", None, None, "expired"]
    assert asked(Conditions(not_before=NOW)) is None
    assert asked(Conditions(expires=NOW)) == "expired"
    assert asked(Conditions(expires=0)) == "expired"


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "https://www.example.org",
            ["https://www.example.org", "https://WWW.Example.org"],
            [
                "http://www.example.org",
                "https://www.example.org:8443",
                "https://example.org",
                "https://www.example.org.attacker.example",
                "https://www.example.orgx",
                "https://www.example.org/",
                "https://user@www.example.org",
            ],
        ),
        (
            "https://*.example.org",
            ["https://www.example.org", "https://a.b.example.org"],
            [
                "https://example.org",
                "https://.example.org",
                "https://evilexample.org",
                "https://attacker.example/.example.org",
                "https://attacker.example#.example.org",
                "https://attacker.example?.example.org",
                "https://attacker.example:1.example.org",
                "https://user@.example.org",
                "https://a\n.example.org",
                "https://ä.example.org",
                "http://www.example.org",
                "https://www.example.org:8443",
            ],
        ),
        ("https://*.example.org:8443", ["https://a.example.org:8443"], ["https://a.example.org"]),
        ("http://localhost:8080", ["http://localhost:8080"], ["http://localhost"]),
        ("https://[2001:db8::1]", ["https://[2001:db8::1]"], ["https://[2001:db8::2]"]),
    ],
)
def test_embedding_origins(pattern: str, inside: list[str], outside: list[str]) -> None:
    conditions = Conditions(origins=("https://other.example", pattern))
    assert problems(conditions) == ()
    for origin in inside:
        assert asked(conditions, origin=origin) is None
        assert asked(conditions, referrer_origin=origin) is None
        assert asked(conditions, origin="null", referrer_origin=origin) is None
        assert asked(conditions, origin="https://no.example", referrer_origin=origin) == "origin"
    for origin in outside:
        assert asked(conditions, origin=origin) == "origin", origin


def test_who_does_not_say_where_from() -> None:
    for allow, wanted in ((False, "origin"), (True, None)):
        conditions = Conditions(origins=("https://example.org",), allow_no_referrer=allow)
        for origin in (None, "", "null"):
            assert asked(conditions, origin=origin) == wanted
            assert asked(conditions, referrer_origin=origin) == wanted
        # Saying something else is not saying nothing.
        assert asked(conditions, origin="https://other.example") == "origin"
        assert asked(conditions, origin="nonsense") == "origin"


def test_networks() -> None:
    conditions = Conditions(networks=("192.0.2.0/24", "2001:db8::/32", "198.51.100.7"))
    assert problems(conditions) == ()
    for address in (
        "192.0.2.0",
        "192.0.2.255",
        "::ffff:192.0.2.1",
        "::ffff:c000:201",
        "2001:db8::1",
        "2001:DB8:0:0::1",
        "198.51.100.7",
    ):
        assert asked(conditions, address=address) is None, address
    for outside in (
        "192.0.3.0",
        "::192.0.2.1",
        "2001:db9::1",
        "198.51.100.8",
        "::ffff:198.51.100.8",
        "192.0.2.1/24",
        "192.0.2.01",
        "0300.0.2.1",
        "192.0.2",
        "192.0.2.1%eth0",
        "",
        None,
    ):
        assert asked(conditions, address=outside) == "network", outside
    # A zone says which cable, not which address (RFC 4007 11).
    assert asked(Conditions(networks=("fe80::/10",)), address="fe80::1%eth0") is None


NETWORKS = st.builds(
    lambda number, length: str(ip_network((number, length), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@pytest.mark.slow
@given(st.lists(NETWORKS, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.booleans())
def test_networks_are_compared_by_their_bits(networks: list[str], number: int, six: bool) -> None:
    def covers(network: str) -> bool:
        base, _, length = network.partition("/")
        apart = int(ip_address(base)) ^ number
        return apart >> (32 - int(length)) == 0

    address = f"::ffff:{ip_address(number)}" if six else str(ip_address(number))
    found = asked(Conditions(networks=tuple(networks)), address=address)
    assert (found is None) == any(map(covers, networks))


def test_countries() -> None:
    for conditions, inside, outside in (
        (Conditions(countries=("DE", "AT")), ["DE", "AT"], ["CH", "de", ""]),
        (Conditions(countries_denied=("RU",)), ["DE"], ["RU"]),
        (Conditions(countries=("DE",), countries_denied=("RU",)), ["DE"], ["RU", "FR"]),
    ):
        for country in inside:
            assert asked(conditions, country=country) is None
        for country in outside:
            assert asked(conditions, country=country) == "country"
        assert asked(conditions) == "country"
    for listed in ({"countries": ("DE",)}, {"countries_denied": ("DE",)}):
        assert asked(Conditions(**listed, allow_unknown_country=True)) is None  # type: ignore[arg-type]


def test_all_of_them_have_to_be_met() -> None:
    conditions = Conditions(
        not_before=NOW,
        expires=NOW + 10,
        origins=("https://example.org",),
        networks=("192.0.2.0/24",),
        countries=("DE",),
    )
    right: dict[str, Any] = {
        "origin": "https://example.org",
        "address": "192.0.2.1",
        "country": "DE",
    }
    assert asked(conditions, **right) is None
    for wrong, reason in (
        ({"now": NOW - 1}, "early"),
        ({"now": NOW + 10}, "expired"),
        ({"origin": "https://example.com"}, "origin"),
        ({"address": "192.0.3.1"}, "network"),
        ({"country": "FR"}, "country"),
    ):
        assert asked(conditions, **(right | wrong)) == reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"not_before": 10, "expires": 10}, "before it begins"),
        ({"origins": ("example.org",)}, "no origin"),
        ({"origins": ("https://example.org/",)}, "no origin"),
        ({"origins": ("https://EXAMPLE.org",)}, "no origin"),
        ({"origins": ("https://exämple.org",)}, "no origin"),
        ({"origins": ("https://*",)}, "no origin"),
        ({"origins": ("https://*.org",)}, "no origin"),
        ({"origins": ("https://www.*.org",)}, "no origin"),
        ({"origins": ("https://*example.org",)}, "no origin"),
        ({"origins": ("*",)}, "no origin"),
        ({"origins": ("null",)}, "no origin"),
        ({"origins": ("https://example.org:443",)}, "leave it out"),
        ({"origins": ("http://*.example.org:80",)}, "leave it out"),
        ({"origins": ("https://example.org",) * 65}, "no more than 64"),
        ({"networks": ("192.0.2.1/24",)}, "192.0.2.0/24"),
        ({"networks": ("192.0.2.0/33",)}, "no network"),
        ({"networks": ("example.org",)}, "no network"),
        ({"networks": ("::ffff:192.0.2.0/120",)}, "IPv4"),
        ({"networks": ("10.0.0.0/8",) * 257}, "no more than 256"),
        ({"countries": ("de",)}, "no country"),
        ({"countries_denied": ("DEU",)}, "countries_denied"),
        ({"countries": ("DE",), "countries_denied": ("DE",)}, "both"),
    ],
)
def test_what_is_wrong_is_said(words: dict[str, Any], said: str) -> None:
    found = problems(Conditions(**words))
    assert found and said in found[0] and found[0].partition(":")[0] in Conditions.__slots__


def test_everything_wrong_is_said_at_once() -> None:
    wrong = Conditions(origins=("a", "b"), networks=("c",), countries=("d",))
    assert len(problems(wrong)) == 4


# --- the look-up ----------------------------------------------------------------------------------

MAXMIND = {
    "192.0.2.0/24": {"country": {"iso_code": "DE", "geoname_id": 2921044}, "traits": {"vpn": True}},
    "198.51.100.0/25": {"country": {"iso_code": "AT"}},
    "203.0.113.0/24": {"registered_country": {"iso_code": "US"}},
    "2001:db8::/32": {"country": {"iso_code": "CH"}},
}


@pytest.fixture
def countries(tmp_path: Path) -> Countries:
    (tmp_path / "geo.mmdb").write_bytes(database(MAXMIND))
    found = Countries(tmp_path / "geo.mmdb")
    # In memory: the file may go.
    (tmp_path / "geo.mmdb").unlink()
    return found


def test_countries_of_addresses(countries: Countries) -> None:
    for address, country in (
        ("192.0.2.1", "DE"),
        ("::ffff:192.0.2.1", "DE"),
        ("198.51.100.127", "AT"),
        ("198.51.100.128", None),
        # Where a network is registered is not where it is.
        ("203.0.113.1", None),
        ("2001:db8:1::1", "CH"),
        ("2001:db9::1", None),
        ("10.0.0.1", None),
        ("nonsense", None),
        ("", None),
        (None, None),
    ):
        assert countries.country(address) == country, address


def test_other_makers_databases(tmp_path: Path) -> None:
    path = tmp_path / "geo.mmdb"
    records: dict[str, Any] = {
        "10.0.0.0/16": {"country": "DE"},
        "10.1.0.0/16": {"country_code": "DE"},
        "10.2.0.0/16": {"country": "Germany"},
        "10.3.0.0/16": {"country": {"names": {"en": "Germany"}}},
        "10.4.0.0/16": {"country": {"iso_code": 49}},
        "10.5.0.0/16": "DE",
        "10.6.0.0/16": {"country": "de"},
    }
    path.write_bytes(database(records, ip_version=4))
    found = Countries(path)
    assert [found.country(f"10.{n}.0.1") for n in range(7)] == ["DE", "DE", *[None] * 5]
    assert found.country("2001:db8::1") is None


def test_files_that_are_no_database(tmp_path: Path) -> None:
    path = tmp_path / "geo.mmdb"
    sound = database(MAXMIND)
    for data in (b"", b"PK\x03\x04", sound[:-40], sound.replace(MARKER, b""), MARKER, sound[2000:]):
        path.write_bytes(data)
        with pytest.raises(InvalidValue, match=r"geo\.mmdb: this is no MaxMind database"):
            Countries(path)
    for absent in (tmp_path / "absent.mmdb", tmp_path):
        with pytest.raises(InvalidValue, match=str(absent)):
            Countries(absent)


@pytest.mark.slow
@given(data=st.data())
def test_a_broken_database_knows_no_country(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut or changed anywhere: it opens or does not, and answers with a country or none."""
    sound = bytearray(database(MAXMIND))
    for _ in range(data.draw(st.integers(1, 8))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken.mmdb"
    path.write_bytes(sound[: data.draw(st.integers(len(sound) - 300, len(sound)))])
    try:
        countries = Countries(path)
    except InvalidValue:
        return
    for address in ("192.0.2.1", "198.51.100.1", "2001:db8::1", "8.8.8.8"):
        country = countries.country(address)
        assert country is None or (len(country) == 2 and country.isupper())
