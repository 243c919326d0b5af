"""The entrances by link and by token: what a customer's own site signs, and what the door makes of it.

Each module reads one kind of token and answers with an `Entry`, or raises `EntranceError`:

| module       | who signs, and how                                                                   |
| `links`      | the customer, our own signed link: its docstring is the specification                |
| `akamai`     | a generator for Akamai Auth Token 2.0                                                |
| `bunny`      | a generator for bunny.net token authentication                                       |
| `wowza`      | a generator for Wowza SecureToken version 2                                          |
| `jwt`        | the customer's site, by a JSON Web Token (RFC 7519)                                  |

Which of them opens a stream, with which keys, is the customer's to say (`verifiers`).
`conditions` is what a stream or an entry asks besides; `countries` looks addresses up.

An entry opens the door and nothing more: its end is the last moment to come in, not the end of the
film. What is let in gets a grant, which has an end of its own.

Four rules hold for all of them. A token is read once and strictly: in ASCII, percent-decoded once,
each field at most once. It is compared in constant time, before anything in it is believed. Only an
opaque name of the viewer is kept, and what looks like an e-mail address is refused. And the time is
an argument, in whole Unix seconds; the clocks of signer and server may differ by `SKEW_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pystream.acl.entrances.conditions import NONE, Conditions

SKEW_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a link or a token says, after it was found sound.

    `not_before` (None: at once) and `expires` bound the time to come in; `expires` is the first second
    at which it is over. `viewer` is an opaque name that the customer gave, or None. `max_devices`: how
    many may play with it at a time; None: as the stream says. `conditions` come on top of the
    stream's own, and are the caller's to ask. `mark`: what names the token among all that were signed;
    whoever writes it differently writes none.
    """

    expires: int
    not_before: int | None = None
    viewer: str | None = field(default=None, repr=False)
    max_devices: int | None = None
    conditions: Conditions = NONE
    mark: str = field(default="", repr=False, compare=False)
