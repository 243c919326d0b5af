"""A server that takes mail (RFC 5321): over TLS (RFC 3207), from whom it knows (RFC 4954)."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64decode
from contextlib import closing, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self


class Mail(NamedTuple):
    """A message that was taken: from whom, to whom, and whether the connection was encrypted."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    over_tls: bool


class MailServer:
    """At 127.0.0.1, in a thread. `replies`: what it says to a verb instead of taking it; `endless`: verbs to
    which its reply has no end; `users`: their passwords, without which nobody may send, where there are
    any."""

    def __init__(self, tls: ssl.SSLContext | None, users: dict[str, str] | None = None) -> None:
        self._tls = tls
        self._users = users or {}
        self.replies: dict[str, bytes] = {}
        self.endless: set[str] = set()
        self.ending = threading.Event()
        self.taken: list[Mail] = []
        self.heard: list[str] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            # A client that goes away in the middle ends its own connection alone.
            with closing(_Talk(self, peer)) as talk, suppress(OSError):
                talk.run()


class _Talk:
    """A connection: one client at a time will do."""

    def __init__(self, server: MailServer, peer: socket.socket) -> None:
        self._server = server
        self._peer = peer
        self._lines: BinaryIO = peer.makefile("rb")
        self._over_tls = self._is_known = False
        self._sender = ""
        self._recipients: list[str] = []

    def close(self) -> None:
        self._lines.close()
        self._peer.close()

    def run(self) -> None:
        self._say(b"220 mail.example ESMTP")
        while line := self._lines.readline().rstrip(b"\r\n").decode("ascii"):
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            # What opens a door is nobody's to read in a test that fails.
            self._server.heard.append(verb)
            while verb in self._server.endless and not self._server.ending.is_set():
                self._say(b"250-and one more")
            reply = self._server.replies.get(verb)
            if reply is None:
                reply = self._answer(verb, rest)
            self._say(reply)
            if verb == "STARTTLS" and reply.startswith(b"220"):
                self._encrypt()
            elif verb == "QUIT":
                return

    def _say(self, reply: bytes) -> None:
        self._peer.sendall(reply + b"\r\n")

    def _encrypt(self) -> None:
        assert self._server._tls is not None
        self._lines.close()
        self._peer = self._server._tls.wrap_socket(self._peer, server_side=True)
        self._lines = self._peer.makefile("rb")
        self._over_tls = True

    def _answer(self, verb: str, rest: str) -> bytes:
        server = self._server
        if verb == "EHLO":
            offered = [b"mail.example"]
            offered += [b"STARTTLS"] if server._tls is not None and not self._over_tls else []
            offered += [b"AUTH PLAIN"] if server._users and self._over_tls else []
            return b"\r\n".join((*(b"250-" + each for each in offered[:-1]), b"250 " + offered[-1]))
        if verb == "STARTTLS":
            return b"220 go ahead"
        if verb == "AUTH":
            _, user, password = b64decode(rest.partition(" ")[2]).decode().split("\0")
            self._is_known = server._users.get(user) == password
            return b"235 welcome" if self._is_known else b"535 no"
        if server._users and not self._is_known and verb in ("MAIL", "RCPT", "DATA"):
            return b"530 who is it?"
        if verb == "MAIL":
            self._sender, self._recipients = _address(rest), []
        elif verb == "RCPT":
            self._recipients.append(_address(rest))
        elif verb == "DATA":
            self._say(b"354 till the dot")
            self._take()
        elif verb == "QUIT":
            return b"221 bye"
        return b"250 good"

    def _take(self) -> None:
        body = b""
        while (line := self._lines.readline()) != b".\r\n":
            assert line, "the client is gone in the middle of a message"
            body += line.removeprefix(b".") if line.startswith(b".") else line
        message = message_from_bytes(body, policy=policy.default)
        mail = Mail(self._sender, self._recipients, message, self._over_tls)
        self._server.taken.append(mail)


def _address(rest: str) -> str:
    """Of `FROM:<a@b> SIZE=1`."""
    return rest.partition("<")[2].partition(">")[0]
