"""What the commands share that read and change the store: actions, options, and who is asking."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from pystream.cli import _terminal
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue, NoStore, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO, TypeAlias

    from pystream.acl.store import Store
    from pystream.acl.store.keystore import KeyStore

    Action: TypeAlias = Callable[[Parser, list[str]], int]

EXIT_CODES = """\
exit codes:
  0  done
  1  the store or the world is at fault; a line on standard error says what
     and where
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM
"""

WHERE = """\
The store is that of --store, else of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml.
`tenant add` makes it where there is none. A running server follows at once.
"""


def dispatch(
    command: str,
    help_page: str,
    actions: Mapping[str, Callable[[list[str]], int]],
    words: list[str],
) -> int:
    """Runs the action that the first word names; returns its exit code."""
    name = words[0] if words else ""
    if name in actions:
        _terminal.program = f"pystream {command} {name}"
        return actions[name](words[1:])
    if name in ("-h", "--help"):
        print(help_page, end="")
        return 0
    wrong = f"there is no action {name!r}" if name else "no action is given"
    program = f"pystream {command}"
    _terminal.complain(program, f"{wrong}: {', '.join(actions)} ({program} --help)")
    return 2


def add_common(parser: Parser, *, changes: bool, keys: bool = False) -> None:
    """Options that all of these commands have; with `changes`, also of those that are on record. Of
    those that need the `keys` as well, the settings name both stores."""
    add = parser.add_argument_group("general options").add_argument
    add("--config", metavar="FILE", help="the settings, pystream.toml")
    if not keys:
        add("--store", metavar="URL", help="the store: an SQLite file, or postgresql://host/name")
    if changes:
        add_who(add)
    add("--json", action="store_true", help="print the result as one JSON object")


def add_who(add: Callable[..., Any]) -> None:
    """The option that says who is on record; `add` adds an option."""
    said = "who is on record for it (default: the user)"
    add("--by", type=_on_record, metavar="NAME", help=said)


def changing_one(command: str, usage: str, description: str, name: str) -> Parser:
    """The parser of a command that changes something of a tenant's; `name`: what it is, for the help."""
    parser = Parser(
        command,
        usage=f"{usage}\n         [--by NAME] [--config FILE | --store URL] [--json]",
        description=description,
        epilog=f"{WHERE}\n{EXIT_CODES}",
    )
    parser.add_argument("tenant", metavar="TENANT", help="the tenant")
    parser.add_argument("name", metavar="NAME", help=name)
    add_common(parser, changes=True)
    return parser


def listing(command: str, description: str) -> Parser:
    """The parser of a command that lists something of a tenant's."""
    parser = Parser(
        command,
        usage="TENANT\n         [--config FILE | --store URL] [--json]",
        description=description,
        epilog=f"{WHERE}\n{EXIT_CODES}",
    )
    parser.add_argument("tenant", metavar="TENANT", help="the tenant")
    add_common(parser, changes=False)
    return parser


def open_store(options: argparse.Namespace, *, create: bool = False) -> Store:
    """The store that the options name, made with `create` where there is none. Raises `PystreamError`
    or `OSError`."""
    try:
        from pystream.acl.store import Store

        url = options.store
        if url is None:
            from pystream.server import settings

            path = options.config or settings.find(os.environ)
            url = settings.load(path, os.environ).store.url
        return Store.open(url, create=create)
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    except NoStore as error:
        raise _no_store(error, "--config or --store") from None


def _no_store(error: NoStore, options: str) -> NoStore:
    return NoStore(
        f"{error}: run this where pystream.toml lies, or give {options}"
        " (`pystream tenant add` and `pystream serve` make a store)"
    )


def open_keys(options: argparse.Namespace) -> KeyStore:
    """The key store of the settings. Raises `PystreamError` or `OSError`."""
    from pystream.server import settings
    from pystream.server.keys import open_key_store

    found = settings.load(options.config or settings.find(os.environ), os.environ)
    return open_key_store(found.keys, os.environ, migrate=False)


@contextmanager
def both_stores(options: argparse.Namespace) -> Iterator[tuple[Store, KeyStore]]:
    """The store and the key store that the settings name. Raises `PystreamError` or `OSError`."""
    try:
        from pystream.acl.store import Store
        from pystream.acl.store.keystore import root_name
        from pystream.server import settings
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    found = settings.load(options.config or settings.find(os.environ), os.environ)
    with ExitStack() as opened:
        # The keys first: where a server was never started, no store is left behind either.
        keys = opened.enter_context(open_keys(options))
        try:
            store = opened.enter_context(Store.open(found.store.url, create=False))
        except NoStore as error:
            raise _no_store(error, "--config") from None
        store.check_key_store(root_name(keys.root()))
        yield store, keys


def warn_of_traces(parser: Parser, keys: KeyStore) -> None:
    """After keys were deleted: says so where they are still to be found."""
    from pystream.acl.store.keystore import Traces

    if keys.scrub() is Traces.LOG:
        _terminal.complain(
            parser.prog,
            "warning: somebody reads the key store, so keys that were deleted are still in its"
            " write-ahead log: a running server empties it within a minute, as does the next command"
            " that deletes some",
        )


def not_installed(error: ModuleNotFoundError) -> PystreamError:
    """What a command of the server says where only the packager was installed."""
    return PystreamError(
        f"the server's Python packages are not installed ({error.name} is missing); they are the"
        " extra `server` of pystream-hls: pip install '.[server]' in its checkout"
    )


def new_file(path: str, *, replace: bool) -> BinaryIO:
    """A file for its owner's eyes only. Raises `PystreamError` where there is one."""
    mode = os.O_TRUNC if replace else os.O_EXCL
    try:
        return open(os.open(path, os.O_CREAT | mode | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise PystreamError(f"{path}: it is there already; --overwrite replaces it") from None


def who(options: argparse.Namespace) -> str:
    """The name under which a change is recorded."""
    if options.by is not None:
        return str(options.by)
    if sudo := os.environ.get("SUDO_USER"):
        return sudo
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def now() -> int:
    return int(time.time())


def report(options: argparse.Namespace, facts: Mapping[str, Any], line: str) -> None:
    """Prints the result: as JSON, or as a line for people."""
    if options.json:
        print_json(facts)
    else:
        print(line)


def print_json(facts: Mapping[str, Any]) -> None:
    import json

    print(json.dumps(facts))


def moment(seconds: int) -> str:
    """Unix seconds as RFC 3339 has a time: what all JSON has, and what is on record."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_or_none(seconds: int | None) -> str | None:
    return None if seconds is None else moment(seconds)


def wrong_values(parser: Parser, error: InvalidValue) -> int:
    """Says what cannot be, as the command line's fault."""
    for problem in error.problems:
        _terminal.complain(parser.prog, parser.in_options(problem))
    return 2


def plain(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


_WHOM = ("person", "token")
# What happened, where there is no value to tell.
_HAPPENED = {"password": "a new password", "sessions_ended": "sessions ended"}


def told_of(values: Mapping[str, tuple[Any, Any]]) -> str:
    """What an entry on record says, for people: what was counted, else before and after, and what there
    was not before alone. Whom it is about is said in any case."""
    return ", ".join(
        f"{_terminal.counted(new, 'password')} {name.removeprefix('passwords_')}"
        if name.startswith("passwords_")
        else _HAPPENED[name]
        if name in _HAPPENED and new is True
        else f"{name}: {plain(new)}"
        if old is None
        else f"{name}: {plain(old)} -> {plain(new)}"
        if plain(old) != plain(new)
        else f"{name}: {plain(new)}"
        for name, (old, new) in values.items()
        if name in _WHOM or plain(old) != plain(new)
    )


def show_table(columns: list[tuple[str, str]], rows: list[list[str]]) -> None:
    """A table: drawn on a terminal, plain and with two blanks between columns elsewhere. Columns are
    (title, `left` or `right`)."""
    if _terminal.is_terminal(sys.stdout):
        from pystream.cli._tables import draw

        draw(columns, rows)
        return
    titles = [title for title, _ in columns]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if side == "right" else cell.ljust(width)
            for cell, width, (_, side) in zip(row, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())


def show_telling(
    titles: Sequence[str], rows: Sequence[Sequence[str]], usual: Sequence[str]
) -> None:
    """A table whose first column is what a row is about. Of the others, those that say nothing but what is
    usual leave their room to the rest."""
    telling = [
        at
        for at in range(len(titles))
        if not rows or at == 0 or any(row[at] not in usual for row in rows)
    ]
    columns = [(titles[at], "left") for at in telling]
    show_table(columns, [[row[at] for at in telling] for row in rows])


# Types of arguments


def _on_record(text: str) -> str:
    from pystream.acl.audit import check_who

    try:
        check_who(text)
    except InvalidValue:
        raise argparse.ArgumentTypeError("a name of 1 to 200 characters is wanted") from None
    return text


def place_or_tenant(text: str) -> tuple[str, str | None]:
    """A stream, or a tenant with all of its streams."""
    return place(text) if "/" in text else (text, None)


def place(text: str) -> tuple[str, str]:
    """A stream, by tenant and name."""
    tenant, slash, name = text.partition("/")
    if not (tenant and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError("TENANT/STREAM is wanted")
    return tenant, name


def password_id(text: str) -> int:
    """A password, by its number."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63):
        raise argparse.ArgumentTypeError(
            "ids are wanted as `pystream password list --json` has them"
        )
    return int(text)


def rate(text: str) -> int | None:
    """Bits a second, with k, M or G behind them; `none` for no limit."""
    if text == "none":
        return None
    digits, unit = (text[:-1], text[-1]) if text[-1:] in ("k", "M", "G") else (text, "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise argparse.ArgumentTypeError("bits a second are wanted, as in 500k, 20M or 1G, or none")
    return int(digits) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[unit]


def count_or_none(text: str) -> int | None:
    """A whole number above 0, or `none`."""
    from pystream.cli._arguments import count

    return None if text == "none" else count(text)
