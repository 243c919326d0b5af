"""The actions of `pystream password` that need the stores: all but derive and check."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager

from pystream.cli import _arguments, _store, _terminal
from pystream.cli._arguments import Parser
from pystream.cli._lists import complain, in_runs, named, read
from pystream.errors import InvalidValue, NotFound, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pystream.acl.passwords import PasswordSettings
    from pystream.acl.store import Store
    from pystream.acl.store.issuing import Issuer, Shown
    from pystream.acl.store.keystore import KeyStore
    from pystream.acl.streams import Stream, Tenant
    from pystream.acl.viewers import Password

_WHERE = """\
The stores are those of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml. The
server has to have been started once: it makes the keys. A running one follows
within a second.

Dates are of the tenant's time zone, and are shown as they are typed: one
without a time is its begin, or as an end its end. JSON has times of RFC 3339 in
UTC, and ids as text: a number of theirs is longer than JavaScript can hold.
"""

_MOST_GRACE_S = 30 * 86_400
# Of lines with the same to say.
_MOST_RUNS = 20


# add


def add(words: list[str]) -> int:
    parser = _parser(
        "add",
        "TENANT/STREAM... [--count N] [--shared]\n"
        "         [--label TEXT] [--valid-from DATE]\n"
        "         [--valid-until DATE] [--max-devices N] [--test]",
        "Makes passwords of 130 random bits, and prints them, one a line. Each opens all\n"
        "streams that are named, of one tenant.",
        "pystream password add acme/course --count 300 --valid-until 2031-06-01",
    )
    option = parser.add_argument
    option("streams", nargs="+", type=_store.place, metavar="TENANT/STREAM", help="what they open")
    option("--count", type=_arguments.count, default=1, metavar="N", help="how many (default: 1)")
    option(
        "--shared", action="store_true", help="one for all viewers: for streams of shared access"
    )
    option("--label", default="", metavar="TEXT", help="a note for the customer's own lists")
    option("--valid-from", metavar="DATE", help="as 2031-05-01, 1.5.2031, or 2031-05-01 18:00")
    option("--valid-until", metavar="DATE", help="the same; without a time, until the day's end")
    option("--max-devices", type=_arguments.count, metavar="N", help="how many may play at a time")
    option(
        "--test",
        action="store_true",
        help="an access for the examining chamber: in no sum of viewers; what it is sent is traffic",
    )
    options = parser.parse(words)
    from pystream.acl.passwords import generate, is_over

    try:
        with _stores(options) as (store, issuer):
            tenant, streams = _streams(store, options.streams)
            settings = _settings(options, tenant)
            if is_over(settings, _store.now()):
                raise InvalidValue(
                    f"--valid-until {options.valid_until}: that is over; such a password would open"
                    " nothing"
                )
            made = [generate() for _ in range(options.count)]
            ids = _issue(options, issuer, tenant, streams, [(text, settings) for text in made])
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    with _terminal.output():
        if options.json:
            _terminal.print_json(
                {
                    "passwords": [
                        {"id": str(id), "password": text}
                        for id, text in zip(ids, made, strict=True)
                    ]
                }
            )
        else:
            print("\n".join(made))
    return 0


def _settings(options: argparse.Namespace, tenant: Tenant) -> PasswordSettings:
    from pystream.acl.passwords import PasswordSettings

    zone = tenant.settings.timezone
    begin, end = options.valid_from, options.valid_until
    return PasswordSettings(
        label=options.label,
        valid_from=None if begin is None else _moment("valid_from", begin, zone, end=False),
        valid_until=None if end is None else _moment("valid_until", end, zone, end=True),
        max_devices=options.max_devices,
        is_test=options.test,
    )


def _moment(name: str, text: str, timezone: str, *, end: bool) -> int:
    """Raises `InvalidValue` for a date that is none, by the name of its option."""
    from pystream.acl.password_csv import moment

    try:
        return moment(text, timezone, end=end)
    except InvalidValue as error:
        problems = (f"{name}: {problem}" for problem in error.problems)
        raise InvalidValue(*problems) from None


def _issue(
    options: argparse.Namespace,
    issuer: Issuer,
    tenant: Tenant,
    streams: Sequence[Stream],
    entries: Sequence[tuple[str, PasswordSettings]],
) -> tuple[int, ...]:
    wanted = "shared" if options.shared else "personal"
    for stream in streams:
        if stream.settings.access != wanted:
            raise PystreamError(
                f"{stream.tenant}/{stream.name} is {stream.settings.access}, so {wanted} passwords"
                f" open nothing there: pystream stream set {stream.tenant}/{stream.name} --access"
                f" {wanted}"
            )
    return issuer.add(
        tenant.id,
        [stream.id for stream in streams],
        entries,
        who=_store.who(options),
        now=_store.now(),
        shared=options.shared,
    )


# import


def import_list(words: list[str]) -> int:
    parser = _parser(
        "import",
        "TENANT/STREAM... --list FILE|- [--shared]",
        "Adds the passwords of a CSV: all of them, or none where something is wrong with\n"
        "it. `pystream password check` says what that would be. Times in it are meant in\n"
        "the tenant's time zone. A list is stored in one go, and in SQLite whoever signs\n"
        "in waits for that, a second for some 10,000; so one of more than 50,000 is\n"
        "stored in parts of that many. Where one of these cannot be, what is told says\n"
        "how many lines are in.",
        "pystream password import acme/course --list passwords.csv",
    )
    option = parser.add_argument
    option("streams", nargs="+", type=_store.place, metavar="TENANT/STREAM", help="what they open")
    option("--list", required=True, metavar="FILE", help="the CSV, or - for standard input")
    option(
        "--shared", action="store_true", help="one for all viewers: for streams of shared access"
    )
    options = parser.parse(words)
    from pystream.acl.password_csv import Problem, read_csv
    from pystream.acl.passwords import THERE
    from pystream.acl.store.issuing import MOST_AT_ONCE

    with _stores(options) as (store, issuer):
        tenant, streams = _streams(store, options.streams)
        found = read_csv(read(options.list), timezone=tenant.settings.timezone)
        there = issuer.there(tenant.id, [each.password for each in found.passwords])
        known = [Problem(found.passwords[place].line, THERE) for place in there]
        problems = sorted([*found.problems, *known])
        complain(parser, options.list, problems)
        if problems:
            return 1
        complain(parser, options.list, list(found.warnings(_store.now())), "warning: ")
        entries = [(each.password, each.settings) for each in found.passwords]
        count = 0
        for part in _parts(entries, MOST_AT_ONCE):
            try:
                count += len(_issue(options, issuer, tenant, streams, part))
            except PystreamError as error:
                if not count:
                    raise
                line = found.passwords[count].line
                said = f"the {count:,} passwords before line {line:,} are added, the others are not: {error}"
                raise PystreamError(f"{named(options.list)}: {said}") from None
    _store.report(options, {"passwords": count}, f"{_terminal.counted(count, 'password')} added")
    return 0


def _parts(
    entries: Sequence[tuple[str, PasswordSettings]], most: int
) -> Iterator[Sequence[tuple[str, PasswordSettings]]]:
    for first in range(0, len(entries), most):
        yield entries[first : first + most]


# list


def list_all(words: list[str]) -> int:
    parser = _parser(
        "list",
        "TENANT[/STREAM] [--csv | --viewers]",
        "Lists a tenant's passwords, or those that open one stream, as the customer knows\n"
        "them, the oldest first. That they were listed is on record.",
        "pystream password list acme/course --csv > export.csv",
    )
    parser.add_argument("place", type=_store.place_or_tenant, metavar="TENANT[/STREAM]")
    parser.add_argument("--csv", action="store_true", help="as a CSV that can be imported again")
    parser.add_argument(
        "--viewers",
        action="store_true",
        help="the viewers whom the tenant's links and tokens have named, in place of passwords",
    )
    options = parser.parse(words)
    if options.csv and options.json:
        parser.error("--csv and --json exclude each other")
    if options.viewers and (options.csv or options.place[1] is not None):
        parser.error("--viewers lists all of a tenant's, and not as a CSV")
    with _stores(options) as (store, issuer):
        tenant, stream = _tenant_and_stream(store, options.place)
        names = {each.id: each.name for each in store.streams(tenant.name)}
        stream_id = stream.id if stream else None
        shown = list(issuer.listed(tenant.id, stream_id, named=options.viewers))
        store.audit.record_view(
            tenant.id,
            stream_id,
            {"passwords_shown": len(shown)},
            who=_store.who(options),
            now=_store.now(),
        )
    with _terminal.output():
        if options.csv:
            _print_csv(shown, tenant.settings.timezone)
        elif options.json:
            _terminal.print_json({"passwords": [_facts(each, names) for each in shown]})
        else:
            zone = tenant.settings.timezone
            titles, row = (_VIEWER, _viewer_row) if options.viewers else (_PASSWORD, _row)
            _store.show_telling(titles, [row(each, names, zone) for each in shown], _USUAL)
    return 0


_PASSWORD = ("password", "label", "opens", "kind", "state", "valid from", "valid until", "devices")
_VIEWER = ("viewer", "state", "first came in")
_USUAL = ("", "personal")


def _viewer_row(shown: Shown, names: Mapping[int, str], timezone: str) -> list[str]:
    from pystream.acl.password_csv import written

    came = written(shown.password.created_at, timezone, end=False)
    return [shown.text or "(erased)", shown.state(_store.now()), came]


def _facts(shown: Shown, names: Mapping[int, str]) -> dict[str, Any]:
    password = shown.password
    return {
        "id": str(password.id),
        "password": shown.text,
        "label": shown.label,
        "streams": _opened(password, names),
        "state": shown.state(_store.now()),
        "shared": password.shared,
        "test": password.is_test,
        "valid_from": _store.moment_or_none(password.valid_from),
        "valid_until": _store.moment_or_none(password.valid_until),
        "max_devices": password.max_devices,
        "created_at": _store.moment(password.created_at),
        "revoked_at": _store.moment_or_none(password.revoked_at),
    }


def _row(shown: Shown, names: Mapping[int, str], timezone: str) -> list[str]:
    from pystream.acl.password_csv import written

    password = shown.password
    kind = "shared" if password.shared else "personal"
    return [
        shown.text or "(erased)",
        shown.label or "",
        " ".join(_opened(password, names)) or "(removed)",
        f"{kind}, test" if password.is_test else kind,
        shown.state(_store.now()),
        written(password.valid_from, timezone, end=False),
        written(password.valid_until, timezone, end=True),
        "" if password.max_devices is None else str(password.max_devices),
    ]


def _opened(password: Password, names: Mapping[int, str]) -> list[str]:
    """The names of the streams that it opens and that are there."""
    return sorted(names[each] for each in password.streams if each in names)


def _print_csv(shown: Sequence[Shown], timezone: str) -> None:
    from pystream.acl.password_csv import Row, write_csv
    from pystream.acl.passwords import PasswordSettings

    rows = [
        Row(
            each.text,
            PasswordSettings(
                label=each.label or "",
                valid_from=each.password.valid_from,
                valid_until=each.password.valid_until,
                max_devices=each.password.max_devices,
                is_test=each.password.is_test,
            ),
        )
        for each in shown
        if each.text is not None and each.password.revoked_at is None
    ]
    for piece in write_csv(rows, timezone=timezone):
        sys.stdout.buffer.write(piece)


# cards


def cards(words: list[str]) -> int:
    parser = _parser(
        "cards",
        "TENANT/STREAM --url URL -o FILE\n"
        "         [--list FILE|- | --id ID... | --label TEXT] [--locale de|en]\n"
        "         [--overwrite]",
        "Prints a card for each password of a stream that is valid now or later, or for\n"
        "those of a list, in its order, as often as you like; else in the order in which\n"
        "they were made, or stood in a list. It is a PDF to cut: with a code that\n"
        "opens the page with the password filled in. URL is that of the stream's own\n"
        "page, or of one that has its code (pystream stream embed).",
        "pystream password cards acme/course -o cards.pdf \\\n"
        "      --url https://video.example.org/acme/course/",
    )
    parser.add_argument("place", type=_store.place, metavar="TENANT/STREAM")
    parser.add_argument("--url", required=True, metavar="URL", help="the address of the page")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the PDF")
    which = _add_which(parser, required=False)
    which.add_argument("--label", metavar="TEXT", help="those with that label")
    _arguments.add_locale(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it is there")
    options = parser.parse(words)
    try:
        from pystream.acl.cards import Card
        from pystream.acl.cards import cards as printed
        from pystream.acl.streams import is_elsewhere_alone
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    with _stores(options) as (store, issuer):
        tenant, stream = _tenant_and_stream(store, options.place)
        assert stream is not None
        now = _store.now()
        shown = [
            each
            for each in _to_print(options, store, issuer, stream)
            if each.text is not None and each.state(now) not in ("revoked", "over")
        ]
        if not shown:
            raise PystreamError("there is no password to print: pystream password add makes some")
        own = f"/{stream.tenant}/{stream.name}/"
        if is_elsewhere_alone(stream.settings) and options.url.endswith(own):
            said = f"warning: {own[1:-1]} is shown on other sites only, not on its own page"
            _terminal.complain(parser.prog, said)
        title = stream.settings.title or stream.name
        sheet = [
            Card(
                url=options.url,
                password=each.text or "",
                title=title,
                label=each.label or "",
                valid_until=each.password.valid_until,
                test=each.password.is_test,
            )
            for each in shown
        ]
        try:
            data = printed(sheet, locale=options.locale, timezone=tenant.settings.timezone)
        except InvalidValue as error:
            return _store.wrong_values(parser, error)
        with _store.new_file(options.output, replace=options.overwrite) as file:
            # On record before anybody can see them, and where nobody can, not at all.
            what = {"passwords_shown": len(shown)}
            store.audit.record_view(tenant.id, stream.id, what, who=_store.who(options), now=now)
            file.write(data)
    facts = {"cards": len(sheet), "file": options.output}
    _store.report(options, facts, f"{options.output}: {_terminal.counted(len(sheet), 'card')}")
    return 0


def _to_print(
    options: argparse.Namespace, store: Store, issuer: Issuer, stream: Stream
) -> Iterable[Shown]:
    """The passwords of a stream, or those that the options name in their order, if they open it. Raises
    `NotFound`."""
    if options.label is not None:
        of_stream = issuer.listed(stream.tenant_id, stream.id)
        return [each for each in of_stream if each.label == options.label]
    if options.list is None and options.id is None:
        return issuer.listed(stream.tenant_id, stream.id)
    ids = _ids(options, stream.tenant_id, store, issuer)
    shown = _shown(issuer, stream.tenant_id, ids)
    return [each for each in shown if stream.id in each.password.streams]


def _shown(issuer: Issuer, tenant_id: int, ids: Sequence[int]) -> list[Shown]:
    """Passwords in the order of their ids. Raises `NotFound` for one that is none to type, as a viewer whom
    links name is, or that is gone, and named by a sealed report alone."""
    found = {each.password.id: each for each in issuer.shown(tenant_id, ids)}
    if others := [str(id) for id in ids if id not in found]:
        raise NotFound(
            f"nobody types what has the id {', '.join(others)}, or not any more; nothing was changed"
        )
    return [found[id] for id in ids]


# revoke, erase


def revoke(words: list[str]) -> int:
    return _ended(
        words,
        "revoke",
        "Takes passwords back. Nothing more is sent to who watches with one, and the page\n"
        "stops within one segment; another player shows what it has loaded.",
    )


def erase(words: list[str]) -> int:
    return _ended(
        words,
        "erase",
        "Takes passwords back, and destroys the keys that their texts and labels are\n"
        "sealed with: nobody can read them again, in no backup either once `pystream\n"
        "keyring backup` has deleted the ones that it keeps. Their sessions go, and what\n"
        "they have watched, and their names in sealed reports; hashes stay, so all else\n"
        "is proven as before. Nothing is erased of what a report names that is held\n"
        "(`pystream report --hold`), nor of what is restricted (`restrict`).",
    )


def data(words: list[str]) -> int:
    parser = _parser(
        "data",
        "TENANT --list FILE|- | --id ID [--viewers]\n         -o FILE [--overwrite]",
        "Writes all that is known of one password into a zip archive, for the person who\n"
        "holds it (Art. 15 and 20 GDPR): its facts, sessions, what it has watched, each\n"
        "event with its salt, receipts, and what sealed reports say of it. What was\n"
        "erased or deleted in time is told as not available. That it was made is on\n"
        f"record.\n{_NEVER_TYPED}",
        "pystream password data acme --id 6407128309923117861 -o data.zip",
    )
    _add_choice(parser)
    add = parser.add_argument
    add("--viewers", action="store_true", help="the list has the name of a viewer")
    add("-o", "--output", required=True, metavar="FILE", help="the archive")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    options = parser.parse(words)
    from pystream.acl.store.password_data import PasswordData
    from pystream.server.clock import kernel

    with _store.both_stores(options) as (store, keys):
        tenant, id = _chosen_one(options, store, _issuer(store, keys))
        by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
        with _store.new_file(options.output, replace=options.overwrite) as file:
            made = PasswordData(store, keys).export(tenant, id, kernel(), **by)
            file.write(made.data)
    facts = {
        "file": options.output,
        "events": made.events,
        "rows_of_reports_not_available": made.not_available,
    }
    left = f", {_terminal.counted(made.not_available, 'row')} of reports not available"
    counted = _terminal.counted(made.events, "event")
    _store.report(
        options, facts, f"{options.output}: {counted}{left if made.not_available else ''}"
    )
    return 0


def restrict(words: list[str]) -> int:
    parser = _parser(
        "restrict",
        "TENANT [--list FILE|- | --id ID] [--viewers]\n         [--reason TEXT | --lift]",
        "Restricts what is known of one password (Art. 18 GDPR): it is kept, whatever is\n"
        "old, and can neither be erased nor used. It is in no receipt or export of\n"
        "attendance and in no report, which says how many it leaves out; sealed reports\n"
        "from before are shown without it. Whoever holds the password watches on. --lift\n"
        "ends that. Without a password, it lists which are restricted.\n"
        f"{_NEVER_TYPED}",
        "pystream password restrict acme --id 6407128309923117861 \\\n"
        '      --reason "says that the evening is wrong"',
    )
    parser.add_argument("tenant", metavar="TENANT")
    _add_which(parser, required=False)
    add = parser.add_argument
    add("--viewers", action="store_true", help="the list has the name of a viewer")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--reason", metavar="TEXT", help="why; it is on record")
    what.add_argument("--lift", action="store_true", help="restrict it no more")
    options = parser.parse(words)
    is_change = options.lift or options.reason is not None
    if is_change is not bool(options.list or options.id):
        parser.error("a password is wanted with --reason or --lift, or none of these")
    try:
        with _stores(options) as (store, issuer):
            if not is_change:
                return _list_restricted(options, store)
            tenant, id = _chosen_one(options, store, issuer)
            by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
            if options.lift:
                store.viewers.restrictions.lift(tenant.id, id, **by)
            else:
                store.viewers.restrictions.restrict(tenant.id, id, options.reason, **by)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    done = "restricted no more" if options.lift else "restricted"
    _store.report(options, {"id": str(id), "restricted": not options.lift}, f"{id}: {done}")
    return 0


def _list_restricted(options: argparse.Namespace, store: Store) -> int:
    found = store.viewers.restrictions.listed(store.tenant(options.tenant).id)
    rows = [(str(id), _store.moment(each.made_at), each.reason) for id, each in found.items()]
    if options.json:
        names = ("id", "since", "reason")
        _store.print_json({"restricted": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        columns = [(name, "left") for name in ("id", "since", "reason")]
        _store.show_table(columns, [list(row) for row in rows])
    return 0


def _ended(words: list[str], action: str, description: str) -> int:
    parser = _choosing(
        action, description, f"echo 9R2K-... | pystream password {action} acme --list -"
    )
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        issuer = _issuer(store, keys)
        tenant, ids = _chosen(options, store, issuer)
        change = issuer.erase if action == "erase" else store.viewers.revoke
        count = change(tenant.id, ids, who=_store.who(options), now=_store.now())
        if action == "erase":
            _store.warn_of_traces(parser, keys)
    done = "erased" if action == "erase" else "revoked"
    _store.report(options, {done: count}, f"{_terminal.counted(count, 'password')} {done}")
    return 0


# set


def change(words: list[str]) -> int:
    parser = _parser(
        "set",
        "TENANT --list FILE|- | --id ID... [--label TEXT]\n"
        "         [--valid-from DATE|none] [--valid-until DATE|none]\n"
        "         [--max-devices N|none]",
        "Changes what the options name of passwords; all else stays as it is. Who watches\n"
        "with one goes on as before: the next to come in do so by what it is then.\n"
        f"{_ALL_OR_NONE}\n{_NEVER_TYPED}",
        "echo 9R2K-... | pystream password set acme --list - --valid-until 2031-06-01",
    )
    _add_choice(parser)
    option = parser.add_argument_group("settings", argument_default=argparse.SUPPRESS).add_argument
    option("--label", metavar="TEXT", help="a note for the customer's own lists; '': none")
    option("--valid-from", metavar="DATE", help="as 2031-05-01, or 2031-05-01 18:00; none: at once")
    option("--valid-until", metavar="DATE", help="the same; a day is to its end; none: for ever")
    option(
        "--max-devices",
        type=_store.count_or_none,
        metavar="N",
        help="how many may play at a time; none: as the stream has it",
    )
    options = parser.parse(words)
    given = {name: getattr(options, name) for name in _SETTINGS if name in options}
    if not given:
        parser.error("no setting is given")
    try:
        with _stores(options) as (store, issuer):
            tenant, ids = _chosen(options, store, issuer)
            changes = _changes(given, tenant.settings.timezone)
            issuer.change(tenant.id, ids, changes, who=_store.who(options), now=_store.now())
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    said = f"{_terminal.counted(len(ids), 'password')} set"
    _store.report(options, {"set": len(ids)}, said)
    return 0


_SETTINGS = ("label", "valid_from", "valid_until", "max_devices")


def _changes(given: Mapping[str, Any], timezone: str) -> dict[str, Any]:
    """Raises `InvalidValue` for a date that is none."""
    changes = dict(given)
    for name, end in (("valid_from", False), ("valid_until", True)):
        if name in changes:
            text = changes[name]
            changes[name] = None if text == "none" else _moment(name, text, timezone, end=end)
    return changes


# end


def end(words: list[str]) -> int:
    parser = _choosing(
        "end",
        "Ends all sessions of passwords, which go on letting in: who watches with one is\n"
        "stopped within one segment, and types it anew. `pystream stream end` does so for\n"
        "all who watch a stream.",
        "echo 9R2K-... | pystream password end acme --list -",
    )
    options = parser.parse(words)
    with _stores(options) as (store, issuer):
        tenant, ids = _chosen(options, store, issuer)
        by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
        with store.together():
            for id in ids:
                store.viewers.end_sessions_of(tenant.id, id, **by)
    said = f"the sessions of {_terminal.counted(len(ids), 'password')} are ended"
    _store.report(options, {"ended": len(ids)}, said)
    return 0


# rotate


def rotate(words: list[str]) -> int:
    parser = _parser(
        "rotate",
        "TENANT --list FILE|- | --id ID... [--grace TIME]",
        "Makes a new password in the place of each, and prints them, one a line, in the\n"
        "order of the old ones. It opens the same streams, with the same label, validity\n"
        "and devices. The old one is revoked, or lets in for a while more.\n"
        f"{_ALL_OR_NONE}\n{_NEVER_TYPED}",
        "echo 9R2K-... | pystream password rotate acme --list - --grace 2h",
    )
    _add_choice(parser)
    parser.add_argument(
        "--grace",
        type=_arguments.duration,
        default=0,
        metavar="TIME",
        help="how long the old ones still let in, as 90s, 10m, 2h or 7d (default: not at all)",
    )
    options = parser.parse(words)
    if options.grace > _MOST_GRACE_S:
        parser.error("argument --grace: at most 30d are wanted")
    with _stores(options) as (store, issuer):
        tenant, ids = _chosen(options, store, issuer)
        there = {each.id for each in store.streams(tenant.name)}
        opened = _opened_by(_shown(issuer, tenant.id, ids), there)
        by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
        new = issuer.rotate(tenant.id, opened, grace_s=options.grace, **by)
        made = [(id, *each) for id, each in zip(ids, new, strict=True)]
    with _terminal.output():
        if options.json:
            passwords = [
                {"id": str(new), "password": text, "replaces": str(old)} for old, new, text in made
            ]
            _terminal.print_json({"passwords": passwords})
        else:
            print("\n".join(text for _, _, text in made))
    return 0


def _opened_by(shown: Sequence[Shown], there: Collection[int]) -> dict[int, list[int]]:
    """The streams that are there by the passwords that open them. Raises `InvalidValue` where one
    password lets nobody in any more: before any of them is replaced."""
    opened = {}
    for each in shown:
        opened[each.password.id] = sorted(each.password.streams.intersection(there))
        if each.state(_store.now()) not in ("valid", "to come") or not opened[each.password.id]:
            raise PystreamError(
                f"the password {each.password.id} lets nobody in any more: make a new one instead;"
                " nothing was changed"
            )
    return opened


# Which passwords


_NEVER_TYPED = "Passwords are never given on the command line, where others can see them."
_ALL_OR_NONE = """\
All of a list or nothing: where the tenant has not all of it, the numbers of the
lines that it lacks are told, and nothing is changed."""


def _choosing(action: str, description: str, example: str) -> Parser:
    """The parser of an action that ends something of passwords, or of named viewers."""
    usage = "TENANT --list FILE|- | --id ID... [--viewers]"
    parser = _parser(action, usage, f"{description}\n{_ALL_OR_NONE}\n{_NEVER_TYPED}", example)
    _add_choice(parser)
    parser.add_argument(
        "--viewers",
        action="store_true",
        help="the list has names of viewers, as the customer's links and tokens have them",
    )
    return parser


def _add_choice(parser: Parser) -> None:
    parser.add_argument("tenant", metavar="TENANT")
    _add_which(parser, required=True)


def _add_which(parser: Parser, *, required: bool) -> Any:
    """The group of the options of which one says which passwords."""
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--list", metavar="FILE", help="a password a line, or - for standard input")
    which.add_argument(
        "--id", type=_store.password_id, nargs="+", metavar="ID", help="as `list --json` has them"
    )
    return which


def _chosen(
    options: argparse.Namespace, store: Store, issuer: Issuer
) -> tuple[Tenant, Sequence[int]]:
    """The passwords that the options name, each once. Raises `NotFound` where one is not there."""
    tenant = store.tenant(options.tenant)
    return tenant, _ids(options, tenant.id, store, issuer)


def _chosen_one(options: argparse.Namespace, store: Store, issuer: Issuer) -> tuple[Tenant, int]:
    tenant, ids = _chosen(options, store, issuer)
    if len(ids) != 1:
        raise PystreamError(f"one password is wanted, of which it is, and not {len(ids)}")
    return tenant, ids[0]


def _ids(options: argparse.Namespace, tenant_id: int, store: Store, issuer: Issuer) -> list[int]:
    # Not all actions are for viewers whom links name.
    is_named = getattr(options, "viewers", False)
    find = issuer.find_named if is_named else issuer.find
    ids = list(dict.fromkeys(options.id or _ids_of(find, tenant_id, options.list)))
    if not ids:
        raise NotFound("the list is empty; nothing was changed")
    known = store.viewers.known(tenant_id, ids)
    if unknown := [str(id) for id in ids if id not in known]:
        raise NotFound(
            f"the tenant has no password with the id {', '.join(unknown)}; nothing was changed"
        )
    return ids


def _ids_of(find: Callable[[int, str], Password | None], tenant_id: int, path: str) -> list[int]:
    """Raises `NotFound` with the numbers of all lines that are none of the tenant's."""
    from pystream.acl.password_csv import Problem

    ids, unknown = [], []
    for number, line in enumerate(read(path).decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = find(tenant_id, line.strip())
        except InvalidValue:
            found = None
        if found is None:
            unknown.append(Problem(number, "the tenant has no such password"))
        else:
            ids.append(found.id)
    if unknown:
        runs = list(in_runs(unknown))
        where = "; ".join(runs[:_MOST_RUNS])
        if len(runs) > _MOST_RUNS:
            where += f"; and more, {len(unknown):,} lines in all"
        others = f"; the other {len(ids):,} are the tenant's" if ids else ""
        raise NotFound(f"{named(path)}: {where}; nothing was changed{others}")
    return ids


# All


def _parser(action: str, usage: str, description: str, example: str) -> Parser:
    parser = Parser(
        f"password {action}",
        usage=f"{usage}\n         [--by NAME] [--config FILE] [--json]",
        description=description,
        epilog=f"{_WHERE}\n{_store.EXIT_CODES}\nexample:\n  {example}",
    )
    _store.add_common(parser, changes=True, keys=True)
    return parser


@contextmanager
def _stores(options: argparse.Namespace) -> Iterator[tuple[Store, Issuer]]:
    with _store.both_stores(options) as (store, keys):
        yield store, _issuer(store, keys)


def _issuer(store: Store, keys: KeyStore) -> Issuer:
    from pystream.acl.store.issuing import Issuer

    return Issuer(store.viewers, keys)


def _streams(store: Store, places: Sequence[tuple[str, str]]) -> tuple[Tenant, list[Stream]]:
    tenants = {tenant for tenant, _ in places}
    if len(tenants) > 1:
        raise InvalidValue("the streams are of several tenants; a password is one tenant's")
    return store.tenant(places[0][0]), [store.stream(*place) for place in places]


def _tenant_and_stream(store: Store, place: tuple[str, str | None]) -> tuple[Tenant, Stream | None]:
    tenant, stream = place
    return store.tenant(tenant), None if stream is None else store.stream(tenant, stream)
