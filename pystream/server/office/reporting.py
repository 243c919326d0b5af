"""What API and console hand out of attendance: reports, sealed versions, receipts, the log.

That somebody looks at it is on record before anybody can see it; where it cannot be, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from pystream.acl.people import Actor
from pystream.acl.reports import Report, files, making
from pystream.acl.reports.making import Reporter, Wanted
from pystream.acl.store.notary import Notary
from pystream.acl.store.sealed_reports import Hold, Sealed, Version
from pystream.attendance.programmes import midnights
from pystream.errors import InvalidValue, NotFound, Said
from pystream.server.clock import kernel
from pystream.server.office import printing
from pystream.server.office.values import Office

MOST_EVENTS: Final = 200_000
"""Of an export: it is made in memory, some hundred bytes each."""

# What takes a processor for long.
_PRINTED = ("pdf", "xlsx")


def of_event(office: Office, actor: Actor, name: str) -> Wanted:
    """Raises `NotFound`."""
    event = office.store.events.event(actor.tenant_id, name)
    return Wanted(office.store.tenant(actor.tenant), event)


def of_stream(office: Office, actor: Actor, name: str, day: str | None) -> Wanted:
    """Raises `NotFound`, and `InvalidValue` for what is no day of evidence."""
    stream = office.store.stream(actor.tenant, name)
    return Wanted(office.store.tenant(actor.tenant), stream, day)


def report(office: Office, actor: Actor, wanted: Wanted, version: int | None = None) -> Report:
    """A provisional one, or a sealed version. Raises `NotFound`, and `InvalidValue` where there are no
    versions of such."""
    reporter = Reporter(office.store, office.keys)
    if version is None:
        found = reporter.provisional(wanted, office.now())
    else:
        found = reporter.version(wanted.tenant, wanted.subject, version)
    _record(office, actor, wanted.stream_id, {"attendance_shown": len(found.lines())})
    return found


def file(found: Report, shape: str, locale: str) -> bytes:
    """One of `files.SHAPES`. Raises `Incomplete`."""
    if shape in _PRINTED:
        return printing.reported(found, shape, locale)
    return files.made(found, shape, locale)


def file_name(found: Report, shape: str) -> str:
    about = found.about
    days = found.scope.days or ()
    parts = [about["name"], *(days if not found.is_of_event else ())]
    if found.version is not None:
        parts.append(f"v{found.version}")
    return f"{'-'.join(parts)}.{shape}"


def versions(office: Office, wanted: Wanted) -> tuple[Version, ...]:
    """Raises `InvalidValue` for all days of a stream at once."""
    return Reporter(office.store, office.keys).sealed.versions(wanted.tenant.id, wanted.subject)


def seal(office: Office, actor: Actor, wanted: Wanted, reason: str) -> Version:
    """Seals what is known now as the next version. Raises `TooEarly`, `InvalidValue`, and `NotFound` where
    nothing was recorded yet."""
    reporter = Reporter(office.store, office.keys)
    return reporter.seal_now(wanted, notary(office), kernel(), reason, **_by(office, actor))[0]


def sealed(office: Office, actor: Actor, *, skip: int, most: int) -> tuple[Sealed, ...]:
    """Of what there are versions, and which of them is held. It names nobody who watched."""
    found = Reporter(office.store, office.keys).sealed
    return found.listed(actor.tenant_id, office.now(), skip=skip, most=most)


def held(office: Office, wanted: Wanted) -> Hold | None:
    """Raises `InvalidValue` for all days of a stream at once."""
    found = Reporter(office.store, office.keys).sealed
    return found.held(wanted.tenant.id, wanted.subject, office.now())


def hold(office: Office, actor: Actor, wanted: Wanted, until: int, reason: str) -> Hold:
    """Raises `InvalidValue`, and `NotFound` where nothing is sealed."""
    found, by = Reporter(office.store, office.keys).sealed, _by(office, actor)
    return found.hold(wanted.tenant.id, wanted.subject, until, reason, **by)


def release(office: Office, actor: Actor, wanted: Wanted) -> None:
    """Raises `NotFound` for a report that is not held."""
    if held(office, wanted) is None:
        raise NotFound(Said("not-held", "this report is not held"))
    found, by = Reporter(office.store, office.keys).sealed, _by(office, actor)
    found.release(wanted.tenant.id, wanted.subject, **by)


def receipt(office: Office, actor: Actor, name: str, day: str | None, password_id: int) -> bytes:
    """What a password has watched of a stream, or of it on a day, with proof. Raises `NotFound`, and
    `InvalidValue` for what is no day of evidence, and for a password whose data is restricted."""
    tenant, stream = office.store.tenant(actor.tenant), office.store.stream(actor.tenant, name)
    made = making.receipt(
        office.store,
        notary(office),
        tenant,
        stream,
        password_id,
        Wanted(tenant, stream, day).day,
        kernel(),
        office.now(),
    )
    _record(office, actor, stream.id, {"attendance_receipts": 1})
    return made


def log(office: Office, actor: Actor) -> bytes:
    """A tenant's whole log, leaf by leaf, as `verify --evidence` reads it. Raises `NotFound` where nothing
    was recorded yet, and `InvalidValue` for a log that is too long to be handed out so."""
    clock, now = kernel(), office.now()
    signed = notary(office).checkpoint(actor.tenant_id, clock, now)
    if signed.size > MOST_EVENTS:
        raise _too_many()
    _record(office, actor, None, {"attendance_signed": signed.size})
    return b"".join(notary(office).export(signed))


def evidence(office: Office, actor: Actor, name: str, day: str | None) -> bytes:
    """The events of a stream, or of it on a day, as `replay` reads them. Raises `NotFound`, and
    `InvalidValue` as `log` does, and for what is no day of evidence."""
    tenant, stream = office.store.tenant(actor.tenant), office.store.stream(actor.tenant, name)
    chosen = Wanted(tenant, stream, day).day
    span = () if chosen is None else midnights(chosen, chosen, tenant.settings.timezone)
    told = office.store.viewers.attendance.events(office.keys, tenant.id, stream.id, *span)
    found = list(islice(told, MOST_EVENTS + 1))
    if len(found) > MOST_EVENTS:
        raise _too_many()
    _record(office, actor, stream.id, {"attendance_shown": len(found)})
    return "".join(f"{event}\n" for event in found).encode()


def _too_many() -> InvalidValue:
    text = (
        f"there are more than {MOST_EVENTS:,} events: the server's operator exports them (pystream"
        " attendance export)"
    )
    return InvalidValue(Said("events-many", text, most=MOST_EVENTS))


def notary(office: Office) -> Notary:
    return Notary(office.store.database, office.keys)


def _record(office: Office, actor: Actor, stream_id: int | None, what: Mapping[str, int]) -> None:
    office.store.audit.record_view(actor.tenant_id, stream_id, what, **_by(office, actor))


def _by(office: Office, actor: Actor) -> dict[str, Any]:
    return {"who": actor.who, "now": office.now()}
