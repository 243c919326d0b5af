"""`pystream link`: a signed link, to try it out. Customers' sites make their own."""

from __future__ import annotations

import argparse

from pystream.cli import _arguments, _store
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystream.acl.entrances.links import Link
    from pystream.acl.entrances.verifiers import Configured

_DESCRIPTION = """\
Signs a link that opens a stream, and prints it, to try it out. A customer's own
site makes such links itself, in any language that has HMAC-SHA256, as is told
below.
"""

_EPILOG = f"""\
A link is the address of the stream's page, and behind a ? its parameters,
percent-encoded once, in any order: expires (Unix seconds), key (the key's
name) and signature; and where they are wanted viewer, devices, not_before,
origins, networks, countries (lists with commas, in ascending order) and
scope=tenant, which opens all streams of the tenant.

Signed is a text of lines, with line feeds between them and none at the end:
pystream-link-1; the page's path, or /TENANT/ with scope=tenant; then all
parameters but the signature as name=value, sorted by name and not encoded. The
signature is HMAC-SHA256 of it under the 32 bytes that the key's 64 hexadecimal
digits stand for, as base64url without padding. So of the lines
  pystream-link-1
  /acme/film/
  expires=1936702800
  key=7f
  viewer=4711
and the key 000102...1f it is Y9Gt-2viLK5r7O8M2Y0VRUeVsKxOjLbYX7vfeiaItiM.

The key is the newest that `pystream verifier add --kind link` has made for the
stream, or for its tenant; --key names another.

{_store.EXIT_CODES}
example:
  pystream link acme/film --expires 2h --viewer 4711 \\
      --url https://video.example.org/acme/film/
"""


# What a player that needs no page asks for.
_BELOW = ("master.m3u8", "download.mp4")


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "link",
        usage="TENANT/STREAM --expires TIME [--viewer NAME]\n"
        "         [--max-devices N] [--origin ORIGIN...] [--network CIDR...]\n"
        "         [--country CC...] [--all-streams] [--key NAME] [--url URL]\n"
        "         [--config FILE] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("stream", type=_store.place, metavar="TENANT/STREAM", help="what it opens")
    add(
        "--expires",
        required=True,
        type=_arguments.duration,
        metavar="TIME",
        help="from now, as 90s, 10m, 2h or 7d",
    )
    add("--viewer", metavar="NAME", help="an opaque name of the viewer's, no e-mail address")
    add(
        "--max-devices",
        type=_arguments.count,
        metavar="N",
        help="how many may play with it at a time",
    )
    for option, metavar in (("origin", "ORIGIN"), ("network", "CIDR"), ("country", "CC")):
        add(f"--{option}", action="append", default=[], metavar=metavar, help=_ONLY[option])
    add("--all-streams", action="store_true", help="it opens all of the tenant's streams")
    add("--key", metavar="NAME", help="which key signs")
    add(
        "--url",
        type=_arguments.address,
        metavar="URL",
        help="the address of the page (default: its path alone)",
    )
    add("--config", metavar="FILE", help="the settings, pystream.toml")
    add("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(arguments)
    tenant, name = options.stream
    if options.url:
        _arguments.check_page(parser, options.url, options.stream, *_BELOW, query=False)
    with _store.both_stores(options) as (store, keys):
        stream = store.stream(tenant, name)
        found = store.verifiers(keys).active(stream.tenant_id, stream.id, "signed")
    key_name, secret = _key(found, options.key)
    from pystream.acl.entrances.links import sign

    try:
        query = sign(_link(options, key_name), bytes.fromhex(secret))
    except ValueError as error:
        return _store.wrong_values(parser, InvalidValue(str(error)))
    url = f"{options.url or f'/{tenant}/{name}/'}?{query}"
    _store.report(options, {"url": url}, url)
    return 0


_ONLY = {
    "origin": "a site that may embed the page, as in https://www.example.org",
    "network": "where viewers may be, as in 192.0.2.0/24",
    "country": "the same, as in DE",
}


def _link(options: argparse.Namespace, key: str) -> Link:
    from pystream.acl.entrances.conditions import Conditions
    from pystream.acl.entrances.links import Link

    tenant, name = options.stream
    return Link(
        tenant=tenant,
        stream=None if options.all_streams else name,
        key=key,
        expires=_store.now() + options.expires,
        viewer=options.viewer,
        max_devices=options.max_devices,
        conditions=Conditions(
            origins=tuple(sorted(set(options.origin))),
            networks=tuple(sorted(set(options.network))),
            countries=tuple(sorted(set(options.country))),
        ),
    )


def _key(found: Sequence[Configured], name: str | None) -> tuple[str, str]:
    for each in found:
        if each.kind == "link" and each.verifier is not None and name in (None, each.name):
            return each.name, each.verifier.secret
    others = [each for each in found if each.kind != "link"]
    if others:
        kinds = ", ".join(f"{each.kind} {each.name}" for each in others)
        raise PystreamError(
            f"links to this stream are checked by {kinds}, and not by keys of kind link: what a stream has of"
            " its own comes before what its tenant has (pystream verifier list TENANT)"
        )
    raise PystreamError(
        "there is no such key to sign links with: pystream verifier add TENANT --kind link makes one"
    )
