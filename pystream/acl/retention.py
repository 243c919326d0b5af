"""For how long each class of data is kept, and from when on a row of it is old.

Days are counted from a moment that each class names below. What is old goes with the next run, which
comes once a day: so nothing is there for longer than its days and one, as far as the node runs.

| class               | counted from                        | what happens                          |
| ------------------- | ----------------------------------- | ------------------------------------- |
| `settings`          | -                                   | kept until the tenant is deleted      |
| `passwords`         | -                                   | kept until they are over or revoked   |
| `people`            | -                                   | kept until they are removed           |
| `tokens`            | -                                   | kept until they are over or revoked   |
| `sessions`          | end, or the hard end                | deleted                               |
| `endings`           | the order to end                    | deleted                               |
| `traffic_hours`     | the end of the tenant's month       | summed up, one number for the month   |
| `traffic`           | the hour                            | deleted                               |
| `audit`             | the entry                           | deleted; an entry says how many       |
| `spent_tokens`      | the end of their validity           | deleted within minutes                |
| `kept_answers`      | the answer                          | key destroyed, then deleted           |
| `console_sessions`  | the hard end                        | deleted                               |
| `expired_tokens`    | the end of their validity           | deleted                               |
| `expired_passwords` | `valid_until`                       | key destroyed, then deleted           |
| `revoked_passwords` | the revocation                      | key destroyed, then deleted           |
| `named_viewers`     | end of the last session             | key destroyed, then deleted           |
| `attendance_log`    | -                                   | kept until the tenant is deleted      |
| `attendance`        | the hour of the event               | key destroyed, then deleted           |
| `attendance_intervals` | the hour of the first event      | deleted; computed anew of what is left |
| `attendance_reports` | sealing of the last version        | key destroyed, then deleted           |
| `attendance_daily_reports` | sealing by the server itself | key destroyed, then deleted           |
| `incidents`         | the beginning                       | key destroyed, then deleted           |
| `incident_records`  | the beginning                       | deleted                               |
| `removed_streams`   | the removal                         | deleted, where nothing names them     |
| `erasures`          | the erasure                         | taken off the erasure list            |
| `key_backups`       | the backup                          | deleted                               |
| `proofs`            | the deletion                        | deleted                               |

A password takes its sessions along: after `LEAST_PASSWORD_DAYS` none of them can be open. Endings,
kept answers and sessions of the console have no setting: the first stand for as long as a session lives
that they may have to end, the second for as long as the API promises, and the third are of no use to
anybody.

Viewers whom a customer's links or tokens name have no end that anybody has set. Their sessions say when
they were here last, so they stay for as long as one of these does, and have no setting either. Who comes
again then is a new one. One that was revoked stays for as long as revoked passwords do: a site that goes
on naming it after that has it let in.

Of attendance, hashes and what befell the node stay in the log, with its checkpoints, so that it can be
verified when the events are gone: neither tells anything of a viewer. 32 days of an event are 30 after its
day is closed. Events are deliveries, what players say, presence checks, and how far somebody has come in a
film that cannot be skipped ahead. Intervals that are computed of them go with the first of these events: what
outlasts them is what a sealed report says. The server seals it by itself before its events go
(`pystream.acl.reports.due`): rows without events or a seal could not be proven, and are not kept beside it.
Of an event, or where somebody has sealed it, it is kept for the six years that bodies which accredit training
ask for. A day of a stream of which nobody has sealed or corrected a report is nothing that was certified, and
goes after 90 days.
Receipts are made when they are asked for, and not kept. Of streams that are not personal there are the sums
of `traffic` alone.

What a sealed report calls a password stays readable as long as the report, though the password itself
goes earlier. A report that is held (`attendance_hold`) does not get old.

Of attacks on the node, `incidents` are addresses, times and counts of who attacks, sealed under a key of each
attack's own. One lasts a day at most, so counted from its beginning no event of it gets older than its days.
Two persons may hold one (`pystream.acl.store.incidents`). What is known of it without its sources stays as
`incident_records`, for as long as the audit log. A running node looks each minute.

Tenants may have days of their own for what is recorded of attendance: `OF_TENANTS`.

An entry of the erasure list has to be there for as long as any backup of the key store that has the
key: so `erasures` is above `key_backups`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pystream.acl.grants import LONGEST_S

DAY_S: Final = 86400
LEAST_PASSWORD_DAYS: Final = LONGEST_S // DAY_S + 1


class DataClass(StrEnum):
    """What is kept for one time. The names are those of settings, proofs and documents."""

    SETTINGS = "settings"
    PASSWORDS = "passwords"
    PEOPLE = "people"
    TOKENS = "tokens"
    SESSIONS = "sessions"
    ENDINGS = "endings"
    TRAFFIC_HOURS = "traffic_hours"
    TRAFFIC = "traffic"
    AUDIT = "audit"
    SPENT_TOKENS = "spent_tokens"
    KEPT_ANSWERS = "kept_answers"
    CONSOLE_SESSIONS = "console_sessions"
    EXPIRED_TOKENS = "expired_tokens"
    EXPIRED_PASSWORDS = "expired_passwords"
    REVOKED_PASSWORDS = "revoked_passwords"
    NAMED_VIEWERS = "named_viewers"
    ATTENDANCE_LOG = "attendance_log"
    ATTENDANCE = "attendance"
    ATTENDANCE_INTERVALS = "attendance_intervals"
    ATTENDANCE_REPORTS = "attendance_reports"
    ATTENDANCE_DAILY_REPORTS = "attendance_daily_reports"
    INCIDENTS = "incidents"
    INCIDENT_RECORDS = "incident_records"
    REMOVED_STREAMS = "removed_streams"
    ERASURES = "erasures"
    KEY_BACKUPS = "key_backups"
    PROOFS = "proofs"


OF_THE_CONTRACT: Final = frozenset(
    (
        *(DataClass.SETTINGS, DataClass.PASSWORDS, DataClass.PEOPLE, DataClass.TOKENS),
        DataClass.ATTENDANCE_LOG,
    )
)
"""What stays until the tenant ends it."""

OF_TENANTS: Final = (
    DataClass.ATTENDANCE,
    DataClass.ATTENDANCE_REPORTS,
    DataClass.ATTENDANCE_DAILY_REPORTS,
)
"""What tenants may have days of their own for: their setting is the name with `_days` behind it."""
LEAST_ATTENDANCE_DAYS: Final = 3
"""Of a tenant's own: a report is sealed a day after its last day is over, of events that are there then."""
MOST_DAYS: Final = 36_525

_FIXED = {
    DataClass.ENDINGS: LEAST_PASSWORD_DAYS,
    DataClass.KEPT_ANSWERS: 1,
    DataClass.CONSOLE_SESSIONS: 1,
    DataClass.SPENT_TOKENS: 0,
}
# What goes with something else.
_LIKE = {
    DataClass.NAMED_VIEWERS: DataClass.SESSIONS,
    DataClass.ATTENDANCE_INTERVALS: DataClass.ATTENDANCE,
    DataClass.INCIDENT_RECORDS: DataClass.AUDIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Days for which each class is kept."""

    sessions: int = 30
    traffic_hours: int = 400
    traffic: int = 3653
    audit: int = 1096
    expired_tokens: int = 90
    expired_passwords: int = 365
    revoked_passwords: int = 90
    attendance: int = 32
    attendance_reports: int = 2192
    attendance_daily_reports: int = 90
    incidents: int = 7
    removed_streams: int = 1096
    erasures: int = 400
    key_backups: int = 30
    proofs: int = 3653

    def days(self, data: DataClass) -> int | None:
        """None for what is kept until the tenant ends it."""
        if data in OF_THE_CONTRACT:
            return None
        data = _LIKE.get(data, data)
        return _FIXED[data] if data in _FIXED else int(getattr(self, data))

    def old_before(self, data: DataClass, now: int) -> int:
        """Unix seconds: what counts from before that moment is old. Raises `ValueError` for a class
        that never is."""
        days = self.days(data)
        if days is None:
            raise ValueError(f"{data} is kept until the tenant ends it")
        return now - days * DAY_S


def problems(rules: Rules) -> Iterator[tuple[DataClass, str]]:
    """What cannot be, by the class at fault."""
    for data in (DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS):
        if int(getattr(rules, data)) < LEAST_PASSWORD_DAYS:
            yield (
                data,
                f"{LEAST_PASSWORD_DAYS} days or more are wanted: for so long a session may go on",
            )
    if rules.erasures <= rules.key_backups:
        yield (
            DataClass.ERASURES,
            "more days than those of key_backups are wanted: a backup that is brought back would"
            " bring erased keys back",
        )
