"""Checkpoints by mail: to a server over TLS that shows who it is, and again until it has taken them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pystream.acl.addresses import is_mail_address
from pystream.attendance import checkpoint as checkpoints
from pystream.errors import InvalidValue, OutgoingError
from pystream.server import checkpoints as signing
from pystream.server import log, mail
from pystream.server.check import check
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.gauges import ANCHORS, Board
from pystream.server.heads import Heads
from pystream.server.mail import Letter
from pystream.server.settings import Attendance, Settings, StoreSettings
from tests.mail_server import MailServer
from tests.test_attending import WHO
from tests.test_notary import House
from tests.test_outgoing import Authority, run
from tests.test_viewers import NOW

pytestmark = pytest.mark.needs("openssl")

TO = "attendance@acme.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[MailServer]:
    with MailServer(authority.site("DNS:localhost"), {"video": "secret word"}) as made:
        yield made


@pytest.fixture
def settings(server: MailServer, authority: Authority, tmp_path: Path) -> Attendance:
    word = tmp_path / "word"
    word.write_text("secret word\n")
    return Attendance(
        mail_server=f"localhost:{server.port}",
        mail_from="video@node.example",
        mail_user="video",
        mail_password_file=str(word),
        mail_certificates=str(authority.folder / "ca.pem"),
    )


def changed(settings: Attendance, **changes: str) -> Attendance:
    return Attendance(**{n: getattr(settings, n) for n in settings.__struct_fields__} | changes)


LETTER = Letter(TO, "A subject: Prüfpunkt", "Read this.\n", "a-1-2.txt", "é\n\n— x\n".encode(), NOW)


def test_a_letter_is_whole_and_has_a_name_of_its_own(
    server: MailServer, settings: Attendance
) -> None:
    for _ in range(2):
        mail.send(LETTER, settings, 10)
    other = Letter(TO, LETTER.subject, LETTER.text, "a-1-3.txt", b"x\n", NOW)
    mail.send(other, settings, 10)
    one, again, another = server.taken
    assert (one.sender, one.recipients, one.over_tls) == ("video@node.example", [TO], True)
    said = one.message
    assert (said["From"], said["To"], said["Subject"]) == (
        "video@node.example",
        TO,
        LETTER.subject,
    )
    assert said["Auto-Submitted"] == "auto-generated"
    assert said["Date"].datetime.timestamp() == NOW
    (file,) = said.iter_attachments()
    assert file.get_filename() == "a-1-2.txt" and file.get_content_charset() == "utf-8"
    # As it was, to the byte.
    assert file.get_payload(decode=True) == LETTER.attached
    body = said.get_body()
    assert body is not None and body.get_content().splitlines() == [LETTER.text.strip()]
    # Who has it twice knows that.
    assert said["Message-ID"] == again.message["Message-ID"] != another.message["Message-ID"]
    # What the machine is called is nobody's to know.
    assert said["Message-ID"].endswith("@node.example>")


def _without_tls(server: MailServer, settings: Attendance) -> Attendance:
    server._tls = None
    return settings


def _of_another_name(server: MailServer, settings: Attendance) -> Attendance:
    return changed(settings, mail_server=f"127.0.0.1:{server.port}")


def _of_nobody(server: MailServer, settings: Attendance) -> Attendance:
    return changed(settings, mail_certificates="")


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [(_without_tls, "answer"), (_of_another_name, "tls"), (_of_nobody, "tls")],
    ids=["no TLS", "another's name", "nobody's certificate"],
)
def test_nothing_is_said_to_whom_nobody_knows(
    server: MailServer,
    settings: Attendance,
    wrong: Callable[[MailServer, Attendance], Attendance],
    kind: str,
) -> None:
    with pytest.raises(OutgoingError) as refused:
        mail.send(LETTER, wrong(server, settings), 10)
    assert refused.value.kind == kind
    assert server.connections == 1 and server.taken == []
    assert not {"AUTH", "MAIL", "RCPT", "DATA"} & set(server.heard)


@pytest.mark.parametrize(
    ("verb", "reply", "kind", "said"),
    [
        ("AUTH", b"535 video@node.example is nobody", "refused", "password (535)"),
        (
            "MAIL",
            b"550 not video@node.example",
            "refused",
            "the sender, attendance.mail_from (550)",
        ),
        ("RCPT", b"550 no attendance@acme.example here", "refused", "the recipient (550)"),
        ("DATA", b"451 attendance@acme.example later", "rejected", "the message (451)"),
        ("EHLO", b"", "unreachable", "the connection broke"),
    ],
)
def test_what_it_refuses_is_told_without_its_words(
    server: MailServer, settings: Attendance, verb: str, reply: bytes, kind: str, said: str
) -> None:
    server.replies[verb] = reply
    with pytest.raises(OutgoingError) as refused:
        mail.send(LETTER, settings, 10)
    assert (refused.value.kind, server.taken) == (kind, [])
    text = str(refused.value)
    assert said in text and text.startswith("localhost: ")
    assert "@" not in text and "secret" not in text


def test_a_server_that_is_away_and_one_that_says_nothing(settings: Attendance) -> None:
    with MailServer(None) as gone:
        pass
    away = changed(settings, mail_server=f"localhost:{gone.port}")
    with pytest.raises(OutgoingError) as refused:
        mail.send(LETTER, away, 10)
    assert refused.value.kind == "unreachable"
    # Nobody accepts there: the system does, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = changed(settings, mail_server=f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OutgoingError) as refused:
            mail.send(LETTER, slow, 0.01)
    assert refused.value.kind == "slow"


# By the writer


@dataclass
class Writing:
    """The writer's side, whose clock is the test's."""

    house: House
    attendance: Attendance
    board: Board = field(default_factory=lambda: Board(Board.create(1)))

    def writer(self) -> Checkpoints:
        self.house.store.set_tenant("acme", {"checkpoint_mail": TO}, **WHO)
        return Checkpoints(
            self.house.store,
            self.house.notary,
            Anchor(Anchor.create()),
            Settings(attendance=self.attendance),
            Heads(str(self.house.folder)),
            lambda: float(NOW),
            untold=self.board.untold,
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path, f"sqlite:///{tmp_path}/acl.db")) as made:
        made.watch(0, 3)
        made.key()
        made.sign()
        yield made


def test_the_newest_checkpoint_is_mailed_once(
    house: House, server: MailServer, settings: Attendance
) -> None:
    writing = Writing(house, settings)
    # Nobody asks for any.
    assert house.notary.unmailed() == []

    async def main() -> None:
        writer = writing.writer()
        for _ in range(3):
            await writer.deliver()
        # Another writer knows that, too.
        await writing.writer().deliver()
        assert len(server.taken) == 1
        for _ in range(2):
            house.watch(1, 2)
            house.sign()
        await writer.deliver()

    run(main)
    newest, first = house.notary.checkpoints(house.acme)[0], server.taken[0]
    (file,) = server.taken[1].message.iter_attachments()
    assert file.get_payload(decode=True) == newest.note.encode()
    assert file.get_filename() == f"acme-1-{newest.size}.txt"
    checkpoints.check(newest.note, [house.key()])
    assert first.recipients == [TO] and house.notary.unmailed() == []
    # It names nobody, and says what to do with it in two languages.
    body = first.message.get_body()
    assert body is not None
    whole = first.message.as_string() + newest.note
    assert not [each for each in house.passwords if str(each) in whole]
    for word in ("acme", "Keep it", "Heben Sie ihn auf", "pystream attendance cosign"):
        assert word in body.get_content()
    assert set(writing.board.all_untold().values()) == {0}


def test_what_is_not_taken_is_told_and_comes_again_ever_less_often(
    house: House, server: MailServer, settings: Attendance, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(log, "warning", lambda event, **what: events.append((event, what)))
    writing, clock = Writing(house, settings), MockClock()
    server.replies["RCPT"] = b"450 come again"

    async def main() -> None:
        writer = writing.writer()
        for wait in (0.0, 59.0, 1.0, 119.0, 1.0):
            clock.jump(wait)
            await writer.deliver()
        assert server.connections == 3 and house.notary.unmailed()
        del server.replies["RCPT"]
        clock.jump(signing._LONGEST_PAUSE_SECONDS)
        await writer.deliver()

    run(main, clock)
    assert len(server.taken) == 1 and house.notary.unmailed() == []
    assert [event for event, _ in events] == ["checkpoint-not-told"] * 3
    assert events[0][1] == {"tenant": "acme", "error": "localhost: it refuses the recipient (450)"}
    assert writing.board.all_untold() == dict.fromkeys(ANCHORS, 0) | {"mail": 3}


def test_where_no_server_is_named_nothing_is_sent(house: House, server: MailServer) -> None:
    async def main() -> None:
        await Writing(house, Attendance()).writer().deliver()

    run(main)
    assert server.connections == 0 and len(house.notary.unmailed()) == 1


def test_a_server_without_end_keeps_nobody_else(
    house: House, server: MailServer, settings: Attendance
) -> None:
    """Each line is there in time, and yet there is always one more."""
    writing, clock, is_done = Writing(house, settings), MockClock(), trio.Event()
    server.endless.add("EHLO")

    async def main() -> None:
        writer = writing.writer()

        async def deliver() -> None:
            await writer.deliver()
            is_done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver)
            while not is_done.is_set():
                clock.jump(1)
                await trio.lowlevel.checkpoint()

    run(main, clock)
    assert writing.board.all_untold()["mail"] == 1 and len(house.notary.unmailed()) == 1


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (TO, True),
        ("a.b+c@x-1.example", True),
        ("", False),
        ("acme.example", False),
        ("a@localhost", False),
        ("a@b.example\nBcc: c@d.example", False),
        ("a@b.example ", False),
        ("<a@b.example>", False),
        ("a@b.example,c@d.example", False),
        (".a@b.example", False),
        ("ä@b.example", False),
        ("a@-b.example", False),
        (f"{'a' * 65}@b.example", False),
        (f"a@{'b.' * 130}example", False),
    ],
)
def test_which_addresses_there_are(house: House, text: str, is_one: bool) -> None:
    assert is_mail_address(text) is is_one
    if is_one or not text:
        house.store.set_tenant("acme", {"checkpoint_mail": text}, **WHO)
    else:
        with pytest.raises(InvalidValue, match="checkpoint_mail"):
            house.store.set_tenant("acme", {"checkpoint_mail": text}, **WHO)


def test_what_cannot_send_is_found_before(
    house: House, settings: Attendance, tmp_path: Path
) -> None:
    store = StoreSettings(url=f"sqlite:///{tmp_path}/acl.db")

    def said(attendance: Attendance) -> tuple[list[str], list[str]]:
        found = check(Settings(attendance=attendance, store=store), {})
        wrong, notes = (
            [each for each in some if "attendance.mail" in each]
            for some in (found.wrong, found.notes)
        )
        return wrong, notes

    word = Path(settings.mail_password_file)
    word.chmod(0o600)
    assert said(settings) == ([], [])
    house.store.set_tenant("acme", {"checkpoint_mail": TO}, **WHO)
    assert said(Attendance()) == (
        [],
        ["attendance.mail_server names none, and checkpoints of acme are to go by mail"],
    )
    word.chmod(0o640)
    wrong, notes = said(changed(settings, mail_certificates=str(word)))
    assert wrong == [f"attendance.mail_certificates: {word}: there is no certificate in it, in PEM"]
    assert len(notes) == 1 and "others than its owner may read" in notes[0]
    word.unlink()
    assert said(settings)[0] == [
        f"attendance.mail_password_file: {word}: No such file or directory"
    ]
