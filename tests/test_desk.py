"""Two desks on one socket, as they are while the program is replaced: one of them decides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.server import desk
from pystream.server.desk import Answered, Line, Open
from pystream.server.keys import ensure_keys
from pystream.server.settings import Keys

pytestmark = pytest.mark.slow

NOW = 1_800_000_000
# What the writer does with its desk, and nothing else of it.
WRITER = """
import os, socket, sys, trio
from pystream import _core
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.server.desk import Desk
from pystream.server.keys import open_key_store
from pystream.server.settings import Keys

folder, listener, table = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keys = Keys(master_key_file=folder + "/key", store="sqlite:///" + folder + "/keys.db",
            erasures=folder + "/erasures")

async def main():
    store = Store.open(folder + "/store.db")
    issuer = Issuer(store.viewers, open_key_store(keys, {}, migrate=False))
    desk = Desk(_core.Sessions(table), store, issuer, lambda: 1_800_000_000)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run, socket.socket(fileno=listener))
        os.write(1, b"up")
        await trio.sleep_forever()

trio.run(main)
"""


@contextmanager
def writer(folder: Path, listener: int, table: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, str(listener), str(table)],
        pass_fds=(listener, table),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.read(2) == b"up"
        try:
            yield process
        finally:
            process.kill()


def test_of_two_desks_one_decides(tmp_path: Path) -> None:
    keys = Keys(
        master_key_file=f"{tmp_path}/key",
        store=f"sqlite:///{tmp_path}/keys.db",
        erasures=f"{tmp_path}/erasures",
    )
    ensure_keys(keys, {}, NOW)
    with Store.open(f"{tmp_path}/store.db") as store:
        store.add_tenant("acme", TenantSettings(), who="test", now=NOW)
        film = StreamSettings(sources=("/film.mp4",))
        stream = store.add_stream("acme", "film", film, who="test", now=NOW)
    listener, table = desk.listen(), _core.Sessions.create(256)

    def ask(viewer: str, token: bytes = b"") -> Open:
        return Open(
            number=0,
            id=os.urandom(16),
            tenant_id=stream.tenant_id,
            stream_id=stream.id,
            holder=None,
            expires=NOW + 3600,
            idle_s=None,
            devices=2,
            mode="reject_new",
            grace_s=15,
            viewer=viewer,
            token=token,
            token_expires=NOW + 60,
        )

    async def asked_at_once(viewer: str, token: bytes = b"") -> Counter[str]:
        """Sixteen workers' lines, each with a session of its own for the same viewer."""
        answers: list[Answered] = []

        async def one(line: Line) -> None:
            answers.append(await line.open(ask(viewer, token)))

        lines = [Line(listener) for _ in range(16)]
        async with trio.open_nursery() as keeping:
            for line in lines:
                keeping.start_soon(line.run)
            async with trio.open_nursery() as asking:
                for line in lines:
                    asking.start_soon(one, line)
            keeping.cancel_scope.cancel()
        return Counter(answer.refusal or "open" for answer in answers)

    with writer(tmp_path, listener, table) as first, writer(tmp_path, listener, table):
        assert trio.run(asked_at_once, "4711") == {"open": 2, "devices": 14}
        assert trio.run(asked_at_once, "4712", b"t" * 16) == {"open": 1, "spent": 15}
        first.kill()
        first.wait()
        # The second has read what the first has decided.
        assert trio.run(asked_at_once, "4711") == {"devices": 16}
        assert trio.run(asked_at_once, "4713") == {"open": 2, "devices": 14}
        assert trio.run(asked_at_once, "4714", b"t" * 16) == {"spent": 16}
    for fd in (listener, table):
        os.close(fd)
