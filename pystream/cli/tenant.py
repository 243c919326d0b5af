"""`pystream tenant`: the customers that own streams."""

from __future__ import annotations

import argparse

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser
from pystream.cli._leaving import settings_of
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.acl.streams import Tenant

_HELP = f"""\
usage: pystream tenant add NAME [--display TEXT] [--timezone ZONE]
                       [--max-rate RATE] [--notice-file FILE]
                       [--attendance-purpose VERSION]
                       [--attendance-days N] [--attendance-reports-days N]
                       [--attendance-daily-reports-days N]
       pystream tenant list
       pystream tenant set NAME ...
       pystream tenant remove NAME
       pystream tenant privacy NAME [--format text|json] [--locale de|en]
       pystream tenant export NAME -o FILE
       pystream tenant delete NAME [--confirm NAME] [--force]
       pystream tenant ACTION --help

A tenant is a customer, who owns streams. Its name is the first element of
their addresses. One that ever had a stream stays for good, since what was sent
of it stays on record; it is closed when its streams are removed, and deleted
with all that is on record when the contract ends.

actions:
  add      add a tenant
  list     list all tenants
  set      change a tenant's settings
  remove   take a tenant away that never had a stream
  privacy  say what is kept of its viewers, as text for its privacy notice
  export   write everything of it into an archive
  delete   delete it and everything of it for good, with a proof

{_store.EXIT_CODES}
examples:
  pystream tenant add acme --display "ACME GmbH" --timezone Europe/Berlin
  pystream tenant set acme --max-rate 2G
  pystream tenant list --json
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    from pystream.cli import _leaving

    actions = {
        "add": _add,
        "list": _list,
        "set": _set,
        "remove": _remove,
        "privacy": _leaving.privacy,
        "export": _leaving.export,
        "delete": _leaving.delete,
    }
    return _store.dispatch("tenant", _HELP, actions, arguments)


def _add(words: list[str]) -> int:
    parser = _parser(
        "add",
        "Adds a tenant. NAME has 1 to 63 small letters, digits and hyphens, and cannot\n"
        "be changed.",
        "pystream tenant add acme --display 'ACME GmbH' --timezone Europe/Berlin",
    )
    _add_settings(parser)
    options = parser.parse(words)
    try:
        from pystream.acl.streams import TenantSettings

        with _store.open_store(options, create=True) as store:
            made = store.made
            tenant = store.add_tenant(
                options.name,
                TenantSettings(**_given(options)),
                who=_store.who(options),
                now=_store.now(),
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _warn_unmailed(parser, options, tenant)
    place = "" if made is None else f" to a new store, {made}"
    _store.report(options, _facts(tenant), f"tenant {tenant.name} is added{place}")
    return 0


def _set(words: list[str]) -> int:
    parser = _parser(
        "set",
        "Changes what the options name; all else stays as it is.",
        "pystream tenant set acme --max-rate none",
    )
    _add_settings(parser)
    options = parser.parse(words)
    changes = _given(options)
    if not changes:
        parser.error("no setting is given")
    try:
        with _store.open_store(options) as store:
            tenant = store.set_tenant(
                options.name, changes, who=_store.who(options), now=_store.now()
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _warn_unmailed(parser, options, tenant)
    _store.report(options, _facts(tenant), f"tenant {tenant.name} is set")
    return 0


def _warn_unmailed(parser: Parser, options: argparse.Namespace, tenant: Tenant) -> None:
    """Says so where checkpoints are to go by mail and the settings name no server of it. The store of a
    server elsewhere has settings that are not to be seen here."""
    if not tenant.settings.checkpoint_mail or options.store is not None:
        return
    if not settings_of(options).attendance.mail_server:
        _terminal.complain(
            parser.prog,
            f"warning: {tenant.name}: attendance.mail_server of the settings names no server of mail,"
            " so no checkpoint goes by it",
        )


def _remove(words: list[str]) -> int:
    parser = Parser(
        "tenant remove",
        usage="NAME\n         [--config FILE | --store URL] [--json]",
        description="Takes a tenant away that never had a stream, as one of a name that was mistyped.\n"
        "Of any other, what was sent of its streams stays on record, and so does the\n"
        "tenant: its streams can be removed, by `pystream stream remove`, and all of it\n"
        "deleted, by `pystream tenant delete`.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    parser.add_argument("name", metavar="NAME", help="the tenant")
    _store.add_common(parser, changes=False)
    options = parser.parse(words)
    with _store.open_store(options) as store:
        store.remove_tenant(options.name)
    _store.report(options, {"name": options.name}, f"tenant {options.name} is removed")
    return 0


def _list(words: list[str]) -> int:
    parser = Parser(
        "tenant list",
        usage="[--config FILE | --store URL] [--json]",
        description="Lists all tenants by name.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    _store.add_common(parser, changes=False)
    options = parser.parse(words)
    with _store.open_store(options) as store:
        tenants = store.tenants()
    if options.json:
        _store.print_json({"tenants": [_facts(tenant) for tenant in tenants]})
        return 0
    columns = [
        ("tenant", "left"),
        ("display", "left"),
        ("timezone", "left"),
        ("max bit/s", "right"),
    ]
    _store.show_table(columns, [_row(tenant) for tenant in tenants])
    return 0


def _parser(action: str, description: str, example: str) -> Parser:
    parser = Parser(
        f"tenant {action}",
        usage="NAME [--display TEXT] [--timezone ZONE]\n"
        "         [--max-rate RATE] [--notice-file FILE]\n"
        "         [--attendance-purpose VERSION] [--attendance-days N]\n"
        "         [--attendance-reports-days N]\n"
        "         [--attendance-daily-reports-days N] [--checkpoint-url URL]\n"
        "         [--checkpoint-mail ADDRESS] [--checkpoint-cosigner KEY] [--by NAME]\n"
        "         [--config FILE | --store URL] [--json]",
        description=description,
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}\nexample:\n  {example}\n",
    )
    parser.add_argument("name", metavar="NAME", help="the tenant")
    _store.add_common(parser, changes=True)
    return parser


def _add_settings(parser: Parser) -> None:
    group = parser.add_argument_group("settings", argument_default=argparse.SUPPRESS)
    group.add_argument("--display", metavar="TEXT", help="the name for people")
    group.add_argument(
        "--timezone",
        metavar="ZONE",
        help="where its days and months begin, as in Europe/Berlin (default: UTC)",
    )
    group.add_argument(
        "--max-rate",
        dest="max_rate_bps",
        type=_store.rate,
        metavar="RATE",
        help="bits a second of all its viewers together, past which nobody more is let in, as in 500M;"
        " none: no limit",
    )
    group.add_argument(
        "--notice-file",
        dest="notice",
        type=_text_of,
        metavar="FILE",
        help="plain text that viewers are shown before they type a password; an empty file: none",
    )
    group.add_argument(
        "--attendance-purpose",
        type=_or_none,
        metavar="VERSION",
        help="that the tenant has accepted what attendance is recorded for, in the text of that version"
        " (pystream attendance purpose); none: not, and nothing is recorded",
    )
    for name, what in (
        *(("", "events of attendance"), ("reports-", "its sealed reports")),
        ("daily-reports-", "reports of a day that the server has sealed by itself"),
    ):
        group.add_argument(
            f"--attendance-{name}days",
            type=_store.count_or_none,
            metavar="N",
            help=f"days for which {what} are kept; none: as the settings have it",
        )
    group.add_argument(
        "--checkpoint-url",
        type=_or_none,
        metavar="URL",
        help="where checkpoints of its attendance are sent, an https address of the Internet; none: nowhere",
    )
    group.add_argument(
        "--checkpoint-mail",
        type=_or_none,
        metavar="ADDRESS",
        help="the same by mail, where the settings name a server of it (attendance.mail_server)",
    )
    group.add_argument(
        "--checkpoint-cosigner",
        type=_or_none,
        metavar="KEY",
        help="the public key of who cosigns them (pystream attendance cosign); none: nobody",
    )


def _or_none(text: str) -> str:
    return "" if text == "none" else text


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(20_000).strip()


def _given(options: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import fields

    from pystream.acl.streams import TenantSettings

    names = (each.name for each in fields(TenantSettings))
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _facts(tenant: Tenant) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": tenant.name,
        **asdict(tenant.settings),
        "created_at": _store.moment(tenant.created_at),
    }


def _row(tenant: Tenant) -> list[str]:
    settings = tenant.settings
    limit = "" if settings.max_rate_bps is None else f"{settings.max_rate_bps:,}"
    return [tenant.name, settings.display, settings.timezone, limit]
