"""Viewers' passwords: `/api/v1/passwords`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.acl import password_csv
from pystream.acl.passwords import (
    MOST_CHARACTERS,
    MOST_DEVICES,
    MOST_LABEL_CHARACTERS,
    OVER,
    THERE,
    Guessable,
    PasswordSettings,
    generate,
    guessable,
    guessable_together,
    importable,
    is_over,
    problems,
)
from pystream.acl.people import Right
from pystream.acl.store.issuing import MOST_AT_ONCE as MOST_IMPORTED
from pystream.acl.store.issuing import Shown, check_count
from pystream.acl.streams import Stream, is_elsewhere_alone
from pystream.acl.viewers import Password
from pystream.errors import InvalidValue, NotFound
from pystream.server.office import embedding
from pystream.server.office.api.operations import (
    CSV,
    JSON,
    MERGE_PATCH,
    PDF,
    ZIP,
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    as_file,
    at,
    given_only,
    moment,
    next_link,
    number,
    number_of_cursor,
    operation,
    seconds,
)
from pystream.server.office.api.streams import Name
from pystream.server.office.problems import MOST_ERRORS, Error, Refusal, invalid
from pystream.server.office.values import is_id

MOST_AT_ONCE = 10_000
_MOST_SHOWN = 2000
# A password is named by its id in thousands of a statement.
_MOST_IDS = 10_000

Id = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,18}$",
        description="A number as text: it is larger than a number of JavaScript can be.",
        examples=["6407128309923117861"],
    ),
]
Text = Annotated[
    str,
    Meta(min_length=1, max_length=MOST_CHARACTERS, description="What the viewer types."),
]
Label = Annotated[
    str,
    Meta(
        max_length=MOST_LABEL_CHARACTERS,
        description="The customer's own note. It is sealed, and need not be anybody's name.",
    ),
]
Streams = Annotated[
    list[Name], Meta(min_length=1, max_length=100, description="The streams that it opens.")
]
Shared = Annotated[
    bool,
    Meta(
        description="One password for all viewers, for streams whose access is `shared`; else one"
        " viewer's own, for `personal`."
    ),
]
Test = Annotated[
    bool,
    Meta(
        description="An access for whoever examines the event: it is in no sum of viewers and no report's"
        " total. It takes a place all the same, and what it is sent is traffic."
    ),
]
ValidFrom = Annotated[Moment, Meta(description="From when on it lets in; null: at once.")]
ValidUntil = Annotated[
    Moment, Meta(description="The first moment at which it no longer lets in; null: never.")
]
MaxDevices = Annotated[
    int,
    Meta(
        ge=1,
        le=MOST_DEVICES,
        description="How many may play at a time; null: as the stream has it.",
    ),
]
State = Annotated[
    str,
    Meta(
        description="`valid`, `to come`, `over`, `revoked` or `erased`.",
        extra_json_schema={"enum": ["valid", "to come", "over", "revoked", "erased"]},
    ),
]


class PasswordView(Struct, kw_only=True):
    """A password as the customer knows it. `password` and `label` are null where it was erased, and where
    it was there before and the token may not read passwords."""

    id: Id
    password: str | None
    label: str | None
    streams: list[str]
    state: State
    shared: Shared
    test: Test
    valid_from: Moment | None
    valid_until: Moment | None
    max_devices: int | None
    created_at: Moment
    revoked_at: Moment | None


class PasswordPage(Struct, kw_only=True):
    """A page of passwords, in the order in which they were made. `next` is the cursor of the next page; null:
    this is the last."""

    items: list[PasswordView]
    next: str | None


class PasswordList(Struct, kw_only=True):
    """Passwords."""

    items: list[PasswordView]


class Which(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which passwords."""

    stream: Annotated[Name, Meta(description="Only those that open this stream.")] | UnsetType = (
        UNSET
    )


class NewPasswords(Struct, kw_only=True, forbid_unknown_fields=True):
    """Passwords to be made, all with the same settings."""

    streams: Streams
    count: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE, description="How many.")] = 1
    label: Label = ""
    shared: Shared = False
    test: Test = False
    valid_from: ValidFrom | None = None
    valid_until: ValidUntil | None = None
    max_devices: MaxDevices | None = None


class OwnPassword(Struct, kw_only=True, forbid_unknown_fields=True):
    """A password of the customer's own making, an opaque id for one."""

    password: Text
    label: Label = ""
    test: Test = False
    valid_from: ValidFrom | None = None
    valid_until: ValidUntil | None = None
    max_devices: MaxDevices | None = None


class Import(Struct, kw_only=True, forbid_unknown_fields=True):
    """Passwords to be imported: all of them, or none where something is wrong with one."""

    streams: Streams
    passwords: Annotated[list[OwnPassword], Meta(min_length=1, max_length=MOST_IMPORTED)]
    shared: Shared = False


class ImportQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a CSV does not say itself."""

    streams: (
        Annotated[
            Streams,
            Meta(
                description="Of a CSV: the streams that the passwords open, with commas between them."
            ),
        ]
        | UnsetType
    ) = UNSET
    shared: Annotated[bool, Meta(description="Of a CSV: as in JSON.")] = False
    check: Annotated[bool, Meta(description="Only say what would be said; add nothing.")] = False


class Warning(Struct, kw_only=True, omit_defaults=True):
    """What is noteworthy of a password, though it is imported: that it can be guessed, or is over. `line` is
    that of a CSV, `index` the place in JSON's list."""

    detail: str
    line: int | None = None
    index: int | None = None


class Imported(Struct, kw_only=True):
    """What was imported. `count` is what would be where the import was only checked, and `ids` is empty
    then; else they are in the order of what was sent. `warnings` are the first hundred of
    `warnings_count`."""

    count: int
    ids: list[Id]
    warnings: list[Warning]
    warnings_count: int


class Ids(Struct, kw_only=True, forbid_unknown_fields=True):
    """Passwords by their ids."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=_MOST_IDS)]


class Revoked(Struct, kw_only=True):
    """How many were not revoked before."""

    revoked: int


class Erased(Struct, kw_only=True):
    """How many of them there are; those that were erased before are among them."""

    erased: int


class Rotation(Struct, kw_only=True, forbid_unknown_fields=True):
    """How a password is replaced."""

    grace_s: Annotated[
        int,
        Meta(
            ge=0,
            le=30 * 86_400,
            description="Seconds for which the old one still lets in, and its sessions go on; 0: it is"
            " revoked.",
        ),
    ] = 0


class PasswordChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Changes of a password (a JSON Merge Patch, RFC 7396): what is left out stays as it is."""

    label: Label | UnsetType | None = UNSET
    valid_from: ValidFrom | UnsetType | None = UNSET
    valid_until: ValidUntil | UnsetType | None = UNSET
    max_devices: MaxDevices | UnsetType | None = UNSET


class Cards(Struct, kw_only=True, forbid_unknown_fields=True):
    """Cards to be printed. Without `ids`, of all that let in now or later."""

    stream: Name
    ids: Annotated[list[Id], Meta(min_length=1, max_length=_MOST_SHOWN)] | UnsetType = UNSET
    locale: Literal["de", "en"] = "de"
    url: (
        Annotated[
            str,
            Meta(
                max_length=500,
                description="The address that the cards name: a page of the customer's that has the"
                " stream's embed code, for one. If left out, that of the stream's page here; where this is"
                " shown on other sites alone (`embed_lock`), it is wanted.",
            ),
        ]
        | UnsetType
    ) = UNSET


class Pdf(Struct):
    """A PDF."""


class Archive(Struct):
    """A zip archive."""


class CsvFile(Struct):
    """A CSV."""


class ExportQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is exported, and how."""

    stream: Annotated[Name, Meta(description="Only those that open this stream.")] | UnsetType = (
        UNSET
    )
    separator: Annotated[
        Literal["comma", "semicolon"],
        Meta(description="`semicolon` is what a German Excel wants."),
    ] = "comma"


# Reading


@operation(query=Which, gives=PasswordPage, problems=("not-found",))
def listed(call: Call[Which, None]) -> Given:
    """List passwords.

    All of the tenant, or those that open one stream, as the customer knows them. That they were shown, and
    how many, is on record.
    """
    stream = _stream(call, call.query.stream)
    after, most = number_of_cursor(call.query.cursor), call.query.limit
    found = call.office.issuer.page(
        call.tenant_id, stream.id if stream else None, after=after, most=most + 1
    )
    following = as_cursor(str(found[most - 1].number)) if len(found) > most else None
    _record_view(call, stream, len(found[:most]))
    page = PasswordPage(items=_views(call, found[:most]), next=following)
    return Given(page, headers=list(next_link(call, following)))


@operation(gives=PasswordView, problems=("not-found",))
def shown(call: Call[NoQuery, None]) -> Given:
    """Read a password.

    As the customer knows it. That it was shown is on record.
    """
    return _shown(call)


@operation(gives=Archive, kind=ZIP, problems=("not-found",))
def data(call: Call[NoQuery, None]) -> Given:
    """Read all that is known of a password.

    A zip archive for the person who holds it (Art. 15 and 20 GDPR): its facts, sessions, attendance, each
    event with its salt, receipts, and what sealed reports say of it. What was erased or deleted in time is
    told as not available. That it was made is on record. It takes the scope to erase passwords.
    """
    from pystream.acl.store.password_data import PasswordData
    from pystream.server.clock import kernel

    office, id = call.office, number(call.place["password"])
    tenant = office.store.tenant(call.actor.tenant)
    by: dict[str, Any] = {"who": call.who, "now": call.now}
    made = PasswordData(office.store, office.keys).export(tenant, id, kernel(), **by)
    return Given(data=made.data, headers=[as_file(f"password-{id}.zip")])


@operation(query=ExportQuery, gives=CsvFile, kind=CSV, problems=("not-found",))
def exported(call: Call[ExportQuery, None]) -> Given:
    """Export passwords as CSV.

    Those that are neither revoked nor erased, in a form that can be imported again. What a spreadsheet would
    run as a formula has an apostrophe before it. Times are in the tenant's time zone.
    """
    stream = _stream(call, call.query.stream)
    rows = [
        password_csv.Row(each.text, each.settings)
        for each in call.office.issuer.listed(call.tenant_id, stream.id if stream else None)
        if each.text is not None and each.password.revoked_at is None
    ]
    _record_view(call, stream, len(rows))
    zone = call.office.store.tenant(call.actor.tenant).settings.timezone
    separator = ";" if call.query.separator == "semicolon" else ","
    data = b"".join(password_csv.write_csv(rows, timezone=zone, separator=separator))
    return Given(data=data, headers=[as_file("passwords.csv")])


@operation(
    body=Cards,
    gives=Pdf,
    kind=PDF,
    problems=("not-found",),
    example={"stream": "course", "locale": "de"},
)
def cards(call: Call[NoQuery, Cards]) -> Given:
    """Print cards.

    A PDF with a card for each password, ten on a page of A4, to be cut: where to go, what to type, and a code
    to scan that has both. At most 2000 at a time; name `ids` for some of more. That they were shown is on
    record.
    """
    # Reads typefaces.
    from pystream.acl.cards import MOST_CARDS, Card
    from pystream.server.office.printing import printed

    stream = _stream(call, call.body.stream)
    assert stream is not None
    if call.body.ids is UNSET:
        found: Iterable[Shown] = call.office.issuer.listed(call.tenant_id, stream.id)
    else:
        found = call.office.issuer.shown(call.tenant_id, _numbers(call.body.ids))
    to_print = (
        each
        for each in found
        if stream.id in each.password.streams and each.state(call.now) in ("valid", "to come")
    )
    # Of many more, no others are opened.
    alive = list(islice(to_print, MOST_CARDS + 1))
    if not alive:
        raise invalid(Error(detail="there is no password to print that opens this stream"))
    if len(alive) > MOST_CARDS:
        detail = f"ids: there are more than {MOST_CARDS} passwords; name at most so many of them"
        raise invalid(Error(detail=detail, pointer="#/ids"))
    url = call.body.url
    own = embedding.page_url(call.request, stream.tenant, stream.name)
    if url in (UNSET, own) and is_elsewhere_alone(stream.settings):
        detail = "the stream is shown on other sites only: the address of a page that embeds it is wanted"
        raise invalid(Error(detail=f"url: {detail}", pointer="#/url"))
    sheet = [
        Card(
            url=own if url is UNSET else url,
            password=each.text or "",
            title=stream.settings.title or stream.name,
            label=each.label or "",
            valid_until=each.password.valid_until,
            test=each.password.is_test,
        )
        for each in alive
    ]
    zone = call.office.store.tenant(call.actor.tenant).settings.timezone
    data = printed(sheet, locale=call.body.locale, timezone=zone)
    _record_view(call, stream, len(sheet))
    return Given(data=data, headers=[as_file("cards.pdf")])


# Making


@operation(
    body=NewPasswords,
    gives=PasswordList,
    status=201,
    once="whole",
    problems=("not-found",),
    example={
        "streams": ["course"],
        "count": 3,
        "label": "Group A",
        "valid_until": "2031-06-01T00:00:00+02:00",
    },
)
def create(call: Call[NoQuery, NewPasswords]) -> Given:
    """Make passwords.

    Of 130 random bits each, in groups that are easy to type. All streams have to be of the access that the
    passwords are for. Send an Idempotency-Key: a request that is sent again with it makes no more of them,
    and gets the same ones.
    """
    body = call.body
    streams = _opened(call, body.streams, body.shared)
    settings = _settings(body)
    if is_over(settings, call.now):
        raise InvalidValue(OVER)
    texts = [generate() for _ in range(body.count)]
    ids = call.office.issuer.add(
        call.tenant_id,
        [each.id for each in streams],
        [(text, settings) for text in texts],
        who=call.who,
        now=call.now,
        shared=body.shared,
    )
    made = [
        Shown(
            password=Password(
                id=id,
                tenant_id=call.tenant_id,
                streams=frozenset(each.id for each in streams),
                shared=body.shared,
                is_test=settings.is_test,
                valid_from=settings.valid_from,
                valid_until=settings.valid_until,
                max_devices=settings.max_devices,
                created_at=call.now,
                revoked_at=None,
            ),
            text=text,
            label=settings.label,
        )
        for id, text in zip(ids, texts, strict=True)
    ]
    return Given(PasswordList(items=_views(call, made)), 201)


@operation(
    query=ImportQuery,
    bodies={JSON: Import, CSV: None},
    gives=Imported,
    once="whole",
    problems=("not-found", "exists"),
    example={
        "streams": ["course"],
        "passwords": [{"password": "7Q4M-0XKD-93TP-11ZB-PV5E", "label": "1"}],
    },
)
def bring(call: Call[ImportQuery, Import | bytes]) -> Given:
    """Import passwords.

    All of them, or none where something is wrong with one; `errors` says what, by line or place. JSON, or
    CSV in UTF-8 with the columns password, label, valid from, valid until, max devices and test; dates in
    it are meant in the tenant's time zone. Passwords that can be guessed are imported, and warned of: a
    number that others have is none to let somebody in with; and so are those that are over already.

    A request is one transaction, of at most 50,000 passwords and 8 MB; whoever signs in meanwhile may wait
    for it, a second for some 10,000. Divide what is more: each part is then imported, or not, by itself.
    """
    streams, shared, entries, warnings, named = _brought(call)
    check_count(len(entries))
    opened = _opened(call, streams, shared)
    there = call.office.issuer.there(call.tenant_id, [text for text, _ in entries])
    if there:
        detail = f"{len(there)} of these {len(entries)} passwords are there already"
        raise Refusal("exists", f"{detail}; none was added", [named(place) for place in there])
    told = warnings[:MOST_ERRORS]
    ids: Sequence[int] = ()
    if not call.query.check:
        ids = call.office.issuer.add(
            call.tenant_id,
            [each.id for each in opened],
            entries,
            who=call.who,
            now=call.now,
            shared=shared,
        )
    return Given(
        Imported(
            count=len(entries),
            ids=list(map(str, ids)),
            warnings=told,
            warnings_count=len(warnings),
        )
    )


@operation(
    body=Rotation,
    gives=PasswordView,
    status=201,
    once="whole",
    problems=("not-found",),
    example={"grace_s": 3600},
)
def rotate(call: Call[NoQuery, Rotation]) -> Given:
    """Replace a password.

    Makes a new one that opens the same streams, with the same label, validity and devices. The old one is
    revoked, or lets in for a while more. The label is in the answer where the token may read passwords.
    """
    old = number(call.place["password"])
    found = call.office.issuer.shown(call.tenant_id, [old])
    if not found:
        raise NotFound("there is no such password")
    there = {each.id for each in call.office.store.streams(call.actor.tenant)}
    opened = sorted(found[0].password.streams & there)
    if not opened:
        raise invalid(Error(detail="the password opens no stream that is there"))
    ((id, _),) = call.office.issuer.rotate(
        call.tenant_id,
        {old: opened},
        grace_s=call.body.grace_s,
        who=call.who,
        now=call.now,
    )
    (view,) = _views(call, call.office.issuer.shown(call.tenant_id, [id]))
    if not _reads(call):
        view.label = None
    return Given(view, 201, [("Location", f"{call.request.root}/api/v1/passwords/{id}")])


# Changing


@operation(
    bodies={MERGE_PATCH: PasswordChange, JSON: PasswordChange},
    gives=PasswordView,
    once="whole",
    problems=("not-found",),
    example={"label": "Group B", "valid_until": "2031-06-01T00:00:00+02:00", "max_devices": None},
)
def change(call: Call[NoQuery, PasswordChange]) -> Given:
    """Change a password.

    Its label, validity and devices. What is left out stays as it is; null takes a label or a limit away. Who
    watches with it goes on as before: the next to come in do so by what it is then. An end that is over is
    refused: revoke the password instead. Of one that was erased, there is nothing to change. Text and label
    are in the answer where the token may read passwords.
    """
    id, changes = number(call.place["password"]), given_only(call.body)
    call.office.issuer.change(call.tenant_id, [id], changes, who=call.who, now=call.now)
    if _reads(call):
        return _shown(call)
    (view,) = _one(call)
    view.password = view.label = None
    return Given(view)


# Ending


@operation(body=Ids, gives=Revoked, once="whole", example={"ids": ["6407128309923117861"]})
def revoke(call: Call[NoQuery, Ids]) -> Given:
    """Revoke passwords.

    Whoever watches with one is stopped within a segment. Ids that the tenant does not have do not count.
    """
    ids = _numbers(call.body.ids)
    count = call.office.store.viewers.revoke(call.tenant_id, ids, who=call.who, now=call.now)
    return Given(Revoked(revoked=count))


@operation(body=Ids, gives=Erased, once="parts", example={"ids": ["6407128309923117861"]})
def erase(call: Call[NoQuery, Ids]) -> Given:
    """Erase passwords.

    Revokes them, and destroys what their texts and labels are sealed with: nobody can read them again, in no
    backup either once the server's backups of keys have been rotated. Their sessions and what is recorded of
    them go too, and their names in sealed reports. Kept answers to requests with an Idempotency-Key are
    erased with them. Ids that the tenant does not have do not count. None is erased (422) where a sealed
    report that is held names one of them; `detail` says until when and why.
    """
    ids = _numbers(call.body.ids)
    count = call.office.issuer.erase(call.tenant_id, ids, who=call.who, now=call.now)
    return Given(Erased(erased=count))


@operation(status=204, once="whole", problems=("not-found",))
def end_sessions(call: Call[NoQuery, None]) -> Given:
    """End all sessions of a password.

    Whoever watches with it is stopped within a segment, and may come in anew with the same password.
    """
    id = number(call.place["password"])
    viewers = call.office.store.viewers
    viewers.end_sessions_of(call.tenant_id, id, who=call.who, now=call.now)
    return Given(status=204)


# What is brought


def _brought(
    call: Call[ImportQuery, Import | bytes],
) -> tuple[
    list[str], bool, list[tuple[str, PasswordSettings]], list[Warning], Callable[[int], Error]
]:
    """What is to be opened, and whether by all with one password; the passwords, what is noteworthy of
    them, and what says of one, by its place, that it is there already."""
    query, body = call.query, call.body
    if isinstance(body, Import):
        if query.streams is not UNSET or query.shared:
            detail = "streams: of JSON, they stand in the body"
            raise invalid(Error(detail=detail, parameter="streams"))

        def in_json(place: int) -> Error:
            return Error(detail=THERE, pointer=f"#/passwords/{place}/password")

        return body.streams, body.shared, *_of_json(body.passwords, call.now), in_json
    if query.streams is UNSET:
        detail = "streams: of a CSV, name here what its passwords open"
        raise invalid(Error(detail=detail, parameter="streams"))
    zone = call.office.store.tenant(call.actor.tenant).settings.timezone
    found = password_csv.read_csv(body, timezone=zone)
    if found.problems:
        raise invalid(*(Error(detail=each.text, line=each.line) for each in found.problems))
    entries = [(each.password, each.settings) for each in found.passwords]
    warnings = [Warning(detail=str(each.text), line=each.line) for each in found.warnings(call.now)]

    def in_list(place: int) -> Error:
        return Error(detail=THERE, line=found.passwords[place].line)

    return query.streams, query.shared, entries, warnings, in_list


def _of_json(
    sent: Sequence[OwnPassword], now: int
) -> tuple[list[tuple[str, PasswordSettings]], list[Warning]]:
    errors: list[Error] = []
    entries: list[tuple[str, PasswordSettings]] = []
    known: dict[str, int] = {}
    for place, each in enumerate(sent):
        settings = _settings(each)
        wrong = list(problems(settings))
        try:
            form = importable(each.password)
            if known.setdefault(form, place) != place:
                wrong.append(f"password: too much like that of place {known[form]}, or the same")
        except InvalidValue as error:
            wrong += [f"password: {problem}" for problem in error.problems]
        pointer = f"#/passwords/{place}"
        errors += [
            Error(detail=problem, pointer=f"{pointer}/{problem.partition(':')[0]}")
            for problem in wrong
        ]
        entries.append((each.password, settings))
    if errors:
        raise invalid(*errors)
    return entries, list(_warnings(entries, now))


def _warnings(entries: Sequence[tuple[str, PasswordSettings]], now: int) -> Iterable[Warning]:
    together: dict[int, Guessable] = guessable_together([text for text, _ in entries])
    for index, (text, settings) in enumerate(entries):
        if is_over(settings, now):
            yield Warning(detail=str(OVER), index=index)
        why = guessable(text) or together.get(index)
        if why is not None:
            yield Warning(detail=f"the password can be guessed: {why.value}", index=index)


# What lies below


def _settings(body: NewPasswords | OwnPassword) -> PasswordSettings:
    return PasswordSettings(
        label=body.label,
        valid_from=seconds(body.valid_from),
        valid_until=seconds(body.valid_until),
        max_devices=body.max_devices,
        is_test=body.test,
    )


def _stream(call: Call[Any, Any], name: str | UnsetType) -> Stream | None:
    """Raises `NotFound`."""
    return None if name is UNSET else call.office.store.stream(call.actor.tenant, str(name))


def _opened(call: Call[Any, Any], names: Sequence[str], shared: bool) -> list[Stream]:
    """The streams that passwords are to open. Raises `Refusal`."""
    wanted = "shared" if shared else "personal"
    there = {each.name: each for each in call.office.store.streams(call.actor.tenant)}
    errors = []
    for place, name in enumerate(names):
        found = there.get(name)
        pointer = f"#/streams/{place}"
        if found is None:
            errors.append(Error(detail=f"there is no stream {name!r}", pointer=pointer))
        elif found.settings.access != wanted:
            detail = (
                f"the stream {name!r} is {found.settings.access}, so {wanted} passwords open nothing"
                " there: change its access first"
            )
            errors.append(Error(detail=detail, pointer=pointer))
    if len(set(names)) < len(names):
        errors.append(Error(detail="streams: one is named twice", pointer="#/streams"))
    if errors:
        raise invalid(*errors)
    return [there[name] for name in names]


def _numbers(ids: Collection[str]) -> list[int]:
    """Raises `Refusal`."""
    found = []
    for place, text in enumerate(ids):
        if not is_id(text):
            pointer = f"#/ids/{place}"
            raise invalid(Error(detail="this is no id of a password", pointer=pointer))
        found.append(int(text))
    return found


def _shown(call: Call[Any, Any]) -> Given:
    """The password that the path names, shown, and on record. Raises `NotFound`."""
    (view,) = _one(call)
    _record_view(call, None, 1)
    return Given(view)


def _reads(call: Call[Any, Any]) -> bool:
    """Whether what others have made may be told. Who may change it alone, changes it unseen."""
    return Right.PASSWORDS_READ in call.actor.rights


def _one(call: Call[Any, Any]) -> list[PasswordView]:
    """The password that the path names. Raises `NotFound`."""
    found = call.office.issuer.shown(call.tenant_id, [number(call.place["password"])])
    if not found:
        raise NotFound("there is no such password")
    return _views(call, found)


def _views(call: Call[Any, Any], found: Sequence[Shown]) -> list[PasswordView]:
    names = {each.id: each.name for each in call.office.store.streams(call.actor.tenant)}
    return [_view(each, names, call.now) for each in found]


def _view(shown: Shown, names: dict[int, str], now: int) -> PasswordView:
    password = shown.password
    return PasswordView(
        id=str(password.id),
        password=shown.text,
        label=shown.label,
        streams=sorted(names[each] for each in password.streams if each in names),
        state=shown.state(now),
        shared=password.shared,
        test=password.is_test,
        valid_from=moment(password.valid_from),
        valid_until=moment(password.valid_until),
        max_devices=password.max_devices,
        created_at=at(password.created_at),
        revoked_at=moment(password.revoked_at),
    )


def _record_view(call: Call[Any, Any], stream: Stream | None, count: int) -> None:
    what = {"passwords_shown": count}
    call.office.store.audit.record_view(
        call.tenant_id, stream.id if stream else None, what, who=call.who, now=call.now
    )
