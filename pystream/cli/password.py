"""`pystream password`: what viewers type to come in."""

from __future__ import annotations

import argparse
import sys

from pystream.cli import _arguments, _store, _terminal
from pystream.cli._arguments import Parser
from pystream.cli._lists import complain, in_runs, named, read
from pystream.errors import InvalidValue, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.acl.password_csv import ImportedPasswords

_HELP = f"""\
usage: pystream password add TENANT/STREAM... [--count N] [--shared]
       pystream password import TENANT/STREAM... --list FILE
       pystream password list TENANT[/STREAM] [--csv]
       pystream password cards TENANT/STREAM --url URL -o FILE
       pystream password set TENANT --list FILE SETTING...
       pystream password rotate TENANT --list FILE [--grace TIME]
       pystream password end TENANT --list FILE
       pystream password revoke TENANT --list FILE
       pystream password erase TENANT --list FILE
       pystream password data TENANT --id ID -o FILE
       pystream password restrict TENANT --id ID --reason TEXT
       pystream password derive --secret-file FILE [IDS|-]
       pystream password check LIST|- [--timezone ZONE] [--json]
       pystream password ACTION --help

A password lets a viewer in. Only the customer knows who holds which.

actions:
  add       make passwords for streams whose access is personal or shared
  import    add a customer's own passwords or opaque ids
  list      list passwords, or export them
  cards     print cards with codes to scan
  set       change the label, validity or devices of passwords
  rotate    make new passwords in the place of others
  end       end the sessions of passwords, which go on letting in
  revoke    take passwords back; who watches with one is stopped
  erase     take them back, and make them impossible to read for good
  data      write all that is known of one, for whoever holds it
  restrict  keep what is known of one, and let nobody use it
  derive    make opaque passwords of identifiers, on the customer's own machine
  check     say what an import of a list would say

{_store.EXIT_CODES}
examples:
  pystream password add acme/course --count 300
  pystream password cards acme/course -o cards.pdf \\
      --url https://video.example.org/acme/course/
  pystream password derive --secret-file acme.secret efn.txt > passwords.csv
  pystream password check passwords.csv
"""

_DERIVE = """\
Makes an opaque password of each identifier, and prints them as a CSV that can
be imported. It is the same one whenever it is made of the same identifier with
the same secret, and tells nothing about the identifier to anybody who lacks the
secret. So this runs on the customer's own machine, and neither the identifiers
nor the secret ever leave it.

IDS has one identifier a line and no header, or is a CSV with a header line of
which --column names one. The passwords are in its order.
"""

_DERIVE_EPILOG = f"""\
Keep the secret: without it the same passwords cannot be made again, and whoever
has it can find each identifier by trying all. A copy of it belongs where only
the customer can read it.

A password is HMAC-SHA256 under the secret (32 bytes, in the file as 64
hexadecimal digits) of the identifier in UTF-8: 130 bits of it, in base 32, and
two check characters.

{_store.EXIT_CODES}
examples:
  pystream password derive --secret-file acme.secret --new-secret efn.txt
  pystream password derive --secret-file acme.secret --column EFN doctors.csv
"""

_CHECK = """\
Says what an import of a list would say, line by line, and changes nothing.
LIST is a CSV: UTF-8; commas, semicolons or tabs; with a header or without. Its
columns are password, label, valid from, valid until, max devices and test.
Passwords themselves are never repeated.
"""

_CHECK_EPILOG = """\
--json prints one object: ok, passwords (how many are sound), problems and
warnings, each with line and text.

exit codes:
  0  the list would be imported; there may be warnings
  1  it would be refused, or cannot be read
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM

example:
  pystream password check --timezone Europe/Berlin passwords.csv
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    from pystream.cli import _issued

    actions = {
        "add": _issued.add,
        "import": _issued.import_list,
        "list": _issued.list_all,
        "cards": _issued.cards,
        "set": _issued.change,
        "rotate": _issued.rotate,
        "end": _issued.end,
        "revoke": _issued.revoke,
        "erase": _issued.erase,
        "data": _issued.data,
        "restrict": _issued.restrict,
        "derive": _derive,
        "check": _check,
    }
    return _store.dispatch("password", _HELP, actions, arguments)


# derive


def _derive(words: list[str]) -> int:
    parser = Parser(
        "password derive",
        usage="--secret-file FILE [--new-secret]\n"
        "         [--column NAME] [--keep-identifiers] [IDS|-]",
        description=_DERIVE,
        epilog=_DERIVE_EPILOG,
    )
    add = parser.add_argument
    add("ids", nargs="?", default="-", metavar="IDS", help="a file (default: standard input)")
    add("--secret-file", required=True, type=_arguments.path, metavar="FILE", help="the secret")
    add("--new-secret", action="store_true", help="make the secret, with mode 0600; it must be new")
    add("--column", metavar="NAME", help="the column of a CSV that has the identifiers")
    add(
        "--keep-identifiers",
        action="store_true",
        help="print each identifier beside its password: for the customer's own records, never to be"
        " imported",
    )
    options = parser.parse(words)
    from pystream.acl.password_csv import read_column

    identifiers, problems = read_column(read(options.ids), options.column)
    if problems:
        complain(parser, options.ids, problems)
        return 1
    if not identifiers:
        raise PystreamError(f"{named(options.ids)}: there is no identifier in it")
    secret = _secret(options.secret_file, new=options.new_secret)
    _print_derived(parser, options, secret, identifiers)
    if options.new_secret:
        _terminal.complain(
            parser.prog,
            f"{options.secret_file} is a new secret: keep it, and a copy of it in a safe place."
            " Whoever has it can find out whose each password is",
        )
    return 0


def _secret(path: str, *, new: bool) -> bytes:
    from pystream.acl.keys import create_master_key, load_secret

    try:
        # What makes a master key makes any secret of 32 bytes.
        return create_master_key(path) if new else load_secret(path, "secret")
    except FileExistsError:
        raise PystreamError(
            f"{path}: it is there already; without --new-secret it is used"
        ) from None
    except FileNotFoundError:
        hint = "" if new else "; --new-secret makes one"
        raise PystreamError(f"{path}: there is no such file or folder{hint}") from None


def _print_derived(
    parser: Parser,
    options: argparse.Namespace,
    secret: bytes,
    identifiers: list[tuple[int, str]],
) -> None:
    from pystream.acl.password_csv import write_line
    from pystream.acl.passwords import derive

    keep = options.keep_identifiers
    lines: dict[str, int] = {}
    with _terminal.output():
        write = sys.stdout.buffer.write
        write(write_line(["identifier", "password"] if keep else ["password"]))
        for line, identifier in identifiers:
            password = derive(secret, identifier)
            if password in lines:
                again = f"line {line}: the identifier of line {lines[password]} once more, left out"
                _terminal.complain(parser.prog, f"warning: {named(options.ids)}: {again}")
                continue
            lines[password] = line
            write(write_line([identifier, password] if keep else [password]))


# check


def _check(words: list[str]) -> int:
    parser = Parser(
        "password check",
        usage="LIST|- [--timezone ZONE] [--json]",
        description=_CHECK,
        epilog=_CHECK_EPILOG,
    )
    add = parser.add_argument
    add("list", metavar="LIST", help="a file, or - for standard input")
    add(
        "--timezone",
        default="UTC",
        metavar="ZONE",
        help="what times in it are meant in, as in Europe/Berlin (default: UTC)",
    )
    add("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(words)
    from pystream.acl.password_csv import read_csv

    try:
        found = read_csv(read(options.list), timezone=options.timezone)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    complain(parser, options.list, found.problems)
    with _terminal.output():
        if options.json:
            _terminal.print_json(_facts(found))
        else:
            _show(named(options.list), found)
    return 1 if found.problems else 0


def _facts(found: ImportedPasswords) -> dict[str, Any]:
    facts = {
        "ok": not found.problems,
        "passwords": len(found.passwords),
        "problems": [problem._asdict() for problem in found.problems],
        "warnings": [warning._asdict() for warning in found.warnings(_store.now())],
    }
    if found.problems:
        facts["error"] = "; ".join(map(str, found.problems[:1]))
    return facts


def _show(name: str, found: ImportedPasswords) -> None:
    warnings = list(found.warnings(_store.now()))
    for text in in_runs(warnings):
        print(f"{name}: {text}")
    verdict = "it would be refused" if found.problems else "it would be imported"
    counts = [
        _terminal.counted(len(found.passwords), "sound password"),
        _terminal.counted(len(found.problems), "problem"),
        _terminal.counted(len(warnings), "warning"),
    ]
    print(f"{name}: {', '.join(counts)}: {verdict}")
