"""Checkpoints on their way to a tenant's site, over real sockets, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

pytest.importorskip("httpcore2")

from pystream.acl.store.notary import Head, Root
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance.notes import SigningKey
from pystream.errors import InvalidValue
from pystream.server import checkpoints as signing
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.heads import Heads
from pystream.server.outgoing import Client
from pystream.server.settings import Attendance, Outgoing, Settings
from tests.test_attending import WHO
from tests.test_notary import House
from tests.test_outgoing import (
    LOOPBACK,
    Authority,
    Handler,
    Names,
    Request,
    Site,
    ok,
    run,
    running,
)
from tests.test_viewers import NOW

OFFICE = SigningKey("acme.example/office", bytes(32), cosigns=True)
pytestmark = pytest.mark.needs("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path, f"sqlite:///{tmp_path}/acl.db")) as made:
        made.watch(0, 3)
        made.key()
        made.sign()
        yield made


class Sending:
    """The writer's side, and a site that is told."""

    def __init__(self, house: House, authority: Authority, answer: Any = b"") -> None:
        self.house = house
        self.site = Site(answer or ok(""), authority.site("DNS:login.example"))
        self.tls = authority.trusted()
        self.now = float(NOW)
        self.attendance = Attendance()

    def writer(self, *, allow: Any = LOOPBACK) -> Checkpoints:
        change = {"checkpoint_url": self.site.url}
        self.house.store.set_tenant("acme", change, **WHO)

        def client(settings: Outgoing) -> Client:
            return Client(settings, tls=self.tls, resolve=Names(["127.0.0.1"]))

        outgoing = Outgoing(allow=allow, ports=(self.site.port,))
        settings = Settings(outgoing=outgoing, attendance=self.attendance)
        return Checkpoints(
            self.house.store,
            self.house.notary,
            Anchor(Anchor.create()),
            settings,
            Heads(str(self.house.folder)),
            lambda: self.now,
            client,
        )

    @property
    def bodies(self) -> list[str]:
        return [each.body.decode() for each in self.site.requests]


def test_the_newest_is_sent_once(house: House, authority: Authority) -> None:
    sending = Sending(house, authority)

    async def main() -> None:
        async with running(sending.site):
            writer = sending.writer()
            for _ in range(3):
                await writer.deliver()
            # Another writer knows that, too.
            await sending.writer().deliver()
            (first,) = house.notary.checkpoints(house.acme)
            assert sending.bodies == [first.note]
            assert sending.site.requests[0].line.startswith("POST ")
            assert sending.site.requests[0].headers["content-type"].startswith("text/plain")
            house.watch(1, 2)
            house.sign()
            house.watch(1, 2, begin=2)
            house.sign()
            await writer.deliver()
            assert sending.bodies[1:] == [house.notary.checkpoints(house.acme)[0].note]
        assert house.notary.undelivered() == []

    run(main)


def test_what_comes_back_cosigned_is_kept(house: House, authority: Authority) -> None:
    async def cosigning(request: Request, stream: trio.abc.Stream) -> None:
        made = checkpoints.cosigned(request.body.decode(), OFFICE, NOW + 1)
        await stream.send_all(ok(made))

    sending = Sending(house, authority, cosigning)
    house.store.set_tenant("acme", {"checkpoint_cosigner": str(OFFICE.verifier)}, **WHO)

    async def main() -> None:
        async with running(sending.site):
            await sending.writer().deliver()

    run(main)
    (signed,) = house.notary.checkpoints(house.acme)
    assert signed.cosigners == (OFFICE.verifier,)
    _, (cosigner,) = checkpoints.check(signed.note, [house.key(), OFFICE.verifier])
    assert cosigner.seconds == NOW + 1


@pytest.mark.parametrize("answer", ["thanks", "{}", "a\n\n\u2014 x AAAAAAAA\n"])
def test_any_other_answer_has_taken_it_and_signs_nothing(
    house: House, authority: Authority, answer: str
) -> None:
    sending = Sending(house, authority, ok(answer))
    house.store.set_tenant("acme", {"checkpoint_cosigner": str(OFFICE.verifier)}, **WHO)

    async def main() -> None:
        async with running(sending.site):
            await sending.writer().deliver()

    run(main)
    assert house.notary.checkpoints(house.acme)[0].cosigners == ()
    assert house.notary.undelivered() == []


def test_nobody_is_told_what_is_not_known_beside_the_store(
    house: House, authority: Authority
) -> None:
    """Or with a backup that is brought back the house would sign another past than the site has."""
    known: list[Head] = []
    sending = Sending(house, authority, noting(house, known))
    in_the_way = house.folder / "attendance-heads.json.unfinished"

    async def main() -> None:
        async with running(sending.site):
            in_the_way.mkdir()
            writer = sending.writer()
            for _ in range(3):
                writer.look()
                await writer.deliver()
            assert sending.bodies == [] and len(house.notary.undelivered()) == 1
            in_the_way.rmdir()
            await writer.deliver()

    run(main)
    assert [each.signed for each in known] == [root(house)]


def test_what_somebody_else_signs_in_between_is_known_before_it_is_told(
    house: House, authority: Authority
) -> None:
    """As the console does, and commands do, whenever they like."""
    known: list[Head] = []
    sending = Sending(house, authority, noting(house, known))

    async def main() -> None:
        async with running(sending.site):
            writer = sending.writer()
            writer.look()
            house.watch(1, 2)
            house.sign()
            await writer.deliver()

    run(main)
    assert [each.signed for each in known] == [root(house)]
    assert sending.bodies == [house.notary.checkpoints(house.acme)[0].note]


def noting(house: House, known: list[Head]) -> Handler:
    """What is known beside the store whenever the site is told something."""

    async def told(request: Request, stream: trio.abc.Stream) -> None:
        known.append(Heads(str(house.folder)).read()[house.acme])
        await stream.send_all(ok(""))

    return told


def root(house: House) -> Root:
    newest = house.notary.checkpoints(house.acme)[0]
    return newest.epoch, newest.size, newest.root


def test_what_fails_is_tried_again_ever_less_often(house: House, authority: Authority) -> None:
    sending = Sending(house, authority, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    clock = MockClock()

    async def main() -> None:
        async with running(sending.site):
            writer = sending.writer()
            for wait in (0.0, 59.0, 1.0, 119.0, 1.0):
                clock.jump(wait)
                await writer.deliver()
            assert len(sending.bodies) == 3
            sending.site.answer = ok("")
            clock.jump(signing._LONGEST_PAUSE_SECONDS)
            await writer.deliver()
            await writer.deliver()
        assert len(sending.bodies) == 4 and house.notary.undelivered() == []

    run(main, clock)


def test_nothing_is_sent_inside(house: House, authority: Authority) -> None:
    sending = Sending(house, authority)

    async def main() -> None:
        async with running(sending.site):
            await sending.writer(allow=()).deliver()

    run(main)
    assert sending.site.connections == 0 and len(house.notary.undelivered()) == 1
    for url in ("http://acme.example/", "ftp://acme.example/", "acme.example", "https://a b/"):
        with pytest.raises(InvalidValue, match="checkpoint_url: an https address like"):
            house.store.set_tenant("acme", {"checkpoint_url": url}, **WHO)
