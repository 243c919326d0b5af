# cython: language_level=3, binding=True, embedsignature=False
# cython: cdivision=True, wraparound=False, initializedcheck=False, overflowcheck=False
# cython: show_performance_hints=False
"""Where segments begin, how long they are and what they weigh.

Columns of 64-bit numbers in, columns of 64-bit numbers out; no files, no bytes, no objects. Every
function holds the interpreter only while it looks at its arguments. Indexes are 0-based.

Theory of operation. Tracks count time in ticks of their own, and a tick of one is rarely a whole
number of ticks of another: 1001/30000 s is no number of microseconds. So nothing is ever converted.
Two times a/s and b/t are compared by the products a * t and b * s, exactly, in 128 bits. The limits
that keep each product below 2^127 are these: a time is a signed 64-bit number, a timescale an
unsigned 32-bit one as in ISO/IEC 14496-12 8.4.2.2, a duration in microseconds a signed 64-bit one.
What could leave a signed 64-bit result is refused with a ValueError.

Bounds checks stay on in every build: they cost less than a nanosecond a value. Hence `except -1`
on the loops rather than `noexcept`. Cython's overflow checks stay off in every build, because they
know no 128 bits; a C compiler's -fsanitize=signed-integer-overflow does.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    typedef __int128 pystream_int128;

    #if CYTHON_COMPILING_IN_LIMITED_API
    /* Under the limited API, Cython imports `inspect` to learn these numbers: 6 ms of a command's
       start. They are part of CPython's bytecode format and have not changed since Python 3.6. */
    static int pystream_code_flags(void) {
        CO_OPTIMIZED = 0x1;
        CO_NEWLOCALS = 0x2;
        CO_VARARGS = 0x4;
        CO_VARKEYWORDS = 0x8;
        CO_GENERATOR = 0x20;
        CO_COROUTINE = 0x80;
        CO_ASYNC_GENERATOR = 0x200;
        return 0;
    }
    #define __Pyx_init_co_variables pystream_code_flags
    #endif
    """
    # Any integer type does here: the C compiler, not Cython, decides how wide it is. A wide value
    # must therefore never be turned into an object.
    ctypedef long long int128 "pystream_int128"

# The weight of some segments: of those from the first one on, or of a set of them.
cdef struct Sums:
    int64_t size
    int64_t duration_us

cdef enum:
    MICROSECONDS = 1_000_000
    BITS = 8
    BLOCK = 16

cdef int64_t TIMESCALE_MAX = 0xFFFF_FFFF
# tolerance * timescale * timescale must stay below 2^127.
cdef int64_t TOLERANCE_MAX = 1 << 62
# 1.5 * target in microseconds must stay below 2^63.
cdef int64_t TARGET_SECONDS_MAX = 0xFFFF_FFFF


def cuts(
    const int64_t[::1] key_pts not None,
    const uint8_t[::1] forced not None,
    int64_t timescale,
    int64_t target_us,
    int64_t end_pts,
    int64_t[::1] out not None,
):
    """Write the indexes of the key frames that begin a segment into `out`; return how many.

    The grid has its lines at k * target on the presentation time line, for every whole k, negative
    ones too. A key frame is a cut if it is the first one at or after a grid line, so renditions
    with the same key frames get the same cuts without talking to each other. The first key frame is
    a cut, and so is each forced one: there the decoder configuration changes, and with it EXT-X-MAP
    (RFC 8216 4.3.2.5). Where less than half a target lies before the second cut or is left after
    the last one, that cut is dropped, unless it is forced.

    key_pts: (n,) presentation times of the key frames, in ticks, strictly rising.
    forced: (n,) not 0 where a cut must stand.
    timescale: ticks a second.
    target_us: length of the grid's step in microseconds.
    end_pts: where the last sample's presentation ends, in ticks.
    out: (m,) room for the indexes; n is always enough.

    ValueError: lengths differ, times do not rise, `end_pts` lies before the last key frame, a
    number is out of its range, or `out` is too short.
    """
    cdef Py_ssize_t n = key_pts.shape[0], at, count
    if forced.shape[0] != n:
        raise ValueError(f"forced has {forced.shape[0]} values, key_pts has {n}")
    _check_timescale("timescale", timescale)
    _check_target(target_us)
    with nogil:
        at = _first_not_above(key_pts)
    if at < n:
        raise ValueError(f"key_pts[{at}] is not later than the one before it")
    _check_end(key_pts, end_pts)
    with nogil:
        count = _cuts(key_pts, forced, <int128> timescale * target_us, out)
        if 1 < count <= out.shape[0] and not forced[out[count - 1]]:
            count -= _short(key_pts[out[count - 1]], end_pts, <int128> timescale * target_us)
    return _fitting(count, out)


def grid(
    const int64_t[::1] frame_pts not None,
    int64_t timescale,
    int64_t target_us,
    int64_t end_pts,
    int64_t[::1] out not None,
):
    """Write the indexes of the frames that begin a segment into `out`; return how many.

    For audio without video, where any frame may begin one: a cut is the first frame, and the first
    frame at or after each grid line. Grid, head and tail are those of `cuts`.

    frame_pts: (n,) presentation times of the frames, in ticks, never falling.
    timescale, target_us, end_pts: as for `cuts`.
    out: (m,) room for the indexes: one more than the grid lines that are passed is enough.

    ValueError: as for `cuts`.
    """
    cdef Py_ssize_t n = frame_pts.shape[0], at, count
    _check_timescale("timescale", timescale)
    _check_target(target_us)
    with nogil:
        at = _first_below(frame_pts)
    if at < n:
        raise ValueError(f"frame_pts[{at}] is earlier than the one before it")
    _check_end(frame_pts, end_pts)
    with nogil:
        count = _cuts(frame_pts, None, <int128> timescale * target_us, out)
        if 1 < count <= out.shape[0]:
            count -= _short(frame_pts[out[count - 1]], end_pts, <int128> timescale * target_us)
    return _fitting(count, out)


def follow(
    const int64_t[::1] cut_pts not None,
    int64_t cut_timescale,
    const int64_t[::1] frame_pts not None,
    int64_t frame_timescale,
    int64_t[::1] out not None,
):
    """Write, for each cut of another track, the index of the first frame at or after it.

    After them stands n. So segment i has the frames out[i]..out[i + 1], and begins less than one
    frame after its cut. Frames before out[0] lie before the first cut.

    cut_pts: (m,) presentation times of the cuts, in ticks of cut_timescale, strictly rising.
    frame_pts: (n,) presentation times of the frames, in ticks of frame_timescale, never falling.
    out: (m + 1,) indexes 0..n, never falling.

    ValueError: times do not rise, a timescale is out of range, `out` has another length.
    """
    cdef Py_ssize_t at
    _check_timescale("cut_timescale", cut_timescale)
    _check_timescale("frame_timescale", frame_timescale)
    if out.shape[0] != cut_pts.shape[0] + 1:
        raise ValueError(f"out has {out.shape[0]} values, {cut_pts.shape[0]} cuts need one more")
    with nogil:
        at = _first_not_above(cut_pts)
    if at < cut_pts.shape[0]:
        raise ValueError(f"cut_pts[{at}] is not later than the one before it")
    with nogil:
        at = _first_below(frame_pts)
    if at < frame_pts.shape[0]:
        raise ValueError(f"frame_pts[{at}] is earlier than the one before it")
    with nogil:
        _follow(cut_pts, cut_timescale, frame_pts, frame_timescale, out)


def common(
    const int64_t[::1] a_pts not None,
    int64_t a_timescale,
    const int64_t[::1] b_pts not None,
    int64_t b_timescale,
    int64_t tolerance_us,
    int64_t[::1] out_a not None,
    int64_t[::1] out_b not None,
):
    """Write the index pairs of key frames at the same moment in two renditions; return how many.

    Two times are the same moment if they differ by at most the tolerance (RFC 8216 6.2.4 asks for
    matching time stamps; a rendition whose timescale cannot express the other's times is off by
    less than a tick). Each key frame is in at most one pair, the earliest that it can be in, and
    there is no larger set of pairs.

    a_pts, b_pts: (n,), (m,) presentation times in ticks of their timescale, strictly rising.
    tolerance_us: microseconds, 0 or more.
    out_a, out_b: (k,) room for the pairs; min(n, m) is always enough.

    ValueError: times do not rise, a number is out of its range, `out_a` or `out_b` is too short.
    """
    cdef Py_ssize_t at, count
    _check_timescale("a_timescale", a_timescale)
    _check_timescale("b_timescale", b_timescale)
    if not 0 <= tolerance_us <= TOLERANCE_MAX:
        raise ValueError(f"tolerance_us is {tolerance_us}, not in 0..{TOLERANCE_MAX}")
    if out_a.shape[0] != out_b.shape[0]:
        raise ValueError(f"out_a has {out_a.shape[0]} values, out_b has {out_b.shape[0]}")
    with nogil:
        at = _first_not_above(a_pts)
    if at < a_pts.shape[0]:
        raise ValueError(f"a_pts[{at}] is not later than the one before it")
    with nogil:
        at = _first_not_above(b_pts)
    if at < b_pts.shape[0]:
        raise ValueError(f"b_pts[{at}] is not later than the one before it")
    with nogil:
        count = _common(a_pts, a_timescale, b_pts, b_timescale, tolerance_us, out_a, out_b)
    return _fitting(count, out_a)


def extinf_us(
    const int64_t[::1] boundaries not None,
    int64_t timescale,
    int64_t[::1] out not None,
):
    """Write each segment's duration as it is to be printed (EXTINF, RFC 8216 4.3.2.1).

    Not the duration is rounded but the time since the first boundary, half a microsecond upwards; a
    duration is the difference of two such times. So the errors do not add up: the durations sum to
    the rounded total, however long the film is.

    boundaries: (n + 1,) where segments begin and the last one ends, in ticks, never falling.
    timescale: ticks a second.
    out: (n,) microseconds.

    ValueError: boundaries fall, lengths do not match, the total is 2^63 microseconds or more.
    """
    cdef Py_ssize_t n = boundaries.shape[0], at
    _check_timescale("timescale", timescale)
    if n == 0 or out.shape[0] != n - 1:
        raise ValueError(f"out has {out.shape[0]} values, {n} boundaries need one less than that")
    with nogil:
        at = _first_below(boundaries)
    if at < n:
        raise ValueError(f"boundaries[{at}] is earlier than the one before it")
    if _rounded_us(boundaries[0], boundaries[n - 1], timescale) > INT64_MAX:
        raise ValueError("the total duration does not fit 64 bits of microseconds")
    with nogil:
        _extinf_us(boundaries, timescale, out)


def ticks(
    const int64_t[::1] times not None,
    int64_t timescale,
    int64_t finer,
    int64_t[::1] out not None,
):
    """Write times in ticks of another timescale, half of one rounded up.

    times: (n,) in ticks of `timescale`.
    finer: ticks a second of `out`.
    out: (n,)

    ValueError: lengths differ, a timescale is out of range, a time does not fit 64 bits.
    """
    cdef bint fits
    _check_timescale("timescale", timescale)
    _check_timescale("finer", finer)
    _check_room(times.shape[0], out)
    with nogil:
        fits = _ticks(times, timescale, finer, out)
    if not fits:
        raise ValueError("a time does not fit 64 bits")


def pick(
    const int64_t[::1] values not None,
    const int64_t[::1] indexes not None,
    int64_t first,
    int64_t beyond,
    int64_t[::1] out not None,
):
    """Write the values at some indexes, of which `first` is that of `values[0]`.

    values: (n,)
    indexes: (m,) `first` or more, never falling.
    beyond: what is written for indexes `first + n` and more.
    out: (m,)

    ValueError: indexes fall or begin before `first`, `out` has another length.
    """
    cdef Py_ssize_t n = indexes.shape[0], at
    _check_room(n, out)
    with nogil:
        at = _first_below(indexes)
    if at < n:
        raise ValueError(f"indexes[{at}] is less than the one before it")
    if n > 0 and indexes[0] < first:
        raise ValueError(f"indexes[0] is {indexes[0]}, before the first, {first}")
    with nogil:
        _pick(values, indexes, first, beyond, out)


def shift(int64_t[::1] values not None, int64_t by):
    """Add a number to each value, in place.

    ValueError: the sum does not fit 64 bits; values before it are added to already.
    """
    cdef Py_ssize_t at
    with nogil:
        at = _shift(values, by)
    if at < values.shape[0]:
        raise ValueError(f"values[{at}] + {by} does not fit 64 bits")


def rising(
    const int64_t[::1] keys not None,
    const int64_t[::1] pts not None,
    int64_t[::1] out_keys not None,
    int64_t[::1] out_pts not None,
):
    """Write those that are shown later than all before them; return how many.

    keys, pts: (n,) any numbers, and the times that go with them.
    out_keys, out_pts: (n,) these may be the same as those.

    ValueError: lengths differ.
    """
    cdef Py_ssize_t n = keys.shape[0], count
    if pts.shape[0] != n:
        raise ValueError(f"pts has {pts.shape[0]} values, keys has {n}")
    _check_room(n, out_keys)
    _check_room(n, out_pts)
    with nogil:
        count = _rising(keys, pts, out_keys, out_pts)
    return count


def longest(const int64_t[::1] times not None, int64_t end):
    """Return the longest time from one to the next, or from the last to the end; 0 of none, and
    2^63 - 1 where it is longer.

    times: (n,) never falling.
    end: not before the last.

    ValueError: times fall.
    """
    cdef Py_ssize_t n = times.shape[0], at
    cdef int64_t most
    with nogil:
        at = _first_below(times)
    if at < n:
        raise ValueError(f"times[{at}] is earlier than the one before it")
    _check_end(times, end)
    with nogil:
        most = _longest(times, end)
    return most


def largest(const int64_t[::1] values not None):
    """Return the largest value, or 0 where that is less."""
    cdef int64_t most
    with nogil:
        most = _largest(values)
    return most


def filled(const int64_t[::1] bounds not None, uint8_t[::1] marks not None):
    """Set the marks of those segments that have samples, and leave the others as they are.

    bounds: (n + 1,) first sample of each segment, and the end of the last.
    marks: (n,)

    ValueError: lengths do not match.
    """
    if bounds.shape[0] != marks.shape[0] + 1:
        raise ValueError(
            f"bounds has {bounds.shape[0]} values, {marks.shape[0]} marks need one more"
        )
    with nogil:
        _filled(bounds, marks)


def marked(const uint8_t[::1] marks not None, int64_t[::1] out not None):
    """Write the indexes of marks that are set; return how many.

    marks: (n,) not 0 where set.
    out: (m,) room for the indexes; n is always enough.

    ValueError: `out` is too short.
    """
    cdef Py_ssize_t count
    with nogil:
        count = _marked(marks, out)
    return _fitting(count, out)


def padded(const int64_t[::1] sizes not None, int64_t[::1] out not None):
    """Write what sizes are with PKCS#7 padding, which always adds (RFC 8216 4.3.2.4, RFC 5652 6.3).

    sizes, out: (n,) bytes, 0 or more; 16 less than 2^63 at most.

    ValueError: lengths differ, a size is out of its range.
    """
    cdef Py_ssize_t n = sizes.shape[0], at
    _check_room(n, out)
    with nogil:
        at = _first_outside(sizes, INT64_MAX - BLOCK)
    if at < n:
        raise ValueError(f"sizes[{at}] is {sizes[at]}, not in 0..{INT64_MAX - BLOCK}")
    with nogil:
        _padded(sizes, out)


def fastest(
    const int64_t[::1] bounds not None,
    const int64_t[::1] dts not None,
    int64_t shortest,
    int64_t rounding,
    int64_t[::1] out not None,
):
    """Write how many pictures come in how many ticks where they come fastest, on an average.

    That is the average over all of them, unless that over a segment is larger even if it took
    `rounding` longer. The last picture ends the last segment; how long it is shown is not known.

    bounds: (n + 1,) first picture of each segment, and the end of the last, never falling.
    dts: decoding times of pictures bounds[0]..bounds[n], ticks.
    shortest: ticks that a segment has to last to tell, 1 or more.
    rounding: ticks, 0 or more.
    out: (2,) pictures and ticks; both 0 where they take no time.

    ValueError: bounds fall, a length does not match, a number is out of its range.
    """
    cdef Py_ssize_t n = bounds.shape[0], at
    if out.shape[0] != 2:
        raise ValueError(f"out has {out.shape[0]} values, not 2")
    with nogil:
        at = _first_below(bounds)
    if at < n:
        raise ValueError(f"bounds[{at}] is less than the one before it")
    if n == 0 or <int128> bounds[n - 1] - bounds[0] != dts.shape[0] or dts.shape[0] == 0:
        raise ValueError(f"dts has {dts.shape[0]} values, which is not what is between the bounds")
    if shortest < 1 or rounding < 0:
        raise ValueError(f"shortest is {shortest} and rounding {rounding}: one is out of its range")
    with nogil:
        _fastest(bounds, dts, shortest, rounding, out)


def peak_bps(
    const int64_t[::1] sizes not None,
    const int64_t[::1] durations_us not None,
    int64_t target_s,
):
    """Return the peak segment bit rate (RFC 8216 4.1) in bits a second, rounded up.

    It is the largest bit rate of any contiguous set of segments whose total duration is between 0.5
    and 1.5 times the target duration, both included. Where there is no such set, it is that of the
    segment with the largest bit rate.

    sizes: (n,) bytes, 0 or more, as transferred: with padding.
    durations_us: (n,) microseconds, 0 or more.
    target_s: the playlist's EXT-X-TARGETDURATION.

    ValueError: no duration at all, a negative value, lengths differ, a total or the rate does not
    fit 63 bits.
    MemoryError: no room for 16 bytes a segment.
    """
    cdef Py_ssize_t n = sizes.shape[0]
    cdef Sums best
    cdef Sums *queue
    _check_sizes(sizes, durations_us)
    if not 1 <= target_s <= TARGET_SECONDS_MAX:
        raise ValueError(f"target_s is {target_s}, not in 1..{TARGET_SECONDS_MAX}")
    queue = <Sums *> malloc(n * sizeof(Sums))
    if queue == NULL:
        raise MemoryError()
    try:
        with nogil:
            _peak(sizes, durations_us, target_s, queue, &best)
    finally:
        free(queue)
    return _bps(best.size, best.duration_us)


def average_bps(
    const int64_t[::1] sizes not None,
    const int64_t[::1] durations_us not None,
):
    """Return the average segment bit rate (RFC 8216 4.1) in bits a second, rounded up.

    sizes, durations_us: as for `peak_bps`.

    ValueError: as for `peak_bps`.
    """
    cdef int64_t size, duration_us
    _check_sizes(sizes, durations_us)
    with nogil:
        size = <int64_t> _total(sizes)
        duration_us = <int64_t> _total(durations_us)
    return _bps(size, duration_us)


# What the arguments must be.


cdef int _check_timescale(str name, int64_t timescale) except -1:
    if not 1 <= timescale <= TIMESCALE_MAX:
        raise ValueError(f"{name} is {timescale}, not in 1..{TIMESCALE_MAX}")
    return 0


cdef int _check_room(Py_ssize_t count, const int64_t[::1] out) except -1:
    if out.shape[0] != count:
        raise ValueError(f"out has {out.shape[0]} values, not {count}")
    return 0


cdef int _check_target(int64_t target_us) except -1:
    if target_us < 1:
        raise ValueError(f"target_us is {target_us}, not positive")
    return 0


cdef int _check_end(const int64_t[::1] pts, int64_t end_pts) except -1:
    cdef Py_ssize_t n = pts.shape[0]
    if n > 0 and end_pts < pts[n - 1]:
        raise ValueError(f"end_pts is {end_pts}, before the last time {pts[n - 1]}")
    return 0


cdef int _check_sizes(const int64_t[::1] sizes, const int64_t[::1] durations_us) except -1:
    cdef Py_ssize_t n = sizes.shape[0], at
    if durations_us.shape[0] != n:
        raise ValueError(f"durations_us has {durations_us.shape[0]} values, sizes has {n}")
    with nogil:
        at = _first_negative(sizes)
    if at < n:
        raise ValueError(f"sizes[{at}] is {sizes[at]}, negative")
    with nogil:
        at = _first_negative(durations_us)
    if at < n:
        raise ValueError(f"durations_us[{at}] is {durations_us[at]}, negative")
    if _total(sizes) > INT64_MAX or _total(durations_us) > INT64_MAX:
        raise ValueError("a total does not fit 63 bits")
    if _total(durations_us) == 0:
        raise ValueError("no segment has a duration, so there is no bit rate")
    return 0


cdef object _fitting(Py_ssize_t count, const int64_t[::1] out):
    """The count, if all had room; a loop that runs out of room returns one more than that."""
    if count > out.shape[0]:
        raise ValueError(f"out has room for {out.shape[0]} values only")
    return count


cdef object _bps(int64_t size, int64_t duration_us):
    cdef int128 bits = <int128> size * (BITS * MICROSECONDS)
    cdef int128 rate = (bits + duration_us - 1) / duration_us
    if rate > INT64_MAX:
        raise ValueError(f"{size} bytes in {duration_us} us: the bit rate does not fit 63 bits")
    return <int64_t> rate


# The loops. Those that look for an offender return its index, or the length where there is none.


cdef Py_ssize_t _first_not_above(const int64_t[::1] column) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(1, column.shape[0]):
        if column[i] <= column[i - 1]:
            return i
    return column.shape[0]


cdef Py_ssize_t _first_below(const int64_t[::1] column) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(1, column.shape[0]):
        if column[i] < column[i - 1]:
            return i
    return column.shape[0]


cdef Py_ssize_t _first_negative(const int64_t[::1] column) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(column.shape[0]):
        if column[i] < 0:
            return i
    return column.shape[0]


cdef Py_ssize_t _first_outside(const int64_t[::1] column, int64_t most) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(column.shape[0]):
        if not 0 <= column[i] <= most:
            return i
    return column.shape[0]


# `step` is the grid's step in ticks times a million, so whole: timescale * target_us < 2^95.


cdef Py_ssize_t _cuts(
    const int64_t[::1] pts,
    const uint8_t[::1] forced,
    int128 step,
    int64_t[::1] out,
) except -1 nogil:
    cdef Py_ssize_t i, count = 0
    cdef bint force = forced is not None
    # One division a grid line rather than one a frame: `line` is the first tick at or after the
    # next grid line.
    cdef int128 line = 0
    for i in range(pts.shape[0]):
        if i == 0 or pts[i] >= line or (force and forced[i]):
            line = _next_line(pts[i], step)
            # What comes before zero, say, is no segment of its own.
            if count == 1 and not (force and forced[i]) and _short(pts[0], pts[i], step):
                continue
            if count == out.shape[0]:
                return count + 1
            out[count] = i
            count += 1
    return count


cdef inline int128 _next_line(int64_t pts, int128 step) noexcept nogil:
    """The first tick at or after the first grid line that is later than `pts`."""
    return _ceil(_floor(<int128> pts * MICROSECONDS, step) * step + step, MICROSECONDS)


cdef inline bint _short(int64_t last_pts, int64_t end_pts, int128 step) noexcept nogil:
    """Whether less than half a step lies between two times."""
    return ((<int128> end_pts) - last_pts) * (2 * MICROSECONDS) < step


cdef int _follow(
    const int64_t[::1] cut_pts,
    int64_t cut_timescale,
    const int64_t[::1] frame_pts,
    int64_t frame_timescale,
    int64_t[::1] out,
) except -1 nogil:
    cdef Py_ssize_t i, j = 0
    cdef int128 line
    for i in range(cut_pts.shape[0]):
        line = _ceil(<int128> cut_pts[i] * frame_timescale, cut_timescale)
        while j < frame_pts.shape[0] and frame_pts[j] < line:
            j += 1
        out[i] = j
    out[cut_pts.shape[0]] = frame_pts.shape[0]
    return 0


cdef Py_ssize_t _common(
    const int64_t[::1] a_pts,
    int64_t a_timescale,
    const int64_t[::1] b_pts,
    int64_t b_timescale,
    int64_t tolerance_us,
    int64_t[::1] out_a,
    int64_t[::1] out_b,
) except -1 nogil:
    cdef Py_ssize_t i = 0, j = 0, count = 0
    cdef int128 ahead
    cdef int128 tolerance = <int128> tolerance_us * a_timescale * b_timescale
    while i < a_pts.shape[0] and j < b_pts.shape[0]:
        ahead = (<int128> a_pts[i] * b_timescale - <int128> b_pts[j] * a_timescale) * MICROSECONDS
        if ahead > tolerance:
            j += 1
        elif ahead < -tolerance:
            i += 1
        else:
            if count == out_a.shape[0]:
                return count + 1
            out_a[count] = i
            out_b[count] = j
            count += 1
            i += 1
            j += 1
    return count


cdef int _extinf_us(
    const int64_t[::1] boundaries,
    int64_t timescale,
    int64_t[::1] out,
) except -1 nogil:
    cdef Py_ssize_t i
    cdef int64_t before = 0, now
    for i in range(out.shape[0]):
        now = <int64_t> _rounded_us(boundaries[0], boundaries[i + 1], timescale)
        out[i] = now - before
        before = now
    return 0


cdef inline int128 _rounded_us(int64_t first, int64_t last, int64_t timescale) noexcept nogil:
    """The time from first to last, never negative, in microseconds, half of one rounded up."""
    return (((<int128> last) - first) * (2 * MICROSECONDS) + timescale) / (2 * <int128> timescale)


cdef inline int128 _floor(int128 dividend, int128 divisor) noexcept nogil:
    """C rounds towards zero, a grid must not."""
    cdef int128 quotient = dividend / divisor
    return quotient - (quotient * divisor > dividend)


cdef inline int128 _ceil(int128 dividend, int128 divisor) noexcept nogil:
    cdef int128 quotient = dividend / divisor
    return quotient + (quotient * divisor < dividend)


cdef bint _ticks(
    const int64_t[::1] times,
    int64_t timescale,
    int64_t finer,
    int64_t[::1] out,
) except -1 nogil:
    """Whether all fit."""
    cdef Py_ssize_t i
    cdef int128 time
    for i in range(times.shape[0]):
        time = _floor(<int128> times[i] * finer * 2 + timescale, <int128> timescale * 2)
        if time > INT64_MAX or time < INT64_MIN:
            return False
        out[i] = <int64_t> time
    return True


cdef int _pick(
    const int64_t[::1] values,
    const int64_t[::1] indexes,
    int64_t first,
    int64_t beyond,
    int64_t[::1] out,
) except -1 nogil:
    cdef Py_ssize_t i
    cdef int128 at
    for i in range(indexes.shape[0]):
        at = <int128> indexes[i] - first
        out[i] = values[<Py_ssize_t> at] if at < values.shape[0] else beyond
    return 0


cdef Py_ssize_t _shift(int64_t[::1] values, int64_t by) except -1 nogil:
    cdef Py_ssize_t i
    cdef int128 total
    for i in range(values.shape[0]):
        total = <int128> values[i] + by
        if total > INT64_MAX or total < INT64_MIN:
            return i
        values[i] = <int64_t> total
    return values.shape[0]


cdef Py_ssize_t _rising(
    const int64_t[::1] keys,
    const int64_t[::1] pts,
    int64_t[::1] out_keys,
    int64_t[::1] out_pts,
) except -1 nogil:
    cdef Py_ssize_t i, count = 0
    for i in range(pts.shape[0]):
        if count == 0 or pts[i] > out_pts[count - 1]:
            out_keys[count] = keys[i]
            out_pts[count] = pts[i]
            count += 1
    return count


cdef int64_t _longest(const int64_t[::1] times, int64_t end) except -1 nogil:
    cdef Py_ssize_t i, n = times.shape[0]
    cdef int128 lasts, most = 0
    for i in range(n):
        lasts = <int128> (times[i + 1] if i + 1 < n else end) - times[i]
        most = max(most, lasts)
    return <int64_t> min(most, <int128> INT64_MAX)


cdef int64_t _largest(const int64_t[::1] values) except -1 nogil:
    cdef Py_ssize_t i
    cdef int64_t most = 0
    for i in range(values.shape[0]):
        most = max(most, values[i])
    return most


cdef int _filled(const int64_t[::1] bounds, uint8_t[::1] marks) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(marks.shape[0]):
        if bounds[i] < bounds[i + 1]:
            marks[i] = 1
    return 0


cdef Py_ssize_t _marked(const uint8_t[::1] marks, int64_t[::1] out) except -1 nogil:
    cdef Py_ssize_t i, count = 0
    for i in range(marks.shape[0]):
        if marks[i]:
            if count == out.shape[0]:
                return count + 1
            out[count] = i
            count += 1
    return count


cdef int _padded(const int64_t[::1] sizes, int64_t[::1] out) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(sizes.shape[0]):
        out[i] = sizes[i] // BLOCK * BLOCK + BLOCK
    return 0


cdef int _fastest(
    const int64_t[::1] bounds,
    const int64_t[::1] dts,
    int64_t shortest,
    int64_t rounding,
    int64_t[::1] out,
) except -1 nogil:
    """Rates are compared as fractions: those of whole numbers."""
    cdef Py_ssize_t i, count = bounds.shape[0], last = dts.shape[0] - 1, begin = 0, end
    cdef int128 pictures = last, lasts = <int128> dts[last] - dts[0], some
    out[0] = out[1] = 0
    if lasts <= 0:
        return 0
    for i in range(1, count):
        end = min(<Py_ssize_t> (bounds[i] - bounds[0]), last)
        if end == begin:
            continue
        some = <int128> dts[end] - dts[begin]
        if some >= shortest and (end - begin) * lasts > pictures * (some + rounding):
            pictures = end - begin
            lasts = some
        begin = end
    if lasts <= INT64_MAX:
        out[0] = <int64_t> pictures
        out[1] = <int64_t> lasts
    return 0


cdef int _peak(
    const int64_t[::1] sizes,
    const int64_t[::1] durations_us,
    int64_t target_s,
    Sums *queue,
    Sums *best,
) except -1 nogil:
    """Find the set with the largest size / duration among those of the allowed durations.

    Dinkelbach's method: let p/q be the ratio of a known set. If the set with the largest surplus
    q * size - p * duration has one above zero, its ratio is larger; if not, no ratio is. It
    converges faster than linearly, so a few passes do, where trying every set would take n * n
    steps for many short segments.
    """
    cdef Py_ssize_t i
    # Below every ratio, so that the first pass takes any set there is, one of empty segments too.
    best.size = -1
    best.duration_us = 1
    while _better(sizes, durations_us, target_s, queue, best):
        pass
    if best.size < 0:
        for i in range(sizes.shape[0]):
            if (
                durations_us[i] > 0
                and <int128> sizes[i] * best.duration_us > <int128> best.size * durations_us[i]
            ):
                best.size = sizes[i]
                best.duration_us = durations_us[i]
    return 0


cdef bint _better(
    const int64_t[::1] sizes,
    const int64_t[::1] durations_us,
    int64_t target_s,
    Sums *queue,
    Sums *best,
) except -1 nogil:
    """Replace `best` by the allowed set with the largest surplus over its ratio, if any has one.

    A set is the difference of two cumulative sums, so each end wants the start with the least
    weight among those at an allowed distance. These starts are a range that only moves forward. The
    queue holds those of them that may still be the least for some end, weights rising, so the front
    is the least now.
    """
    cdef int64_t shortest = target_s * (MICROSECONDS / 2), longest = 3 * shortest
    cdef Py_ssize_t i, entering = 0, head = 0, tail = 0
    cdef Sums start, end, found
    cdef int128 surplus, most = 0
    start.size = start.duration_us = end.size = end.duration_us = 0
    found.size = found.duration_us = 0
    for i in range(sizes.shape[0]):
        end.size += sizes[i]
        end.duration_us += durations_us[i]
        while end.duration_us - start.duration_us >= shortest:
            while tail > head and _weight(queue[tail - 1], best) >= _weight(start, best):
                tail -= 1
            queue[tail] = start
            tail += 1
            start.size += sizes[entering]
            start.duration_us += durations_us[entering]
            entering += 1
        while head < tail and end.duration_us - queue[head].duration_us > longest:
            head += 1
        if head < tail:
            surplus = _weight(end, best) - _weight(queue[head], best)
            if surplus > most:
                most = surplus
                found.size = end.size - queue[head].size
                found.duration_us = end.duration_us - queue[head].duration_us
    if most > 0:
        best[0] = found
    return most > 0


cdef inline int128 _weight(Sums sums, const Sums *ratio) noexcept nogil:
    return <int128> sums.size * ratio.duration_us - <int128> sums.duration_us * ratio.size


cdef int128 _total(const int64_t[::1] column) except -1 nogil:
    """Of values that are not negative, or -1 could not tell an error."""
    cdef Py_ssize_t i
    cdef int128 total = 0
    for i in range(column.shape[0]):
        total += column[i]
    return total
