"""The actions of `pystream tenant` about what is kept: privacy, export, delete."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, add_locale
from pystream.errors import PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pystream.acl.store import Store
    from pystream.acl.store.keystore import KeyStore
    from pystream.server.settings import Settings

WHERE = """\
The stores are those of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml.
"""

_PRIVACY = """\
Prints what this node keeps of a tenant's viewers and for how long: as text for
the tenant's own privacy notice, or as JSON, which viewers' browsers get from
/.well-known/pystream-privacy.json?tenant=NAME. Both follow the settings of
[retention].

The text says what pystream does. Who is responsible, on what ground, and what
rights viewers have, the tenant has to add. `pystream privacy statement` makes a
whole notice, and the other papers.
"""

_EXPORT = """\
Writes everything of a tenant into a zip archive: settings, streams, passwords
as the tenant knows them, sessions, attendance and its reports, traffic, people,
the audit log. README.txt in it says what is where; manifest.json has a SHA-256
of each file. Films are not in it, nor where they lie on the server. That it was
made is on record.
"""

_DELETE = """\
Deletes a tenant and everything of it for good, at the end of a contract
(Art. 28(3)(g) GDPR), and prints a proof of it: what was deleted and how much,
when, and by whom. Keep the proof; `pystream retention proof --check` tells
later that this node has made it. The node's log of proofs has no name in it.

First the tenant's key is destroyed, so that no password can be read again, in
no backup either once the backups of the key store are as old as [retention]
key_backups_days says. Films are the tenant's own files, and stay.

With --confirm NAME nothing is asked. A tenant with streams that are not removed
stays, unless --force is given, and one of which a sealed report is held
(pystream report --hold) stays until that is over or released.
"""


def privacy(words: list[str]) -> int:
    parser = parser_of(
        "tenant privacy",
        "NAME [--format text|json] [--locale de|en]",
        _PRIVACY,
        "pystream tenant privacy acme --locale de",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="the tenant")
    add("--format", choices=("text", "json"), metavar="text|json", help="(default: text)")
    add_locale(parser)
    options = parser.parse(words)
    if options.json and options.format == "text":
        parser.error("--json and --format text exclude each other")
    settings = settings_of(options)
    from pystream.acl.disclosure import document, notice
    from pystream.acl.store import Store

    practice = settings.practice
    with Store.open(settings.store.url) as store:
        tenant = store.tenant(options.name)
        streams = [each.settings for each in store.streams(options.name)]
    with _terminal.output():
        if options.json or options.format == "json":
            _store.print_json(document(practice, tenant))
        else:
            print(notice(practice.of(tenant), options.locale, streams))
    return 0


def export(words: list[str]) -> int:
    parser = parser_of(
        "tenant export",
        "NAME -o FILE [--overwrite] [--by NAME]",
        _EXPORT,
        "pystream tenant export acme -o acme.zip",
    )
    parser.add_argument("name", metavar="NAME", help="the tenant")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the archive")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it is there")
    _store.add_who(parser.add_argument)
    options = parser.parse(words)
    with stores(options) as (store, keys, _):
        from pystream.acl.store.leaving import Leaving

        by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
        try:
            done = Leaving(store, keys).export(
                options.name, options.output, **by, replace=options.overwrite
            )
        except FileExistsError:
            raise PystreamError(
                f"{options.output}: it is there already; --overwrite replaces it"
            ) from None
    count = sum(done.rows.values())
    left = f", {done.unreadable} of its passwords erased" if done.unreadable else ""
    _store.report(
        options,
        {"file": options.output, "rows": dict(done.rows), "erased_passwords": done.unreadable},
        f"{options.output}: {_terminal.counted(count, 'row')} of {options.name}{left}",
    )
    return 0


def delete(words: list[str]) -> int:
    parser = parser_of(
        "tenant delete",
        "NAME [--confirm NAME] [--force]\n         [-o FILE [--overwrite]] [--by NAME]",
        _DELETE,
        "pystream tenant delete acme -o proof.json",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="the tenant")
    add("--confirm", metavar="NAME", help="its name once more")
    add("--force", action="store_true", help="remove its streams as well")
    add("-o", "--output", metavar="FILE", help="write the proof there, too")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    _store.add_who(parser.add_argument)
    options = parser.parse(words)
    if options.confirm is None and sys.stdin is not None and sys.stdin.isatty():
        print(
            f"Everything of {options.name} is deleted for good. Its name once more:",
            file=sys.stderr,
        )
        options.confirm = sys.stdin.readline().strip()
    if options.confirm != options.name:
        parser.error("--confirm with the tenant's name is wanted; nothing was deleted")
    if options.output is not None and not options.overwrite and os.path.lexists(options.output):
        # It may be another tenant's proof.
        raise PystreamError(
            f"{options.output}: it is there already; --overwrite replaces it; nothing was deleted"
        )
    with stores(options) as (store, keys, settings):
        import json

        from pystream.acl.keys import Keyring
        from pystream.acl.proofs import certificate
        from pystream.acl.store.leaving import Leaving

        key = Keyring(keys.root()).proof_key()
        done = Leaving(store, keys).delete(
            options.name, who=_store.who(options), now=_store.now(), force=options.force
        )
        printed = json.dumps(certificate(done.proof, done.names, key), indent=2)
        _store.warn_of_traces(parser, keys)
    days = settings.retention.rules.key_backups
    with _terminal.output():
        print(printed)
    if options.output is not None:
        _write(options.output, printed)
    _terminal.complain(
        parser.prog,
        f"{options.name} is deleted; backups of the key store open nothing of it after"
        f" {_terminal.counted(days + 1, 'day')}",
    )
    return 0


def _write(path: str, printed: str) -> None:
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{printed}\n")


# Shared with `pystream retention`


def parser_of(command: str, usage: str, description: str, example: str) -> Parser:
    parser = Parser(
        command,
        usage=f"{usage}\n         [--config FILE] [--json]".lstrip(),
        description=description,
        epilog=f"{WHERE}\n{_store.EXIT_CODES}\nexample:\n  {example}\n",
    )
    _store.add_common(parser, changes=False, keys=True)
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    try:
        from pystream.server import settings
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    return settings.load(options.config or settings.find(os.environ), os.environ)


@contextmanager
def stores(options: argparse.Namespace) -> Iterator[tuple[Store, KeyStore, Settings]]:
    """Both stores, which belong together, and the settings that name them."""
    settings = settings_of(options)
    try:
        from pystream.acl.store import Store
        from pystream.acl.store.keystore import root_name
        from pystream.server.keys import open_key_store
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    with (
        Store.open(settings.store.url, create=False) as store,
        open_key_store(settings.keys, os.environ, migrate=False) as keys,
    ):
        store.check_key_store(root_name(keys.root()))
        yield store, keys, settings
