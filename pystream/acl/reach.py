"""How far a password has come in a film that cannot be skipped ahead.

Theory. Of a password and a stream there is one *reach*, whatever devices it is used on: up to where its
film was had without a gap (`media_ms`), and when all of that could have been played (`played_at`), as
`attendance-v1` has it: each piece takes as long as it lasts, from when it was had, after those before it.
So the *earned* point at an instant is

    earned = media_ms - max(0, played_at - now)

which goes on as the clock does, never faster, and stops where nothing was had. What ends no later than
`ahead` after it may go, and all that was had before may go again: seeking back, another quality and what is
fetched twice cost nothing. All else is withheld. Of a film of T seconds, nobody gets to the end in less
than T - `ahead`, by whatever requests.

What comes next and is only early is *due*: a player that fetches far ahead is told when. Of what does not
come next, nobody knows when it will be due: that is skipping. A gap of two segments is none: what was lost on
its way, or asked for in another order. It costs its time all the same.

That two segments are no gap, and the one that is asked for may be as long, is why `ahead` is three of them at
least: what comes next is always due some time, so honest play goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AHEAD_MS: Final = 60_000
"""The look-ahead of attendance-v1 for films: nobody's credit is ahead of the clock by more."""
_GAP_SEGMENTS: Final = 2


@dataclass(frozen=True, slots=True)
class Reach:
    """`media_ms`: ms of the film that were had without a gap; `played_at`: ms since 1970."""

    media_ms: int = 0
    played_at: int = 0

    def earned(self, now: int) -> int:
        """Ms of the film that could have been played by now."""
        return max(0, self.media_ms - max(0, self.played_at - now))

    def further(self, other: Reach) -> Reach:
        """The one of both that came later: nothing that was had is lost."""
        mine, others = (self.media_ms, self.played_at), (other.media_ms, other.played_at)
        return self if mine >= others else other


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment that somebody wants: ms of the film, and how long the film's longest one lasts. `counts`:
    it is of the rendition that attendance counts, and its end was asked for."""

    m0: int
    m1: int
    longest: int
    counts: bool

    @property
    def ahead(self) -> int:
        return max(AHEAD_MS, (_GAP_SEGMENTS + 1) * self.longest)

    def follows(self, reach: Reach) -> bool:
        """Whether it is what comes next, or was had before."""
        return self.m0 <= reach.media_ms + _GAP_SEGMENTS * self.longest


def wait_ms(reach: Reach, piece: Piece, now: int) -> int | None:
    """0 where the piece may go; else ms after which it might, None for one that nobody has earned."""
    earned = _set_right(reach, piece, now).earned(now)
    if piece.m1 <= max(reach.media_ms, earned + piece.ahead):
        return 0
    return piece.m1 - piece.ahead - earned if piece.follows(reach) else None


def advanced(reach: Reach, piece: Piece, now: int) -> Reach:
    """The reach once the piece, which may go, was had."""
    if not piece.counts or piece.m1 <= reach.media_ms or not piece.follows(reach):
        return reach
    begins = max(now, _set_right(reach, piece, now).played_at)
    return Reach(piece.m1, begins + piece.m1 - reach.media_ms)


def _set_right(reach: Reach, piece: Piece, now: int) -> Reach:
    """Nobody is so far ahead, unless somebody has set the clock back."""
    return Reach(reach.media_ms, min(reach.played_at, now + piece.ahead))
