"""`pystream keyring`: the keys of a node, rotated, backed up and brought back."""

from __future__ import annotations

import argparse
import os
import time

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, count, folder, path
from pystream.errors import Exists, InvalidValue, NoStore, PystreamError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pystream.acl.sealing import Peppers
    from pystream.acl.store.keystore import KeyStore, Status
    from pystream.server.settings import Settings

# Workers look for news of the key store once a second.
_FOLLOWED_SECONDS = 3.0

_WHERE = """\
Where the keys are is said by the settings ([keys]): --config, else the file
that PYSTREAM_CONFIG names, else ./pystream.toml or
/etc/pystream/pystream.toml. A running server needs no restart.
"""

_HELP = f"""\
usage: pystream keyring status
       pystream keyring rotate master
       pystream keyring rotate tenant TENANT
       pystream keyring rotate pepper
       pystream keyring backup DIR [--keep-days N]
       pystream keyring restore FILE [--replace] [--without-list]
       pystream keyring adopt ROOT
       pystream keyring ACTION --help

The master key wraps all other keys, which lie in the key store, a database of
its own. Who has the master key and the key store can read what is sealed.

actions:
  status   say which keys there are
  rotate   change the master key, a tenant's key, or the pepper
  backup   write a backup of the key store, and delete old ones
  restore  bring a backup back, without what was erased since
  adopt    have the store take another key store, where its own is lost

{_store.EXIT_CODES}
examples:
  pystream keyring rotate master
  pystream keyring rotate tenant acme
  pystream keyring backup /var/backups/pystream --keep-days 30
"""

_ROTATE = """\
Changes a key. What it wraps is wrapped anew; the keys below it stay, and so
does everything that viewers hold. An interrupted rotation goes on when it is
asked for again.

master: a new master key is written in front of the others in its file, which
        only open from then on. The old one is still wanted for backups of its
        time: take its line out of the file when the last of them is gone.
        Where PYSTREAM_MASTER_KEY holds the key, or several nodes share a key
        store, put a new key behind the old one everywhere, then in front of
        it everywhere, and call this once.
tenant: of one customer. Do this, and then rotate the master key, where erased
        keys may be left on a disk: nothing opens them after that.
pepper: what passwords are looked up with. They are indexed anew, and viewers
        are let in meanwhile.
"""

_BACKUP = """\
Writes a backup of the key store into the folder DIR: a database and its
manifest, for the owner's eyes only. Backups in DIR that are older than N days
are deleted; without --keep-days, N is retention.key_backups_days of the
settings.

What is erased can be brought back for as long as an older backup exists.
Customers' notices name that time, which is that setting's days and one, with a
backup each day. A larger N is warned of.

A key store in PostgreSQL is backed up by PostgreSQL's own means.
"""

_RESTORE = """\
Brings a backup back into the key store, in one step; the server may run. Keys
that were erased since are taken out before that, by the erasure list (the
setting keys.erasures; erasures.txt beside the key store, where that says
nothing else). Back that file up, too, apart from what a restore brings back:
the newest copy is put back before anything else. Where it is not there, and
nothing tells what was erased, nothing is done, unless --without-list is given;
nor where the backup is older than retention.erasures_days, for which the list
has what was erased.

Keys that were made since would be lost, and what they seal: then nothing is
done, unless --replace is given.

Where the pepper was rotated since, passwords are indexed anew with that of the
backup, so viewers are let in. A server does the same when it starts, and once a
minute: so also where the store is the one that was brought back.
"""


_ADOPT = """\
A store belongs to the key store that sealed it, and a server with another one
does not start. Where the right one is lost for good, with all its backups, this
has the store take the one that the settings name. ROOT is the name of its root,
as `pystream keyring status` shows it. Every password and link that is in use is
worth nothing then.
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {
        "status": _status,
        "rotate": _rotate,
        "backup": _backup,
        "restore": _restore,
        "adopt": _adopt,
    }
    return _store.dispatch("keyring", _HELP, actions, arguments)


def _status(words: list[str]) -> int:
    parser = _parser(
        "status",
        "",
        "Says which keys there are. No key is shown, only names of keys. The erasure list\n"
        "has the keys that were destroyed, for retention.erasures_days: those of what was\n"
        "erased, which are several for one password (its own, and those of answers and\n"
        "hours of attendance that name it), of what was deleted when it was old, and of\n"
        "lists that were refused.",
    )
    options = parser.parse(words)
    with _open(_settings(options)) as store:
        status = store.status()
    if options.json:
        _store.print_json(_facts(status))
    else:
        _show(status)
    return 0


def _rotate(words: list[str]) -> int:
    parser = _parser("rotate", "master | tenant TENANT | pepper\n        ", _ROTATE)
    parser.add_argument(
        "what", choices=("master", "tenant", "pepper"), metavar="master|tenant|pepper"
    )
    parser.add_argument("tenant", metavar="TENANT", nargs="?", help="whose key")
    options = parser.parse(words)
    if (options.what == "tenant") != (options.tenant is not None):
        parser.error("rotate master, rotate tenant TENANT, or rotate pepper is wanted")
    settings = _settings(options)
    with _open(settings) as store:
        if options.what == "master":
            facts, line = _rotate_master(store, settings)
        elif options.what == "pepper":
            facts, line = _rotate_pepper(store, settings)
        else:
            facts, line = _rotate_tenant(store, settings, options.tenant)
        _store.warn_of_traces(parser, store)
    _store.report(options, facts, line)
    return 0


def _backup(words: list[str]) -> int:
    parser = _parser("backup", "DIR [--keep-days N]", _BACKUP)
    parser.add_argument("folder", metavar="DIR", type=folder, help="where backups are")
    parser.add_argument(
        "--keep-days",
        metavar="N",
        type=count,
        help="delete backups that are older than N days (retention.key_backups_days)",
    )
    options = parser.parse(words)
    settings = _settings(options)
    from pystream.acl.store import key_backups

    now, noticed = _store.now(), settings.retention.key_backups_days
    days = options.keep_days or noticed
    if days > noticed:
        _terminal.complain(
            parser.prog,
            f"warning: backups of {days} days are kept, and customers' notices say that what is erased"
            f" is in none after {noticed + 1}: retention.key_backups_days has to say how long they are",
        )
    try:
        with _open(settings) as store:
            made = key_backups.backup(store, options.folder, now)
    except InvalidValue as error:
        raise PystreamError(str(error)) from None
    deleted = key_backups.prune(options.folder, days, now)
    gone = f"; {_terminal.counted(len(deleted), 'older backup')} deleted" if deleted else ""
    _store.report(options, {"backup": made, "deleted": list(deleted)}, f"{made} is written{gone}")
    return 0


def _restore(words: list[str]) -> int:
    parser = _parser("restore", "FILE [--replace] [--without-list]\n        ", _RESTORE)
    parser.add_argument("file", metavar="FILE", type=path, help="a backup, keys-….db")
    parser.add_argument("--replace", action="store_true", help="lose keys that were made since")
    parser.add_argument(
        "--without-list",
        action="store_true",
        help="the list is lost, or not as old: what was erased since comes back",
    )
    options = parser.parse(words)
    settings = _settings(options)
    keys = settings.keys
    from pystream.acl.retention import DataClass
    from pystream.acl.sealing import MasterKeys
    from pystream.acl.store import key_backups

    try:
        done = key_backups.restore(
            options.file,
            keys.store,
            lambda: MasterKeys.load(keys.master_key_file, os.environ),
            keys.erasures,
            listed_since=settings.retention.rules.old_before(DataClass.ERASURES, _store.now()),
            replace=options.replace,
            unlisted=options.without_list,
        )
    except InvalidValue as error:
        raise PystreamError(str(error)) from None
    except Exists as error:
        raise PystreamError(
            f"{error}: nothing was changed; with --replace they are, for good"
        ) from None
    indexed, doubles = _index_lost(parser, settings)
    facts = {
        "made_at": _store.moment(done.made_at),
        "records": done.records,
        "erased": done.erased,
        "lost": done.lost,
        "indexed": indexed,
        "doubles": doubles,
    }
    line = (
        f"the key store is that of {facts['made_at']}, with"
        f" {_terminal.counted(done.records, 'record key')}; {done.erased} that were erased since"
        " are left out"
    )
    if indexed:
        line += f"; {_terminal.counted(indexed, 'password')} indexed anew with its pepper"
    _store.report(options, facts, line + _told_twice(doubles))
    return 0


def _index_lost(parser: Parser, settings: Settings) -> tuple[int, list[int]]:
    """Has passwords found again whose pepper the key store does not have; says how many, and which of them
    are there twice. Keys are brought back all the same where the store is not there, or not in order."""
    from pystream.acl.store import Store
    from pystream.acl.store.issuing import Issuer
    from pystream.acl.store.keystore import root_name

    doubles: list[int] = []
    try:
        with _open(settings) as keys, Store.open(settings.store.url, migrate=False) as main:
            main.check_key_store(root_name(keys.root()))
            return Issuer(main.viewers, keys).reindex_lost(twice=doubles.append), doubles
    except NoStore:
        pass
    except StoreError as error:
        _terminal.complain(
            parser.prog,
            f"warning: the key store is brought back, but no password is indexed anew: {error}",
        )
    return 0, doubles


def _adopt(words: list[str]) -> int:
    parser = _parser("adopt", "ROOT", _ADOPT)
    parser.add_argument("root", metavar="ROOT", help="the name of the key store's root")
    options = parser.parse(words)
    settings = _settings(options)
    from pystream.acl.store import Store
    from pystream.acl.store.keystore import root_name

    with (
        _open(settings) as keys,
        Store.open(settings.store.url, migrate=False) as main,
    ):
        root = root_name(keys.root())
        if root != options.root:
            raise PystreamError(
                f"the key store in {keys.database.name} has the root {root}; nothing was changed"
            )
        main.adopt(root)
    _store.report(options, {"root": root}, f"the store belongs to the key store of the root {root}")
    return 0


def _parser(action: str, usage: str, description: str) -> Parser:
    parser = Parser(
        f"keyring {action}",
        usage=f"{usage} [--config FILE] [--json]".lstrip(),
        description=description,
        epilog=f"{_WHERE}\n{_store.EXIT_CODES}",
    )
    general = parser.add_argument_group("general options")
    general.add_argument("--config", metavar="FILE", help="the settings, pystream.toml")
    general.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    try:
        from pystream.server import settings
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    return settings.load(options.config or settings.find(os.environ), os.environ)


def _open(settings: Settings) -> KeyStore:
    """The key store that is there. A command makes none: it might be made for the wrong user."""
    try:
        from pystream.server.keys import open_key_store
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    return open_key_store(settings.keys, os.environ, migrate=False)


def _rotate_master(store: KeyStore, settings: Settings) -> tuple[dict[str, Any], str]:
    from pystream.acl.keys import ENVIRONMENT_VARIABLE, add_master_key

    file = settings.keys.master_key_file
    store.root()
    if not any(_old(store.status())):
        if os.environ.get(ENVIRONMENT_VARIABLE):
            raise PystreamError(
                f"{ENVIRONMENT_VARIABLE} holds the master key, and its newest wraps everything"
                " already: put a new one in front of it, a blank between them, and call this again"
            )
        add_master_key(file)
    rotated = store.rotate_master()
    names = list(store.status().masters)
    line = (
        f"{_terminal.counted(rotated, 'key')} wrapped anew under the master key {names[0]}; older"
        " ones still open backups of their time"
    )
    return {"rotated": rotated, "master_keys": names}, line


def _old(status: Status) -> list[int]:
    """How many keys each master key has wrapped that is not the newest."""
    return list(status.masters.values())[1:]


def _rotate_tenant(store: KeyStore, settings: Settings, name: str) -> tuple[dict[str, Any], str]:
    from pystream.acl.store import Store

    with Store.open(settings.store.url, migrate=False) as main:
        tenant = main.tenant(name)
    rotated = store.rotate_tenant(tenant.id, _store.now())
    line = f"the key of {name} is new; {_terminal.counted(rotated, 'record key')} wrapped anew"
    return {"tenant": name, "rotated": rotated}, line


def _rotate_pepper(store: KeyStore, settings: Settings) -> tuple[dict[str, Any], str]:
    from pystream.acl.store import Store
    from pystream.acl.store.issuing import Issuer

    done, doubles = 0, list[int]()
    with Store.open(settings.store.url, migrate=False) as main:
        issuer = Issuer(main.viewers, store)

        def reindex(peppers: Peppers) -> int:
            nonlocal done
            count = issuer.reindex(peppers, twice=doubles.append)
            done += count
            return count

        store.begin_pepper(_store.now())
        # Until all workers look for both, nobody may be found by the new one alone.
        time.sleep(_FOLLOWED_SECONDS)
        store.rotate_pepper(reindex, _store.now())
    line = f"the pepper is new; {_terminal.counted(done, 'password')} indexed anew"
    return {"indexed": done, "doubles": doubles}, line + _told_twice(doubles)


def _told_twice(doubles: Iterable[int]) -> str:
    return "".join(
        f"\npassword {id} is the same as a newer one, and lets nobody in any more: revoke it"
        for id in doubles
    )


def _facts(status: Status) -> dict[str, Any]:
    return {
        "revision": status.revision,
        "root": status.root,
        "master_keys": [{"name": name, "wraps": n} for name, n in status.masters.items()],
        "peppers": list(status.peppers),
        "tenants": status.tenants,
        "rotating": list(status.rotating),
        "records": status.records,
        "erasures": status.erasures,
    }


def _show(status: Status) -> None:
    newest, *older = status.masters.items()
    rows = [
        ["root", status.root or "none"],
        ["master key", _wraps(*newest)],
        *(["older master key", _wraps(*each)] for each in older),
        ["peppers", f"{len(status.peppers)}{' (being changed)' * (len(status.peppers) > 1)}"],
        ["tenants' keys", f"{status.tenants:,}"],
        *(["being rotated", f"tenant {each}"] for each in status.rotating),
        ["record keys", f"{status.records:,}"],
        ["destroyed keys", f"{status.erasures:,} on the erasure list"],
    ]
    _store.show_table([("what", "left"), ("there is", "left")], rows)


def _wraps(name: str, number: int) -> str:
    return f"{name}, wraps {_terminal.counted(number, 'key')}"
