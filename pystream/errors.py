"""What pystream raises. Every class says whose fault an error is."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class PystreamError(Exception):
    """Base of all that pystream raises on its own account."""


class MediaError(PystreamError):
    """An input is at fault.

    `offset` is the byte offset in the input, or None; `path` names the boxes around it, outermost
    first, as in `moov/trak/mdia`, and is empty outside any box.
    """

    offset: int | None
    path: str

    def __init__(self, message: str, offset: int | None = None, path: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.path = path


class MalformedMedia(MediaError):
    """The input's bytes contradict the standard or each other."""


class UnsupportedMedia(MediaError):
    """The input is sound, but holds what pystream does not carry."""


class LimitExceeded(MediaError):
    """The input asks for more than pystream's caps allow."""


class SourceError(MediaError):
    """The input could not be read as it was opened; it shrank, for one."""


class PlanError(PystreamError):
    """The inputs do not make one presentation. The message names what differs."""


class OutputError(PystreamError):
    """The output cannot be written where it was asked for."""


class MalformedEvidence(PystreamError):
    """A line of an evidence file is not as specified. `line` counts from 1, `what` says what is wrong."""

    line: int
    what: str

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


class MalformedDocument(PystreamError):
    """A report, a receipt, an export or a note is not as specified. The message says where and why."""


class NotProven(PystreamError):
    """What a document says of attendance does not follow from it, the log and the keys that are trusted. The
    message says what of it."""


class Said(str):
    """A sentence that says what is wrong, in English, and what is needed to say it otherwise: `key` is
    what it says, `of` the value that it is about (the sentence begins with that, then), `values` what
    stands in it."""

    key: str
    of: str
    values: Mapping[str, object]

    def __new__(cls, key: str, text: str, /, of: str = "", **values: object) -> Said:
        self = super().__new__(cls, f"{of}: {text}" if of else text)
        self.key, self.of, self.values = key, of, values
        return self


class TooEarly(PystreamError):
    """A report cannot be sealed yet. `since` is when it can be, in Unix seconds."""

    since: int

    def __init__(self, message: str, since: int) -> None:
        super().__init__(message)
        self.since = since


class Incomplete(PystreamError):
    """What was signed cannot be put together any more, as something of it was erased since."""


class InvalidValue(PystreamError):
    """A value that was given cannot be. `problems` are sentences, one for each thing wrong."""

    problems: tuple[str, ...]

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StoreError(PystreamError):
    """The store cannot be read or written. The message says which one, and what to do."""


class NoStore(StoreError):
    """There is no store where one was looked for, and none was to be made."""


class NotFound(StoreError):
    """The store holds nothing of the name that was asked for."""


class Unattended(NotFound):
    """Nobody has attended what a report would be of, which is sealed for somebody alone."""


class Exists(StoreError):
    """The store holds something of that name already."""


class InUse(StoreError):
    """What was to be removed stays, as something rests on it."""


class Outdated(StoreError):
    """What was to be changed is another by now than whoever changes it has seen."""


class TableFull(PystreamError):
    """A table that the workers share has no room left. The message says which one."""


class GuardError(PystreamError):
    """The kernel does not take the guard's rules, or the helper that tells it them does not answer."""


class SettingsError(PystreamError):
    """The settings are at fault.

    `place` is the file or the environment variable, `line` counts from 1 and is None where the
    fault lies on no line of a file, `key` is as in `server.workers`, and empty where the file as a
    whole is at fault. `problems` are sentences, one for each thing wrong; these three are of the first.
    """

    place: str
    line: int | None
    key: str
    problems: tuple[str, ...]

    def __init__(
        self,
        message: str,
        place: str,
        line: int | None = None,
        key: str = "",
        others: Iterable[SettingsError] = (),
    ) -> None:
        where = place if line is None else f"{place}:{line}"
        said = ": ".join(filter(None, (where, key, message)))
        self.problems = (said, *(problem for other in others for problem in other.problems))
        super().__init__("; ".join(self.problems))
        self.message = message
        self.place = place
        self.line = line
        self.key = key

    @classmethod
    def of_all(cls, errors: Sequence[SettingsError]) -> SettingsError:
        """One error that says what all of these say."""
        first, *others = errors
        return cls(first.message, first.place, first.line, first.key, others)


class MasterKeyError(PystreamError):
    """The master key is missing, is none, or lies where others can read it."""


class SealError(PystreamError):
    """A sealed value or a wrapped key does not open. `what` names it, and why is not said."""

    what: str

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: what is stored here was not sealed for this place with this key, or it was"
            " changed. Bring back the store and the key store of one backup"
        )
        self.what = what


class SignInError(PystreamError):
    """Somebody is not let in. What of it was wrong is not said: that would help to find out the rest."""

    def __init__(self) -> None:
        super().__init__("name, password or code are wrong, or not valid any more")


class GrantError(PystreamError):
    """A grant does not open what was asked for.

    `kind` is for counting: `malformed`, `forged`, `early`, `expired` or `stream` (another one's).
    The message is one for all of them: what is wrong with a link helps nobody but who makes them up.
    """

    kind: str

    def __init__(self, kind: str) -> None:
        super().__init__(
            "this link does not open the stream, or does so no longer: ask for a new one"
        )
        self.kind = kind


class OutgoingError(PystreamError):
    """A call to a customer's site gave nothing that can be used. The message names the site's host.

    | `kind` (for counting) | what has happened                                            | `fault`  |
    | --------------------- | ------------------------------------------------------------ | -------- |
    | `url`                 | the URL is none that may be called                           | `tenant` |
    | `forbidden`           | its name leads to an address that may not be reached         | `tenant` |
    | `unresolved`          | its name leads to no address                                 | `site`   |
    | `unreachable`         | nobody answers there, or the connection broke                | `site`   |
    | `tls`                 | the certificate is not that name's, or TLS failed otherwise  | `site`   |
    | `slow`                | the whole answer was not there in time                       | `site`   |
    | `answer`              | the answer is none that was asked for                        | `site`   |
    | `refused`             | its status is 401, 403 or 404                                | `site`   |
    | `rejected`            | it finds fault with what was sent: any other status of 4xx,  | `site`   |
    |                       | save 408 and 429                                             |          |
    | `paused`              | it failed so often that it is left alone for a while         | `site`   |
    | `busy`                | too many calls at a time                                     | `node`   |
    """

    kind: str
    fault: str

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        faults = {"url": "tenant", "forbidden": "tenant", "busy": "node"}
        self.fault = faults.get(kind, "site")


class EntranceError(PystreamError):
    """A link or a token does not let its bearer in.

    `reason` is for counting, and for whoever made the link:

    | reason        | what is wrong                                                             |
    | `expired`     | it is over                                                                |
    | `early`       | it has not begun                                                          |
    | `forged`      | nobody has signed that                                                    |
    | `malformed`   | it is none, or says what cannot be                                        |
    | `elsewhere`   | it opens another stream, or is for another address                        |
    | `unknown_key` | it names a key that nobody has, or has no more                            |
    | `keys`        | the key that it names is not fit to sign with                             |
    | `replayed`    | it was good for once                                                      |
    | `missing`     | there is none                                                             |

    `part` names the field at fault as its standard does (`exp`, `acl`), or is empty. It is one of a
    fixed list and never what a stranger sent. The message is one for all of them.
    """

    reason: str
    part: str

    def __init__(self, reason: str, part: str = "") -> None:
        super().__init__(
            "this link does not open the stream, or does so no longer: ask for a new one"
        )
        self.reason = reason
        self.part = part
