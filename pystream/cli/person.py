"""`pystream person`: who works for a tenant, and comes in by the console."""

from __future__ import annotations

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pystream.acl.people import Person

_HELP = f"""\
usage: pystream person add TENANT NAME --role ROLE
       pystream person list TENANT
       pystream person role TENANT NAME ROLE
       pystream person password TENANT NAME [--without-code]
       pystream person remove TENANT NAME
       pystream person ACTION --help

People of a tenant sign in at /console/ of the server. A name is the tenant's
choice; it need not be a person's, and no address is asked for.

roles:
  tenant-admin     may all there is; the last one of a tenant stays
  tenant-editor    streams, passwords and events
  tenant-reporter  reads streams, passwords, traffic and reports
  dpo              erases passwords, holds reports, reads the audit log
  auditor          reads streams, traffic, the audit log and that of attendance
  operator         streams and traffic; neither passwords nor reports
  support          reads; for as long as the tenant lets it in by the console

actions:
  add       add a person, and print a first password
  list      list a tenant's people
  role      give a person another role
  password  give a person a first password again; all sessions end
  remove    take a person away

{_store.EXIT_CODES}
examples:
  pystream person add acme eva --role tenant-admin
  pystream person password acme eva --without-code
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {
        "add": _add,
        "list": _list,
        "role": _role,
        "password": _password,
        "remove": _remove,
    }
    return _store.dispatch("person", _HELP, actions, arguments)


def _add(words: list[str]) -> int:
    parser = _parser(
        "add",
        "TENANT NAME --role ROLE",
        "Adds a person, and prints a first password. It is shown this once, lets its\n"
        "owner in for 14 days, and has to be changed then.",
    )
    parser.add_argument(
        "--role", required=True, metavar="ROLE", help="see `pystream person --help`"
    )
    options = parser.parse(words)
    try:
        from pystream.acl.people import role_of

        role = role_of(options.role)
        with _store.open_store(options) as store:
            from pystream.acl.store.accounts import Accounts

            tenant = store.tenant(options.tenant)
            person, password = Accounts(store.people).add(
                tenant.id, options.name, role, who=_store.who(options), now=_store.now()
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _report_password(options, person, password)
    return 0


def _password(words: list[str]) -> int:
    parser = _parser(
        "password",
        "TENANT NAME [--without-code]",
        "Gives a person a first password again, and prints it. All sessions end.",
    )
    parser.add_argument(
        "--without-code",
        action="store_true",
        help="ask for no codes any more: the authenticator was lost",
    )
    options = parser.parse(words)
    with _store.open_store(options) as store:
        from pystream.acl.store.accounts import Accounts

        tenant = store.tenant(options.tenant)
        who, now = _store.who(options), _store.now()
        if options.without_code:
            with _store.open_keys(options) as keys:
                Accounts(store.people, keys).remove_totp(tenant.id, options.name, who=who, now=now)
        accounts = Accounts(store.people)
        person, password = accounts.reset(tenant.id, options.name, who=who, now=now)
    _report_password(options, person, password)
    return 0


def _report_password(options: argparse.Namespace, person: Person, password: str) -> None:
    with _terminal.output():
        if options.json:
            _terminal.print_json({**_facts(person), "password": password})
        else:
            print(password)


def _role(words: list[str]) -> int:
    parser = _parser(
        "role",
        "TENANT NAME ROLE",
        "Gives a person another role, which holds at once. The last tenant-admin stays\none.",
    )
    parser.add_argument("role", metavar="ROLE", help="see `pystream person --help`")
    options = parser.parse(words)
    try:
        from pystream.acl.people import role_of

        role = role_of(options.role)
        with _store.open_store(options) as store:
            tenant = store.tenant(options.tenant)
            person = store.people.set_role(
                tenant.id, options.name, role, who=_store.who(options), now=_store.now()
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _store.report(options, _facts(person), f"{person.name} of {person.tenant} is {person.role}")
    return 0


def _remove(words: list[str]) -> int:
    parser = _parser(
        "remove",
        "TENANT NAME",
        "Takes a person away, whose sessions end. The name stays in the audit log. The\n"
        "last tenant-admin stays.",
    )
    options = parser.parse(words)
    try:
        with _store.open_store(options) as store:
            from pystream.acl.store.accounts import Accounts

            tenant = store.tenant(options.tenant)
            who, now = _store.who(options), _store.now()
            if store.people.account(tenant.id, options.name).reference is None:
                # Without an authenticator there is no key to erase.
                Accounts(store.people).remove(tenant.id, options.name, who=who, now=now)
            else:
                with _store.open_keys(options) as keys:
                    accounts = Accounts(store.people, keys)
                    accounts.remove(tenant.id, options.name, who=who, now=now)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    facts = {"tenant": options.tenant, "name": options.name}
    _store.report(options, facts, f"{options.name} of {options.tenant} is removed")
    return 0


def _list(words: list[str]) -> int:
    parser = _store.listing("person list", "Lists a tenant's people by name.")
    options = parser.parse(words)
    with _store.open_store(options) as store:
        people = store.people.listed(store.tenant(options.tenant).id)
    if options.json:
        _store.print_json({"people": [_facts(person) for person in people]})
        return 0
    columns = [("name", "left"), ("role", "left"), ("code", "left"), ("password", "left")]
    _store.show_table(columns, [_row(person) for person in people])
    return 0


def _parser(action: str, usage: str, description: str) -> Parser:
    return _store.changing_one(f"person {action}", usage, description, "the person")


def _facts(person: Person) -> dict[str, Any]:
    until = person.let_in_until
    return {
        "tenant": person.tenant,
        "name": person.name,
        "role": person.role,
        "code": person.has_totp,
        "first_password": person.must_change,
        "let_in_until": None if until is None else _store.moment(until),
        "created_at": _store.moment(person.created_at),
    }


def _row(person: Person) -> list[str]:
    return [
        *(person.name, person.role, "yes" if person.has_totp else "no"),
        "to be changed" if person.must_change else "own",
    ]
