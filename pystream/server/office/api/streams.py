"""Streams: `/api/v1/streams`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.acl.grants import LONGEST_S
from pystream.acl.streams import (
    ACCESS,
    CACHES,
    ENCRYPTIONS,
    FORMATS,
    MAXIMUM,
    Stream,
    StreamSettings,
    changed,
    check,
    check_countries,
    check_stream_name,
)
from pystream.acl.viewers import DEVICE_MODES
from pystream.errors import InvalidValue
from pystream.server.http import matches
from pystream.server.office import embedding, films
from pystream.server.office.api.operations import (
    JSON,
    MERGE_PATCH,
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    at,
    cursor_of,
    given_only,
    moment,
    next_link,
    operation,
)
from pystream.server.office.problems import Error, Refusal, invalid
from pystream.server.office.values import Office, Request


def _one_of(values: Sequence[str], description: str) -> Meta:
    # The settings themselves are asked which values are sound.
    return Meta(description=description, extra_json_schema={"enum": list(values)})


Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="1 to 63 small letters, digits and hyphens, with no hyphen first.",
        examples=["course"],
    ),
]
Film = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        description="An MP4 file, as it is named in the tenant's folder of films on the server.",
        examples=["launch/1080p.mp4"],
    ),
]
Title = Annotated[str, Meta(max_length=200, description="What the page calls it.")]
Format = Annotated[str, _one_of(FORMATS, "Of the segments.")]
SegmentDuration = Annotated[
    int,
    Meta(ge=100, le=3_600_000, description="How long segments are meant to be, in milliseconds."),
]
Access = Annotated[
    str,
    _one_of(
        ACCESS,
        "Who may watch. `open`: all who know the address. `shared`: who types one password for all."
        " `personal`: who types one of their own. `signed`: who has a link that the customer's site signed."
        " `external`: whom the customer's site lets in.",
    ),
]
Encryption = Annotated[
    str, _one_of(ENCRYPTIONS, "`aes-128-per-viewer`: each viewer has keys of their own.")
]
RotateEvery = Annotated[
    int, Meta(ge=1, le=10**15, description="Segments after which a fresh key begins; null: never.")
]
Cache = Annotated[
    str, _one_of(CACHES, "`shared`: a CDN may keep encrypted media, without a grant.")
]
Pace = Annotated[
    float,
    Meta(
        ge=1,
        le=1000,
        description="How many times faster than it plays the film leaves the server; null: as fast as"
        " can be.",
    ),
]
Download = Annotated[
    bool,
    Meta(
        description="Whether the film can be had as one file. Who downloads it watches it elsewhere, which"
        " no attendance can tell."
    ),
]
Rate = Annotated[
    int, Meta(ge=1000, le=10**15, description="Bits a second of one download; null: no limit.")
]
Origin = Annotated[
    str,
    Meta(
        max_length=300,
        description="A web site, as https://www.example.org, or * alone for all.",
        examples=["https://www.example.org"],
    ),
]
Origins = Annotated[
    list[Origin],
    Meta(max_length=64, description="Sites whose scripts may fetch the stream (CORS)."),
]
EmbedOrigins = Annotated[
    list[Origin], Meta(max_length=64, description="Sites that may show its page in a frame.")
]
Viewers = Annotated[
    int, Meta(ge=1, le=10**15, description="How many may watch at a time; null: no limit.")
]
SessionTime = Annotated[
    int,
    Meta(
        ge=60,
        le=LONGEST_S,
        description="Seconds after which a viewer has to come in anew; an hour more than the film lasts"
        " where that is longer.",
    ),
]
IdleTime = Annotated[
    int,
    Meta(
        ge=60,
        le=LONGEST_S,
        description="Seconds without a request after which a session ends; null: never.",
    ),
]
Devices = Annotated[
    int,
    Meta(
        ge=1,
        le=100,
        description="How many may watch with one personal password at a time, where the password says"
        " nothing itself; null: any number.",
    ),
]
OpensAt = Annotated[Moment, Meta(description="From when on it can be watched; null: at once.")]
ClosesAt = Annotated[
    Moment, Meta(description="When it can be watched no more, which ends what plays; null: never.")
]
Networks = Annotated[
    list[Annotated[str, Meta(max_length=50, examples=["192.0.2.0/24", "2001:db8::/32"])]],
    Meta(max_length=256, description="Networks that viewers may come from; none named: all."),
]
_Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}$", examples=["DE"])]
Countries = Annotated[
    list[_Country],
    Meta(max_length=256, description="Countries that viewers may come from; none named: all."),
]
CountriesDenied = Annotated[
    list[_Country], Meta(max_length=256, description="Countries that they may not come from.")
]
UnknownCountry = Annotated[
    bool, Meta(description="Whether to let in whose country is not known, where countries matter.")
]
EmbedLock = Annotated[
    bool,
    Meta(
        description="Whether it is shown on the sites of `embed_origins` and `origins` alone, and where"
        " there are none, on its own page and in no frame."
    ),
]
NoReferrer = Annotated[
    bool,
    Meta(
        description="Whether players that name no site, as apps and television sets do, may play it where"
        " `embed_lock` binds it to sites. That can be made up by whoever is no browser."
    ),
]
Attendance = Annotated[
    bool,
    Meta(
        description="Whether it is recorded how long has been watched with each password. The tenant's"
        " people have to accept first what that is for, in the console; `access` has to be `personal`,"
        " `signed` or `external`."
    ),
]
NoSkip = Annotated[
    bool,
    Meta(
        description="Whether viewers get no more of the film than they could have watched so far, with one"
        " password on all devices together; going back is free. `access` has to be `personal`, with"
        " `attendance` and without `download`."
    ),
]
Beacons = Annotated[
    bool,
    Meta(
        description="Whether the page says what it plays and whether it is hidden, which narrows attendance;"
        " it tells viewers so."
    ),
]
RequireVisible = Annotated[
    bool,
    Meta(
        description="Whether what plays in a hidden page counts for nothing, which `beacons` are needed for."
    ),
]
OwnCount = Annotated[
    bool,
    Meta(
        description="Whether each viewer sees on the page how much of the own attendance counts so far,"
        " which `attendance` is needed for."
    ),
]
CheckMinutes = Annotated[
    int,
    Meta(
        ge=5,
        le=240,
        description="Minutes in each of which the page asks once whether somebody is there, which `beacons`"
        " are needed for; null: never.",
    ),
]
Maximum = Annotated[
    bool,
    Meta(
        description="true: all that protects a film, in one word: "
        + ", ".join(f"`{name}` {json.dumps(value)}" for name, value in MAXIMUM.items())
        + ". What is said beside it counts. It is no setting of its own: each of these can be seen, and"
        " changed by itself."
    ),
]
DeviceMode = Annotated[
    str,
    _one_of(
        DEVICE_MODES,
        "What happens to one more: `reject_new` refuses it, `kick_oldest` ends the session that was"
        " opened first.",
    ),
]


class StreamView(Struct, kw_only=True):
    """A stream. `path` is that of its page on this server; `master.m3u8` lies below it."""

    name: Name
    path: str
    sources: Annotated[
        list[str] | None,
        Meta(description="In the tenant's folder of films; null where they lie elsewhere."),
    ]
    title: Title
    format: Format
    segment_duration_ms: SegmentDuration
    access: Access
    encryption: Encryption
    rotate_every: RotateEvery | None
    cache: Cache
    pace: Pace | None
    download: Download
    download_source: Annotated[str | None, Meta(description="Which of several sources that is.")]
    download_rate_bps: Rate | None
    origins: Origins
    embed_origins: EmbedOrigins
    max_viewers: Viewers | None
    session_s: SessionTime
    idle_s: IdleTime | None
    max_devices: Devices | None
    device_mode: DeviceMode
    opens_at: OpensAt | None
    closes_at: ClosesAt | None
    networks: Networks
    countries: Countries
    countries_denied: CountriesDenied
    allow_unknown_country: UnknownCountry
    embed_lock: EmbedLock
    allow_no_referrer: NoReferrer
    attendance: Attendance
    no_skip: NoSkip
    beacons: Beacons
    require_visible: RequireVisible
    check_minutes: CheckMinutes | None
    own_count: OwnCount
    created_at: Moment


class StreamPage(Struct, kw_only=True):
    """A page of streams, by name. `next` is the cursor of the next page; null: this is the last."""

    items: list[StreamView]
    next: str | None


class StreamValues(Struct, kw_only=True, forbid_unknown_fields=True):
    """What can be set about a stream. What is left out stays as it is, or is as usual."""

    title: Title | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    segment_duration_ms: SegmentDuration | UnsetType = UNSET
    access: Access | UnsetType = UNSET
    encryption: Encryption | UnsetType = UNSET
    rotate_every: RotateEvery | UnsetType | None = UNSET
    cache: Cache | UnsetType = UNSET
    pace: Pace | UnsetType | None = UNSET
    download: Download | UnsetType = UNSET
    download_source: Film | UnsetType | None = UNSET
    download_rate_bps: Rate | UnsetType | None = UNSET
    origins: Origins | UnsetType = UNSET
    embed_origins: EmbedOrigins | UnsetType = UNSET
    max_viewers: Viewers | UnsetType | None = UNSET
    session_s: SessionTime | UnsetType = UNSET
    idle_s: IdleTime | UnsetType | None = UNSET
    max_devices: Devices | UnsetType | None = UNSET
    device_mode: DeviceMode | UnsetType = UNSET
    opens_at: OpensAt | UnsetType | None = UNSET
    closes_at: ClosesAt | UnsetType | None = UNSET
    networks: Networks | UnsetType = UNSET
    countries: Countries | UnsetType = UNSET
    countries_denied: CountriesDenied | UnsetType = UNSET
    allow_unknown_country: UnknownCountry | UnsetType = UNSET
    embed_lock: EmbedLock | UnsetType = UNSET
    allow_no_referrer: NoReferrer | UnsetType = UNSET
    attendance: Attendance | UnsetType = UNSET
    no_skip: NoSkip | UnsetType = UNSET
    beacons: Beacons | UnsetType = UNSET
    require_visible: RequireVisible | UnsetType = UNSET
    check_minutes: CheckMinutes | UnsetType | None = UNSET
    own_count: OwnCount | UnsetType = UNSET
    maximum: Maximum | UnsetType = UNSET


Films = Annotated[
    list[Film],
    Meta(
        min_length=1,
        max_length=32,
        description="The MP4 files of which the film is made: a ladder of renditions, and audio.",
    ),
]


class StreamChange(StreamValues, kw_only=True, forbid_unknown_fields=True):
    """Changes of a stream (a JSON Merge Patch, RFC 7396): what is left out stays as it is, and null takes
    a limit away."""

    sources: Films | UnsetType = UNSET


class NewStream(StreamValues, kw_only=True, forbid_unknown_fields=True):
    """A stream to be added."""

    name: Name
    sources: Films


class EmbedCode(Struct, kw_only=True):
    """How a site shows the stream. `embed_origins` are the sites that may; none may unless it is named."""

    url: str
    html: str
    embed_origins: EmbedOrigins


@operation(query=Paging, gives=StreamPage)
def listed(call: Call[Paging, None]) -> Given:
    """List streams.

    The tenant's streams, by name.
    """
    after, most = cursor_of(call.query.cursor), call.query.limit
    streams = [each for each in call.office.store.streams(call.actor.tenant) if each.name > after]
    following = as_cursor(streams[most - 1].name) if len(streams) > most else None
    page = StreamPage(items=[_view(call.office, each) for each in streams[:most]], next=following)
    return Given(page, headers=list(next_link(call, following)))


@operation(gives=StreamView, problems=("not-found",))
def shown(call: Call[NoQuery, None]) -> Given:
    """Read a stream.

    Its ETag goes into If-Match of a change that must not undo somebody else's.
    """
    stream = call.office.store.stream(call.actor.tenant, call.place["stream"])
    return _given(call, stream)


@operation(
    body=NewStream,
    gives=StreamView,
    status=201,
    once="whole",
    problems=("exists", "forbidden"),
    example={
        "name": "course",
        "sources": ["course.mp4"],
        "title": "A course",
        "access": "personal",
    },
)
def add(call: Call[NoQuery, NewStream]) -> Given:
    """Add a stream.

    It is made of MP4 files in the tenant's folder of films on the server, which are looked at first: what
    cannot be packaged is refused. A server whose operator has set no such folder refuses all (403); the
    operator adds streams there. The name cannot be changed later.
    """
    values = _given_settings(call.body)
    name = values.pop("name")
    check_stream_name(name)
    settings = StreamSettings(**_with_paths(call, values))
    _check(call, None, settings)
    _plan(call, settings, call.body.sources)
    store, tenant = call.office.store, call.actor.tenant
    stream = store.add_stream(tenant, name, settings, who=call.who, now=call.now)
    location = f"{call.request.root}/api/v1/streams/{stream.name}"
    return _given(call, stream, 201, ("Location", location))


@operation(
    bodies={MERGE_PATCH: StreamChange, JSON: StreamChange},
    gives=StreamView,
    once="whole",
    problems=("not-found", "outdated", "forbidden"),
    conditional=True,
    example={"download": True, "max_devices": None},
)
def change(call: Call[NoQuery, StreamChange]) -> Given:
    """Change a stream.

    What is left out stays as it is; null takes a limit away. Viewers get it within a second. With If-Match
    and the ETag of what you have read, a change is refused (412) where somebody else's came before.

    Switching the download on gives the film away: who has the file watches it elsewhere.
    """
    store, tenant, name = call.office.store, call.actor.tenant, call.place["stream"]
    before = store.stream(tenant, name)
    seen = _seen(call.request, before)
    changes = _with_paths(call, _given_settings(call.body))
    wanted = changed(before.settings, changes)
    _check(call, before.settings, wanted)
    if {"sources", "format", "segment_duration_ms"} & set(changes):
        _plan(call, wanted, films.names(call.office, tenant, wanted.sources) or ["the film"])
    stream = store.set_stream(tenant, name, changes, who=call.who, now=call.now, seen=seen)
    return _given(call, stream)


@operation(status=204, problems=("not-found", "in-use", "outdated"), conditional=True)
def remove(call: Call[NoQuery, None]) -> Given:
    """Remove a stream.

    Whoever watches it is stopped. Its files stay, and so does what was sent of it; the name is free. As
    long as the sealed report of one of its days is held, it stays (409).
    """
    store, tenant, name = call.office.store, call.actor.tenant, call.place["stream"]
    seen = _seen(call.request, store.stream(tenant, name))
    store.remove_stream(tenant, name, who=call.who, now=call.now, seen=seen)
    return Given(status=204)


@operation(status=204, once="whole", problems=("not-found",))
def end_sessions(call: Call[NoQuery, None]) -> Given:
    """End all sessions of a stream.

    Whoever watches is stopped within a segment, and has to come in anew.
    """
    stream = call.office.store.stream(call.actor.tenant, call.place["stream"])
    viewers = call.office.store.viewers
    viewers.end_sessions(call.tenant_id, stream.id, who=call.who, now=call.now)
    return Given(status=204)


@operation(gives=EmbedCode, problems=("not-found",))
def embed(call: Call[NoQuery, None]) -> Given:
    """Read the code that embeds a stream.

    HTML for the customer's own site. That site has to be one of `embed_origins`, or browsers show nothing.
    Where passwords or tokens open the stream, a script in it hands on what stands behind the `#` of the
    page's address, as cards have it, to the player in the frame, and takes it out of the address.
    """
    stream = call.office.store.stream(call.actor.tenant, call.place["stream"])
    url = embedding.page_url(call.request, stream.tenant, stream.name)
    html = embedding.code(url, stream)
    sites = list(stream.settings.embed_origins)
    return Given(EmbedCode(url=url, html=html, embed_origins=sites))


# What lies below


def _given(
    call: Call[Any, Any], stream: Stream, status: int = 200, *headers: tuple[str, str]
) -> Given:
    tag = _tag(stream)
    known = call.request.fields.get("if_none_match")
    if known is not None and call.request.method in ("GET", "HEAD") and matches(known, tag, False):
        return Given(status=304, headers=[("ETag", tag)])
    return Given(_view(call.office, stream), status, [("ETag", tag), *headers])


def _tag(stream: Stream) -> str:
    return f'"{stream.id}-{stream.revision}"'


def _seen(request: Request, stream: Stream) -> int | None:
    """The revision that a change is for, where it names one. Raises `Refusal`."""
    wanted = request.fields.get("if_match")
    if wanted is None:
        return None
    if not matches(wanted, _tag(stream), True):
        raise Refusal("outdated", f"the stream {stream.name!r} is not what If-Match names any more")
    return stream.revision


def _view(office: Office, stream: Stream) -> StreamView:
    settings = stream.settings
    values = {name: getattr(settings, name, None) for name in StreamView.__struct_fields__}
    told: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
    named = settings.download_source
    names = None if named is None else films.names(office, stream.tenant, [named])
    told |= {
        "name": stream.name,
        "path": f"/{stream.tenant}/{stream.name}/",
        "sources": films.names(office, stream.tenant, settings.sources),
        "download_source": names[0] if names else None,
        "opens_at": moment(settings.opens_at),
        "closes_at": moment(settings.closes_at),
        "created_at": at(stream.created_at),
    }
    return StreamView(**told)


def _given_settings(values: StreamValues) -> dict[str, Any]:
    given = given_only(values)
    return {**(MAXIMUM if given.pop("maximum", False) else {}), **given}


def _with_paths(call: Call[Any, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose films are named as they lie on the server. Raises `Refusal`."""
    found = dict(values)
    if "sources" in found:
        found["sources"] = tuple(
            _path(call, each, f"#/sources/{place}") for place, each in enumerate(found["sources"])
        )
    if found.get("download_source") is not None:
        found["download_source"] = _path(call, found["download_source"], "#/download_source")
    return found


def _path(call: Call[Any, Any], name: str, pointer: str) -> str:
    if call.office.films is None:
        raise Refusal(
            "forbidden",
            "this server's operator has set no folder of films ([console] films), and adds streams by"
            " `pystream stream add`",
        )
    path = films.path(call.office, call.actor.tenant, name)
    if path is None:
        detail = "there is no such file in the tenant's folder of films"
        raise invalid(Error(detail=detail, pointer=pointer))
    return path


def _check(call: Call[Any, Any], before: StreamSettings | None, settings: StreamSettings) -> None:
    """Raises `InvalidValue`, with names of films as the tenant knows them."""
    try:
        check(settings)
        if not call.office.knows_countries():
            check_countries(before, settings)
    except InvalidValue as error:
        folder = films.folder(call.office, call.actor.tenant)
        raise InvalidValue(
            *(each.replace(folder + "/", "") if folder else each for each in error.problems)
        ) from None


def _plan(call: Call[Any, Any], settings: StreamSettings, names: Sequence[str]) -> None:
    """Raises `Refusal` for what cannot be packaged."""
    said = films.unpackable(call.office, call.actor.tenant, settings, names)
    if said is not None:
        raise invalid(Error(detail=said, pointer="#/sources"))
