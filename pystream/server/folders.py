"""Tenants' folders of films (`[console] films`): whose is which, and opening a film without leaving it.

A film was looked at when its stream was added. Whoever may write into the folder can put a link in its
place at any time after that, or in the place of a folder on the way. So each time that a film is looked
at or opened, the kernel is asked where the path has led to, of the file that it leads to now and stays
open (O_PATH, open(2)); all that follows is done to that file, wherever the path leads meanwhile. Links
within the folder go on leading where they lead.

Films of other places are the operator's own matter, and are opened as they are named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pystream.errors import SourceError


def folder_of(films: str, tenant: str) -> str:
    """A tenant's folder, by its path without links. This asks the file system."""
    return os.path.realpath(os.path.join(films, tenant))


@contextmanager
def held(path: str, films: str, tenant: str) -> Iterator[str]:
    """A path that leads to a tenant's film until the block ends, whatever becomes of the film's own.
    This asks the file system. `films`: the folder of all folders; nothing where there is none.

    Raises `OSError`, and `SourceError` where the film's path leads out of the tenant's folder.
    """
    within = f"{folder_of(films, tenant)}/" if films else ""
    if not within or not path.startswith(within):
        yield path
        return
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        place = f"/proc/self/fd/{descriptor}"
        if not os.readlink(place).startswith(within):
            raise SourceError(
                f"{path}: a link on the way leads out of the tenant's folder of films"
            )
        try:
            yield place
        except OSError as error:
            if error.filename == place:
                error.filename = path
            raise
    finally:
        os.close(descriptor)
