"""Where a node listens: sockets that the supervisor opens once, or systemd has opened for it.

Each address has one socket a worker (SO_REUSEPORT), between which the kernel shares connections out;
a unix socket, and one of systemd's, is shared by all workers. Whoever has the descriptors is no
concern of the sockets: a worker, its successor, the next program.
"""

from __future__ import annotations

import errno
import glob
import os
import pwd
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from pystream.errors import SettingsError
from pystream.server.settings import Listen, Settings

HTTP, HTTPS, ADMIN = "http", "https", "admin"
_KEYS = {HTTP: "server.listen", HTTPS: "tls.listen", ADMIN: "server.admin"}
BACKLOG = 4096
# sd_listen_fds(3)
_FIRST_FD = 3
# TCP_LISTEN, as /proc/net/tcp writes it.
_LISTENS = "0A"


@dataclass(frozen=True, slots=True)
class Place:
    """Sockets that listen in one place. `kind` is what is spoken there, `where` the place as it is
    written in the settings, empty where systemd knows it."""

    kind: str
    where: str
    sockets: tuple[int, ...]

    def share(self, n: int, count: int) -> tuple[int, ...]:
        """The sockets from which the `n`th of `count` workers accepts: each has a worker, and each
        worker has one."""
        return self.sockets[n::count] or (self.sockets[n % len(self.sockets)],)


def wanted(settings: Settings) -> Iterator[tuple[str, Listen]]:
    """All places that the settings name, and what is spoken there."""
    server = settings.server
    for kind, places in (
        (HTTP, server.listen),
        (HTTPS, settings.tls.listen),
        (ADMIN, server.admin),
    ):
        for place in places:
            yield kind, place


def open_all(settings: Settings, count: int, earlier: tuple[Place, ...]) -> tuple[Place, ...]:
    """The places that the settings name, for `count` workers; those among `earlier` stay as they
    are, but for the mode of unix sockets and those whose path is gone, and the others of them are closed. A
    kind that systemd has given sockets for takes no more.

    Raises `SettingsError` where places cannot be had; then nothing has changed.
    """
    gone = [place for place in earlier if _is_gone(place)]
    there = tuple(place for place in earlier if place not in gone)
    kept = {(place.kind, place.where): place for place in there if place.where}
    opened: list[Place] = []
    wrong: list[SettingsError] = []
    for kind, at in _lacking(settings, there):
        sockets = 1 if kind == ADMIN else count
        try:
            opened.append(open_place(kind, at, sockets, settings.server.socket_mode))
        except SettingsError as error:
            wrong.append(error)
    if wrong:
        for place in opened:
            close(place)
        raise SettingsError.of_all(wrong)
    for fd in (fd for place in gone for fd in place.sockets):
        os.close(fd)
    named = {(kind, str(at)) for kind, at in wanted(settings)}
    for key in kept.keys() - named:
        close(kept[key])
    for kind, at in wanted(settings):
        if at.path and (kind, str(at)) in kept:
            # It may be gone since.
            with suppress(OSError):
                os.chmod(at.path, settings.server.socket_mode)
    still = [place for place in there if not place.where or (place.kind, place.where) in named]
    return (*still, *opened)


def _is_gone(place: Place) -> bool:
    """Whether somebody has removed a unix socket's path, so that nobody finds it any more."""
    path = place.where.removeprefix("unix:")
    return path != place.where and not os.path.lexists(path)


def try_new(settings: Settings, earlier: tuple[Place, ...]) -> None:
    """Raises `SettingsError` where a place cannot be had that is not among the earlier ones."""
    wrong: list[SettingsError] = []
    there = tuple(place for place in earlier if not _is_gone(place))
    for kind, at in _lacking(settings, there):
        try:
            if try_place(kind, at) is not None:
                raise unavailable(kind, at, _taken())
        except SettingsError as error:
            wrong.append(error)
    if wrong:
        raise SettingsError.of_all(wrong)


def _lacking(settings: Settings, earlier: tuple[Place, ...]) -> list[tuple[str, Listen]]:
    given = {place.kind for place in earlier if not place.where}
    had = {(place.kind, place.where) for place in earlier}
    return [
        (kind, at)
        for kind, at in wanted(settings)
        if kind not in given and (kind, str(at)) not in had
    ]


def open_place(kind: str, at: Listen, count: int, mode: int) -> Place:
    """Raises `SettingsError`."""
    try:
        if at.path:
            sockets = [listen_unix(at.path, mode)]
        else:
            _be_alone(at)
            sockets = _bind(at, count)
            for one in sockets:
                one.listen(BACKLOG)
    except OSError as error:
        raise unavailable(kind, at, error) from None
    return Place(kind, str(at), tuple(one.detach() for one in sockets))


def close(place: Place) -> None:
    for fd in place.sockets:
        os.close(fd)
    if place.where.startswith("unix:"):
        with suppress(OSError):
            os.unlink(place.where.removeprefix("unix:"))


def try_place(kind: str, at: Listen) -> str | None:
    """Raises `SettingsError` where a place cannot be had. One that a running node has, or systemd for it, is
    not wrong, and said."""
    try:
        if at.path:
            folder = os.path.dirname(at.path)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, f"{folder} cannot be written")
        try:
            if at.path:
                _check_path(at.path)
            else:
                _be_alone(at)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            by = _holder(at)
            return f"{_KEYS[kind]}: {at}: {_as_it_may_be(at, by)}"
    except OSError as error:
        raise unavailable(kind, at, error) from None
    return None


class _Holder(NamedTuple):
    """Who listens in a place. `name` and `pid` are None where it is not ours to see: of other users, and of
    who may do what this process may not."""

    uid: int | None
    name: str | None = None
    pid: int | None = None


def _as_it_may_be(at: Listen, by: _Holder) -> str:
    """Raises `OSError` where it has to be somebody else's place."""
    if by.name == "pystream":
        return f"a node has it, process {by.pid}; name another place if that has other settings"
    if by.name is not None and by.name.startswith("systemd"):
        return f"systemd has it, process {by.pid}; name another place if that is not for this node"
    if by.name is not None:
        raise OSError(errno.EADDRINUSE, f"{by.name} listens there already, process {by.pid}")
    if by.uid == os.geteuid():
        # Most likely: a node may do more than whoever checks it, which hides it.
        return "a node of this user has it; name another place if that has other settings"
    whose = "somebody" if by.uid is None else f"a process of {_user(by.uid)}"
    why = f"{whose} listens there already; if that is the node, or systemd for it, check it as root"
    raise OSError(errno.EADDRINUSE, why)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _holder(at: Listen) -> _Holder:
    """Of several, one that is a node's or systemd's: they hand on what they have to others."""
    listening = _listening_unix(at.path) if at.path else dict(_listening(at))
    found = [_Holder(uid) for uid in listening.values()] or [_Holder(None)]
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            uid = listening.get(os.readlink(link))
            if uid is not None:
                pid = int(link.split("/")[2])
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(_Holder(uid, file.read().strip(), pid))
    return max(found, key=lambda by: (by.name is not None, by.name == "pystream", -(by.pid or 0)))


def _listening_unix(path: str) -> dict[str, int]:
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.rstrip("\n").split(maxsplit=7) for line in file]
    uid = os.stat(path).st_uid
    return {f"socket:[{row[6]}]": uid for row in rows if row[7:] == [path]}


def _listening(at: Listen) -> Iterator[tuple[str, int]]:
    """Sockets that listen where `at` is, as /proc calls them, and whose they are (proc_pid_net(5))."""
    host = None if at.host == "*" else at.host
    places = socket.getaddrinfo(host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = {ip_address(str(place[4][0]).partition("%")[0]) for place in places}
    to_all = any(each.is_unspecified for each in addresses)
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError), open(f"/proc/net/{name}", encoding="ascii") as file:
            for row in (line.split() for line in list(file)[1:]):
                address, _, port = row[1].partition(":")
                if row[3] != _LISTENS or int(port, 16) != at.port:
                    continue
                words = [address[i : i + 8] for i in range(0, len(address), 8)]
                on = ip_address(
                    b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
                )
                if to_all or on.is_unspecified or on in addresses:
                    yield f"socket:[{row[9]}]", int(row[7])


def unavailable(kind: str, at: Listen, error: OSError) -> SettingsError:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE and reason == os.strerror(errno.EADDRINUSE):
        reason = "somebody listens there already"
    elif error.errno == errno.EACCES and not at.path and at.port < 1024:
        reason = "ports below 1024 need CAP_NET_BIND_SERVICE, or sockets of systemd's"
    return SettingsError(f"{at}: {reason}", "", None, _KEYS[kind])


def _bind(at: Listen, count: int, shared: bool = True) -> list[socket.socket]:
    """`count` sockets, bound, for each of the place's addresses."""
    host = None if at.host == "*" else at.host
    found = socket.getaddrinfo(host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            if host is None and family == socket.AF_INET6 and not _has_ipv6():
                continue
            for _ in range(count):
                one = socket.socket(family, kind, protocol)
                made.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if shared:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    # Each family has sockets of its own: no address comes in the other's clothes.
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(address)
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def _be_alone(at: Listen) -> None:
    """Raises `OSError` where anybody else has the place: SO_REUSEPORT alone would let two nodes
    share viewers without knowing of each other."""
    for one in _bind(at, 1, shared=False):
        one.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen_unix(path: str, mode: int) -> socket.socket:
    """Raises `OSError`, also where somebody listens there already."""
    _check_path(path)
    with suppress(FileNotFoundError):
        os.unlink(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A file that is made with its mode was never open to others.
    before = os.umask(0o777 & ~mode)
    try:
        one.bind(path)
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    finally:
        os.umask(before)
    return one


def _check_path(path: str) -> None:
    """Raises `OSError` unless there is nothing, or the socket of somebody who is gone."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(state.st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # its queue is full
    raise _taken()


def _taken() -> OSError:
    return OSError(errno.EADDRINUSE, "somebody listens there already")


# systemd's


def inherited(environ: Mapping[str, str], pid: int) -> tuple[Place, ...]:
    """The sockets that systemd has opened (sd_listen_fds(3)), known by their names: FileDescriptorName=
    is http, https or admin.

    Raises `SettingsError`.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return ()
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    places = []
    for fd, name in zip(range(_FIRST_FD, _FIRST_FD + count), names, strict=False):
        os.set_inheritable(fd, False)
        if name not in _KEYS:
            raise SettingsError(
                f"a socket is called {name!r}; FileDescriptorName= has to be http, https or admin",
                "LISTEN_FDNAMES",
            )
        with socket.socket(fileno=os.dup(fd)) as one:
            accepts = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if one.type != socket.SOCK_STREAM or not accepts:
                raise SettingsError(f"the socket {name!r} is no listening stream", "LISTEN_FDS")
        places.append(Place(name, "", (fd,)))
    if len(places) < count:
        raise SettingsError("not every socket has a name", "LISTEN_FDNAMES")
    return tuple(places)


def address(place: Place) -> str:
    """A place for people: as it is written in the settings, or where systemd has opened it."""
    if place.where:
        return place.where
    with socket.socket(fileno=os.dup(place.sockets[0])) as one:
        at = one.getsockname()
    if one.family == socket.AF_UNIX:
        return f"unix:{at}"
    host, port, *_ = at
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def internet_sockets(places: Iterable[Place]) -> Iterator[socket.socket]:
    """Those that are no unix sockets: copies, which whoever takes them closes."""
    for place in places:
        for fd in place.sockets:
            one = socket.socket(fileno=os.dup(fd))
            if one.family == socket.AF_UNIX:
                one.close()
            else:
                yield one


def ports(places: Iterable[Place]) -> frozenset[int]:
    """At which something is spoken."""
    found = set()
    for one in internet_sockets(places):
        with one:
            found.add(one.getsockname()[1])
    return frozenset(found)


def port_of(places: tuple[Place, ...], kind: str) -> int | None:
    """A port at which something is spoken; None where it is spoken at none."""
    for place in places:
        with suppress(OSError), socket.socket(fileno=os.dup(place.sockets[0])) as one:
            if place.kind == kind and one.family != socket.AF_UNIX:
                port: int = one.getsockname()[1]
                return port
    return None
