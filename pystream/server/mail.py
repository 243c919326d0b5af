"""A message on its way to the operator's mail server, which sees to all that comes behind it (RFC 6409).

Nothing is said there before its certificate was verified (STARTTLS, RFC 3207), no password and no address.
Each message has a name that follows from what it is about (`Message-ID`): one that was taken, and whose
answer got lost, is sent once more, and whoever reads it knows both for the same.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256

from pystream.errors import OutgoingError
from pystream.server.settings import Attendance, Listen


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent to whom: `text` is read, and `attached` is a file of that name. `at` is in Unix
    seconds."""

    to: str
    subject: str
    text: str
    name: str
    attached: bytes
    at: int

    def message(self, sender: str) -> EmailMessage:
        """As it is sent."""
        made = EmailMessage()
        made["From"], made["To"], made["Subject"] = sender, self.to, self.subject
        made["Date"] = format_datetime(datetime.fromtimestamp(self.at, UTC))
        name = sha256(b"\0".join((self.to.encode(), self.name.encode(), self.attached)))
        made["Message-ID"] = f"<{name.hexdigest()[:32]}@{_domain(sender)}>"
        # RFC 3834 5: nobody's absence is an answer to it.
        made["Auto-Submitted"] = "auto-generated"
        made.set_content(self.text)
        # As bytes: the ends of its lines are signed.
        made.add_attachment(
            self.attached,
            maintype="text",
            subtype="plain",
            filename=self.name,
            params={"charset": "utf-8"},
        )
        return made


def send(letter: Letter, settings: Attendance, seconds: float) -> None:
    """Hands it over; each answer is waited for so many seconds. This waits, for a network and for files.
    Raises `OutgoingError`, and `OSError` where a file of the settings cannot be read."""
    place, user = Listen(settings.mail_server), settings.mail_user
    trust = ssl.create_default_context(cafile=settings.mail_certificates or None)
    password = ""
    if user:
        with open(settings.mail_password_file, encoding="utf-8") as file:
            password = file.readline().rstrip("\n")
    with _told(place.host):
        # A name of our own to say, or the library would look for this machine's.
        name = _domain(settings.mail_from)
        with smtplib.SMTP(place.host, place.port, name, timeout=seconds) as server:
            server.starttls(context=trust)
            if user:
                server.login(user, password)
            server.send_message(letter.message(settings.mail_from))


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


@contextmanager
def _told(host: str) -> Iterator[None]:
    """What the server has said is not repeated: addresses may be in it."""
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        what = f"{host}: it does not take attendance.mail_user's password ({error.smtp_code})"
        raise OutgoingError("refused", what) from None
    except smtplib.SMTPRecipientsRefused as error:
        ((code, _),) = error.recipients.values()
        raise OutgoingError("refused", f"{host}: it refuses the recipient ({code})") from None
    except smtplib.SMTPSenderRefused as error:
        what = f"{host}: it refuses the sender, attendance.mail_from ({error.smtp_code})"
        raise OutgoingError("refused", what) from None
    except smtplib.SMTPResponseException as error:
        what = f"{host}: it has refused the message ({error.smtp_code})"
        raise OutgoingError("rejected", what) from None
    except smtplib.SMTPNotSupportedError:
        what = f"{host}: it does not offer what is wanted, STARTTLS, and AUTH where there is a user"
        raise OutgoingError("answer", what) from None
    except ssl.SSLError as error:
        what = f"{host}: TLS failed ({error.reason or 'the connection broke'})"
        raise OutgoingError("tls", what) from None
    except (smtplib.SMTPException, OSError) as error:
        # The library says of a connection on which nothing came in time that it is closed.
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            raise OutgoingError("slow", f"{host}: it does not answer in time") from None
        what = f"{host}: nobody answers there, or the connection broke ({type(error).__name__})"
        raise OutgoingError("unreachable", what) from None
