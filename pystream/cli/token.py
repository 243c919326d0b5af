"""`pystream token`: what a tenant's programs come in with, at the HTTP API."""

from __future__ import annotations

from datetime import UTC, datetime

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, count
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.acl.people import Token

_HELP = f"""\
usage: pystream token add TENANT NAME --scope SCOPE... [--days N]
       pystream token list TENANT
       pystream token revoke TENANT NAME
       pystream token ACTION --help

A token lets a program in at /api/v1/ of the server:
  Authorization: Bearer pst_...

scopes:
  streams:read     streams:change    passwords:read   passwords:change
  passwords:erase  events:read       events:change    reports:read
  reports:seal     reports:hold      evidence:read    traffic:read
  audit:read       tenant:change     tokens:change

actions:
  add     make a token, and print it
  list    list a tenant's tokens
  revoke  take a token back

{_store.EXIT_CODES}
examples:
  pystream token add acme website --scope passwords:change --scope streams:read
  pystream token revoke acme website
"""

_DAY_S = 86_400


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {"add": _add, "list": _list, "revoke": _revoke}
    return _store.dispatch("token", _HELP, actions, arguments)


def _add(words: list[str]) -> int:
    parser = _parser(
        "add",
        "TENANT NAME --scope SCOPE... [--days N]",
        "Makes a token and prints it, this once: the store has its hash alone.",
    )
    parser.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        required=True,
        metavar="SCOPE",
        help="what it may; once more for each further one (pystream token --help)",
    )
    parser.add_argument(
        "--days", type=count, metavar="N", help="for how long it lets in (default: until revoked)"
    )
    options = parser.parse(words)
    try:
        from pystream.acl.people import scopes_of

        scopes, now = scopes_of(options.scopes), _store.now()
        with _store.open_store(options) as store:
            from pystream.acl.store.accounts import Accounts

            tenant = store.tenant(options.tenant)
            expires = None if options.days is None else now + options.days * _DAY_S
            token, text = Accounts(store.people).add_token(
                tenant.id, options.name, scopes, expires, who=_store.who(options), now=now
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    with _terminal.output():
        if options.json:
            _terminal.print_json({**_facts(token), "token": text})
        else:
            print(text)
    return 0


def _revoke(words: list[str]) -> int:
    parser = _parser("revoke", "TENANT NAME", "Takes a token back: from now on it lets nobody in.")
    options = parser.parse(words)
    with _store.open_store(options) as store:
        tenant = store.tenant(options.tenant)
        store.people.revoke_token(
            tenant.id, options.name, who=_store.who(options), now=_store.now()
        )
    facts = {"tenant": options.tenant, "name": options.name}
    _store.report(options, facts, f"token {options.name} of {options.tenant} is revoked")
    return 0


def _list(words: list[str]) -> int:
    parser = _store.listing("token list", "Lists a tenant's tokens by name, without their texts.")
    options = parser.parse(words)
    with _store.open_store(options) as store:
        tokens = store.people.tokens(store.tenant(options.tenant).id)
    if options.json:
        _store.print_json({"tokens": [_facts(token) for token in tokens]})
        return 0
    columns = [("token", "left"), ("scopes", "left"), ("expires", "left"), ("used on", "left")]
    _store.show_table(columns, [_row(token) for token in tokens])
    return 0


def _parser(action: str, usage: str, description: str) -> Parser:
    return _store.changing_one(f"token {action}", usage, description, "the token's name")


def _facts(token: Token) -> dict[str, Any]:
    return {
        "tenant": token.tenant,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": _store.moment(token.created_at),
        "expires": None if token.expires is None else _store.moment(token.expires),
        "used_on": _day(token.used_on),
    }


def _row(token: Token) -> list[str]:
    expires = "never" if token.expires is None else _store.moment(token.expires)
    return [token.name, " ".join(sorted(token.scopes)), expires, _day(token.used_on) or "never"]


def _day(days: int | None) -> str | None:
    """Days since 1970 as a date."""
    if days is None:
        return None
    return datetime.fromtimestamp(days * _DAY_S, UTC).strftime("%Y-%m-%d")
