"""Small values that several rooms share."""


class Notice:
    """Something the user should know about an input or what was made of it.

    `code` is stable and meant for programs, `message` is a sentence for people, `source` names the
    input, and is empty where a notice is about all of them.
    """

    __slots__ = ("code", "message", "source")

    def __init__(self, code: str, message: str, source: str = "") -> None:
        self.code = code
        self.message = message
        self.source = source

    def __str__(self) -> str:
        return f"{self.source}: {self.message}" if self.source else self.message

    def __repr__(self) -> str:
        return f"Notice({self.code!r}, {self.message!r}, {self.source!r})"
