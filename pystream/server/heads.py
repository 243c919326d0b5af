"""How far each log of attendance was, known beside the store: so a store that was brought back is noticed.

The file holds, by a tenant's number, epoch and size of its log, and epoch, size and root of its newest
checkpoint. It must not go back in time with the store, as the erasure list, beside which it lies, must not
with the key store: whoever brings it back as well has to call `pystream attendance restored`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from pystream.acl.store.notary import Head

NAME = "attendance-heads.json"


class Heads:
    """The file in a folder."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, NAME)
        self._written: str | None = None

    def read(self) -> dict[int, Head]:
        """Nothing where there is no file. Raises `OSError`, and `ValueError` where it is damaged."""
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return {}
        return {int(id): _known(*each) for id, each in found.items()}

    def write(self, heads: Mapping[int, Head], kept: Mapping[int, Head]) -> None:
        """`kept` goes on being known. Raises `OSError`."""
        now = {**heads, **kept}
        text = json.dumps({id: _facts(now[id]) for id in sorted(now)})
        if text == self._written:
            return
        unfinished = f"{self._path}.unfinished"
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
        with open(os.open(unfinished, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, self._path)
        # Or the name may stand for the file before, once the power has failed.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        folder = os.open(os.path.dirname(self._path) or ".", flags)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._written = text


def _facts(head: Head) -> list[int | str]:
    if head.signed is None:
        return [head.epoch, head.size]
    epoch, size, root = head.signed
    return [head.epoch, head.size, epoch, size, root.hex()]


def _known(epoch: int, size: int, *signed: int | str) -> Head:
    if not signed:
        return Head(epoch, size, None)
    of, at, root = signed
    return Head(epoch, size, (int(of), int(at), bytes.fromhex(str(root))))
