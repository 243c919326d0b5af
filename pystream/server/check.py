"""Whether a node could serve as it is set up: everything that speaks against it, at once.

Nothing is made or changed. What is wrong is a sentence that names the setting, the file or the
stream; what is only worth knowing is apart. So is a film that cannot be shown: it keeps no other one
from being.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import pystream
from pystream.acl.keys import load_master_keys
from pystream.acl.store import Store
from pystream.acl.store.key_backups import older
from pystream.acl.store.keystore import root_name
from pystream.acl.streams import Stream, bound_to_countries, problems, records_attendance
from pystream.errors import NoStore, PystreamError
from pystream.server import descriptors, listeners
from pystream.server.clock import synchronised
from pystream.server.edge import lifetime, load_tls
from pystream.server.folders import held
from pystream.server.gate import countries_of
from pystream.server.keys import keys_of_another, open_key_store
from pystream.server.outgoing import check_url
from pystream.server.settings import Settings

_SOON = timedelta(days=21)
# Streams that are named of many.
_NAMED = 3
_FILMS_SECONDS = 10.0
"""How long films are looked at: there may be thousands, on a disk that does not answer."""


@dataclass
class Findings:
    """`wrong`: what keeps the node, or a stream, from serving. `notes`: what is as it may be; of these,
    `unshown` say of a film that it cannot be shown."""

    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unshown: int = 0


def check(
    settings: Settings,
    environ: Mapping[str, str],
    now: datetime | None = None,
    film_seconds: float = _FILMS_SECONDS,
) -> Findings:
    findings = Findings()
    findings.wrong += _certificates(settings)
    findings.wrong += _timestamps(settings)
    _mail(settings, findings)
    findings.notes += _never_called(settings)
    findings.notes += _trusting_all(settings)
    findings.wrong += filter(None, [_said(countries_of, settings.geo)])
    _master_key(settings, environ, findings)
    _lifetimes(settings, now or datetime.now(UTC), findings)
    path = settings.store.url.removeprefix("sqlite:///")
    if path != settings.store.url and not os.path.lexists(path):
        _to_be_made("store.url", path, findings)
    else:
        findings.notes += _open_to_others("store.url", path)
        _store(settings, findings, film_seconds)
    keys = settings.keys.store.removeprefix("sqlite:///")
    if (keys == settings.keys.store or os.path.lexists(keys)) and not findings.wrong:
        findings.notes += _open_to_others("keys.store", keys)
        findings.wrong += _key_store(settings, environ)
    retention = settings.retention
    if folder := retention.key_backups_folder:
        old = _said(older, folder, retention.rules.key_backups, int(time.time()))
        if old is not None:
            findings.notes.append(
                f"retention.key_backups_folder: {old}. No backup is deleted when it is old"
            )
    workers = settings.server.workers or len(os.sched_getaffinity(0))
    if (missing := descriptors.missing(settings, workers, descriptors.allowed())) is not None:
        findings.notes.append(missing)
    for kind, at in listeners.wanted(settings):
        try:
            if (note := listeners.try_place(kind, at)) is not None:
                findings.notes.append(note)
        except PystreamError as error:
            findings.wrong.append(str(error))
    return findings


def _certificates(settings: Settings) -> Iterator[str]:
    certificates = settings.tls.certificates
    # Each by itself, so that all are named that are wrong; and then all, which have to differ.
    alone = [_said(load_tls, (one,), bytes(32)) for one in certificates]
    yield from filter(None, alone)
    if certificates and not any(alone):
        yield from filter(None, [_said(load_tls, certificates, bytes(32))])


def _timestamps(settings: Settings) -> Iterator[str]:
    if not settings.attendance.timestamp_url:
        return
    if find_spec("rfc3161_client") is None:
        yield (
            "attendance.timestamp_url: the Python package rfc3161-client is not installed: pip install"
            " '.[timestamps]' in its checkout"
        )
    yield from _roots("timestamp_certificates", settings.attendance.timestamp_certificates)


def _never_called(settings: Settings) -> Iterator[str]:
    """URLs of the operator's that could be called by no node that is set so."""
    for name, url, lost in (
        ("attendance.timestamp_url", settings.attendance.timestamp_url, "no checkpoint is stamped"),
        ("incidents.webhook", settings.incidents.webhook, "nobody is told of incidents there"),
    ):
        if url and (wrong := _said(check_url, url, settings.outgoing)) is not None:
            yield f"{name}: {wrong}. Until then {lost}"


def _trusting_all(settings: Settings) -> Iterator[str]:
    for each in settings.server.trusted_proxies:
        if each.network is not None and not each.network.prefixlen:
            yield (
                f"server.trusted_proxies: {each.network} is everybody: whoever connects may name any address"
                " as his own, and the guard limits nobody"
            )


def _roots(name: str, path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            if b"-----BEGIN CERTIFICATE-----" in file.read():
                return
        why = "there is no certificate in it, in PEM"
    except OSError as error:
        why = os.strerror(error.errno or 0)
    yield f"attendance.{name}: {path}: {why}"


def _mail(settings: Settings, findings: Findings) -> None:
    attendance = settings.attendance
    if not attendance.mail_server:
        return
    if attendance.mail_certificates:
        findings.wrong += _roots("mail_certificates", attendance.mail_certificates)
    if path := attendance.mail_password_file:
        name = "attendance.mail_password_file"
        said = _said(_read, path)
        if said is not None:
            findings.wrong.append(f"{name}: {said}")
        findings.notes += _open_to_others(name, path)


def _lifetimes(settings: Settings, now: datetime, findings: Findings) -> None:
    """Certificates that hold no more, or not yet, are shown all the same: browsers refuse them."""
    for each in settings.tls.certificates:
        try:
            with open(each.certificate, "rb") as file:
                begins, ends = lifetime(file.read())
        except (OSError, ValueError, IndexError):
            continue  # that it cannot be used has been said
        name = f"tls.certificates: {each.certificate}"
        if now < begins:
            findings.wrong.append(f"{name} does not hold before {begins:%Y-%m-%d %H:%M} UTC")
        elif now > ends:
            findings.wrong.append(f"{name} has expired, on {ends:%Y-%m-%d %H:%M} UTC")
        elif ends - now < _SOON:
            findings.notes.append(f"{name} expires on {ends:%Y-%m-%d %H:%M} UTC: renew it")


def _said(do: Callable[..., object], *arguments: object) -> str | None:
    """What something complains about."""
    try:
        do(*arguments)
    except PystreamError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def _read(path: str) -> None:
    """Raises `OSError`. A FIFO is refused, not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "this is no regular file", path)
    finally:
        os.close(fd)


def _master_key(settings: Settings, environ: Mapping[str, str], findings: Findings) -> None:
    path = settings.keys.master_key_file
    try:
        load_master_keys(path, environ)
    except FileNotFoundError:
        keys = settings.keys.store.removeprefix("sqlite:///")
        if keys == settings.keys.store or not os.path.lexists(keys):
            # Of keys that are there, the one that they were wrapped with has to be brought back.
            _to_be_made("keys.master_key_file", path, findings, ": keep a copy of it")
    except PystreamError as error:
        findings.wrong.append(f"keys.master_key_file: {error}")
    except OSError as error:
        findings.wrong.append(f"keys.master_key_file: {path}: {error.strerror}")


def _to_be_made(key: str, path: str, findings: Findings, advice: str = "") -> None:
    """A file that is missing, in a folder where it can be made or cannot."""
    folder = os.path.dirname(path) or "."
    if os.access(folder, os.W_OK | os.X_OK):
        findings.notes.append(f"{key}: {path} does not exist yet; pystream serve makes it{advice}")
        return
    reason = "there is no such folder"
    if os.path.isdir(folder):
        # Nor can it be seen there, where the folder may not be entered.
        reason = "Permission denied: this user may not write in that folder"
    findings.wrong.append(f"{key}: {path} cannot be made: {reason}")


def _key_store(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    try:
        with open_key_store(settings.keys, environ, migrate=False) as keys:
            root = root_name(keys.root())
    except PystreamError as error:
        yield f"keys.store: {error}"
        return
    try:
        with Store.open(settings.store.url, migrate=False) as store:
            store.check_key_store(root)
    except NoStore as error:
        why = keys_of_another(settings.keys, environ)
        if why is not None:
            yield f"store.url: {error}, and {why}"
    except PystreamError as error:
        yield f"keys.store: {error}"


def _store(settings: Settings, findings: Findings, film_seconds: float) -> None:
    try:
        with Store.open(settings.store.url, migrate=False) as store:
            streams, tenants = store.streams(), {each.name: each for each in store.tenants()}
    except PystreamError as error:
        findings.wrong.append(f"store.url: {error}")
        return
    sound = []
    for stream in streams:
        wrong = [f"{_name(stream)}: {each}" for each in problems(stream.settings)]
        findings.wrong += wrong
        if bound_to_countries(stream.settings) and not settings.geo.knows_countries:
            findings.notes.append(
                f"{_name(stream)} is bound to countries, and geo.database names nothing to look them up"
                " in: whoever watches has no known country"
            )
        if not wrong:
            sound.append(stream)
    unmailed = [each.name for each in tenants.values() if each.settings.checkpoint_mail]
    if unmailed and not settings.attendance.mail_server:
        names = ", ".join(unmailed[:_NAMED]) + (" ..." if unmailed[_NAMED:] else "")
        findings.notes.append(
            f"attendance.mail_server names none, and checkpoints of {names} are to go by mail"
        )
    recorded = [each for each in sound if records_attendance(each, tenants.get(each.tenant))]
    if recorded and not settings.attendance.allow_unsynced and not synchronised():
        names = ", ".join(map(_name, recorded[:_NAMED])) + (" ..." if recorded[_NAMED:] else "")
        findings.notes.append(
            f"attendance of {names} is not recorded as long as the kernel takes its clock for"
            " unsynchronised: have a time service set it (`timedatectl`), or set"
            " attendance.allow_unsynced"
        )
    _films(sound, settings.console.films, film_seconds, findings)


def _open_to_others(key: str, path: str) -> Iterator[str]:
    """What was made here is its owner's alone; a copy that was brought back has whatever mode it has."""
    with suppress(OSError):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & 0o077:
            yield f"{key}: others than its owner may read {path} (mode {mode:o}): chmod 600 {path}"


def _films(streams: Sequence[Stream], films: str, seconds: float, findings: Findings) -> None:
    """What keeps films from being shown, as far as it can be told in this time."""
    deadline = time.monotonic() + seconds
    said: list[str | None] = []

    def look() -> None:
        for stream in streams:
            if time.monotonic() >= deadline:
                return
            said.append(_said(_plan, stream, films))

    # A read that does not come back cannot be called off, but left alone.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(seconds)
    found = list(said)
    for stream, what in zip(streams, found, strict=False):
        if what is not None:
            findings.unshown += 1
            findings.notes.append(f"{_name(stream)} cannot be shown: {what}")
    if left := len(streams) - len(found):
        findings.notes.append(
            f"after {seconds:g} s of looking at films, {left} of {len(streams)} were not looked at, from"
            f" {_name(streams[len(found)])} on"
        )


def _plan(stream: Stream, films: str) -> None:
    """Raises what the server would have to say of a film."""
    settings = stream.settings
    with ExitStack() as stack:
        places = [
            stack.enter_context(held(source, films, stream.tenant)) for source in settings.sources
        ]
        for place in places:
            _read(place)
        pystream.plan(
            list(map(pystream.open, places, settings.sources)),
            format=settings.format,
            segment_duration=settings.segment_duration_ms / 1000,
        )


def _name(stream: Stream) -> str:
    return f"{stream.tenant}/{stream.name}"
