"""`pystream attendance event`: programmes that people attend, over streams and days."""

from __future__ import annotations

import argparse

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, count, duration
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.attendance.programmes import Event, EventSettings

_HELP = f"""\
usage: pystream attendance event add TENANT/EVENT --title TEXT --stream NAME
         --window FROM/TO [OPTION...]
       pystream attendance event list TENANT
       pystream attendance event show TENANT/EVENT
       pystream attendance event set TENANT/EVENT OPTION...
       pystream attendance event remove TENANT/EVENT
       pystream attendance event ACTION --help

An event is what people attend: a programme of windows and breaks, over several
streams and days, and what a time of it is worth. Reports are made of it
(pystream report TENANT/EVENT).

actions:
  add     add an event
  list    list a tenant's
  show    show one
  set     change one
  remove  remove one that has no sealed report

{_store.EXIT_CODES}
example:
  pystream attendance event add acme/heart-2031 --title "Heart 2031" \\
      --stream hall-a --stream hall-b --window 2031-05-16T09:00/12:30 \\
      --break 2031-05-16T10:30/10:45 --vnr 2760909012345678902
"""

_EPILOG = f"""\
FROM and TO are times of the tenant's time zone, as in 2031-05-16T18:00/19:30,
over midnight 2031-05-16T23:00/2031-05-17T00:30. They are kept as instants, with
the zone that they were written in. An hour that comes twice when the clock is
set back is meant whole.

NAME of a rounding:
  floor45        one point for each full 45 minutes (the default)
  ama_quarter    credits of 60 minutes, to the nearest quarter of an hour
  threshold_pct  no points: certified or not, at --threshold-pct
Below --threshold-pct or --least-minutes there are no points with any of them.

{_store.WHERE}
{_store.EXIT_CODES}"""


def run(words: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {"add": _add, "list": _list, "show": _show, "set": _set, "remove": _remove}
    return _store.dispatch("attendance event", _HELP, actions, words)


def place(text: str) -> tuple[str, str]:
    """An event, by tenant and name."""
    tenant, slash, name = text.partition("/")
    if not (tenant and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError("TENANT/EVENT is wanted")
    return tenant, name


def _parser(action: str, usage: str, description: str, *, changes: bool = True) -> Parser:
    by = "[--by NAME] " if changes else ""
    parser = Parser(
        f"attendance event {action}",
        usage=f"{usage}\n         {by}[--config FILE | --store URL] [--json]",
        description=description,
        epilog=_EPILOG if action in ("add", "set") else f"{_store.WHERE}\n{_store.EXIT_CODES}",
    )
    if action == "list":
        parser.add_argument("tenant", metavar="TENANT", help="the tenant")
    else:
        parser.add_argument("event", type=place, metavar="TENANT/EVENT", help="the event")
    _store.add_common(parser, changes=changes)
    return parser


_OPTIONS = """\
[--title TEXT] [--vnr NUMBER] [--stream NAME...]
         [--window FROM/TO...] [--break FROM/TO...] [--rounding NAME]
         [--threshold-pct P|none] [--least-minutes N|none]
         [--seal-after TIME] [--lookahead S|none] [--bridge MS|none]
         [--[no-]credit-outage]"""


def _add_settings(parser: Parser) -> None:
    group = parser.add_argument_group("what it is", argument_default=argparse.SUPPRESS)
    add = group.add_argument
    add("--title", metavar="TEXT", help="its name for people")
    add("--vnr", metavar="NUMBER", help="the chamber's number of the event")
    several: dict[str, Any] = {"action": "append", "metavar": "FROM/TO"}
    add(
        "--stream",
        dest="streams",
        action="append",
        metavar="NAME",
        help="a stream of it; may be repeated",
    )
    add("--window", dest="windows", help="a part of the programme; may be repeated", **several)
    add("--break", dest="breaks", help="no part of it; may be repeated", **several)
    add("--rounding", metavar="NAME", help="what time is worth, as below")
    add("--threshold-pct", type=_number, metavar="P", help="least part of the programme, in %%")
    add("--least-minutes", type=_number, metavar="N", help="least time, in minutes")
    add(
        "--seal-after",
        dest="seal_after_s",
        type=_delay,
        metavar="TIME",
        help="how long after its last day reports can be sealed, from 0s: evidence may come late (default:"
        " 24h)",
    )
    add(
        "--lookahead",
        dest="lookahead_s",
        type=_number,
        metavar="S",
        help="seconds by which film counts ahead of its delivery (default: 60)",
    )
    add(
        "--bridge",
        dest="bridge_ms",
        type=_number_or_zero,
        metavar="MS",
        help="holes of so many milliseconds are none (default: half of a segment)",
    )
    add(
        "--credit-outage",
        action=argparse.BooleanOptionalAction,
        help="whether reports say how much of an outage lay within somebody's attendance, which is part of"
        " no other number (default: no)",
    )


def _number(text: str) -> int | None:
    return None if text == "none" else count(text)


def _number_or_zero(text: str) -> int | None:
    return 0 if text == "0" else _number(text)


def _delay(text: str) -> int:
    return 0 if text in ("0", "0s", "0m", "0h", "0d") else duration(text)


_NAMES = (
    *("title", "vnr", "streams", "windows", "breaks", "rounding", "threshold_pct"),
    *("least_minutes", "seal_after_s", "lookahead_s", "bridge_ms", "credit_outage"),
)


def _given(options: argparse.Namespace, timezone: str) -> dict[str, Any]:
    """The settings that the command line has. Raises `InvalidValue`."""
    given = {name: value for name, value in vars(options).items() if name in _NAMES}
    for name, option in (("windows", "--window"), ("breaks", "--break")):
        if name in given:
            # Once `none` stands for no break at all.
            texts = [] if given[name] == ["none"] else given[name]
            given[name] = tuple(_span(option, text, timezone) for text in texts)
    if "streams" in given:
        given["streams"] = tuple(given["streams"])
    return given


def _span(option: str, text: str, timezone: str) -> tuple[int, int]:
    from pystream.attendance.programmes import span

    try:
        return span(text, timezone)
    except InvalidValue as error:
        raise InvalidValue(f"{option} {text}: {error}") from None


def _add(words: list[str]) -> int:
    parser = _parser(
        "add",
        f"TENANT/EVENT\n         {_OPTIONS}",
        "Adds an event. Title, stream and window are wanted.",
    )
    _add_settings(parser)
    options = parser.parse(words)
    missing = [name for name in ("title", "streams", "windows") if name not in vars(options)]
    if missing:
        parser.error("--title, --stream and --window are wanted")
    tenant, name = options.event
    try:
        with _store.open_store(options) as store:
            from pystream.attendance.programmes import EventSettings

            owner = store.tenant(tenant)
            zone = owner.settings.timezone
            settings = EventSettings(timezone=zone, **_given(options, zone))
            made = store.events.add(
                owner.id, name, settings, who=_store.who(options), now=_store.now()
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _doubt(parser, made)
    _store.report(options, _facts(tenant, made), f"event {tenant}/{name} is added")
    return 0


def _doubt(parser: Parser, event: Event) -> None:
    from pystream.attendance.programmes import is_vnr

    vnr = event.settings.vnr
    if vnr and not is_vnr(vnr):
        said = "a VNR of a German chamber has 19 digits, of which the last checks the others"
        _terminal.complain(parser.prog, f"warning: {vnr} is kept, though {said}")


def _set(words: list[str]) -> int:
    parser = _parser(
        "set",
        f"TENANT/EVENT\n         {_OPTIONS}",
        "Changes an event. --stream, --window and --break replace all that there were;\n"
        "--break none leaves none. Reports that were sealed stay as they are.",
    )
    _add_settings(parser)
    options = parser.parse(words)
    tenant, name = options.event
    try:
        with _store.open_store(options) as store:
            owner = store.tenant(tenant)
            zone = store.events.event(owner.id, name).settings.timezone
            changes = _given(options, zone)
            if not changes:
                parser.error("nothing to change is given")
            made = store.events.set(
                owner.id, name, changes, who=_store.who(options), now=_store.now()
            )
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    if "vnr" in changes:
        _doubt(parser, made)
    _store.report(options, _facts(tenant, made), f"event {tenant}/{name} is changed")
    return 0


def _remove(words: list[str]) -> int:
    parser = _parser(
        "remove", "TENANT/EVENT", "Removes an event. One that has a sealed report stays."
    )
    options = parser.parse(words)
    tenant, name = options.event
    with _store.open_store(options) as store:
        owner = store.tenant(tenant)
        store.events.remove(owner.id, name, who=_store.who(options), now=_store.now())
    facts = {"tenant": tenant, "name": name, "removed": True}
    _store.report(options, facts, f"event {tenant}/{name} is removed")
    return 0


def _list(words: list[str]) -> int:
    parser = _parser("list", "TENANT", "Lists a tenant's events, by name.", changes=False)
    options = parser.parse(words)
    with _store.open_store(options) as store:
        events = store.events.listed(store.tenant(options.tenant).id)
    if options.json:
        _store.print_json({"events": [_facts(options.tenant, each) for each in events]})
        return 0
    rows = []
    for each in events:
        facts = _facts(options.tenant, each)
        first = facts["windows"][0] if facts["windows"] else ""
        row = [each.name, each.settings.title, each.settings.vnr, first]
        rows.append([*row, " ".join(each.settings.streams)])
    _store.show_table(
        [(title, "left") for title in ("event", "title", "VNR", "begins", "streams")], rows
    )
    return 0


def _show(words: list[str]) -> int:
    parser = _parser("show", "TENANT/EVENT", "Shows an event.", changes=False)
    options = parser.parse(words)
    tenant, name = options.event
    with _store.open_store(options) as store:
        event = store.events.event(store.tenant(tenant).id, name)
    facts = _facts(tenant, event)
    if options.json:
        _store.print_json(facts)
        return 0
    with _terminal.output():
        for title, value in facts.items():
            shown = ", ".join(value) if isinstance(value, list) else _store.plain(value)
            print(f"{title:<14} {shown or 'none'}")
    return 0


def _facts(tenant: str, event: Event) -> dict[str, Any]:
    from pystream.attendance.programmes import programme_ms, written

    settings: EventSettings = event.settings

    def spans(of: tuple[tuple[int, int], ...]) -> list[str]:
        return [written(span, settings.timezone) for span in sorted(of)]

    return {
        "tenant": tenant,
        "name": event.name,
        "title": settings.title,
        "vnr": settings.vnr,
        "streams": list(settings.streams),
        "timezone": settings.timezone,
        "windows": spans(settings.windows),
        "breaks": spans(settings.breaks),
        "programme_s": programme_ms(settings.windows, settings.breaks) // 1000,
        "rounding": settings.rounding,
        "threshold_pct": settings.threshold_pct,
        "least_minutes": settings.least_minutes,
        "seal_after_s": settings.seal_after_s,
        "lookahead_s": settings.lookahead_s,
        "bridge_ms": settings.bridge_ms,
        "credit_outage": settings.credit_outage,
    }
