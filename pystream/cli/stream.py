"""`pystream stream`: what a server offers."""

from __future__ import annotations

import argparse
import os

from pystream.cli import _arguments, _store, _terminal
from pystream.cli._arguments import Parser, seconds
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pystream.acl.audit import Entry
    from pystream.acl.store import Store
    from pystream.acl.streams import Stream, StreamSettings
    from pystream.server.settings import Settings

_HELP = f"""\
usage: pystream stream add TENANT/STREAM --source PATH... [SETTING...]
       pystream stream list [TENANT]
       pystream stream set TENANT/STREAM SETTING...
       pystream stream remove TENANT/STREAM
       pystream stream changes TENANT[/STREAM]
       pystream stream embed TENANT/STREAM --url URL
       pystream stream end TENANT/STREAM
       pystream stream ACTION --help

A stream is a film at /TENANT/STREAM/ of the server, made from one MP4 file or
several: a ladder of renditions, and audio. It is packaged when it is watched.

actions:
  add      add a stream
  list     list the streams that are there
  set      change a stream's settings
  remove   take a stream away; what was sent of it stays on record
  changes  tell who changed what, and when
  embed    print the HTML that shows its page on a site
  end      end all of its sessions: who watches has to come in anew

{_store.EXIT_CODES}
examples:
  pystream stream add acme/launch --source launch.mp4 --encryption aes-128
  pystream stream set acme/launch --download --download-rate 20M
  pystream stream changes acme/launch
"""

_USAGE = """TENANT/STREAM {source} [--title TEXT]
         [--format ts|fmp4] [--segment-duration SECONDS]
         [--access open|shared|personal|signed|external] [--max-devices N]
         [--device-mode reject_new|kick_oldest] [--session HOURS] [--idle HOURS]
         [--encryption none|aes-128|aes-128-per-viewer] [--rotate-every N]
         [--cache private|shared] [--pace FACTOR] [--max-viewers N]
         [--[no-]download] [--download-source PATH] [--download-rate RATE]
         [--origin ORIGIN...] [--embed-origin ORIGIN...] [--[no-]embed-lock]
         [--opens DATE] [--closes DATE] [--network CIDR...] [--country CC...]
         [--[no-]allow-no-referrer]
         [--country-denied CC...] [--[no-]allow-unknown-country]
         [--[no-]attendance] [--[no-]skip] [--[no-]beacons]
         [--[no-]require-visible] [--check-minutes MINUTES]
         [--[no-]own-count] [--maximum] [--unchecked]
         [--by NAME] [--config FILE | --store URL] [--json]"""

_NOTES = f"""\
Sources are opened and planned first, so that what cannot be packaged is refused
now; --unchecked leaves that out, where the files lie on another machine only.

With --cache shared, encrypted media can be fetched without a grant, so that a
CDN may keep it. It excludes per-viewer keys and a pace (--pace off).

--maximum is all that protects a film: --access personal --max-devices 1
--encryption aes-128-per-viewer --cache private --pace 2 --embed-lock
--no-download. What other options say beside it counts. It is a bundle and no
access of its own, so that each of its settings can be seen, and changed by
itself.

--attendance is of passwords of each viewer's own, or of those whom links and
tokens name. The text of what it is for: pystream attendance purpose.

--no-skip is of --access personal with --attendance: beyond what each password
could have watched in real time, on all devices together, and one minute ahead
of that, the server gives nothing. Going back is free. --skip takes it away.

--beacons is for attendance as well: what players say only narrows it, and can
be made up. From then on what no player has said does not count: reports are
made by what is set when they are made, so it is set before an event begins.
--require-visible and --check-minutes need it.

--own-count is for attendance, too: the page shows each viewer how many minutes
count so far, of those that the event asks for, and why none do just now.

Countries are looked up in the database that geo.database of the settings names.

The pace is of a link: one minute of the film at once, two for seeking, and from
then on FACTOR seconds a second. A quarter of what of that is above 1 is for
seeking, too: who plays on gets 1.75 of 2, and the page offers no more. Who may
open many links may have it faster.

One password for N devices lets in 30 times at once and 10 times a minute (3 N
and N, where that is more); one for any number, 20,000 times and 120 times a
minute from one network.

An option that can be repeated replaces all there was. `none` takes the value
away: --max-viewers none, --origin none.

{_store.WHERE}
{_store.EXIT_CODES}"""

# The option's name on the command line is another one than the setting's.
_SETTINGS = (
    *("sources", "title", "format", "segment_duration_ms", "access", "encryption", "rotate_every"),
    *("cache", "pace", "download", "download_source", "download_rate_bps", "origins"),
    *("embed_origins", "max_viewers", "max_devices", "device_mode", "session_s", "idle_s"),
    *("opens_at", "closes_at", "networks", "countries", "countries_denied"),
    *(
        "allow_unknown_country",
        "embed_lock",
        "allow_no_referrer",
        "attendance",
        "no_skip",
        "beacons",
    ),
    *("require_visible", "check_minutes", "own_count"),
)


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {
        "add": _add,
        "list": _list,
        "set": _set,
        "remove": _remove,
        "changes": _changes,
        "embed": _embed,
        "end": _end,
    }
    return _store.dispatch("stream", _HELP, actions, arguments)


def _add(words: list[str]) -> int:
    parser = Parser(
        "stream add",
        usage=_USAGE.format(source="--source PATH..."),
        description="Adds a stream. Its name has 1 to 63 small letters, digits and hyphens, and\n"
        "cannot be changed.",
        epilog=_NOTES,
    )
    _add_settings(parser)
    options = parser.parse(words)
    if "sources" not in options:
        parser.error("--source is required")
    tenant, name = options.stream
    try:
        from pystream.acl.streams import StreamSettings, check, check_stream_name

        check_stream_name(name)
        # What is wrong is told before there is a store, whatever the tenant's time zone.
        check(StreamSettings(**_given(options, "UTC")))
        with _store.open_store(options) as store:
            # A tenant that is not there is told before films are opened.
            zone = store.tenant(tenant).settings.timezone
            wanted = StreamSettings(**_given(options, zone))
            notices = () if options.unchecked else _plan(wanted)
            stream = store.add_stream(
                tenant, name, wanted, who=_store.who(options), now=_store.now()
            )
            is_opened = _is_opened(store, stream)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _terminal.warn("pystream stream", notices)
    found = _settings(options)
    _warn_of_countries(found, stream)
    place = f"{found.server.path_prefix if found else ''}/{tenant}/{name}/"
    said = f"stream {place} is added: a page, and {place}master.m3u8 for other players"
    said += _told_of_download(stream) + _told_of_access(stream, is_opened=is_opened)
    _store.report(options, _facts(stream), said + _told_of_address(found, place))
    return 0


def _set(words: list[str]) -> int:
    parser = Parser(
        "stream set",
        usage=_USAGE.format(source="[--source PATH...]"),
        description="Changes what the options name; all else stays as it is.",
        epilog=_NOTES,
    )
    _add_settings(parser)
    options = parser.parse(words)
    tenant, name = options.stream
    notices: Any = ()
    try:
        from pystream.acl.streams import changed, check

        if not _given(options, "UTC"):
            parser.error("no setting is given")
        with _store.open_store(options) as store:
            changes = _given(options, store.tenant(tenant).settings.timezone)
            wanted = changed(store.stream(tenant, name).settings, changes)
            check(wanted)
            if not options.unchecked and {"sources", "format", "segment_duration_ms"} & set(
                changes
            ):
                notices = _plan(wanted)
            stream = store.set_stream(
                tenant, name, changes, who=_store.who(options), now=_store.now()
            )
            is_opened = _is_opened(store, stream)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _terminal.warn("pystream stream", notices)
    _warn_of_countries(_settings(options), stream)
    said = f"stream /{tenant}/{name}/ is set{_told_of_download(stream)}"
    if {"access", "max_devices"} & set(changes):
        said += _told_of_access(stream, is_opened=is_opened)
    _store.report(options, _facts(stream), said)
    return 0


def _remove(words: list[str]) -> int:
    parser = Parser(
        "stream remove",
        usage="TENANT/STREAM [--by NAME]\n         [--config FILE | --store URL] [--json]",
        description="Takes a stream away. The files stay, and so does what was sent of it; the name\n"
        "is free for another stream. As long as a sealed report of one of its days is\n"
        "held (pystream report --hold) it stays.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    parser.add_argument("stream", type=_store.place, metavar="TENANT/STREAM", help="the stream")
    _store.add_common(parser, changes=True)
    options = parser.parse(words)
    tenant, name = options.stream
    try:
        with _store.open_store(options) as store:
            store.remove_stream(tenant, name, who=_store.who(options), now=_store.now())
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _store.report(options, {"tenant": tenant, "name": name}, f"stream /{tenant}/{name}/ is removed")
    return 0


def _list(words: list[str]) -> int:
    parser = Parser(
        "stream list",
        usage="[TENANT] [--config FILE | --store URL] [--json]",
        description="Lists all streams that are there, or a tenant's, by name. What is as usual of\n"
        "all of them is left out; --json has everything.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    parser.add_argument("tenant", nargs="?", metavar="TENANT", help="only this tenant's")
    _store.add_common(parser, changes=False)
    options = parser.parse(words)
    with _store.open_store(options) as store:
        streams = store.streams(options.tenant)
    if options.json:
        _store.print_json({"streams": [_facts(stream) for stream in streams]})
        return 0
    titles = (
        *("stream", "title", "access", "encryption", "format", "cache", "download"),
        *("conditions", "sources"),
    )
    _store.show_telling(titles, [_row(stream) for stream in streams], _USUAL)
    return 0


def _changes(words: list[str]) -> int:
    parser = Parser(
        "stream changes",
        usage="TENANT[/STREAM]\n         [--config FILE | --store URL] [--json]",
        description="Tells who changed what and when, the oldest first: of a tenant and its\n"
        "streams, or of all streams that ever had the name.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    parser.add_argument("name", metavar="TENANT[/STREAM]", help="the tenant, or the stream")
    _store.add_common(parser, changes=False)
    options = parser.parse(words)
    tenant, _, name = options.name.partition("/")
    with _store.open_store(options) as store:
        changes = store.changes(tenant, name or None)
    if options.json:
        _store.print_json({"changes": [_change_facts(change) for change in changes]})
        return 0
    for change in changes:
        place = f"{change.tenant}/{change.stream}" if change.stream else change.tenant
        told = _store.told_of(change.values)
        print(f"{_store.moment(change.at)} {change.who} {place}: {told}")
    return 0


def _embed(words: list[str]) -> int:
    parser = Parser(
        "stream embed",
        usage="TENANT/STREAM --url URL\n         [--config FILE | --store URL] [--json]",
        description="Prints the HTML that shows a stream's page on a site. That site has to be one\n"
        "of --embed-origin (pystream stream set), or browsers show nothing. Where\n"
        "passwords or tokens open the stream, a script in it hands on what stands behind\n"
        "the # of the page's address, as cards have it, to the player in the frame.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}\nexample:\n"
        "  pystream stream embed acme/launch \\\n"
        "      --url https://video.example.org/acme/launch/",
    )
    parser.add_argument("stream", type=_store.place, metavar="TENANT/STREAM", help="the stream")
    parser.add_argument(
        "--url",
        required=True,
        type=_arguments.address,
        metavar="URL",
        help="of its page, as viewers reach it",
    )
    _store.add_common(parser, changes=False)
    options = parser.parse(words)
    with _store.open_store(options) as store:
        stream = store.stream(*options.stream)
    from pystream.server.office.embedding import code

    _arguments.check_page(parser, options.url, options.stream)
    html, sites = code(options.url, stream), stream.settings.embed_origins
    if not sites:
        place = f"{stream.tenant}/{stream.name}"
        _terminal.complain(
            parser.prog,
            f"warning: no site may embed {place} yet: pystream stream set {place} --embed-origin"
            " ORIGIN",
        )
    facts = {"url": options.url, "html": html, "embed_origins": list(sites)}
    _store.report(options, facts, html)
    return 0


def _end(words: list[str]) -> int:
    parser = Parser(
        "stream end",
        usage="TENANT/STREAM [--by NAME]\n         [--config FILE | --store URL] [--json]",
        description="Ends all sessions of a stream: who watches is stopped within one segment, and\n"
        "has to come in anew.",
        epilog=f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    parser.add_argument("stream", type=_store.place, metavar="TENANT/STREAM", help="the stream")
    _store.add_common(parser, changes=True)
    options = parser.parse(words)
    tenant, name = options.stream
    with _store.open_store(options) as store:
        stream = store.stream(tenant, name)
        store.viewers.end_sessions(
            stream.tenant_id, stream.id, who=_store.who(options), now=_store.now()
        )
    said = f"the sessions of /{tenant}/{name}/ are ended"
    _store.report(options, {"tenant": tenant, "name": name}, said)
    return 0


# Arguments


def _add_settings(parser: Parser) -> None:
    parser.add_argument("stream", type=_store.place, metavar="TENANT/STREAM", help="the stream")
    group = parser.add_argument_group("settings", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add(
        "--source",
        dest="sources",
        action="append",
        type=_source,
        metavar="PATH",
        help="an MP4 file; once more for each further one",
    )
    add("--title", metavar="TEXT", help="what the page calls it")
    add("--format", metavar="ts|fmp4", help="of the segments (default: ts)")
    add(
        "--segment-duration",
        dest="segment_duration_ms",
        type=_milliseconds,
        metavar="SECONDS",
        help="how long segments are meant to be (default: 6)",
    )
    add(
        "--access",
        metavar="WHO",
        help="who may watch: open, all who know the address (default); shared, who types one password"
        " for all; personal, who types one of their own (pystream password); signed, who has a link of"
        " the customer's site; external, whom that site lets in (pystream verifier)",
    )
    add(
        "--max-devices",
        type=_store.count_or_none,
        metavar="N",
        help="how many may watch with one personal password at a time (default: none)",
    )
    add(
        "--device-mode",
        metavar="MODE",
        help="what happens to one more: reject_new (default), or kick_oldest",
    )
    add(
        "--session",
        dest="session_s",
        type=_hours,
        metavar="HOURS",
        help="when a viewer has to come in anew (default: 6, or an hour more than the film lasts)",
    )
    add(
        "--idle",
        dest="idle_s",
        type=_hours_or_none,
        metavar="HOURS",
        help="how long nothing may be asked for until a session ends (default: 4)",
    )
    add(
        "--encryption",
        metavar="METHOD",
        help="none (default), aes-128, or aes-128-per-viewer: keys of each viewer's own",
    )
    add(
        "--rotate-every",
        type=_store.count_or_none,
        metavar="N",
        help="a fresh key each N segments (default: none)",
    )
    add("--cache", metavar="private|shared", help="whether a CDN may keep media (default: private)")
    add(
        "--pace",
        type=_pace,
        metavar="FACTOR",
        help="how many times faster than it plays it is sent; its first minute goes out at once."
        " off: all as fast as can be (default: 2)",
    )
    add(
        "--max-viewers",
        type=_store.count_or_none,
        metavar="N",
        help="how many may watch at a time (default: none)",
    )
    add(
        "--download",
        action=argparse.BooleanOptionalAction,
        help="whether the film can be had as one MP4 file, at /TENANT/STREAM/download.mp4 and by a button"
        " of its page: the same packets with the index in front, so not the same bytes (default: no)",
    )
    add(
        "--download-source",
        type=_source_or_none,
        metavar="PATH",
        help="which one of several sources that is",
    )
    add(
        "--download-rate",
        dest="download_rate_bps",
        type=_store.rate,
        metavar="RATE",
        help="bits a second of one download, as in 20M (default: none)",
    )
    for option, dest, what in (
        ("--origin", "origins", "a web site whose scripts may fetch it (CORS)"),
        ("--embed-origin", "embed_origins", "a web site that may show its page in a frame"),
    ):
        add(
            option,
            dest=dest,
            action="append",
            metavar="ORIGIN",
            help=f"{what}, as in https://www.example.org, or '*'",
        )
    add(
        "--embed-lock",
        action=argparse.BooleanOptionalAction,
        help="whether it is shown on these sites only, and where none is named, on its own page"
        " (default: no)",
    )
    add(
        "--allow-no-referrer",
        action=argparse.BooleanOptionalAction,
        help="whether players that name no site, as apps and television sets do, may play it all the same"
        " (default: no)",
    )
    for option, dest, what in (
        (
            "--opens",
            "opens_at",
            "when it can be watched from, as in 2031-05-01 or '2031-05-01 18:00'",
        ),
        ("--closes", "closes_at", "until when; a date without a time is until its end"),
    ):
        add(option, dest=dest, type=_date, metavar="DATE", help=f"{what} (default: none)")
    for option, dest, metavar, what in (
        ("--network", "networks", "CIDR", "where viewers may be, as in 192.0.2.0/24"),
        ("--country", "countries", "CC", "the same, as in DE (ISO 3166-1)"),
        ("--country-denied", "countries_denied", "CC", "where they may not be"),
    ):
        add(option, dest=dest, action="append", metavar=metavar, help=f"{what} (default: none)")
    add(
        "--allow-unknown-country",
        action=argparse.BooleanOptionalAction,
        help="whether to let in whose country is not known (default: no)",
    )
    add(
        "--attendance",
        action=argparse.BooleanOptionalAction,
        help="whether it is recorded how long each password has watched, once the tenant has accepted what"
        " for (default: no)",
    )
    # Of a name that begins with "no", BooleanOptionalAction makes a no, however it is written.
    add(
        "--no-skip",
        action="store_const",
        const=True,
        help="viewers get no more of the film than they could have watched so far",
    )
    add(
        "--skip",
        dest="no_skip",
        action="store_const",
        const=False,
        help="viewers go where they like in it (default)",
    )
    add(
        "--beacons",
        action=argparse.BooleanOptionalAction,
        help="whether the page says what it plays, which narrows attendance (default: no)",
    )
    add(
        "--require-visible",
        action=argparse.BooleanOptionalAction,
        help="whether what plays in a hidden page counts for nothing (default: no)",
    )
    add(
        "--check-minutes",
        type=_store.count_or_none,
        metavar="MINUTES",
        help="minutes in each of which the page asks once, at a moment that nobody can foresee, whether"
        " somebody is there: 5 to 240 (default: none)",
    )
    add(
        "--own-count",
        action=argparse.BooleanOptionalAction,
        help="whether each viewer sees how much of the own attendance counts so far (default: no)",
    )
    add(
        "--maximum",
        action="store_true",
        help="all that protects a film, as below",
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="do not open the sources to see whether they fit"
    )
    _store.add_common(parser, changes=True)


def _source(text: str) -> str:
    if text == "live":
        raise argparse.ArgumentTypeError("live streams are not there yet; an MP4 file is wanted")
    return os.path.abspath(text)


def _source_or_none(text: str) -> str | None:
    return None if text == "none" else _source(text)


def _milliseconds(text: str) -> int:
    return round(seconds(text) * 1000)


def _date(text: str) -> str | None:
    """A time as lists of passwords have it; its zone is the tenant's, who is not known yet."""
    if text == "none":
        return None
    from pystream.acl.password_csv import moment

    try:
        moment(text, "UTC", end=False)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _hours(text: str) -> int:
    """Seconds. How many there may be is for the setting to say."""
    try:
        return round(3600 * float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("a number of hours is wanted, as in 6 or 0.5") from None


def _hours_or_none(text: str) -> int | None:
    return None if text == "none" else _hours(text)


def _pace(text: str) -> float | None:
    if text in ("off", "none"):
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a number from 1 to 1000 is wanted, or off") from None


def _given(options: argparse.Namespace, timezone: str) -> dict[str, Any]:
    """The settings that the command line names; times are meant in a time zone."""
    from pystream.acl.password_csv import moment
    from pystream.acl.streams import MAXIMUM

    given = dict(MAXIMUM) if "maximum" in options else {}
    given |= {name: getattr(options, name) for name in _SETTINGS if name in options}
    for name, end in (("opens_at", False), ("closes_at", True)):
        if given.get(name) is not None:
            given[name] = moment(given[name], timezone, end=end)
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = () if value == ["none"] else tuple(value)
    return given


def _plan(settings: StreamSettings) -> tuple[Any, ...]:
    """What packaging the sources would have to say. Raises what it cannot do."""
    import pystream

    presentation = pystream.plan(
        [pystream.open(source) for source in settings.sources],
        format=settings.format,
        segment_duration=settings.segment_duration_ms / 1000,
    )
    return tuple(presentation.notices)


# Results

_OPENERS = {
    "shared": "`pystream password add {} --shared` makes passwords",
    "personal": "`pystream password add {}` makes passwords",
    "signed": "`pystream verifier add {} --kind link`, or another kind, says which links are right",
    "external": "`pystream verifier add {} --kind jwt`, or another kind, says who is let in",
}


def _told_of_download(stream: Stream) -> str:
    path = _download_path(stream)
    return "" if path is None else f"; {path} is the film as one MP4 file"


def _is_opened(store: Store, stream: Stream) -> bool:
    access = stream.settings.access
    return access == "open" or store.viewers.has_entrance(
        stream.tenant_id, stream.id, access, _store.now()
    )


def _told_of_access(stream: Stream, *, is_opened: bool) -> str:
    """What still has to be done, or does nothing."""
    settings, place = stream.settings, f"{stream.tenant}/{stream.name}"
    told = ""
    if not is_opened:
        told += f"; nobody can come in until {_OPENERS[settings.access].format(place)}"
    if settings.max_devices is not None and settings.access in ("open", "shared"):
        told += f"; --max-devices does nothing while it is {settings.access}: it is of passwords of"
        told += " each viewer's own"
    return told


def _settings(options: argparse.Namespace) -> Settings | None:
    """Those of the server, unless only its store is named: they may be on another machine then."""
    from pystream.server import settings

    if options.store is not None:
        return None
    return settings.load(options.config or settings.find(os.environ), os.environ)


def _warn_of_countries(found: Settings | None, stream: Stream) -> None:
    from pystream.acl.streams import bound_to_countries

    if found is None or found.geo.knows_countries or not bound_to_countries(stream.settings):
        return
    said = (
        "geo.database of the settings names no database of countries, so no viewer has a known one"
    )
    _terminal.complain(_terminal.program, f"warning: {stream.tenant}/{stream.name}: {said}")


def _told_of_address(found: Settings | None, place: str) -> str:
    """Where the page is, if the server is one of this machine's and of these settings."""
    if found is None:
        return ""
    ports = [("https", each) for each in found.tls.listen]
    ports += [("http", each) for each in found.server.listen]
    for scheme, each in ports:
        if not each.path:
            host = (
                "localhost" if each.host in ("*", "0.0.0.0", "::") else str(each).rpartition(":")[0]
            )
            return f". With `pystream serve` here: {scheme}://{host}:{each.port}{place}"
    return ""


def _download_path(stream: Stream) -> str | None:
    return f"/{stream.tenant}/{stream.name}/download.mp4" if stream.settings.download else None


def _facts(stream: Stream) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "tenant": stream.tenant,
        "name": stream.name,
        "path": f"/{stream.tenant}/{stream.name}/",
        "download_path": _download_path(stream),
        "id": str(stream.id),
        **asdict(stream.settings),
        "created_at": _store.moment(stream.created_at),
        "revision": stream.revision,
    }


_USUAL = ("", "none", "ts", "private", "no")


def _row(stream: Stream) -> list[str]:
    settings = stream.settings
    first, *others = settings.sources
    more = f" and {len(others)} more" if others else ""
    return [
        *(f"{stream.tenant}/{stream.name}", settings.title, settings.access, settings.encryption),
        *(settings.format, settings.cache, "yes" if settings.download else "no"),
        *("; ".join(_conditions(settings)) or "none", f"{first}{more}"),
    ]


def _conditions(settings: StreamSettings) -> Iterator[str]:
    """When, where and on which sites, a phrase each."""
    if settings.opens_at is not None:
        yield f"from {_store.moment(settings.opens_at)}"
    if settings.closes_at is not None:
        yield f"until {_store.moment(settings.closes_at)}"
    if settings.networks:
        yield _terminal.counted(len(settings.networks), "network")
    if settings.countries:
        yield " ".join(settings.countries)
    if settings.countries_denied:
        yield f"not {' '.join(settings.countries_denied)}"
    if settings.embed_lock:
        yield "its sites only"


def _change_facts(change: Entry) -> dict[str, Any]:
    return {
        "at": _store.moment(change.at),
        "who": change.who,
        "tenant": change.tenant,
        "stream": change.stream,
        "values": {
            name: {"old": before, "new": after} for name, (before, after) in change.values.items()
        },
    }
