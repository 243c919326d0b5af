"""What lies between a viewer and an answer: TLS, proxies in front, the way to HTTPS.

Plain values and functions of them. Who a request comes from is the address at the other end of the
connection, or whom a proxy there speaks for: in PROXY protocol before the first byte, or in
`Forwarded` (RFC 7239) and `X-Forwarded-For` with each request. A viewer can write these fields as
well as a proxy can, so they are believed only as far as they were written by addresses that are
trusted: read from the right, each entry says who stood before the one that wrote it, up to the first
that is not trusted.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from pystream import _core
from pystream.errors import SettingsError
from pystream.server.http import HttpError, Request, split_token
from pystream.server.proxy_protocol import as_text
from pystream.server.settings import UNIX, Certificate, Network, Settings

# Whoever renews certificates over HTTP (RFC 8555 8.3) is not sent to what the certificate is for.
_ACME = "/.well-known/acme-challenge/"
# RFC 3986 3.3: what a path may hold as it is.
_PATH = "/-._~!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Edge:
    """How viewers come in. A connection keeps what it came in with.

    tls: certificates for the listeners that want it.
    trusted: the proxies that are believed.
    proxy_protocol: whether every connection comes from one of them, and begins with PROXY protocol.
    https_port: where HTTPS is, for those who come without it; None: they are served as they come.
    hsts_seconds: for how long browsers shall come by HTTPS only (RFC 6797); 0: nothing is said.
    """

    tls: _core.Tls | None = None
    trusted: tuple[Network, ...] = ()
    proxy_protocol: bool = False
    https_port: int | None = None
    hsts_seconds: int = 0

    def trusts(self, address: str) -> bool:
        return any(address in network for network in self.trusted)

    def locate(self, request: Request, address: str, secure: bool) -> None:
        """Says in a request who sends it, and whether by HTTPS, given what the connection knows.

        Raises `HttpError` for fields that contradict each other or cannot be read.
        """
        request.peer, request.secure = address, secure
        if not self.trusted or not self.trusts(address):
            return
        found = []
        if request.fields.forwarded is not None:
            found.append(self._first_untrusted(address, *_forwarded(request.fields.forwarded)))
        if request.fields.x_forwarded_for is not None:
            hops = [hop.strip(" \t") for hop in request.fields.x_forwarded_for.split(",")]
            protocols = _protocols(request.fields.x_forwarded_proto, len(hops))
            found.append(self._first_untrusted(address, hops, protocols))
        elif request.fields.forwarded is None and request.fields.x_forwarded_proto is not None:
            request.secure = secure or _protocols(request.fields.x_forwarded_proto, 1) == ["https"]
        if len({client for client, _ in found}) > 1:
            # A proxy that writes one of them lets the other pass, and that is the viewer's own.
            raise HttpError(400, "Forwarded and X-Forwarded-For name different clients")
        if found:
            request.peer = found[0][0]
            request.secure = secure or any(by_https for _, by_https in found)

    def _first_untrusted(
        self, address: str, hops: list[str], protocols: list[str]
    ) -> tuple[str, bool]:
        """The client's address, and whether it came by HTTPS."""
        by_https = False
        for hop, protocol in zip(reversed(hops), reversed(protocols), strict=True):
            if not self.trusts(address):
                break
            found = _node(hop)
            if found is None:
                # "unknown", or a name that hides somebody (RFC 7239 6.2, 6.3).
                break
            address, by_https = found, protocol == "https"
        return address, by_https

    def redirection(self, request: Request) -> str | None:
        """Where a request has to go instead, or None where it is right. Raises `HttpError`."""
        if self.https_port is None or request.secure or request.path.startswith(_ACME):
            return None
        if request.fields.host is None:
            raise HttpError(
                400, "this is served by HTTPS only, and without a Host nobody can say where"
            )
        host = re.sub(r":[0-9]*\Z", "", request.fields.host)
        port = "" if self.https_port == 443 else f":{self.https_port}"
        query = f"?{request.query}" if request.query else ""
        as_sent, path = split_token(request.path)
        return f"https://{host}{port}{as_sent}{quote(path, safe=_PATH)}{query}"


def edge_of(settings: Settings, ticket_secret: bytes, https_port: int | None) -> Edge:
    """The edge that the settings describe; `https_port` is where HTTPS is really spoken.

    Raises `SettingsError` for a certificate or a key that cannot be used.
    """
    tls = settings.tls
    return Edge(
        load_tls(tls.certificates, ticket_secret) if tls.certificates else None,
        settings.server.trusted_proxies,
        settings.server.proxy_protocol,
        https_port if tls.redirect else None,
        tls.hsts_seconds,
    )


def load_tls(certificates: tuple[Certificate, ...], ticket_secret: bytes) -> _core.Tls:
    """Raises `SettingsError`."""
    read = [
        (each.certificate, _read(each.certificate), each.key, _read(each.key))
        for each in certificates
    ]
    try:
        return _core.Tls(read, ticket_secret)
    except ValueError as error:
        raise SettingsError(str(error), "", None, "tls.certificates") from None


def lifetime(pem: bytes) -> tuple[datetime, datetime]:
    """When the first certificate of a PEM file begins and ends to hold (RFC 5280 4.1.2.5).

    Raises `ValueError` for what is none.
    """
    # The command line imports this module, too, and mostly needs no ASN.1.
    from Crypto.Util.asn1 import DerSequence

    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    body = pem.partition(begin)[2].partition(end)[0]
    signed = DerSequence().decode(DerSequence().decode(b64decode(body))[0])
    # The version, which only the first version lacks, is before serial number, algorithm and issuer.
    at = 3 if isinstance(signed[0], int) else 4
    times = DerSequence().decode(signed[at])
    return _asn1_time(times[0]), _asn1_time(times[1])


def _asn1_time(der: bytes) -> datetime:
    """Of UTCTime, with two digits for the year, from 1950 on, or GeneralizedTime."""
    digits = der[2:].decode("ascii")
    if der[0] == 0x17:
        digits = ("19" if digits >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "", None, "tls.certificates") from None


# RFC 7239 4, with the white space around commas that lists may have (RFC 9110 5.6.1).
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"((?>(?:[^"\\]|\\.)*))")')
_GAP = re.compile(r"[ \t]*([,;])[ \t]*|[ \t]*\Z")


def _forwarded(value: str) -> tuple[list[str], list[str]]:
    """The nodes of a Forwarded field and the protocols by which they came, "" where one is not
    named. Raises `HttpError`."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        if pair := _PAIR.match(value, at):
            name, token, quoted = pair.groups()
            text = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            if elements[-1].setdefault(name.lower(), text) is not text:
                raise HttpError(400, "an element of Forwarded names something twice (RFC 7239 4)")
            at = pair.end()
        gap = _GAP.match(value, at)
        if gap is None:
            raise HttpError(400, "the Forwarded field is malformed (RFC 7239 4)")
        if gap[1] == ",":
            elements.append({})
        at = gap.end()
    said = [element for element in elements if element]
    return [each.get("for", "") for each in said], [each.get("proto", "").lower() for each in said]


def _protocols(value: str | None, hops: int) -> list[str]:
    """X-Forwarded-Proto for each of the hops: where there is not one each, the first is the
    client's, as most proxies have it."""
    said = [part.strip(" \t").lower() for part in (value or "").split(",")]
    return said if len(said) == hops else said[:1] * hops


# RFC 7239 6: an address with or without a port; IPv6 in brackets. X-Forwarded-For has it bare as well.
_NODE = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)"
)


def _node(text: str) -> str | None:
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    try:
        return as_text(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None


def address_of(peer: tuple[str, int] | tuple[str, int, int, int] | str | bytes) -> str:
    """Where a connection was accepted from, without its port, and the interface that a link-local address
    is reached by (RFC 4007 11)."""
    if not isinstance(peer, tuple):
        return UNIX
    return as_text(ipaddress.ip_address(peer[0].partition("%")[0]))
