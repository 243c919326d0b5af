"""What pystream raises. Every class says whose fault an error is."""


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
