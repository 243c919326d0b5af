"""The node's settings: TOML, then the environment, into frozen values.

An error names file, line and key, of everything that is wrong. TOML's parser does not tell lines, and
msgspec, which checks types and ranges, knows keys only, and stops at the first. So where something is
wrong, the file is read once more, statement by statement, each by the TOML parser itself, until the
one is found that sets the key; and the rest is checked without it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from pystream.acl.addresses import is_mail_address
from pystream.acl.retention import Rules, problems
from pystream.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.acl.disclosure import Practice

EXAMPLE = os.path.join(os.path.dirname(__file__), "pystream.example.toml")

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Days: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=36_525)]
Key: TypeAlias = tuple[str | int, ...]


class Listen:
    """Where to listen: a host and a port, or the path of a unix socket. The host `*` is every
    address of the machine."""

    __slots__ = ("host", "path", "port")

    def __init__(self, text: str) -> None:
        self.host, self.port, self.path = "", 0, ""
        if text.startswith("unix:"):
            self.path = text.removeprefix("unix:")
            # sun_path of unix(7), with the zero byte that ends it
            if not self.path.startswith("/") or len(os.fsencode(self.path)) > 107:
                raise ValueError("a unix socket is written as unix:/path, of at most 107 bytes")
            return
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError('"host:port" with a port from 1 to 65535, or "unix:/path" is wanted')
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif ":" in host:
            raise ValueError('an IPv6 address is written in brackets, as in "[::1]:8080"')
        elif not re.fullmatch(r"\*|[A-Za-z0-9.-]+", host):
            raise ValueError(f'{host!r} is no host; every address of the machine is "*:{port}"')
        self.host, self.port = host, int(port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Listen({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listen) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


UNIX = "unix"
"""The address of whoever comes by a unix socket."""


class Network:
    """Addresses of a network; an IPv4 address is the same one when IPv6 carries it
    (RFC 4291 2.5.5.2). `unix` is whoever comes by a unix socket."""

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        if "%" in text:
            # RFC 4007 11: of this machine alone, and of no peer is it known.
            raise ValueError(f"{text!r} names an interface, which no address here does")
        self.network = None if text == UNIX else ipaddress.ip_network(text, strict=False)
        if self.network and "/" in text and ipaddress.ip_interface(text).ip != self.network[0]:
            raise ValueError(f"{text!r} has host bits set: the network is {self.network}")

    def __contains__(self, address: str) -> bool:
        if self.network is None or address == UNIX:
            return self.network is None and address == UNIX
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return found in self.network

    def __str__(self) -> str:
        return UNIX if self.network is None else str(self.network)

    def __repr__(self) -> str:
        return f"Network({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)


class PathPrefix(str):
    """Empty, or a path that begins with a slash and does not end with one."""

    def __new__(cls, text: str) -> PathPrefix:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", text) or re.search(r"/\.\.?(/|$)", text):
            raise ValueError('"" or a path like "/video" is wanted, with no slash at its end')
        return super().__new__(cls, text)


class HostName(str):
    """A host as a Host field has it, without a port, in small letters."""

    def __new__(cls, text: str) -> HostName:
        if not re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]", text.lower()):
            raise ValueError(f"{text!r} is no host; one is written without scheme, port and path")
        return super().__new__(cls, text.lower())


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whatever is not named in a section of the file is as the class has it."""


class Server(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[server]"""

    listen: tuple[Listen, ...] = (Listen("127.0.0.1:8080"),)
    socket_mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0o660
    workers: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    path_prefix: PathPrefix = PathPrefix("")
    admin: tuple[Listen, ...] = (Listen("127.0.0.1:9090"),)
    trusted_proxies: tuple[Network, ...] = ()
    proxy_protocol: bool = False
    max_connections: Positive = 20_000
    grace_seconds: Seconds = 40.0

    @property
    def proxy(self) -> str:
        """What stands in front of the node: one of `pystream.attendance.nodes.PROXIES`."""
        if self.proxy_protocol:
            return "tcp"
        return "http" if self.trusted_proxies else "none"


class Limits(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[limits]"""

    request_line: Annotated[int, msgspec.Meta(ge=256, le=2**20)] = 8192
    headers: Annotated[int, msgspec.Meta(ge=256, le=2**20)] = 16_384
    header_count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    body: Annotated[int, msgspec.Meta(ge=0, le=2**30)] = 65_536
    pipelined: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    header_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 60.0
    send_stall_seconds: Seconds = 30.0
    send_bytes_a_second: Annotated[int, msgspec.Meta(ge=0, le=2**20)] = 4096


class Certificate(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An element of `tls.certificates`: two PEM files."""

    certificate: str
    key: str


class Tls(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[tls]"""

    listen: tuple[Listen, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    redirect: bool = False
    hsts_seconds: Count = 0


class StoreSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[store]"""

    url: str = "sqlite:///pystream.db"


class Keys(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[keys]"""

    master_key_file: str = "pystream.key"
    store: str = ""
    erasures: str = ""


class Cache(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[cache]"""

    # As large as `core_rs/shm` makes one.
    segment_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**44)] = 268_435_456
    index_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=2**50)] = 67_108_864


class Overload(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[overload]"""

    egress_bps: Count = 0
    bytes_in_flight: Annotated[int, msgspec.Meta(ge=2**20, le=2**50)] = 268_435_456
    loop_lag_ms: Positive = 100
    max_viewers: Count = 0


class Console(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[console]"""

    enabled: bool = True
    hosts: tuple[HostName, ...] = ()
    films: str = ""
    requests_per_minute: Positive = 600


class Outgoing(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[outgoing]"""

    allow: tuple[Network, ...] = ()
    ports: tuple[Port, ...] = (443,)
    answer_seconds: Seconds = 2.0
    viewer_address: bool | Literal["truncated"] = False


class Located:
    """A network and the country that its addresses are taken to be in, as in `192.0.2.0/24 = DE`."""

    __slots__ = ("country", "network")

    def __init__(self, text: str) -> None:
        network, equals, country = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"[A-Z]{2}", country):
            raise ValueError('a network and a country are wanted, as in "192.0.2.0/24 = DE"')
        self.network, self.country = Network(network), country

    def __str__(self) -> str:
        return f"{self.network} = {self.country}"

    def __repr__(self) -> str:
        return f"Located({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Located) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


_LONGEST_BUDGET_S = 86_400


class Budget(str):
    """How often something may happen, as in `600 at once, 20 a second`; `off` is without bounds, and nothing
    at once."""

    at_once: int
    a_second: float

    def __new__(cls, text: str) -> Budget:
        found = re.fullmatch(r"(\d{1,9}) at once, (\d{1,6}(?:\.\d{1,6})?) a (second|minute)", text)
        at_once, a_second = 0, 0.0
        if found is not None:
            at_once = int(found[1])
            a_second = float(found[2]) / (60 if found[3] == "minute" else 1)
        if text != "off" and not (at_once and a_second):
            raise ValueError('"off", or as in "600 at once, 20 a second" (or a minute) is wanted')
        if at_once and at_once / a_second > _LONGEST_BUDGET_S:
            raise ValueError("what is used up at once has to be there again within a day")
        budget = super().__new__(cls, text)
        budget.at_once, budget.a_second = at_once, a_second
        return budget


class Guard(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[guard]"""

    http: Literal["on", "dry-run", "off"] = "on"
    syn: Literal["auto", "nftables", "observe", "off"] = "auto"
    helper: str = "/run/pystream-guard/socket"
    exempt: tuple[Network, ...] = (Network("127.0.0.0/8"), Network("::1"))
    playlists: Budget = Budget("3000 at once, 300 a second")
    segments: Budget = Budget("20000 at once, 1000 a second")
    downloads: Budget = Budget("600 at once, 20 a second")
    passwords: Budget = Budget("1000 at once, 20 a second")
    others: Budget = Budget("10000 at once, 200 a second")
    errors: Budget = Budget("1000 at once, 20 a second")
    connections: Budget = Budget("4000 at once, 100 a second")
    handshakes: Budget = Budget("4000 at once, 50 a second")
    open_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2400
    network_times: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    grant_playlists: Budget = Budget("120 at once, 5 a second")
    grant_segments: Budget = Budget("1000 at once, 40 a second")
    grant_downloads: Budget = Budget("120 at once, 5 a second")
    tenant_playlists: Budget = Budget("off")
    tenant_segments: Budget = Budget("off")
    tenant_downloads: Budget = Budget("off")
    slowed: Budget = Budget("120 at once, 1 a second")
    refused: Budget = Budget("20 at once, 6 a minute")
    ban_seconds: Annotated[float, msgspec.Meta(ge=1, le=43_200)] = 60.0
    longest_ban_seconds: Annotated[float, msgspec.Meta(ge=1, le=43_200)] = 43_200.0


class Incidents(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[incidents]"""

    mode: Literal["on", "dry-run", "off"] = "on"
    webhook: str = ""
    quiet_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 600.0
    flood: Budget = Budget("5 at once, 6 a minute")
    passwords: Budget = Budget("600 at once, 20 a minute")
    keys: Budget = Budget("600 at once, 2 a second")
    scraping: Budget = Budget("600 at once, 10 a second")
    probing: Budget = Budget("600 at once, 1 a second")
    slow: Budget = Budget("200 at once, 1 a second")


class Geo(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[geo]"""

    database: str = ""
    test: tuple[Located, ...] = ()

    @property
    def knows_countries(self) -> bool:
        """Whether there is anything to look them up in."""
        return bool(self.database or self.test)


class RetentionSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[retention]"""

    sessions_days: Days = Rules().sessions
    traffic_hours_days: Days = Rules().traffic_hours
    traffic_days: Days = Rules().traffic
    audit_days: Days = Rules().audit
    expired_tokens_days: Days = Rules().expired_tokens
    expired_passwords_days: Days = Rules().expired_passwords
    revoked_passwords_days: Days = Rules().revoked_passwords
    attendance_days: Days = Rules().attendance
    attendance_reports_days: Days = Rules().attendance_reports
    attendance_daily_reports_days: Days = Rules().attendance_daily_reports
    incidents_days: Days = Rules().incidents
    removed_streams_days: Days = Rules().removed_streams
    key_backups_days: Days = Rules().key_backups
    key_backups_folder: str = ""
    erasures_days: Days = Rules().erasures
    proofs_days: Days = Rules().proofs

    @property
    def rules(self) -> Rules:
        return Rules(**{field.name: getattr(self, f"{field.name}_days") for field in fields(Rules)})


class Attendance(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[attendance]"""

    allow_unsynced: bool = False
    timestamp_url: str = ""
    timestamp_certificates: str = ""
    mail_server: str = ""
    mail_from: str = ""
    mail_user: str = ""
    mail_password_file: str = ""
    mail_certificates: str = ""


class Privacy(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[privacy]"""

    operator: str = ""
    location: str = ""
    sub_processors: tuple[str, ...] = ()


class Log(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[log]"""

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["info", "warning", "error"] = "info"
    access: bool = False


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of pystream.toml; `pystream.example.toml` says what each key is."""

    server: Server = Server()
    limits: Limits = Limits()
    tls: Tls = Tls()
    store: StoreSettings = StoreSettings()
    keys: Keys = Keys()
    cache: Cache = Cache()
    overload: Overload = Overload()
    console: Console = Console()
    outgoing: Outgoing = Outgoing()
    geo: Geo = Geo()
    guard: Guard = Guard()
    incidents: Incidents = Incidents()
    retention: RetentionSettings = RetentionSettings()
    attendance: Attendance = Attendance()
    privacy: Privacy = Privacy()
    log: Log = Log()

    @property
    def practice(self) -> Practice:
        """What of them says what is kept of viewers."""
        from pystream.acl.disclosure import Practice

        return Practice(
            self.retention.rules,
            self.outgoing.viewer_address,
            self.log.access,
            records_attacks=self.incidents.mode != "off",
            tls=bool(self.tls.listen),
            proxied=bool(self.server.trusted_proxies),
            console=self.console.enabled,
            database="SQLite" if self.store.url.startswith("sqlite") else "PostgreSQL",
            keeps_key_backups=bool(self.retention.key_backups_folder),
            timestamp_host=urlsplit(self.attendance.timestamp_url).hostname or "",
            operator=self.privacy.operator,
            location=self.privacy.location,
            sub_processors=self.privacy.sub_processors,
        )


# What a process has from its start to its end.
_FOR_LIFE = (
    *(
        "server.listen",
        "server.socket_mode",
        "server.workers",
        "server.path_prefix",
        "server.admin",
    ),
    *(
        "limits.send_stall_seconds",
        "limits.send_bytes_a_second",
        "tls.listen",
        "store.url",
        "console.enabled",
        "console.hosts",
    ),
    *("console.films", "console.requests_per_minute"),
    *("keys.master_key_file", "keys.store", "keys.erasures"),
    *("cache.segment_bytes", "cache.index_bytes", "log.format", "log.level"),
)


def needing_new_processes(before: Settings, after: Settings) -> list[str]:
    """The keys that differ and that a running process cannot change."""

    def value(settings: Settings, key: str) -> object:
        section, name = key.split(".")
        return getattr(getattr(settings, section), name)

    return [key for key in _FOR_LIFE if value(before, key) != value(after, key)]


def with_changes(before: Settings, after: Settings) -> Settings:
    """What a running process makes of settings that have changed."""
    changed = msgspec.structs.replace
    kept: dict[str, dict[str, object]] = {}
    for key in _FOR_LIFE:
        section, name = key.split(".")
        kept.setdefault(section, {})[name] = getattr(getattr(before, section), name)
    return changed(
        after, **{each: changed(getattr(after, each), **names) for each, names in kept.items()}
    )


def find(environ: Mapping[str, str]) -> str | None:
    """The settings' file where none is named: that of PYSTREAM_CONFIG, else the first that exists
    of ./pystream.toml and /etc/pystream/pystream.toml."""
    named = environ.get("PYSTREAM_CONFIG")
    if named:
        return named
    usual = ("pystream.toml", "/etc/pystream/pystream.toml")
    return next(filter(os.path.exists, usual), None)


def load(path: str | None, environ: Mapping[str, str]) -> Settings:
    """Settings of a file and the environment, with all paths made absolute; without a file, all
    that the environment does not name is as the example has it.

    Raises `SettingsError`, and `OSError` where the file cannot be read.
    """
    if path is None:
        return _resolved(parse("", "", environ), os.getcwd())
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError("this is no UTF-8, which TOML has to be", path, line) from None
    return _resolved(parse(text, path, environ), os.path.dirname(os.path.abspath(path)))


def parse(text: str, place: str, environ: Mapping[str, str]) -> Settings:
    """Settings of a text, which errors say to be in `place`, and of the environment."""
    text, given, malformed = _read_toml(text, place)
    origins, wrong = _override(given, environ)
    settings = None
    while settings is None:
        try:
            settings = msgspec.convert(given, Settings, dec_hook=_convert)
        except msgspec.ValidationError as error:
            key, message = _read_message(str(error))
            told = _error(text, place, origins, key, message)
            # What lacks a key for its value's sake lacks none.
            if not any(each.key.startswith(f"{told.key}.") for each in malformed):
                wrong.append(told)
            _take_out(given, key)
    wrong += malformed
    if not wrong:
        for key, message in _contradictions(settings):
            wrong.append(_error(text, place, origins, key, message))
    if wrong:
        raise SettingsError.of_all(sorted(wrong, key=lambda each: each.line or 0))
    return settings


def _take_out(given: dict[str, Any], key: Key) -> None:
    """Forgets what cannot be: a key of a section with all that is in it, or a section."""
    section, *rest = key
    table = given[str(section)]
    if rest and isinstance(table, dict):
        del table[rest[0]]
    else:
        del given[str(section)]


def to_json(settings: Settings) -> str:
    """Settings for another process of the node."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def from_json(text: str) -> Settings:
    return msgspec.json.decode(text, type=Settings, dec_hook=_convert)


def _resolved(settings: Settings, folder: str) -> Settings:
    def absolute(path: str) -> str:
        return os.path.join(folder, path)

    def database(url: str) -> str:
        if "://" in url and not url.startswith("sqlite:///"):
            return url
        return f"sqlite:///{absolute(url.removeprefix('sqlite:///'))}"

    url = database(settings.store.url)
    certificates = tuple(
        Certificate(certificate=absolute(each.certificate), key=absolute(each.key))
        for each in settings.tls.certificates
    )
    changed, backups = msgspec.structs.replace, settings.retention.key_backups_folder
    geo, attendance = settings.geo.database, settings.attendance
    files = {
        name: path and absolute(path)
        for name in ("timestamp_certificates", "mail_password_file", "mail_certificates")
        for path in [getattr(attendance, name)]
    }
    return changed(
        settings,
        store=StoreSettings(url=url),
        keys=_keys(settings.keys, absolute, database, url),
        geo=changed(settings.geo, database=geo and absolute(geo)),
        attendance=changed(attendance, **files),
        retention=changed(settings.retention, key_backups_folder=backups and absolute(backups)),
        tls=changed(settings.tls, certificates=certificates),
        console=changed(
            settings.console, films=settings.console.films and absolute(settings.console.films)
        ),
    )


def _keys(
    keys: Keys, absolute: Callable[[str], str], database: Callable[[str], str], url: str
) -> Keys:
    """What is not named lies beside what is: the key store beside the store, and the erasure list
    beside the key store; or beside the master key, where those are in PostgreSQL."""
    master_key_file = absolute(keys.master_key_file)

    def beside(url: str, name: str) -> str:
        there = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else master_key_file
        return os.path.join(os.path.dirname(there), name)

    store = database(keys.store or beside(url, "keys.db"))
    erasures = absolute(keys.erasures) if keys.erasures else beside(store, "erasures.txt")
    return Keys(master_key_file=master_key_file, store=store, erasures=erasures)


def _convert(kind: type, value: Any) -> Any:
    """msgspec's hook for types that it does not know."""
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


# `_core.CACHE_BLOCK`; commands that only read settings load no core.
_CACHE_BLOCK = 65_536


def _contradictions(settings: Settings) -> Iterator[tuple[Key, str]]:
    """What no section can see for itself."""
    server, tls = settings.server, settings.tls
    if not server.listen and not tls.listen:
        yield ("server", "listen"), "there is nowhere to listen, here or in tls.listen"
    if server.proxy_protocol and not server.trusted_proxies:
        yield (
            ("server", "proxy_protocol"),
            "server.trusted_proxies has to name the networks that may speak it",
        )
    if tls.listen and not tls.certificates:
        yield ("tls", "listen"), "tls.certificates names none, and HTTPS needs one"
    if tls.redirect and not tls.listen:
        yield ("tls", "redirect"), "there is no HTTPS to send anybody to: tls.listen names nothing"
    if tls.hsts_seconds and not tls.listen:
        yield ("tls", "hsts_seconds"), "there is no HTTPS to insist on: tls.listen names nothing"
    attendance = settings.attendance
    if attendance.timestamp_url and not attendance.timestamp_certificates:
        yield (
            ("attendance", "timestamp_url"),
            "attendance.timestamp_certificates has to name a file with the authority's root",
        )
    for section, name, url in (
        ("attendance", "timestamp_url", attendance.timestamp_url),
        ("incidents", "webhook", settings.incidents.webhook),
    ):
        if not re.fullmatch(r"(https?://[!-~]{1,2040})?", url):
            yield (section, name), "a URL like https://stamps.example.org/ is wanted"
    if 0 < settings.cache.segment_bytes < _CACHE_BLOCK:
        # One block is the least that it has, and of less there would be none.
        yield (
            ("cache", "segment_bytes"),
            f"0, which is no cache, or {_CACHE_BLOCK:,} bytes and more are wanted",
        )
    yield from _of_mail(attendance)
    for data, wrong in problems(settings.retention.rules):
        yield ("retention", f"{data}_days"), wrong
    seen = set[str]()
    everywhere: Sequence[tuple[Key, Sequence[Listen]]] = (
        (("server", "listen"), server.listen),
        (("tls", "listen"), tls.listen),
        (("server", "admin"), server.admin),
    )
    for key, places in everywhere:
        for place in places:
            if str(place) in seen:
                yield key, f"{place} is named twice"
            seen.add(str(place))


def _of_mail(attendance: Attendance) -> Iterator[tuple[Key, str]]:
    if not attendance.mail_server:
        return
    try:
        wrong = bool(Listen(attendance.mail_server).path) or attendance.mail_server[0] == "*"
    except ValueError:
        wrong = True
    if wrong:
        yield (
            ("attendance", "mail_server"),
            'a host and a port, as in "mail.example.org:587", is wanted',
        )
    if not is_mail_address(attendance.mail_from):
        yield (
            ("attendance", "mail_from"),
            "an address like video@example.org is wanted, from which mail_server takes mail",
        )
    if bool(attendance.mail_user) != bool(attendance.mail_password_file):
        yield (
            ("attendance", "mail_user"),
            "it goes with attendance.mail_password_file, or there is neither",
        )


# The environment


def _override(
    given: dict[str, Any], environ: Mapping[str, str]
) -> tuple[dict[Key, str], list[SettingsError]]:
    """Writes what the environment says into `given`; returns which variable set which key, and what is
    wrong with others."""
    origins: dict[Key, str] = {}
    wrong: list[SettingsError] = []
    for section, kind in get_type_hints(Settings).items():
        prefix = f"PYSTREAM_{section.upper()}_"
        hints = get_type_hints(kind)
        for variable in sorted(environ):
            if not variable.startswith(prefix):
                continue
            name = variable.removeprefix(prefix).lower()
            if name not in hints:
                message = f"there is no such key{_meant(name, hints)}"
                wrong.append(SettingsError(message, variable))
                continue
            default = getattr(kind(), name)
            try:
                value = _from_text(environ[variable], default)
            except tomllib.TOMLDecodeError:
                message = f"{_WANTED[type(default)]} is wanted"
                wrong.append(SettingsError(message, variable, None, f"{section}.{name}"))
                continue
            table = given.setdefault(section, {})
            if isinstance(table, dict):
                table[name] = value
            origins[(section, name)] = variable
    return origins, wrong


def _from_text(text: str, default: Any) -> Any:
    """A value as TOML has it; strings need no quotes, nor brackets a list of them. Raises TOML's error."""
    if isinstance(default, str):
        return text
    if isinstance(default, tuple) and not text.lstrip().startswith("["):
        if any(isinstance(each, int) for each in default):
            return _from_text(f"[{text}]", default)
        return [part.strip() for part in text.split(",") if part.strip()]
    return tomllib.loads(f"value = {text}")["value"]


_WANTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list, in brackets as in the file or with commas alone,",
}


# Where an error is, and what it says


def _error(
    text: str, place: str, origins: Mapping[Key, str], key: Key, message: str
) -> SettingsError:
    name = _name(key)
    variable = origins.get(key[:2])
    if variable is not None:
        return SettingsError(message, variable, None, name)
    return SettingsError(message, place or "the defaults", _line_of(text, key), name)


def _name(key: Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def _read_message(message: str) -> tuple[Key, str]:
    """The key and what is wrong with it, out of `Expected ... - at `$.server.listen[0]``."""
    what, _, path = message.partition(" - at `$")
    key: Key = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[`]+)|\[(\d+)\]", path)
    )
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        known = _fields_at(key)
        meant = _elsewhere(unknown[1]) or _meant(unknown[1], known)
        return (*key, unknown[1]), f"there is no such key{meant}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return key, f"{missing[1]} is missing"
    choice = re.fullmatch(r"Invalid enum value '(.*)'", what, re.DOTALL)
    if choice:
        words = " or ".join(f'"{word}"' for word in _choices_at(key))
        return key, f"{words} is wanted, not {choice[1]}"
    for theirs, ours in _PLAINER.items():
        what = what.replace(theirs, ours)
    what = re.sub(r", got `?(\w+)`?", r", not \1", what)
    return key, re.sub(r"^Expected (.*?)(?=, not |$)", r"\1 is wanted", what)


_PLAINER = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`str`": "a string in quotes",
    "`array`": "a list in brackets",
    "`object`": "a table",
    "`": "",
}


def _fields_at(key: Key) -> Sequence[str]:
    if not key:
        return Settings.__struct_fields__
    kind: Any = get_type_hints(Settings).get(str(key[0]), Settings)
    return (Certificate if len(key) > 1 else kind).__struct_fields__


def _choices_at(key: Key) -> Sequence[str]:
    section, name, *_ = map(str, key)
    return get_args(get_type_hints(get_type_hints(Settings)[section])[name])


def _elsewhere(name: str) -> str:
    """Of which sections a name is that stands where it is none."""
    sections = get_type_hints(Settings).items()
    places = [f"[{section}] {name}" for section, kind in sections if name in kind.__struct_fields__]
    return f"; is {' or '.join(places)} meant?" if places else ""


def _meant(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; is {close[0]} meant?" if close else f": {', '.join(known)}"


def _read_toml(text: str, place: str) -> tuple[str, dict[str, Any], list[SettingsError]]:
    """The text without the lines that are no TOML, what the rest says, and what is wrong with those.
    Raises `SettingsError` where the rest cannot be told from them."""
    lines = text.split("\n")
    wrong: list[SettingsError] = []
    while True:
        try:
            return "\n".join(lines), tomllib.loads("\n".join(lines)), wrong
        except tomllib.TOMLDecodeError as error:
            told, is_one_line = _malformed(lines, place, error)
        wrong.append(told)
        if not is_one_line or len(wrong) > _MOST_MALFORMED:
            raise SettingsError.of_all(wrong)
        assert told.line is not None
        lines[told.line - 1] = ""


_MOST_MALFORMED = 100
_STATEMENT = re.compile(r"\s*(?P<key>[\w.-]+)\s*=(?P<value>.*)")


def _malformed(
    lines: Sequence[str], place: str, error: tomllib.TOMLDecodeError
) -> tuple[SettingsError, bool]:
    """What is wrong with the first statement that is no TOML, and whether the rest can be read without
    its line: whether that line is all of it, and sets a key."""
    message = str(error)
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    end = int(found[1]) if found and found[1] else len(lines)
    message = message[: found.start()] if found else message
    *before, last = _statements("\n".join(lines[:end])) or [(end, (), None)]
    begin, table, _ = last
    statement = _STATEMENT.fullmatch(lines[begin - 1])
    if statement is None:
        return SettingsError(message, place, begin), False
    name = _name((*table, statement["key"]))
    if message == "Cannot overwrite a value":
        written = (_STATEMENT.fullmatch(lines[line - 1]) for line, at, _ in before if at == table)
        again = any(each is not None and each["key"] == statement["key"] for each in written)
        message = "it is set twice" if again else message
    elif message == "Invalid value" and begin == end:
        message = f"{statement['value'].strip()!r} is no value of TOML{_wanted_at(name)}"
    return SettingsError(message, place, begin, name), begin == end


def _wanted_at(name: str) -> str:
    """What a key takes whose default tells it."""
    section, _, key = name.partition(".")
    default = getattr(getattr(Settings(), section, None), key, None)
    wanted = {**_WANTED, str: "a text in quotes", tuple: "a list in brackets"}.get(type(default))
    return f"; {wanted} is wanted" if wanted else ""


def _line_of(text: str, key: Key) -> int | None:
    """The line of the statement that sets a key, or of that which sets the table around it."""
    nearest, depth = None, 0
    for line, path, value in _statements(text):
        reached = _reach(path, value, key)
        if reached > depth:
            nearest, depth = line, reached
    return nearest


def _statements(text: str) -> list[tuple[int, Key, Any]]:
    """Line, table, and what it sets there, of each statement; None for one that is no TOML, with which
    all ends."""
    found: list[tuple[int, Key, Any]] = []
    table: Key = ()
    counts: dict[Key, int] = {}
    pending, begin = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            begin = number
        pending += f"{line}\n"
        try:
            value = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            # A list or a string that goes on.
            continue
        statement, pending = pending.strip(), ""
        if statement.startswith("["):
            table = _header(value)
            if statement.startswith("[["):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.append((begin, table, {}))
        elif value:
            found.append((begin, table, value))
    if pending:
        found.append((begin, table, None))
    return found


def _header(value: Any) -> Key:
    path: list[str] = []
    while value and value != [{}]:
        (name, value), *_ = value.items()
        path.append(name)
    return tuple(path)


def _reach(path: Key, value: Any, key: Key) -> int:
    """How many parts of a key a statement sets."""
    if path != key[: len(path)]:
        return 0
    reached = len(path)
    for part in key[reached:]:
        try:
            value = value[part]
        except (TypeError, LookupError):
            break
        reached += 1
    return reached
