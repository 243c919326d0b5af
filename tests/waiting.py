"""How tests wait for what other threads and processes do, and look at what these have open."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PATIENCE = 120


def until(what: Callable[[], object], patience: float = PATIENCE) -> None:
    """Asks over and over until the answer is true; one that takes `patience` seconds is a fault."""
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline
        pause()


def everywhere(what: Callable[[], object]) -> bool:
    """Whether it is true of both workers: either is as likely to be met by each new connection."""
    return all(what() for _ in range(24))


def open_files(pid: int) -> Iterator[tuple[Path, str]]:
    """What a process has open (proc(5), fd), and what each is. Others come and go meanwhile."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield link, os.readlink(link)


def state(pid: int) -> str:
    """A process's state as a letter (proc_pid_stat(5)); none of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def pause() -> None:
    """Leaves the processor to whoever is waited for: asking without a pause would keep it busy."""
    select.select((), (), (), 0.002)
