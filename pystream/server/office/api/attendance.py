"""The log of attendance, and what proves it: `/api/v1/attendance`."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated

from msgspec import Meta, Struct

from pystream.acl.store.notary import Signed
from pystream.errors import MalformedDocument, NotProven
from pystream.server.clock import kernel
from pystream.server.office import reporting
from pystream.server.office.api.operations import (
    JSON_LINES,
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    as_file,
    at,
    moment,
    next_link,
    number_of_cursor,
    operation,
)
from pystream.server.office.api.passwords import Id
from pystream.server.office.api.reports import SomeDay, day_of
from pystream.server.office.problems import Error, invalid


class LogKey(Struct, kw_only=True):
    """What a log, its checkpoints, reports and receipts are verified with."""

    key: Annotated[
        str, Meta(description="A line of a file for `pystream attendance verify --public-key`.")
    ]


class CheckpointView(Struct, kw_only=True):
    """What a log was: how many leaves it had, and one hash that says what all of them are. `note` is that
    signed by the log, and by those who have cosigned it."""

    id: Id
    made_at: Moment
    epoch: Annotated[
        int, Meta(description="Grows where a log was begun anew, after a backup was brought back.")
    ]
    size: int
    root: str
    note: str
    cosigners: list[str]
    stamped_at: Annotated[
        Moment | None, Meta(description="The time in its time stamp; null: it has none.")
    ]


class CheckpointPage(Struct, kw_only=True):
    """A page of checkpoints, the newest first. `next` is the cursor of the next page; null: this is the
    last."""

    items: list[CheckpointView]
    next: str | None


class Cosigned(Struct, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint with what its cosigner has put below it."""

    note: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=8192,
            description="As `pystream attendance cosign` prints it.",
        ),
    ]


class Stamp(Struct, kw_only=True):
    """The newest time stamp: the note that was stamped, and the authority's answer (RFC 3161), as base64."""

    note: str
    answer: str


class JsonLines(Struct):
    """A JSON object a line."""


@operation(gives=LogKey, problems=("not-found",))
def key(call: Call[NoQuery, None]) -> Given:
    """Read the log's public key.

    Give it to whoever is to verify reports and receipts. There is none (404) until the tenant has accepted
    what attendance is recorded for.
    """
    tenant = call.office.store.tenant(call.actor.tenant)
    found = reporting.notary(call.office).public_key(tenant, call.now)
    return Given(LogKey(key=str(found)))


@operation(query=Paging, gives=CheckpointPage)
def listed(call: Call[Paging, None]) -> Given:
    """List checkpoints.

    The server signs one a day of a log that has grown, and one behind each sealed report. Keep them: who has
    one can tell whether the log of today is still the one of then.
    """
    before, most = number_of_cursor(call.query.cursor), call.query.limit
    found = [
        each
        for each in reporting.notary(call.office).checkpoints(call.tenant_id)
        if not before or each.id < before
    ]
    following = as_cursor(str(found[most - 1].id)) if len(found) > most else None
    page = CheckpointPage(items=list(map(_view, found[:most])), next=following)
    return Given(page, headers=list(next_link(call, following)))


@operation(gives=CheckpointView, problems=("not-found",))
def sign(call: Call[NoQuery, None]) -> Given:
    """Sign a checkpoint of now.

    The newest one, where the log has not grown since. There is none (404) where nothing was recorded yet.
    """
    return Given(
        _view(reporting.notary(call.office).checkpoint(call.tenant_id, kernel(), call.now))
    )


@operation(
    body=Cosigned,
    gives=CheckpointView,
    problems=("not-found",),
    example={"note": "acme/attendance\n..."},
)
def cosign(call: Call[NoQuery, Cosigned]) -> Given:
    """Hand a cosigned checkpoint back.

    What the tenant's cosigner (`checkpoint_cosigner`) has signed is kept with the checkpoint from then on. A
    note that it has not signed, or that is none of this log's, is refused.
    """
    tenant = call.office.store.tenant(call.actor.tenant)
    try:
        made = reporting.notary(call.office).cosign(tenant, call.body.note, call.now)
    except (MalformedDocument, NotProven) as error:
        raise invalid(Error(detail=f"note: {error}", pointer="#/note")) from None
    return Given(_view(made))


@operation(gives=Stamp, problems=("not-found",))
def stamp(call: Call[NoQuery, None]) -> Given:
    """Read the newest time stamp.

    Where the server's operator has named an authority (`attendance.timestamp_url`), checkpoints are stamped
    with the time. `openssl ts -verify` reads the answer.
    """
    note, answer = reporting.notary(call.office).timestamp(call.tenant_id)
    return Given(Stamp(note=note, answer=b64encode(answer).decode()))


@operation(gives=JsonLines, kind=JSON_LINES, problems=("not-found", "invalid"))
def log(call: Call[NoQuery, None]) -> Given:
    """Export the log.

    Leaf by leaf, behind a checkpoint that is over all of them, as `pystream attendance verify --evidence`
    reads it: nothing can be left out or added. Passwords are called by their numbers; what was erased is a
    hash alone. One of more than 200,000 leaves is refused (422), and exported by the server's operator. That
    it was exported is on record.
    """
    data = reporting.log(call.office, call.actor)
    return Given(data=data, headers=[as_file("log.jsonl")])


@operation(query=SomeDay, gives=JsonLines, kind=JSON_LINES, problems=("not-found", "invalid"))
def evidence(call: Call[SomeDay, None]) -> Given:
    """Export the evidence of a stream.

    An event a line, as `pystream attendance replay` reads it: anybody who has it can compute the rows again.
    Passwords are called by their numbers, and what was erased is not there. One of more than 200,000 events
    is refused (422): ask by the day. That it was exported is on record.
    """
    name, chosen = call.place["stream"], day_of(call.query.day)
    data = reporting.evidence(call.office, call.actor, name, chosen)
    return Given(data=data, headers=[as_file(f"{'-'.join(filter(None, (name, chosen)))}.jsonl")])


def _view(signed: Signed) -> CheckpointView:
    return CheckpointView(
        id=str(signed.id),
        made_at=at(signed.at),
        epoch=signed.epoch,
        size=signed.size,
        root=signed.root.hex(),
        note=signed.note,
        cosigners=[each.name for each in signed.cosigners],
        stamped_at=moment(signed.stamped_at),
    )
