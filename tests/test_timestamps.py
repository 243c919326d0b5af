"""Time stamps of checkpoints: asked for of an authority that is openssl's, and judged by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

pytest.importorskip("httpcore2")
pytest.importorskip("rfc3161_client")

from pystream.errors import NotFound, NotProven
from pystream.server import timestamps
from pystream.server.check import check
from pystream.server.settings import Attendance, Settings
from tests.test_checkpoints_sent import Sending, house
from tests.test_notary import House
from tests.test_outgoing import Authority, Request, ok, run, running

__all__ = ["house"]

pytestmark = pytest.mark.needs("openssl")

CONFIG = """
[tsa]
default_tsa = it
[it]
serial = serial
crypto_device = builtin
digests = sha256
default_policy = 1.2.3.4
signer_digest = sha256
ess_cert_id_alg = sha256
"""


class Stamping(Authority):
    """An authority for time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "tsa.cnf").write_text(CONFIG)
        for stem, usage in (("tsa", "critical,timeStamping"), ("web", "critical,serverAuth")):
            self.openssl(
                *("req", "-x509", *self.fresh(stem), "-out", f"{stem}.pem", "-subj", f"/CN={stem}"),
                *("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"),
                *("-addext", f"extendedKeyUsage={usage}"),
            )

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        signer = ("-signer", "tsa.pem", "-inkey", "tsa.key", "-config", "tsa.cnf")
        self.openssl("ts", "-reply", "-queryfile", "query", *signer, "-out", "reply")
        return (self.folder / "reply").read_bytes()

    def judges(self, answer: bytes, note: str) -> bool:
        """As anybody may, with openssl."""
        (self.folder / "judged").write_bytes(answer)
        (self.folder / "note").write_text(note)
        words = ("openssl", "ts", "-verify", "-in", "judged", "-data", "note", "-CAfile", "ca.pem")
        return subprocess.run(words, cwd=self.folder, capture_output=True).returncode == 0

    @property
    def roots(self) -> bytes:
        return (self.folder / "ca.pem").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Stamping:
    return Stamping(tmp_path_factory.mktemp("authority"))


def test_a_checkpoint_is_stamped_once(house: House, authority: Stamping) -> None:
    async def stamping(request: Request, stream: trio.abc.Stream) -> None:
        kind = request.headers["content-type"]
        answer = authority.reply(request.body) if kind == "application/timestamp-query" else b""
        await stream.send_all(ok(answer))

    sending = Sending(house, authority, stamping)
    with pytest.raises(NotFound, match="no checkpoint has a time stamp"):
        house.notary.timestamp(house.acme)

    async def main() -> None:
        async with running(sending.site):
            roots = str(authority.folder / "ca.pem")
            sending.attendance = Attendance(
                timestamp_url=sending.site.url, timestamp_certificates=roots
            )
            writer = sending.writer()
            await writer.deliver()
            assert len(sending.site.requests) == 2
            await writer.deliver()
            await sending.writer().deliver()
            assert len(sending.site.requests) == 2

    run(main)
    note, answer = house.notary.timestamp(house.acme)
    (signed,) = house.notary.checkpoints(house.acme)
    assert signed.stamped_at is not None and signed.bare == note
    assert authority.judges(answer, note)
    assert not authority.judges(answer, note.replace("\nepoch 1\n", "\nepoch 2\n"))


def test_an_answer_that_is_no_stamp_is_none(house: House, authority: Stamping) -> None:
    note = "text\n"
    question = timestamps.question(note)
    answer = authority.reply(question.as_bytes())
    assert timestamps.checked(question, answer, note, authority.roots) > 0
    other = timestamps.question(note)
    strangers = (authority.folder / "web.pem").read_bytes()
    for wrong in (
        (question, answer, "another\n", authority.roots),
        # An answer to another question, as of a time that is over.
        (other, answer, note, authority.roots),
        (question, answer, note, strangers),
        (question, answer[:-1] + bytes([answer[-1] ^ 1]), note, authority.roots),
        (question, b"", note, authority.roots),
        (question, b"<html>", note, authority.roots),
        (question, answer, note, b""),
    ):
        with pytest.raises(NotProven, match="no time stamp of the checkpoint"):
            timestamps.checked(*wrong)


def test_what_cannot_stamp_is_found_before(authority: Stamping, tmp_path: Path) -> None:
    key, there = authority.folder / "tsa.key", authority.folder / "ca.pem"

    def said(path: Path, url: str = "https://a.example/") -> list[str]:
        attendance = Attendance(timestamp_url=url, timestamp_certificates=str(path))
        found = check(Settings(attendance=attendance), {}).wrong
        return [each for each in found if "attendance" in each]

    assert said(there) == [] == said(tmp_path / "none", url="")
    assert said(tmp_path / "none") == [
        f"attendance.timestamp_certificates: {tmp_path}/none: No such file or directory"
    ]
    assert said(key) == [
        f"attendance.timestamp_certificates: {key}: there is no certificate in it, in PEM"
    ]


def test_an_authority_that_fails_is_asked_again(house: House, authority: Stamping) -> None:
    clock = MockClock()
    sending = Sending(house, authority, ok("thanks"))

    async def main() -> None:
        async with running(sending.site):
            roots = str(authority.folder / "ca.pem")
            sending.attendance = Attendance(
                timestamp_url=sending.site.url, timestamp_certificates=roots
            )
            writer = sending.writer()
            kinds: list[Any] = []
            for wait in (0.0, 59.0, 1.0):
                clock.jump(wait)
                await writer.deliver()
                kinds = [each.headers["content-type"] for each in sending.site.requests]
            assert kinds.count("application/timestamp-query") == 2
            assert kinds.count("text/plain; charset=utf-8") == 1

    run(main, clock)
    assert house.notary.checkpoints(house.acme)[0].stamped_at is None
