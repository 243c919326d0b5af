"""Viewers' passwords: listed, made, imported, printed, ended. Each view of them is on record.

What is made is shown on a page of its own (`sheet`), which is found by the stream and the second of its
making: to load it again makes nothing. A long one has several such pages, and cards are those of a page. The
list of a stream's passwords leads to those that were made last, by the audit log, so that what was printed
once can be printed again. What ends passwords asks first, on a page that a form leads to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from pystream.acl import password_csv
from pystream.acl.audit import Kind
from pystream.acl.passwords import OVER, THERE, PasswordSettings, canonical, generate, is_over
from pystream.acl.people import Actor, Right
from pystream.acl.store.issuing import Shown, check_count
from pystream.acl.streams import Stream, is_elsewhere_alone
from pystream.errors import Exists, InvalidValue, NotFound, Said
from pystream.server.http import HttpError
from pystream.server.office import console, embedding
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

MOST_AT_ONCE = 2000
_PAGE = 100
_SEARCHED = 20_000
_PREVIEWED = 20
_WARNED = 100
_MOST_SHEETS = 20
# So far back they are looked for: what else was changed of a stream is told between them.
_MOST_ENTRIES = 500
_CHANGED = ("label", "valid_from", "valid_until", "max_devices")
_TAKES_PASSWORDS = ("personal", "shared")


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    query = request.query
    stream, after = _stream(office, actor, query.get("stream", "")), _whole(query.get("after", "0"))
    return _listed(office, actor, request, stream, after, done=query.get("done"))


def search(office: Office, actor: Actor, request: Request) -> Reply:
    """What is searched for is a password or a label, and comes in a form: addresses are kept by browsers
    and logged on the way."""
    form = request.form
    name, text = form.get("stream", ""), form.get("search", "").strip()
    if not text:
        return console.to(request, f"/console/passwords?{_query(stream=name)}")
    stream = _stream(office, actor, name)
    found, is_all = _searched(office, actor, stream, text)
    searched = None if is_all else _SEARCHED
    return _list(office, actor, request, stream, found, search=text, searched=searched)


def _listed(
    office: Office,
    actor: Actor,
    request: Request,
    stream: Stream | None,
    after: int = 0,
    status: int = 200,
    **values: Any,
) -> Reply:
    """A page of all, or of those of one stream."""
    id = stream.id if stream else None
    page = office.issuer.page(actor.tenant_id, id, after=after, most=_PAGE + 1)
    found = page[:_PAGE]
    if len(page) > _PAGE:
        name = stream.name if stream else ""
        values["next"] = _query(stream=name, after=str(found[-1].number))
    return _list(office, actor, request, stream, found, status, after=after, **values)


def _list(
    office: Office,
    actor: Actor,
    request: Request,
    stream: Stream | None,
    found: Sequence[Shown],
    status: int = 200,
    **values: Any,
) -> Reply:
    _record(office, actor, stream, len(found))
    usual: dict[str, Any] = {
        "streams": _streams(office, actor),
        "stream": stream,
        "search": "",
        "url": stream and _card_url(request, stream),
        "at": None,
        "ids": (),
        "sheets": _sheets(office, actor, stream) if stream else [],
        "rows": _rows(office, actor, found),
        "after": 0,
        "next": None,
        "searched": None,
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "passwords.html", status, **usual | values)


def _sheets(office: Office, actor: Actor, stream: Stream) -> list[tuple[int, int]]:
    """When passwords of a stream were added, and how many then, the last ones first."""
    entries = office.store.audit.entries(
        actor.tenant_id, stream=stream.name, kinds={Kind.CHANGE}, most=_MOST_ENTRIES
    )
    counts = Counter[int]()
    for each in entries:
        if "passwords_added" in each.values and each.at >= stream.created_at:
            counts[each.at] += each.values["passwords_added"][1]
    return list(counts.items())[:_MOST_SHEETS]


def _searched(
    office: Office, actor: Actor, stream: Stream | None, text: str
) -> tuple[list[Shown], bool]:
    """Passwords with a text in them or in their labels, a page of them at most; and whether all were
    looked at. They lie sealed, so one after another has to be opened; a whole password is found at
    once."""
    try:
        whole = office.issuer.find(actor.tenant_id, text)
        form = canonical(text)
    except InvalidValue:
        whole, form = None, ""
    if whole is not None:
        return office.issuer.shown(actor.tenant_id, [whole.id]), True
    wanted, found = text.casefold(), list[Shown]()
    for number, each in enumerate(
        office.issuer.listed(actor.tenant_id, stream.id if stream else None)
    ):
        if number >= _SEARCHED:
            return found, False
        if wanted in (each.label or "").casefold() or (form and form in _form(each)):
            found.append(each)
            if len(found) == _PAGE:
                return found, False
    return found, True


def _form(shown: Shown) -> str:
    return canonical(shown.text) if shown.text else ""


# Making


def new(office: Office, actor: Actor, request: Request) -> Reply:
    return _new(office, actor, request, {"stream": request.query.get("stream", ""), "count": "10"})


def create(office: Office, actor: Actor, request: Request) -> Reply:
    form, now = request.form, office.now()
    try:
        stream = _opened(office, actor, form.get("stream", ""))
        count = _count("count", form.get("count", ""), MOST_AT_ONCE) or 1
        settings = _settings(office, actor, form)
        if is_over(settings, now):
            raise InvalidValue(OVER)
        office.issuer.add(
            actor.tenant_id,
            [stream.id],
            [(generate(), settings) for _ in range(count)],
            who=actor.who,
            now=now,
            shared=stream.settings.access == "shared",
        )
    except InvalidValue as error:
        return _new(office, actor, request, form, 422, said=error.problems)
    return console.to(
        request, f"/console/passwords/sheet?{_query(stream=stream.name, at=str(now))}"
    )


def _new(
    office: Office,
    actor: Actor,
    request: Request,
    form: Mapping[str, str],
    status: int = 200,
    **values: Any,
) -> Reply:
    empty = dict.fromkeys(("count", "label", "valid_from", "valid_until", "max_devices"), "")
    values |= {
        "form": {"stream": "", **empty, **form},
        "streams": _takers(office, actor),
        "most": MOST_AT_ONCE,
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "new_passwords.html", status, **values)


def sheet(office: Office, actor: Actor, request: Request) -> Reply:
    """What was made in one second, as a list to be printed, a page of it."""
    query = request.query
    stream = office.store.stream(actor.tenant, query.get("stream", ""))
    at, after = _whole(query.get("at", "")), _whole(query.get("after", "0"))
    return _sheet(office, actor, request, stream, at, after)


def _sheet(
    office: Office,
    actor: Actor,
    request: Request,
    stream: Stream,
    at: int,
    after: int,
    status: int = 200,
    **values: Any,
) -> Reply:
    page = office.issuer.made(actor.tenant_id, stream.id, at, MOST_AT_ONCE + 1, after=after)
    found = page[:MOST_AT_ONCE]
    if not found:
        raise HttpError(404, Said("none-made", "no password was made then"))
    if len(page) > MOST_AT_ONCE:
        last = str(found[-1].number)
        values["next"] = _query(stream=stream.name, at=str(at), after=last)
    _record(office, actor, stream, len(found))
    usual: dict[str, Any] = {
        "stream": stream,
        "at": at,
        "after": after,
        "next": None,
        "most": MOST_AT_ONCE,
        "rows": _rows(office, actor, found),
        "ids": (),
        "address": _card_url(request, stream),
        "url": _card_url(request, stream),
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "sheet.html", status, **usual | values)


def cards(office: Office, actor: Actor, request: Request) -> Reply:
    """A PDF of the cards of what was selected, of a page of what was made in one second, or of all that
    lets in now or later. Where it cannot be, the page from which it was asked for, which says why; and
    first for a selection, a page that asks where its cards lead."""
    form, ids = request.form, _picked(request.form)
    if "url" not in form and not ids:
        back = _query(stream=form.get("stream", ""), done="nothing_selected")
        return console.to(request, f"/console/passwords?{back}")
    if "url" not in form:
        return _asked(office, actor, request, ids)
    stream = office.store.stream(actor.tenant, form.get("stream", ""))
    try:
        data = _printed(office, actor, request, stream)
    except InvalidValue as error:
        again: dict[str, Any] = {"said": error.problems, "url": form.get("url", "")}
        if ids:
            return _of_selected(request, actor, stream, ids, 422, **again)
        if form.get("at"):
            at, after = _whole(form["at"]), _after(form)
            return _sheet(office, actor, request, stream, at, after, 422, **again)
        return _listed(office, actor, request, stream, status=422, **again)
    return pages.file(f"{stream.name}-cards.pdf", "application/pdf", data)


def _asked(office: Office, actor: Actor, request: Request, ids: Sequence[int]) -> Reply:
    stream = _stream(office, actor, request.form.get("stream", ""))
    if stream is None:
        opened = [each.password.streams for each in office.issuer.shown(actor.tenant_id, ids)]
        common = frozenset[int].intersection(*opened) if opened else frozenset[int]()
        stream = next((each for each in _streams(office, actor) if each.id in common), None)
    if stream is None:
        text = "the passwords that are selected open different streams: choose one stream first"
        said = [Said("cards-streams", text)]
        return _listed(office, actor, request, None, status=422, said=said)
    return _of_selected(request, actor, stream, ids, url=_card_url(request, stream))


def _of_selected(
    request: Request,
    actor: Actor,
    stream: Stream,
    ids: Sequence[int],
    status: int = 200,
    **values: Any,
) -> Reply:
    values |= {"stream": stream, "ids": ids, "at": None}
    return pages.page(request, actor, "selected_cards.html", status, **values)


def _card_url(request: Request, stream: Stream) -> str:
    """Where cards lead, unless they say otherwise; nothing where the stream's page is no place to go to."""
    if is_elsewhere_alone(stream.settings):
        return ""
    return embedding.page_url(request, stream.tenant, stream.name)


def _after(form: Mapping[str, str]) -> int:
    return _whole(form.get("after") or "0")


def _printed(office: Office, actor: Actor, request: Request, stream: Stream) -> bytes:
    """Raises `InvalidValue`."""
    form, url = request.form, request.form.get("url", "").strip()
    own = embedding.page_url(request, stream.tenant, stream.name)
    if url == own and is_elsewhere_alone(stream.settings):
        text = "the stream is shown on other sites only: the address of a page that embeds it is wanted"
        raise InvalidValue(Said("card-elsewhere", text, of="url"))
    # Reads typefaces.
    from pystream.acl.cards import MOST_CARDS, Card
    from pystream.server.office.printing import printed

    found: Iterable[Shown]
    if ids := _picked(form):
        found = office.issuer.shown(actor.tenant_id, ids)
    elif form.get("at"):
        found = office.issuer.made(
            actor.tenant_id, stream.id, _whole(form["at"]), MOST_AT_ONCE, after=_after(form)
        )
    else:
        found = office.issuer.listed(actor.tenant_id, stream.id)
    sheet = list[Card]()
    for each in found:
        if stream.id not in each.password.streams:
            continue
        if each.state(office.now()) not in ("valid", "to come"):
            continue
        if len(sheet) == MOST_CARDS:
            text = f"there are more than {MOST_CARDS:,} passwords: print a list at a time"
            raise InvalidValue(Said("cards-many", text, most=MOST_CARDS))
        sheet.append(
            Card(
                url=url,
                password=each.text or "",
                title=stream.settings.title or stream.name,
                label=each.label or "",
                valid_until=each.password.valid_until,
                test=each.password.is_test,
            )
        )
    if not sheet:
        raise InvalidValue(Said("cards-none", "there is no valid password to print"))
    data = printed(sheet, locale=form.get("locale", "en"), timezone=_zone(office, actor))
    _record(office, actor, stream, len(sheet))
    return data


def exported(office: Office, actor: Actor, request: Request) -> Reply:
    """A list that can be imported again: what is neither revoked nor erased."""
    stream = _stream(office, actor, request.query.get("stream", ""))
    rows = [
        password_csv.Row(each.text, each.settings)
        for each in office.issuer.listed(actor.tenant_id, stream.id if stream else None)
        if each.text is not None and each.password.revoked_at is None
    ]
    _record(office, actor, stream, len(rows))
    # A German spreadsheet wants semicolons.
    separator = ";" if pages.spoken_to(request) == "de" else ","
    data = b"".join(
        password_csv.write_csv(rows, timezone=_zone(office, actor), separator=separator)
    )
    name = f"{stream.name}-passwords" if stream else "passwords"
    return pages.file(f"{name}.csv", "text/csv", data)


# Importing


def import_page(office: Office, actor: Actor, request: Request) -> Reply:
    chosen = request.query.get("stream", "")
    values: dict[str, Any] = {"chosen": chosen, "streams": _takers(office, actor), "said_more": 0}
    return pages.page(request, actor, "import.html", **values)


def bring(office: Office, actor: Actor, request: Request) -> Reply:
    """Says what would be imported of a file; imports it once that was seen (`go` of the form)."""
    form = request.form
    data = request.files["file"].data if "file" in request.files else form.get("list", "").encode()
    zone = _zone(office, actor)
    found = password_csv.read_csv(data, timezone=zone)
    there = office.issuer.there(actor.tenant_id, [each.password for each in found.passwords])
    known = [password_csv.Problem(found.passwords[place].line, THERE) for place in there]
    said: list[str] = [
        Said("line", str(each), line=each.line, problem=each.text)
        for each in sorted([*found.problems, *known])
    ]
    try:
        check_count(len(found.passwords))
        stream = _opened(office, actor, form.get("stream", ""))
        if not said and form.get("go"):
            office.issuer.add(
                actor.tenant_id,
                [stream.id],
                [(each.password, each.settings) for each in found.passwords],
                who=actor.who,
                now=office.now(),
                shared=stream.settings.access == "shared",
            )
            query = _query(stream=stream.name, done="done_import")
            return console.to(request, f"/console/passwords?{query}")
    except (InvalidValue, Exists) as error:
        # Somebody else may have been faster.
        said += pages.sentences_of(error)
    warned = [each for each in found.passwords if each.guessable is not None]
    over = [each for each in found.passwords if is_over(each.settings, office.now())]
    values: dict[str, Any] = {
        "chosen": form.get("stream", ""),
        "streams": _takers(office, actor),
        "said": said[:_WARNED],
        "said_more": max(0, len(said) - _WARNED),
        "found": found,
        "first": found.passwords[:_PREVIEWED],
        "warned": warned[:_WARNED],
        "warned_count": len(warned),
        "over": over[:_WARNED],
        "over_count": len(over),
        "list": data.decode("utf-8", "replace"),
        "zone": zone,
    }
    return pages.page(request, actor, "import.html", 422 if said else 200, **values)


# Changing


def page(office: Office, actor: Actor, request: Request) -> Reply:
    """A password with its label, validity and devices, to be changed."""
    shown, zone = _one(office, actor, request), _zone(office, actor)
    settings = shown.settings
    form = {
        "label": settings.label,
        "valid_from": password_csv.written(settings.valid_from, zone, end=False),
        "valid_until": password_csv.written(settings.valid_until, zone, end=True),
        "max_devices": "" if settings.max_devices is None else str(settings.max_devices),
    }
    return _changing(office, actor, request, shown, form)


def data(office: Office, actor: Actor, request: Request) -> Reply:
    """All that is known of a password, for whoever holds it."""
    from pystream.acl.store.password_data import PasswordData
    from pystream.server.clock import kernel

    id, tenant = _whole(request.place["password"]), office.store.tenant(actor.tenant)
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    made = PasswordData(office.store, office.keys).export(tenant, id, kernel(), **by)
    return pages.file(f"password-{id}.zip", "application/zip", made.data)


def change(office: Office, actor: Actor, request: Request) -> Reply:
    form, shown = request.form, _one(office, actor, request)
    try:
        settings = _settings(office, actor, form)
        changes = {name: getattr(settings, name) for name in _CHANGED}
        by: dict[str, Any] = {"who": actor.who, "now": office.now()}
        office.issuer.change(actor.tenant_id, [shown.password.id], changes, **by)
    except InvalidValue as error:
        return _changing(office, actor, request, shown, form, 422, said=error.problems)
    names = [each.name for each in _streams(office, actor) if each.id in shown.password.streams]
    query = _query(stream=names[0] if names else "", done="saved")
    return console.to(request, f"/console/passwords?{query}")


def _changing(
    office: Office,
    actor: Actor,
    request: Request,
    shown: Shown,
    form: Mapping[str, str],
    status: int = 200,
    **values: Any,
) -> Reply:
    _record(office, actor, None, 1)
    (row,) = _rows(office, actor, [shown])
    recorded = [
        (each.name, each.settings.title or each.name)
        for each in _streams(office, actor)
        if each.id in shown.password.streams and each.settings.attendance
    ]
    values |= {
        "row": row,
        "receipts": recorded if Right.REPORTS_READ in actor.rights else (),
        "form": {**dict.fromkeys(_CHANGED, ""), **form},
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "change_password.html", status, **values)


def _one(office: Office, actor: Actor, request: Request) -> Shown:
    """The password whose number the path has, unless it was erased. Raises `NotFound`."""
    found = office.issuer.shown(actor.tenant_id, [_whole(request.place["password"])])
    if not found or found[0].text is None:
        raise NotFound(Said("no-password", "there is no such password"))
    return found[0]


# Ending


def revoke(office: Office, actor: Actor, request: Request) -> Reply:
    return _ended(office, actor, request, "revoke")


def erase(office: Office, actor: Actor, request: Request) -> Reply:
    return _ended(office, actor, request, "erase")


def rotate(office: Office, actor: Actor, request: Request) -> Reply:
    return _ended(office, actor, request, "rotate")


def _ended(office: Office, actor: Actor, request: Request, action: str) -> Reply:
    """Asks first; what was asked comes again with `sure`."""
    form = request.form
    back = _query(stream=form.get("stream", ""))
    ids = _picked(form)
    if not ids:
        return console.to(request, f"/console/passwords?{back}&done=nothing_selected")
    if not form.get("sure"):
        values: dict[str, Any] = {
            "action": action,
            "ids": ids,
            "stream_name": form.get("stream", ""),
        }
        return pages.page(request, actor, "sure.html", **values)
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    if action == "rotate":
        return _rotated(office, actor, request, ids, by)
    end = office.store.viewers.revoke if action == "revoke" else office.issuer.erase
    end(actor.tenant_id, ids, **by)
    return console.to(request, f"/console/passwords?{back}&done=done_{action}")


def _picked(form: Mapping[str, str]) -> list[int]:
    """The ids of passwords whose boxes are ticked."""
    return [_whole(name[1:]) for name in form if name[:1] == "p" and name[1:].isdigit()]


def _rotated(
    office: Office, actor: Actor, request: Request, ids: Sequence[int], by: dict[str, Any]
) -> Reply:
    there = {each.id: each for each in office.store.streams(actor.tenant)}
    old = {each.password.id: each for each in office.issuer.shown(actor.tenant_id, ids)}
    opened = {
        id: sorted(old[id].password.streams & there.keys()) if id in old else [] for id in ids
    }
    if not all(opened.values()):
        raise InvalidValue(Said("opens-none", "a password opens no stream that is there"))
    office.issuer.rotate(actor.tenant_id, opened, grace_s=0, **by)
    name = there[opened[ids[-1]][0]].name
    return console.to(request, f"/console/passwords/sheet?{_query(stream=name, at=str(by['now']))}")


# What lies below


def _stream(office: Office, actor: Actor, name: str) -> Stream | None:
    """Raises `NotFound`."""
    return office.store.stream(actor.tenant, name) if name else None


def _streams(office: Office, actor: Actor) -> tuple[Stream, ...]:
    return office.store.streams(actor.tenant)


def _takers(office: Office, actor: Actor) -> list[Stream]:
    return [s for s in _streams(office, actor) if s.settings.access in _TAKES_PASSWORDS]


def _opened(office: Office, actor: Actor, name: str) -> Stream:
    """The stream that passwords are to open. Raises `InvalidValue`, and `NotFound`."""
    stream = office.store.stream(actor.tenant, name)
    if stream.settings.access not in _TAKES_PASSWORDS:
        text = f"{name} takes no passwords: change its access first"
        raise InvalidValue(Said("takes-none", text, name=name))
    return stream


def _settings(office: Office, actor: Actor, form: Mapping[str, str]) -> PasswordSettings:
    """Raises `InvalidValue`."""
    zone = _zone(office, actor)

    def moment(name: str, *, end: bool) -> int | None:
        text = form.get(name, "").strip()
        if not text:
            return None
        try:
            return password_csv.moment(text, zone, end=end)
        except InvalidValue as error:
            raise InvalidValue(*(pages.about(name, each) for each in error.problems)) from None

    return PasswordSettings(
        label=form.get("label", "").strip(),
        valid_from=moment("valid_from", end=False),
        valid_until=moment("valid_until", end=True),
        max_devices=_count("max_devices", form.get("max_devices", ""), 10_000),
        is_test="test" in form,
    )


def _count(name: str, text: str, most: int) -> int | None:
    """Raises `InvalidValue`."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        text = f"from 1 to {most} are wanted"
        raise InvalidValue(Said("range", text, of=name, least=1, most=most))
    return int(text)


def _whole(text: str) -> int:
    """A number of an address. Raises `HttpError`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise HttpError(400, Said("malformed", "there is a number wanted in the address"))
    return int(text)


def _zone(office: Office, actor: Actor) -> str:
    return office.store.tenant(actor.tenant).settings.timezone


def _rows(office: Office, actor: Actor, found: Sequence[Shown]) -> list[dict[str, Any]]:
    names = {each.id: each.name for each in _streams(office, actor)}
    now, restricted = office.now(), office.store.viewers.restrictions.listed(actor.tenant_id)
    return [
        {
            "id": each.password.id,
            "is_restricted": each.password.id in restricted,
            "text": each.text,
            "label": each.label,
            "state": each.state(now).replace(" ", "_"),
            "is_test": each.password.is_test,
            "streams": sorted(names[id] for id in each.password.streams if id in names),
            "valid_from": each.password.valid_from,
            "valid_until": each.password.valid_until,
            "max_devices": each.password.max_devices,
        }
        for each in found
    ]


def _record(office: Office, actor: Actor, stream: Stream | None, count: int) -> None:
    what = {"passwords_shown": count}
    id = stream.id if stream else None
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    office.store.audit.record_view(actor.tenant_id, id, what, **by)


def _query(**values: str) -> str:
    return urlencode({name: value for name, value in values.items() if value})
