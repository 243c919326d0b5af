"""The tenant itself, what was sent, and who did what: `/api/v1/tenant`, `/traffic` and `/audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.acl import disclosure, statements
from pystream.acl.audit import ALL_KINDS, Entry, Kind
from pystream.acl.people import Actor
from pystream.acl.retention import LEAST_ATTENDANCE_DAYS, MOST_DAYS
from pystream.acl.streams import Tenant
from pystream.acl.traffic import Kind as Sent
from pystream.acl.traffic import month_of
from pystream.acl.viewers import notice_version
from pystream.attendance import purpose
from pystream.errors import NotFound
from pystream.server.office import films
from pystream.server.office.api.operations import (
    JSON,
    MARKDOWN,
    MERGE_PATCH,
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    at,
    given_only,
    next_link,
    number_of_cursor,
    operation,
)
from pystream.server.office.api.streams import Name
from pystream.server.office.values import Office

Display = Annotated[str, Meta(max_length=200, description="The name for people.")]
TimeZone = Annotated[
    str,
    Meta(
        max_length=100,
        description="Where months and days begin.",
        examples=["Europe/Berlin"],
    ),
]
Notice = Annotated[
    str,
    Meta(
        max_length=4000,
        description="What viewers are told before anything is recorded: plain text, with empty lines"
        " between paragraphs; empty: nothing.",
    ),
]
Month = Annotated[
    str,
    Meta(
        pattern=r"^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])$",
        description="A month of the tenant's time zone; if left out, the present one.",
        examples=["2031-05"],
    ),
]


AttendancePurpose = Annotated[
    str,
    Meta(
        max_length=16,
        description="The version of the text that says what attendance is recorded for, as `GET /privacy`"
        " has it, which the tenant has accepted; empty: none, and nothing is recorded.",
    ),
]


CheckpointUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        description="Where each checkpoint of the log of attendance is sent (https), as the body of a POST;"
        " an answer with status 200 may be the checkpoint cosigned. Empty: nowhere.",
    ),
]
CheckpointMail = Annotated[
    str,
    Meta(
        max_length=254,
        description="The address to which each checkpoint of the log of attendance is sent by mail, as a"
        " file, where the server's operator has named a mail server; empty: none.",
        examples=["attendance@example.org"],
    ),
]
CheckpointCosigner = Annotated[
    str,
    Meta(
        max_length=400,
        description="The public key, as text, of who cosigns checkpoints for the tenant; empty: nobody.",
    ),
]


Days = Annotated[int, Meta(ge=LEAST_ATTENDANCE_DAYS, le=MOST_DAYS)]
_EVENT_DAYS = Meta(
    description="Days for which events of attendance are kept, from the hour of each; null: as the server"
    " has it (`GET /privacy` says how long that is)."
)
_REPORT_DAYS = Meta(
    description="The same of sealed reports of attendance, from the sealing of a report's last version."
)
_DAILY_DAYS = Meta(
    description="The same of reports of a stream's day that the server has sealed by itself, and nobody has"
    " corrected."
)


class TenantView(Struct, kw_only=True):
    """The tenant. `notice_version` names the text of the notice: each session has that of the text that
    its viewer was shown; null where there is none."""

    name: str
    display: Display
    timezone: TimeZone
    notice: Notice
    notice_version: str | None
    attendance_purpose: AttendancePurpose
    checkpoint_url: CheckpointUrl
    checkpoint_mail: CheckpointMail
    checkpoint_cosigner: CheckpointCosigner
    attendance_days: Annotated[Days | None, _EVENT_DAYS]
    attendance_reports_days: Annotated[Days | None, _REPORT_DAYS]
    attendance_daily_reports_days: Annotated[Days | None, _DAILY_DAYS]
    max_rate_bps: Annotated[
        int | None,
        Meta(
            description="Bits a second of all viewers together, past which nobody more is let in; null: no"
            " limit. The operator's."
        ),
    ]
    created_at: Moment


class TenantChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Changes of the tenant (a JSON Merge Patch, RFC 7396): what is left out stays as it is."""

    display: Display | UnsetType = UNSET
    timezone: TimeZone | UnsetType = UNSET
    notice: Notice | UnsetType = UNSET
    attendance_purpose: AttendancePurpose | UnsetType = UNSET
    checkpoint_url: CheckpointUrl | UnsetType = UNSET
    checkpoint_mail: CheckpointMail | UnsetType = UNSET
    checkpoint_cosigner: CheckpointCosigner | UnsetType = UNSET
    attendance_days: Annotated[Days | None, _EVENT_DAYS] | UnsetType = UNSET
    attendance_reports_days: Annotated[Days | None, _REPORT_DAYS] | UnsetType = UNSET
    attendance_daily_reports_days: Annotated[Days | None, _DAILY_DAYS] | UnsetType = UNSET


class Privacy(Struct, kw_only=True):
    """`document` is what `/.well-known/pystream-privacy.json` has of the tenant, in the format that it
    names. `notice` is a text for the customer's own notice, by language; whose viewers they are and on
    what ground, the customer has to add."""

    document: dict[str, Any]
    notice: dict[str, str]
    purpose: Annotated[
        dict[str, str],
        Meta(description="What attendance is recorded for, by language, for the tenant to accept."),
    ]
    purpose_version: Annotated[str, Meta(description="What names these texts.")]


class PaperFile(Struct):
    """Markdown."""


class PaperQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """In which language."""

    locale: Literal["de", "en"] = "de"


class MonthQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which month."""

    month: Month | UnsetType = UNSET


class TrafficRow(Struct, kw_only=True):
    """What a stream sent of one kind. `bytes` are those that reached viewers, headers and all; `aborted` are
    requests whose viewer left before the end. A stream that was removed is among the rows."""

    stream: str
    kind: Annotated[str, Meta(extra_json_schema={"enum": [each.name.lower() for each in Sent]})]
    requests: int
    bytes: int
    aborted: int


class Sum(Struct, kw_only=True):
    """Of all rows."""

    requests: int
    bytes: int
    aborted: int


class Traffic(Struct, kw_only=True):
    """What was sent in a month."""

    month: str
    timezone: str
    rows: list[TrafficRow]
    total: Sum


class AuditQuery(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which entries."""

    stream: (
        Annotated[Name, Meta(description="Only those about streams that have or had this name.")]
        | UnsetType
    ) = UNSET
    kind: (
        Annotated[
            Kind,
            Meta(
                description="Only changes, only views of passwords and reports, or only who came in."
            ),
        ]
        | UnsetType
    ) = UNSET


class Difference(Struct, kw_only=True):
    """What a value was before, and what it is after."""

    old: Any
    new: Any


class EntryView(Struct, kw_only=True):
    """Something that somebody did: `person:NAME` at the console, `token:NAME` at the API, or whoever gave a
    command. No password and no label is ever in it. Films are named as in the tenant's folder of films; null
    stands for what lies elsewhere."""

    id: str
    at: Moment
    who: str
    kind: str
    stream: str | None
    values: dict[str, Difference]


class AuditPage(Struct, kw_only=True):
    """A page of entries, the newest first. `next` is the cursor of the next page; null: this is the last."""

    items: list[EntryView]
    next: str | None


@operation(gives=TenantView)
def shown(call: Call[NoQuery, None]) -> Given:
    """Read the tenant.

    Its name for people, its time zone and the notice that viewers are shown.
    """
    return Given(_view(call.office.store.tenant(call.actor.tenant)))


@operation(
    bodies={MERGE_PATCH: TenantChange, JSON: TenantChange},
    gives=TenantView,
    once="whole",
    example={"notice": "Who watches when is recorded, to confirm attendance."},
)
def change(call: Call[NoQuery, TenantChange]) -> Given:
    """Change the tenant.

    What is left out stays as it is. Another notice is another version: whoever comes in from then on is shown
    it first.
    """
    store, changes = call.office.store, given_only(call.body)
    return Given(_view(store.set_tenant(call.actor.tenant, changes, who=call.who, now=call.now)))


@operation(gives=Privacy)
def privacy(call: Call[NoQuery, None]) -> Given:
    """Read what is kept of viewers.

    For the customer's own privacy notice, and for whoever keeps the record of processing: what this server
    keeps, why and for how long, made of its settings.
    """
    tenant = call.office.store.tenant(call.actor.tenant)
    practice = call.office.practice().of(tenant)
    found = disclosure.document(practice, tenant)
    streams = [each.settings for each in call.office.store.streams(tenant.name)]
    texts = {
        language: disclosure.notice(practice, language, streams)
        for language in disclosure.LANGUAGES
    }
    privacy = Privacy(
        document=found,
        notice=texts,
        purpose=dict(purpose.TEXTS),
        purpose_version=purpose.VERSION,
    )
    return Given(privacy)


@operation(query=PaperQuery, gives=PaperFile, kind=MARKDOWN, problems=("not-found",))
def paper(call: Call[PaperQuery, None]) -> Given:
    """Read one of the papers that data protection law asks for.

    `notice`, for viewers (Art. 13 GDPR), `record` (Art. 30(2)), `measures` (Art. 32), `contract`, an annex
    to the contract with the operator (Art. 28(3)), or `breach`, what the operator tells of one (Art. 33(2)):
    Markdown, made of the settings as they are now. What no setting tells stands in square brackets.
    """
    kind = call.place["paper"]
    if kind not in statements.KINDS:
        raise NotFound(f"there is no paper {kind!r}: {', '.join(statements.KINDS)}")
    facts = paper_facts(call.office, call.actor)
    said = statements.statement(kind, facts, call.query.locale)
    return Given(data=said.encode())


def paper_facts(office: Office, actor: Actor) -> statements.Facts:
    """What a tenant's papers are made of."""
    tenant = office.store.tenant(actor.tenant)
    day = f"{datetime.fromtimestamp(office.now(), UTC):%Y-%m-%d}"
    streams = office.store.streams(tenant.name)
    return statements.Facts(tenant, streams, office.practice().of(tenant), day)


@operation(query=MonthQuery, gives=Traffic)
def traffic(call: Call[MonthQuery, None]) -> Given:
    """Read the traffic of a month.

    What viewers were sent, by stream and kind. It is counted by the hour of UTC: an hour belongs to the month
    in which it begins.
    """
    store = call.office.store
    zone = store.tenant(call.actor.tenant).settings.timezone
    month = call.query.month
    if month is UNSET:
        month = month_of(call.now, zone)
    rows = [
        TrafficRow(
            stream=each.stream,
            kind=each.kind.name.lower(),
            requests=each.requests,
            bytes=each.bytes,
            aborted=each.aborted,
        )
        for each in store.traffic(call.actor.tenant, month)
    ]
    total = Sum(
        requests=sum(each.requests for each in rows),
        bytes=sum(each.bytes for each in rows),
        aborted=sum(each.aborted for each in rows),
    )
    return Given(Traffic(month=month, timezone=zone, rows=rows, total=total))


@operation(query=AuditQuery, gives=AuditPage)
def audit(call: Call[AuditQuery, None]) -> Given:
    """Read the audit log.

    Who changed what, who has seen how many passwords, who has signed in, and how often that failed; the
    newest first.
    """
    query = call.query
    found = call.office.store.audit.entries(
        call.tenant_id,
        stream=None if query.stream is UNSET else query.stream,
        kinds=ALL_KINDS if query.kind is UNSET else {query.kind},
        before=number_of_cursor(query.cursor) or None,
        most=query.limit + 1,
    )
    items = [_entry(call.office, each) for each in found[: query.limit]]
    following = as_cursor(items[-1].id) if len(found) > query.limit else None
    return Given(AuditPage(items=items, next=following), headers=list(next_link(call, following)))


def _view(tenant: Tenant) -> TenantView:
    settings = tenant.settings
    return TenantView(
        name=tenant.name,
        display=settings.display,
        timezone=settings.timezone,
        notice=settings.notice,
        notice_version=notice_version(settings.notice),
        attendance_purpose=settings.attendance_purpose,
        checkpoint_url=settings.checkpoint_url,
        checkpoint_mail=settings.checkpoint_mail,
        checkpoint_cosigner=settings.checkpoint_cosigner,
        attendance_days=settings.attendance_days,
        attendance_reports_days=settings.attendance_reports_days,
        attendance_daily_reports_days=settings.attendance_daily_reports_days,
        max_rate_bps=settings.max_rate_bps,
        created_at=at(tenant.created_at),
    )


def _entry(office: Office, entry: Entry) -> EntryView:
    def told(name: str, value: Any) -> Any:
        if name == "sources" and value is not None:
            return films.names(office, entry.tenant, value)
        if name == "download_source" and value is not None:
            found = films.names(office, entry.tenant, [value])
            return found[0] if found else None
        return value

    return EntryView(
        id=str(entry.id),
        at=at(entry.at),
        who=entry.who,
        kind=entry.kind.value,
        stream=entry.stream,
        values={
            name: Difference(old=told(name, old), new=told(name, new))
            for name, (old, new) in entry.values.items()
        },
    )
