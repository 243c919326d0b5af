"""The planner in the most naive code that can be right: fractions, lists, every set tried.

Times are fractions of a second from the start, so there is no unit that could be mixed up. Wrong
arguments are the business of the functions under test.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

MICROSECOND = Fraction(1, 1_000_000)


def seconds(ticks: int, timescale: int) -> Fraction:
    return Fraction(ticks, timescale)


def cuts(
    key_pts: Sequence[int],
    forced: Sequence[int],
    timescale: int,
    target_us: int,
    end_pts: int,
) -> list[int]:
    target = target_us * MICROSECOND
    times = [seconds(pts, timescale) for pts in key_pts]
    found = [
        j
        for j, time in enumerate(times)
        if j == 0 or forced[j] or floor(time / target) > floor(times[j - 1] / target)
    ]
    if len(found) > 1 and not forced[found[1]] and times[found[1]] - times[0] < target / 2:
        del found[1]
    tail = seconds(end_pts, timescale) - times[found[-1]] if found else Fraction(0)
    if len(found) > 1 and not forced[found[-1]] and tail < target / 2:
        found.pop()
    return found


def grid(frame_pts: Sequence[int], timescale: int, target_us: int, end_pts: int) -> list[int]:
    return cuts(frame_pts, [0] * len(frame_pts), timescale, target_us, end_pts)


def follow(
    cut_pts: Sequence[int], cut_timescale: int, frame_pts: Sequence[int], frame_timescale: int
) -> list[int]:
    def first_at_or_after(cut: int) -> int:
        for j, frame in enumerate(frame_pts):
            if seconds(frame, frame_timescale) >= seconds(cut, cut_timescale):
                return j
        return len(frame_pts)

    return [first_at_or_after(cut) for cut in cut_pts] + [len(frame_pts)]


def common(
    a_pts: Sequence[int],
    a_timescale: int,
    b_pts: Sequence[int],
    b_timescale: int,
    tolerance_us: int,
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for i, a in enumerate(a_pts):
        for j, b in enumerate(b_pts):
            apart = abs(seconds(a, a_timescale) - seconds(b, b_timescale))
            free = not found or j > found[-1][1]
            if free and apart <= tolerance_us * MICROSECOND:
                found.append((i, j))
                break
    return found


def extinf_us(boundaries: Sequence[int], timescale: int) -> list[int]:
    def rounded(boundary: int) -> int:
        time = seconds(boundary - boundaries[0], timescale)
        return floor(time / MICROSECOND + Fraction(1, 2))

    return [rounded(end) - rounded(start) for start, end in pairwise(boundaries)]


def bit_rate(sizes: Sequence[int], durations_us: Sequence[int]) -> Fraction:
    return 8 * sum(sizes) / (sum(durations_us) * MICROSECOND)


def peak_bps(sizes: Sequence[int], durations_us: Sequence[int], target_s: int) -> int:
    shortest, longest = Fraction(target_s, 2), Fraction(3 * target_s, 2)
    rates = [
        bit_rate(sizes[i:j], durations_us[i:j])
        for i in range(len(sizes))
        for j in range(i + 1, len(sizes) + 1)
        if shortest <= sum(durations_us[i:j]) * MICROSECOND <= longest
    ]
    if not rates:
        rates = [
            bit_rate([size], [duration])
            for size, duration in zip(sizes, durations_us, strict=True)
            if duration
        ]
    return ceil(max(rates))


def average_bps(sizes: Sequence[int], durations_us: Sequence[int]) -> int:
    return ceil(bit_rate(sizes, durations_us))
