"""The planner's loops against plain fractions, and the pains that they are there to spare."""

from __future__ import annotations

import re
import subprocess
import sys
from array import array
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pystream import _segmenter
from tests.oracles import planner

SECOND_US = 1_000_000
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def column(values: list[int] | range) -> array[int]:
    return array("q", values)


def flags(values: list[int]) -> array[int]:
    return array("B", values)


def room(count: int) -> array[int]:
    return array("q", [-7]) * count


def cuts(
    key_pts: list[int] | range,
    timescale: int,
    target_us: int,
    end_pts: int,
    forced: list[int] | None = None,
) -> list[int]:
    out = room(len(key_pts))
    marks = flags(forced if forced is not None else [0] * len(key_pts))
    count = _segmenter.cuts(column(key_pts), marks, timescale, target_us, end_pts, out)
    return list(out[:count])


def grid(frame_pts: list[int] | range, timescale: int, target_us: int, end_pts: int) -> list[int]:
    out = room(len(frame_pts))
    count = _segmenter.grid(column(frame_pts), timescale, target_us, end_pts, out)
    return list(out[:count])


def follow(
    cut_pts: list[int], cut_timescale: int, frame_pts: list[int] | range, frame_timescale: int
) -> list[int]:
    out = room(len(cut_pts) + 1)
    _segmenter.follow(column(cut_pts), cut_timescale, column(frame_pts), frame_timescale, out)
    return list(out)


def common(
    a_pts: list[int] | range,
    a_timescale: int,
    b_pts: list[int] | range,
    b_timescale: int,
    tolerance_us: int = 1000,
) -> list[tuple[int, int]]:
    size = min(len(a_pts), len(b_pts))
    out_a, out_b = room(size), room(size)
    count = _segmenter.common(
        column(a_pts), a_timescale, column(b_pts), b_timescale, tolerance_us, out_a, out_b
    )
    return list(zip(out_a[:count], out_b[:count], strict=True))


def extinf_us(boundaries: list[int] | range, timescale: int) -> list[int]:
    out = room(len(boundaries) - 1)
    _segmenter.extinf_us(column(boundaries), timescale, out)
    return list(out)


def peak_bps(sizes: list[int], durations_us: list[int], target_s: int) -> int:
    return _segmenter.peak_bps(column(sizes), column(durations_us), target_s)


def average_bps(sizes: list[int], durations_us: list[int]) -> int:
    return _segmenter.average_bps(column(sizes), column(durations_us))


# What hypothesis draws: timescales that occur and that do not, times near zero and near the ends of
# 64 bits, and steps from single ticks to hours.

timescales = st.one_of(
    st.sampled_from([1, 25, 1000, 12800, 24000, 30000, 44100, 48000, 90000, 10**7, 10**9]),
    st.integers(1, 10**9),
    st.just(2**32 - 1),
)
targets_us = st.one_of(
    st.sampled_from([1, 333_333, 2 * SECOND_US, 6 * SECOND_US, INT64_MAX]),
    st.integers(1, 20 * SECOND_US),
)
int64 = st.integers(INT64_MIN, INT64_MAX)


@st.composite
def times(draw: st.DrawFn, timescale: int, least_step: int) -> list[int]:
    """Rising times: a start anywhere, and steps about as long as frames or GOPs are."""
    longest = draw(st.sampled_from([2, max(2, timescale // 30), 8 * timescale, 2**56]))
    steps = draw(st.lists(st.integers(least_step, longest), max_size=40))
    span = sum(steps)
    start = draw(
        st.one_of(
            st.integers(-10 * timescale, 10 * timescale),
            st.sampled_from([INT64_MIN, INT64_MAX - span]),
        )
    )
    return list(accumulate(steps, initial=start))


@st.composite
def key_frames(draw: st.DrawFn) -> tuple[list[int], list[int], int, int, int]:
    timescale = draw(timescales)
    key_pts = draw(times(timescale, 1))
    forced = draw(st.lists(st.sampled_from([0, 0, 0, 1, 255]), min_size=len(key_pts)))
    tail = draw(st.integers(0, 10 * timescale))
    end_pts = min(key_pts[-1] + tail, INT64_MAX)
    return key_pts, forced[: len(key_pts)], timescale, draw(targets_us), end_pts


@given(key_frames())
@example(([INT64_MIN, INT64_MAX], [0, 0], 2**32 - 1, INT64_MAX, INT64_MAX))
@example(([INT64_MIN, 0, INT64_MAX], [0, 0, 0], 1, 1, INT64_MAX))
def test_cuts_are_the_oracles(case: tuple[list[int], list[int], int, int, int]) -> None:
    key_pts, forced, timescale, target_us, end_pts = case
    found = cuts(key_pts, timescale, target_us, end_pts, forced)
    assert found == planner.cuts(key_pts, forced, timescale, target_us, end_pts)


@st.composite
def frames(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    timescale = draw(timescales)
    frame_pts = draw(times(timescale, 0))
    end_pts = min(frame_pts[-1] + draw(st.integers(0, 10 * timescale)), INT64_MAX)
    return frame_pts, timescale, draw(targets_us), end_pts


@given(frames())
def test_grid_is_the_oracles(case: tuple[list[int], int, int, int]) -> None:
    frame_pts, timescale, target_us, end_pts = case
    assert grid(frame_pts, timescale, target_us, end_pts) == planner.grid(
        frame_pts, timescale, target_us, end_pts
    )


@st.composite
def two_tracks(draw: st.DrawFn, least_step: int) -> tuple[list[int], int, list[int], int]:
    """Times of two tracks, independent ones or the same moments rounded to other ticks."""
    one_timescale, other_timescale = draw(timescales), draw(timescales)
    one = draw(times(one_timescale, 1))
    if draw(st.booleans()):
        scale = Fraction(other_timescale, one_timescale)
        shift = draw(st.integers(-3, 3))
        near = {round(pts * scale) + shift for pts in one}
        other = sorted(pts for pts in near if INT64_MIN <= pts <= INT64_MAX)
    else:
        other = draw(times(other_timescale, least_step))
    return one, one_timescale, other, other_timescale


@given(two_tracks(0))
def test_follow_is_the_oracles(case: tuple[list[int], int, list[int], int]) -> None:
    assert follow(*case) == planner.follow(*case)


@given(two_tracks(1), st.sampled_from([0, 1, 1000, SECOND_US, 2**62]))
def test_common_is_the_oracles(
    case: tuple[list[int], int, list[int], int], tolerance_us: int
) -> None:
    assert common(*case, tolerance_us) == planner.common(*case, tolerance_us)


@st.composite
def ends(draw: st.DrawFn) -> tuple[list[int], int]:
    timescale = draw(timescales)
    boundaries = draw(times(timescale, 0))
    return boundaries, timescale


@given(ends())
@example(([0, INT64_MAX], 10**6))
@example(([INT64_MIN, INT64_MAX], 2 * 10**6 + 1))
def test_extinf_is_the_oracles(case: tuple[list[int], int]) -> None:
    boundaries, timescale = case
    expected = planner.extinf_us(boundaries, timescale)
    if sum(expected) > INT64_MAX:
        with pytest.raises(ValueError, match="does not fit 64 bits"):
            extinf_us(boundaries, timescale)
    else:
        assert extinf_us(boundaries, timescale) == expected


def segments(longest_us: int, largest: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(
        st.tuples(st.integers(0, largest), st.integers(0, longest_us)), min_size=1, max_size=25
    ).filter(lambda pairs: any(duration for _, duration in pairs))


@pytest.mark.slow
@given(
    st.one_of(
        segments(9 * SECOND_US, 20_000_000),
        segments(SECOND_US, 2**40),
        segments(3, 5),
        segments(2**57, 2**57),
    ),
    st.one_of(st.integers(1, 10), st.sampled_from([100, 2**32 - 1])),
)
@example([(0, 6 * SECOND_US), (100, 20 * SECOND_US)], 6)
@example([(1, 3 * SECOND_US), (1, 9 * SECOND_US)], 6)
@example([(7, 0), (1, 1)], 6)
@settings(max_examples=200)
def test_bit_rates_are_the_oracles(pairs: list[tuple[int, int]], target_s: int) -> None:
    sizes, durations_us = [size for size, _ in pairs], [duration for _, duration in pairs]
    peak = planner.peak_bps(sizes, durations_us, target_s)
    average = planner.average_bps(sizes, durations_us)
    if max(peak, average) > INT64_MAX:
        return
    assert peak_bps(sizes, durations_us, target_s) == peak
    assert average_bps(sizes, durations_us) == average


# The pains.


@given(st.lists(int64, max_size=20), timescales, timescales)
def test_ticks_are_fractions_half_of_one_rounded_up(
    values: list[int], timescale: int, finer: int
) -> None:
    exact = [(2 * value * finer + timescale) // (2 * timescale) for value in values]
    out = room(len(values))
    if all(INT64_MIN <= value <= INT64_MAX for value in exact):
        _segmenter.ticks(column(values), timescale, finer, out)
        assert list(out) == exact
    else:
        with pytest.raises(ValueError, match="does not fit"):
            _segmenter.ticks(column(values), timescale, finer, out)


@given(st.lists(int64, max_size=20), st.data())
def test_picked_are_the_values_at_indexes(values: list[int], data: st.DataObject) -> None:
    first = data.draw(st.sampled_from([0, 7, -3, INT64_MAX - 30, INT64_MIN]))
    indexes = sorted(data.draw(st.lists(st.integers(first, first + 30))))
    out = room(len(indexes))
    _segmenter.pick(column(values), column(indexes), first, -1, out)
    assert list(out) == [([*values] + [-1] * 31)[index - first] for index in indexes]


@given(st.lists(int64, max_size=20), int64)
def test_a_shift_adds_to_each(values: list[int], by: int) -> None:
    shifted, sums = column(values), [value + by for value in values]
    if all(INT64_MIN <= value <= INT64_MAX for value in sums):
        _segmenter.shift(shifted, by)
        assert list(shifted) == sums
    else:
        with pytest.raises(ValueError, match="does not fit"):
            _segmenter.shift(shifted, by)


@given(st.lists(st.tuples(int64, st.integers(-5, 5)), max_size=30))
def test_rising_are_those_later_than_all_before(pairs: list[tuple[int, int]]) -> None:
    keys, pts = [key for key, _ in pairs], [time for _, time in pairs]
    out_keys, out_pts = room(len(pairs)), room(len(pairs))
    count = _segmenter.rising(column(keys), column(pts), out_keys, out_pts)
    kept = [i for i in range(len(pts)) if all(time < pts[i] for time in pts[:i])]
    assert list(out_keys[:count]) == [keys[i] for i in kept]
    assert list(out_pts[:count]) == [pts[i] for i in kept]
    same_keys, same_pts = column(keys), column(pts)
    assert _segmenter.rising(same_keys, same_pts, same_keys, same_pts) == count
    assert (same_keys[:count], same_pts[:count]) == (out_keys[:count], out_pts[:count])


@given(st.lists(int64, min_size=1))
def test_the_longest_is_the_largest_step(values: list[int]) -> None:
    *starts, end = sorted(values)
    steps = [b - a for a, b in pairwise([*starts, end])]
    assert _segmenter.longest(column(starts), end) == min(max(steps, default=0), INT64_MAX)


@given(st.lists(int64))
def test_the_largest_is_no_less_than_nothing(values: list[int]) -> None:
    assert _segmenter.largest(column(values)) == max([0, *values])


@given(st.lists(st.integers(0, 9), min_size=1))
def test_filled_segments_are_marked(values: list[int]) -> None:
    bounds = sorted(values)
    marks, out = bytearray(len(bounds) - 1), room(len(bounds) - 1)
    _segmenter.filled(column(bounds), marks)
    assert list(marks) == [a < b for a, b in pairwise(bounds)]
    count = _segmenter.marked(marks, out)
    assert list(out[:count]) == [i for i, mark in enumerate(marks) if mark]
    _segmenter.filled(column([0] * len(bounds)), marks)
    assert sum(marks) == count


@given(st.lists(st.one_of(st.integers(0, 100), st.just(INT64_MAX - 16))))
def test_padding_always_adds(sizes: list[int]) -> None:
    out = room(len(sizes))
    _segmenter.padded(column(sizes), out)
    for size, length in zip(sizes, out, strict=True):
        assert 0 < length - size <= 16
        assert length % 16 == 0


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.integers(0, 100),
    st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**60)), min_size=60, max_size=60),
    st.integers(1, 40),
    st.integers(0, 20),
)
def test_the_fastest_is_the_largest_average(
    counts: list[int], first: int, steps: list[int], shortest: int, rounding: int
) -> None:
    bounds = list(accumulate([*counts, 1], initial=first))
    dts = list(accumulate(steps, initial=-7))[: bounds[-1] - first]
    out = room(2)
    if dts[-1] - dts[0] > INT64_MAX:
        return
    _segmenter.fastest(column(bounds), column(dts), shortest, rounding, out)
    last = len(dts) - 1
    marks = [*dict.fromkeys(min(bound - first, last) for bound in bounds)]
    best = last, dts[last] - dts[0]
    for begin, end in pairwise(marks):
        lasts = dts[end] - dts[begin]
        told = lasts >= shortest and best[1] > 0
        if told and Fraction(end - begin, lasts + rounding) > Fraction(*best):
            best = end - begin, lasts
    assert tuple(out) == (best if dts[last] > dts[0] else (0, 0))


def test_pain_5_a_tail_shorter_than_half_a_segment_joins_its_predecessor() -> None:
    keys = range(0, 12_001, 2000)
    assert cuts(keys, 1000, 6 * SECOND_US, 14_999) == [0, 3]
    assert cuts(keys, 1000, 6 * SECOND_US, 15_000) == [0, 3, 6]  # exactly half stays


def test_pain_5_a_tail_where_the_configuration_changed_stands() -> None:
    keys = range(0, 12_001, 2000)
    assert cuts(keys, 1000, 6 * SECOND_US, 12_001, [0, 0, 0, 0, 0, 0, 1]) == [0, 3, 6]


def test_pain_5_the_only_segment_stands_however_short() -> None:
    assert cuts([0], 1000, 6 * SECOND_US, 1) == [0]
    assert grid([0, 20], 1000, 6 * SECOND_US, 40) == [0]


def test_pain_5_no_printed_duration_is_zero() -> None:
    frame = 1024
    frames = range(0, 60 * 48_000 + frame, frame)  # one frame past the last grid line
    begins = grid(frames, 48_000, 6 * SECOND_US, frames[-1] + frame)
    durations_us = extinf_us([frames[i] for i in begins] + [frames[-1] + frame], 48_000)
    assert min(durations_us) >= 3 * SECOND_US


@pytest.mark.parametrize("timescale", [30_000, 90_000, 1000])
def test_pain_6_ten_hours_of_ntsc_sum_to_their_duration(timescale: int) -> None:
    frames = 36_000 * 30_000 // 1001
    boundaries = [round(Fraction(i * 1001 * timescale, 30_000)) for i in range(0, frames + 1, 180)]
    total = Fraction(boundaries[-1] - boundaries[0], timescale)
    durations_us = extinf_us(boundaries, timescale)
    assert abs(sum(durations_us) - total * SECOND_US) <= Fraction(1, 2)
    for duration_us, (start, end) in zip(durations_us, pairwise(boundaries), strict=True):
        assert abs(duration_us - Fraction(end - start, timescale) * SECOND_US) <= 1


def test_pain_6_a_duration_reaches_to_the_next_segments_start() -> None:
    # A sample table would say 33 ms for the last frame; the next segment begins 2 s later.
    assert extinf_us([0, 180_000, 360_000], 90_000) == [2 * SECOND_US] * 2


def test_pain_28_joined_pieces_begin_where_the_one_before_ends() -> None:
    boundaries = [i * 180_180 for i in range(1000)]  # 6.006 s in a timescale of 30000
    whole = extinf_us(boundaries, 30_000)
    assert sum(whole[:500]) + sum(whole[500:]) == sum(whole) == 999 * 6_006_000


def test_pain_28_cuts_do_not_drift_off_the_grid() -> None:
    # In whole microseconds a frame is 33,367, and 1.2 s would be lost in ten hours.
    key_pts = range(0, 36_000 * 30_000, 30 * 1001)
    found = cuts(key_pts, 30_000, 6 * SECOND_US, 36_000 * 30_000)
    for number, index in enumerate(found):
        late = Fraction(key_pts[index], 30_000) - 6 * number
        assert 0 <= late < Fraction(30 * 1001, 30_000)


def test_pain_10_renditions_with_one_gop_are_cut_alike_in_any_timescale() -> None:
    seconds = [Fraction(48 * i * 1001, 24_000) for i in range(300)]
    found = {
        timescale: cuts([int(s * timescale) for s in seconds], timescale, 6 * SECOND_US, end)
        for timescale, end in ((24_000, 601 * 24_000), (240_000, 601 * 240_000))
    }
    assert found[24_000] == found[240_000]


def test_pain_10_common_key_frames_survive_another_timescale() -> None:
    a = [2002 * i for i in range(100)]
    b = [round(Fraction(pts * 1000, 24_000)) for pts in a]  # off by up to half a millisecond
    assert common(a, 24_000, b, 1000) == [(i, i) for i in range(100)]
    assert common(a, 24_000, b, 1000, tolerance_us=0) != [(i, i) for i in range(100)]


def test_pain_10_other_gops_meet_only_at_common_multiples() -> None:
    two = [2000 * i for i in range(31)]
    three = [3000 * i for i in range(21)]
    assert common(two, 1000, three, 1000) == [(3 * i, 2 * i) for i in range(11)]
    assert common([1, 4001], 1000, [2002, 6002], 1000) == []


def test_pain_11_audio_follows_to_within_one_frame() -> None:
    cut_pts = [180_180 * i for i in range(100)]
    frame_pts = range(0, 700 * 48_000, 1024)
    for cut, index in zip(cut_pts, follow(cut_pts, 30_000, frame_pts, 48_000), strict=False):
        late = Fraction(frame_pts[index], 48_000) - Fraction(cut, 30_000)
        assert 0 <= late < Fraction(1024, 48_000)


def test_follow_gives_empty_segments_after_the_last_frame() -> None:
    assert follow([0, 10, 20, 30], 10, [0, 500, 1000, 1500], 1000) == [0, 2, 4, 4, 4]


def test_follow_leaves_frames_before_the_first_cut_out() -> None:
    assert follow([0], 1, [-20, -10, 0, 10], 1000) == [2, 4]


def test_pain_13_bandwidth_is_the_peak_of_real_segments() -> None:
    sizes, durations_us = [1_000_000, 2_000_000, 500_000], [6 * SECOND_US] * 3
    assert peak_bps(sizes, durations_us, 6) == -(-8 * 2_000_000 // 6)
    assert average_bps(sizes, durations_us) == -(-8 * 3_500_000 // 18)


def test_pain_13_a_short_segment_alone_does_not_make_the_peak() -> None:
    # 1 s at 8 Mbit/s is less than half the target: it counts together with a neighbour.
    sizes, durations_us = [600_000, 1_000_000, 600_000], [6 * SECOND_US, SECOND_US, 6 * SECOND_US]
    assert peak_bps(sizes, durations_us, 6) == -(-8 * 1_600_000 // 7)


def test_pain_13_half_a_target_and_one_and_a_half_are_included() -> None:
    assert peak_bps([900, 1], [9 * SECOND_US, 3 * SECOND_US], 6) == 800
    assert peak_bps([900, 1], [9 * SECOND_US + 1, 3 * SECOND_US], 6) == 3
    assert peak_bps([9, 300], [9 * SECOND_US, 3 * SECOND_US], 6) == 800
    assert peak_bps([9, 300], [9 * SECOND_US, 3 * SECOND_US - 1], 6) == 8


def test_pain_13_segments_outside_every_set_give_the_largest_rate() -> None:
    assert peak_bps([100, 300], [SECOND_US, SECOND_US], 60) == 2400


def test_pain_13_never_below_the_truth() -> None:
    assert peak_bps([1], [3 * SECOND_US], 6) == 3  # 2.67
    assert average_bps([1], [3 * SECOND_US]) == 3


def test_cuts_follow_the_grid_and_not_the_last_cut() -> None:
    # A GOP of 5 s and a target of 6 s: at 10, 15, 20 s the lines at 6, 12, 18 s have passed.
    assert cuts(range(0, 61, 5), 1, 6 * SECOND_US, 65) == [0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


def test_cuts_have_grid_lines_before_zero() -> None:
    assert cuts([-9, -6, -5, -1, 0, 1], 1, 6 * SECOND_US, 9) == [0, 1, 4]


def test_a_short_head_joins_the_segment_after_it() -> None:
    assert cuts([-7, -6, -5, -1, 0, 1], 1, 6 * SECOND_US, 9) == [0, 4]
    # Half of the target is long enough, and what is forced stays.
    assert cuts([-3, 0, 6], 1, 6 * SECOND_US, 12) == [0, 1, 2]
    assert cuts([-2, 0, 6], 1, 6 * SECOND_US, 12) == [0, 2]
    assert cuts([-2, 0, 6], 1, 6 * SECOND_US, 12, [0, 1, 0]) == [0, 1, 2]
    assert grid([-1, 0, 3, 5], 1, 4 * SECOND_US, 7) == [0, 3]


def test_a_forced_cut_does_not_move_the_grid() -> None:
    assert cuts([0, 2, 4, 6, 8, 12], 1, 6 * SECOND_US, 18, [0, 0, 1, 0, 0, 0]) == [0, 2, 3, 5]


def test_nothing_in_nothing_out() -> None:
    assert cuts([], 1, 1, 0) == []
    assert grid([], 1, 1, 0) == []
    assert follow([], 1, [], 1) == [0]
    assert common([], 1, [], 1) == []
    assert extinf_us([5], 1) == []


Refusal = tuple[str, Callable[[], object]]

REFUSED: list[Refusal] = [
    ("key_pts[2] is not later", lambda: cuts([0, 1, 1], 1, 1, 5)),
    ("key_pts[1] is not later", lambda: cuts([0, -1], 1, 1, 5)),
    ("forced has 1 values, key_pts has 2", lambda: cuts([0, 1], 1, 1, 5, [0])),
    ("timescale is 0", lambda: cuts([0], 0, 1, 5)),
    ("timescale is 4294967296", lambda: cuts([0], 2**32, 1, 5)),
    ("target_us is 0", lambda: cuts([0], 1, 0, 5)),
    ("end_pts is 4, before the last time 5", lambda: cuts([0, 5], 1, 1, 4)),
    (
        "out has room for 1 values only",
        lambda: _segmenter.cuts(column([0, 9]), flags([0, 0]), 1, 1, 20, room(1)),
    ),
    (
        "out has room for 0 values only",
        lambda: _segmenter.cuts(column([0]), flags([0]), 1, 1, 20, room(0)),
    ),
    ("frame_pts[1] is earlier", lambda: grid([3, 2], 1, 1, 5)),
    ("end_pts is 1, before", lambda: grid([2, 2], 1, 1, 1)),
    ("out has room for 1", lambda: _segmenter.grid(column([0, 9]), 1, 1, 20, room(1))),
    ("cut_pts[1] is not later", lambda: follow([1, 1], 1, [], 1)),
    ("frame_pts[1] is earlier", lambda: follow([1], 1, [1, 0], 1)),
    ("cut_timescale is -1", lambda: follow([], -1, [], 1)),
    ("frame_timescale is 0", lambda: follow([], 1, [], 0)),
    (
        "2 cuts need one more",
        lambda: _segmenter.follow(column([0, 1]), 1, column([]), 1, room(2)),
    ),
    ("a_pts[1] is not later", lambda: common([1, 1], 1, [1], 1)),
    ("b_pts[1] is not later", lambda: common([1], 1, [1, 1], 1)),
    ("tolerance_us is -1", lambda: common([1], 1, [1], 1, -1)),
    ("tolerance_us is 4611686018427387905", lambda: common([1], 1, [1], 1, 2**62 + 1)),
    (
        "out has room for 0",
        lambda: _segmenter.common(column([1]), 1, column([1]), 1, 0, room(0), room(0)),
    ),
    (
        "out_a has 1 values, out_b has 0",
        lambda: _segmenter.common(column([1]), 1, column([1]), 1, 0, room(1), room(0)),
    ),
    ("boundaries[2] is earlier", lambda: extinf_us([0, 2, 1], 1)),
    ("does not fit 64 bits of microseconds", lambda: extinf_us([INT64_MIN, INT64_MAX], 1)),
    ("need one less", lambda: _segmenter.extinf_us(column([0, 1]), 1, room(2))),
    ("need one less", lambda: _segmenter.extinf_us(column([]), 1, room(0))),
    ("sizes[1] is -1, negative", lambda: peak_bps([0, -1], [1, 1], 6)),
    ("durations_us[0] is -1, negative", lambda: average_bps([0, 1], [-1, 1])),
    ("durations_us has 1 values, sizes has 2", lambda: peak_bps([0, 1], [1], 6)),
    ("no segment has a duration", lambda: peak_bps([1], [0], 6)),
    ("no segment has a duration", lambda: average_bps([], [])),
    ("a total does not fit", lambda: peak_bps([INT64_MAX, 1], [1, 1], 6)),
    ("a total does not fit", lambda: average_bps([1, 1], [INT64_MAX, 1])),
    ("bit rate does not fit", lambda: average_bps([INT64_MAX], [1])),
    ("timescale is 0", lambda: _segmenter.ticks(column([1]), 0, 1, room(1))),
    ("finer is 0", lambda: _segmenter.ticks(column([1]), 1, 0, room(1))),
    ("out has 2 values, not 1", lambda: _segmenter.ticks(column([1]), 1, 1, room(2))),
    (
        "indexes[1] is less",
        lambda: _segmenter.pick(column([1]), column([1, 0]), 0, 0, room(2)),
    ),
    (
        "indexes[0] is 4, before the first, 5",
        lambda: _segmenter.pick(column([1]), column([4]), 5, 0, room(1)),
    ),
    ("out has 0 values", lambda: _segmenter.pick(column([]), column([4]), 0, 0, room(0))),
    (
        "pts has 0 values, keys has 1",
        lambda: _segmenter.rising(column([1]), column([]), room(1), room(1)),
    ),
    ("out has 0", lambda: _segmenter.rising(column([1]), column([1]), room(1), room(0))),
    ("times[1] is earlier", lambda: _segmenter.longest(column([1, 0]), 5)),
    ("end_pts is 0, before", lambda: _segmenter.longest(column([1]), 0)),
    ("1 marks need one more", lambda: _segmenter.filled(column([1]), bytearray(1))),
    ("out has room for 1", lambda: _segmenter.marked(bytearray([1, 1]), room(1))),
    ("sizes[0] is -1", lambda: _segmenter.padded(column([-1]), room(1))),
    (
        "sizes[1] is 9223372036854775792",
        lambda: _segmenter.padded(column([0, INT64_MAX - 15]), room(2)),
    ),
    ("out has 1", lambda: _segmenter.fastest(column([0, 1]), column([0]), 1, 0, room(1))),
    (
        "bounds[1] is less",
        lambda: _segmenter.fastest(column([1, 0]), column([0]), 1, 0, room(2)),
    ),
    (
        "between the bounds",
        lambda: _segmenter.fastest(column([0, 2]), column([0]), 1, 0, room(2)),
    ),
    ("between the bounds", lambda: _segmenter.fastest(column([]), column([]), 1, 0, room(2))),
    ("shortest is 0", lambda: _segmenter.fastest(column([0, 1]), column([0]), 0, 0, room(2))),
    ("target_s is 0", lambda: peak_bps([1], [1], 0)),
    ("target_s is 4294967296", lambda: peak_bps([1], [1], 2**32)),
]


@pytest.mark.parametrize(("says", "call"), REFUSED, ids=[says for says, _ in REFUSED])
def test_refused(says: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        call()


def test_columns_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        _segmenter.extinf_us(array("d", [0.0, 1.0]), 1, room(1))


def test_read_only_columns_are_enough() -> None:
    out = room(1)
    boundaries = memoryview(bytes(column([0, 3]))).cast("q")
    _segmenter.extinf_us(boundaries, 1, out)
    assert list(out) == [3 * SECOND_US]


def test_importing_it_brings_no_other_heavy_module() -> None:
    # The file itself, since the package around it may have reasons of its own.
    code = f"""if True:
        import sys
        from importlib.machinery import ExtensionFileLoader, ModuleSpec
        path = {_segmenter.__file__!r}
        loader = ExtensionFileLoader("_segmenter", path)
        module = loader.create_module(ModuleSpec("_segmenter", loader, origin=path))
        loader.exec_module(module)
        assert module.cuts
        print(sorted({{"inspect", "typing", "dataclasses"}} & sys.modules.keys()))
    """
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_many_short_segments_do_not_take_the_square_of_their_number() -> None:
    # 100,000 parts of 1 ms under a target of 60 s: trying every set would be six billion steps.
    count = 100_000
    sizes = [1000 + (i * 7919) % 1000 for i in range(count)]
    whole = average_bps(sizes, [1000] * count)
    assert whole <= peak_bps(sizes, [1000] * count, 60) <= 2 * whole
