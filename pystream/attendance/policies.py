"""What a time of attendance is worth: named policies, with thresholds that the tenant sets.

| policy          | worth                                                                            |
| --------------- | -------------------------------------------------------------------------------- |
| `floor45`       | one point for each full 45 minutes                                               |
| `ama_quarter`   | credit of 60 minutes each, to the nearest quarter of an hour; half of one counts |
| `threshold_pct` | no points: certified, or not                                                     |

How the time itself is counted are a ledger's options. `digest` names both by a hash, the programme and its
time zone aside: what has the same one was counted and judged alike.

All take the certifiable time in whole seconds, cut off as reports print it: what is shown is what counted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from hashlib import sha256
from typing import Final

from pystream.attendance.canonical import encode
from pystream.errors import InvalidValue, Said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pystream.attendance.options import Options

ROUNDINGS: Final = ("floor45", "ama_quarter", "threshold_pct")
_FLOOR45, _AMA_QUARTER, _THRESHOLD = ROUNDINGS
# A day and night for a week.
_MOST_MINUTES = 7 * 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`threshold_pct`: how much of the programme has to be attended; None: any. `least_minutes`: the same,
    in minutes. Below either there are no points, and nothing is certified."""

    rounding: str = _FLOOR45
    threshold_pct: int | None = None
    least_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Award:
    """`points` is None where a policy has none."""

    certified: bool
    points: Fraction | None


def problems(policy: Policy) -> Iterator[str]:
    """What is wrong with a policy."""
    if policy.rounding not in ROUNDINGS:
        text = f"{policy.rounding!r} is none of {', '.join(ROUNDINGS)}"
        yield Said("one-of", text, of="rounding", value=policy.rounding)
    if policy.rounding == _THRESHOLD and policy.threshold_pct is None:
        text = "the rounding of that name wants one, in percent of the programme"
        yield Said("threshold-wanted", text, of="threshold_pct")
    for name, value, most in (
        ("threshold_pct", policy.threshold_pct, 100),
        ("least_minutes", policy.least_minutes, _MOST_MINUTES),
    ):
        if value is not None and not 1 <= value <= most:
            text = f"from 1 to {most} are wanted, or none"
            yield Said("range-or-none", text, of=name, least=1, most=most)


def award(policy: Policy, certifiable_ms: int, programme_ms: int) -> Award:
    """What a time is worth in a programme of that length. Raises `InvalidValue` for a policy that is none."""
    wrong = tuple(problems(policy))
    if wrong:
        raise InvalidValue(*wrong)
    seconds = certifiable_ms // 1000
    reached = seconds > 0
    if policy.threshold_pct is not None:
        # Of whole seconds too, or who has attended all of 10.5 s would have 95 %.
        reached = reached and seconds * 100 >= policy.threshold_pct * (programme_ms // 1000)
    if policy.least_minutes is not None:
        reached = reached and seconds >= policy.least_minutes * 60
    if policy.rounding == _THRESHOLD:
        return Award(reached, None)
    worth = Fraction(seconds // 2700)
    if policy.rounding == _AMA_QUARTER:
        worth = Fraction((seconds * 2 + 900) // 1800, 4)
    points = worth if reached else Fraction(0)
    return Award(points > 0, points)


def least_s(policy: Policy, programme_ms: int) -> int:
    """From how many seconds on a time is worth anything. Raises `InvalidValue` as `award` does."""
    low, high = 0, 60 * (_MOST_MINUTES + 45) + programme_ms // 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle)
            if award(policy, middle * 1000, programme_ms).certified
            else (middle, high)
        )
    return high


def digest(definition: str, options: Options, policy: Mapping[str, Any] | None) -> str:
    """Of how a report was counted and, as its document has it, what that is worth; SHA-256, in
    hexadecimal. Raises `ValueError` for a policy that has no spelling."""
    said = options.resolved()
    counted = {each.name: getattr(said, each.name) for each in fields(said)}
    for name in ("windows", "breaks", "timezone"):
        del counted[name]
    whole = {"definition": definition, "options": counted, "policy": policy}
    return sha256(encode(whole)).hexdigest()


def decimal(points: Fraction) -> str:
    """As in 1 and 1.25."""
    whole, quarters = divmod(points * 4, 4)
    return f"{whole}{('', '.25', '.5', '.75')[int(quarters)]}"
