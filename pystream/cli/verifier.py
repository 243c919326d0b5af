"""`pystream verifier`: how a customer's links and tokens are checked."""

from __future__ import annotations

import argparse
import os
import sys

from pystream.cli import _arguments, _store
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue, OutgoingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.acl.entrances.verifiers import Configured, Verifier

_HELP = f"""\
usage: pystream verifier add TENANT[/STREAM] --kind KIND [OPTION...]
       pystream verifier list TENANT
       pystream verifier revoke TENANT NAME
       pystream verifier ACTION --help

Streams whose access is `signed` open with a link, those whose access is
`external` by what the customer's own site says. How that is checked is said
for a stream, or for all streams of a tenant that have nothing of their own: one
kind for each access, with one active key or two.

actions:
  add     add a verifier, or its second key
  list    list a tenant's
  revoke  take one away; it lets nobody in from then on

{_store.EXIT_CODES}
examples:
  pystream verifier add acme --kind link
  pystream verifier add acme/film --kind akamai --secret-file key.txt
  pystream verifier add acme --kind jwks --url https://acme.example/jwks.json
"""

_KINDS = """\
kinds for access signed:
  link      our own signed link, HMAC-SHA256: `pystream link` makes one
  akamai    Akamai Auth Token 2.0: hdnts in query, cookie or header
  bunny     bunny.net token authentication, in query or path
  wowza     Wowza SecureToken version 2
Of those of other makers, the secret is the generator's key. Sign for akamai an
acl that covers the film, /TENANT/STREAM/*; for bunny the folder, with
token_path=/TENANT/STREAM/ (a token for master.m3u8 alone is refused: a digit is
the last thing before the time, which could then be read in two ways); for wowza
the content path TENANT/STREAM, unless --content says another one.

kinds for access external:
  jwt       a JSON Web Token that is signed with a shared secret (HS256)
  jwks      one that is signed by a key of a set at --url
  question  the endpoint at --url says who may watch

Without --secret-file, a secret is made. It is shown once, now; it is never
given on the command line, where others can see it. That of jwt is base64url,
and the key is the bytes that it stands for: Buffer.from(secret, "base64url"),
in Python base64.urlsafe_b64decode(secret + "==").
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {"add": _add, "list": _list, "revoke": _revoke}
    return _store.dispatch("verifier", _HELP, actions, arguments)


def _add(words: list[str]) -> int:
    parser = _parser(
        "add",
        "TENANT[/STREAM] --kind KIND [--name NAME]\n"
        "         [--secret-file FILE|-] [--salt-file FILE] [--algorithm NAME]\n"
        "         [--escape-early] [--token-name NAME] [--with-address]\n"
        "         [--prefix NAME] [--content PATH] [--url URL] [--bearer]\n"
        "         [--timeout SECONDS] [--keep SECONDS]",
        _KINDS,
    )
    add = parser.add_argument
    add("place", type=_store.place_or_tenant, metavar="TENANT[/STREAM]", help="what it is for")
    add("--kind", required=True, metavar="KIND", help="as above")
    add(
        "--name", metavar="NAME", help="of the key, as `key` of a link and `kid` of a token have it"
    )
    add(
        "--secret-file",
        type=_arguments.path,
        metavar="FILE",
        help="the secret, - for standard input",
    )
    group = parser.add_argument_group("options of some kinds", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add("--salt-file", type=_arguments.path, metavar="FILE", help="akamai: the salt")
    add("--algorithm", metavar="NAME", help="akamai, wowza: sha256 (default), or an older one")
    add("--escape-early", action="store_true", help="akamai: Escape token input")
    add("--token-name", metavar="NAME", help="akamai: of the parameter and cookie (default: hdnts)")
    add("--with-address", action="store_true", help="bunny, wowza: the address is signed, too")
    add("--prefix", metavar="NAME", help="wowza: hash query parameter prefix (default: wowzatoken)")
    add("--content", metavar="PATH", help="wowza: a stream's content path (default: TENANT/STREAM)")
    add("--url", metavar="URL", help="jwks, question: what is called")
    add("--bearer", action="store_true", help="question: send the secret as a bearer token")
    add("--timeout", dest="seconds", type=float, metavar="SECONDS", help="question: to answer in")
    add("--keep", dest="kept_s", type=int, metavar="SECONDS", help="question: a yes (default: 60)")
    options = parser.parse(words)
    tenant, name = options.place
    try:
        from pystream.acl.entrances.verifiers import new_name

        verifier = _verifier(options)
        with _store.both_stores(options) as (store, keys):
            owner = store.tenant(tenant)
            stream = None if name is None else store.stream(tenant, name)
            made = store.verifiers(keys).add(
                owner.id,
                stream.id if stream else None,
                options.name or new_name(),
                verifier,
                who=_store.who(options),
                now=_store.now(),
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    # What the customer has already is said back to nobody.
    secret = verifier.secret if options.secret_file is None else ""
    facts = _facts(made) | {"secret": secret or None}
    line = f"{made.kind} {made.name} is added"
    if secret:
        line = f"name    {made.name}\nsecret  {secret}"
    _store.report(options, facts, line)
    return 0


def _verifier(options: argparse.Namespace) -> Verifier:
    from dataclasses import fields

    from pystream.acl.entrances.verifiers import Verifier, new_secret

    given = {each.name for each in fields(Verifier)} & set(vars(options))
    values = {name: getattr(options, name) for name in given}
    if "salt_file" in options:
        values["salt"] = _text(options.salt_file)
    if "url" in options:
        from pystream.server import settings
        from pystream.server.outgoing import check_url

        node = settings.load(options.config or settings.find(os.environ), os.environ)
        try:
            check_url(options.url, node.outgoing)
        except OutgoingError as error:
            raise InvalidValue(f"url: {error}") from None
    secret = new_secret(options.kind) if options.secret_file is None else _text(options.secret_file)
    return Verifier(**values, secret=secret)


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.readline().strip()
    with open(path, encoding="utf-8") as file:
        return file.readline(4096).strip()


def _list(words: list[str]) -> int:
    parser = _parser("list", "TENANT", "Lists a tenant's verifiers, and never a secret.\n")
    parser.add_argument("tenant", metavar="TENANT")
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        tenant = store.tenant(options.tenant)
        names = {stream.id: stream.name for stream in store.streams(tenant.name)}
        found = store.verifiers(keys).listed(tenant.id)
    if options.json:
        _store.print_json({"verifiers": [_facts(each) for each in found]})
        return 0
    titles = ("name", "kind", "for", "state", "since")
    rows = [
        [
            *(each.name, each.kind),
            tenant.name if each.stream_id is None else names.get(each.stream_id, "(removed)"),
            "active" if each.revoked_at is None else "revoked",
            _store.moment(each.created_at),
        ]
        for each in found
    ]
    _store.show_table([(title, "left") for title in titles], rows)
    return 0


def _revoke(words: list[str]) -> int:
    parser = _parser(
        "revoke",
        "TENANT NAME",
        "Takes a verifier away, and destroys its secret. Who came in with it goes on;\n"
        "`pystream password revoke --viewers` ends that.\n",
    )
    parser.add_argument("tenant", metavar="TENANT", type=_tenant)
    parser.add_argument("name", metavar="NAME", help="as `list` has it")
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        tenant = store.tenant(options.tenant)
        gone = store.verifiers(keys).revoke(
            tenant.id, options.name, who=_store.who(options), now=_store.now()
        )
    _store.report(options, _facts(gone), f"{gone.kind} {gone.name} is revoked")
    return 0


def _tenant(text: str) -> str:
    if "/" in text:
        raise argparse.ArgumentTypeError("TENANT alone is wanted, whatever stream it is for")
    return text


def _facts(each: Configured) -> dict[str, Any]:
    return {
        "name": each.name,
        "kind": each.kind,
        "stream_id": None if each.stream_id is None else str(each.stream_id),
        "created_at": _store.moment(each.created_at),
        "revoked_at": None if each.revoked_at is None else _store.moment(each.revoked_at),
    }


def _parser(action: str, usage: str, description: str) -> Parser:
    parser = Parser(
        f"verifier {action}",
        usage=f"{usage}\n         [--by NAME] [--config FILE] [--json]",
        description=description,
        epilog=f"{_WHERE}\n{_store.EXIT_CODES}",
    )
    _store.add_common(parser, changes=True, keys=True)
    return parser


_WHERE = """\
The stores are those of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml. The
server has to have been started once: it makes the keys. A running one follows
at once.
"""
