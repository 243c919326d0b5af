"""How many files a process of the node may have open, and how many it needs.

Each connection takes a descriptor, and so does each file of a film that is open. Of what the system
allows softly, shells and containers give 1,024; how much more a process may take by itself is the
hard limit (getrlimit(2)).

A worker takes as many connections as there is room for, if that is less than its share of those that the
settings want. Who wants a number is told that it does not fit. The usual one is nobody's wish: where fewer
fit, that is as good, and told only where a few are left.
"""

from __future__ import annotations

import resource

from pystream.server.downloads import MOST as _DOWNLOADS
from pystream.server.origin import MOST_FILES
from pystream.server.settings import Server, Settings

# Listeners, shared memory, stores, libraries, files that are being opened; and those of the supervisor
# for each process.
_OTHERS = 128
_USUAL = Server().max_connections
_FEW = 1000


def raise_limit() -> int:
    """Takes all that this process may have; returns how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Where the hard limit is more than the kernel gives anybody now (fs.nr_open).
        return soft
    return hard


def allowed() -> int:
    """How many this process could take."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def most_films(limit: int) -> int:
    """How many files of films a worker keeps open that may have `limit` descriptors."""
    return max(1, min(MOST_FILES, limit // 4))


def most_connections(settings: Settings, workers: int, limit: int) -> int:
    """How many connections each of so many workers takes that may have `limit` descriptors."""
    return min(-(-settings.server.max_connections // workers), max(1, _room(limit)))


def _room(limit: int) -> int:
    return max(0, limit - most_films(limit) - _DOWNLOADS - _OTHERS)


def missing(settings: Settings, workers: int, limit: int) -> str | None:
    """What does not fit, as a sentence, where each process may have `limit` descriptors."""
    wanted = settings.server.max_connections
    connections = -(-wanted // workers)
    films = most_films(limit)
    needed = connections + films + _DOWNLOADS + _OTHERS
    room = _room(limit) * workers
    if needed <= limit or (wanted == _USUAL and room >= _FEW):
        return None
    return (
        f"a process may have {limit} files open, and a worker needs {needed}: {connections} connections,"
        f" {films} files of films and {_DOWNLOADS + _OTHERS} others; raise the limit (LimitNOFILE= of"
        f" systemd, ulimit -n, --ulimit nofile= of a container), or set server.max_connections to"
        f" {room} or less"
    )
