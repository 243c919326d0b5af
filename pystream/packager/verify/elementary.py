"""H.264 and AAC below their containers: NAL units, descriptors, AudioSpecificConfig.

A sample holds NAL units behind their lengths, a transport stream behind start codes (Annex B of
ISO/IEC 14496-10). Both are split here into the same lists, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]


def same_nals(out: list[bytes], source: list[bytes], parameter_sets: frozenset[bytes]) -> bool:
    """Whether the packaged NAL units are the source's, but for what muxing adds and takes away.

    That is access unit delimiters, and the parameter sets of the sample entry, which a transport
    stream needs in the stream itself (RFC 8216 3.2).
    """
    if out == source:
        return True

    def free(nal: bytes) -> bool:
        return nal[0] & 31 == 9 or nal in parameter_sets

    at = 0
    for nal in out:
        while at < len(source) and source[at] != nal and free(source[at]):
            at += 1
        if at < len(source) and source[at] == nal:
            at += 1
        elif not free(nal):
            return False
    return all(free(nal) for nal in source[at:])


def split_nals(sample: bytes, size: int) -> list[bytes]:
    """The NAL units of a length-prefixed sample, split as `split_annex_b` would split them.

    Bytes after the last one, too few for another length, are none.
    """
    found = []
    at = 0
    while at + size <= len(sample):
        length = int.from_bytes(sample[at : at + size], "big")
        at += size
        if at + length > len(sample):
            return [sample]
        found += split_annex_b(sample[at : at + length])
        at += length
    return found


def is_entry(nals: list[bytes]) -> bool:
    """An IDR picture, or one with a recovery point message (ISO/IEC 14496-10 D.1.7)."""
    for nal in nals:
        if nal[0] & 31 == 5:
            return True
        at = 1
        while nal[0] & 31 == 6 and at + 1 < len(nal) and nal[at] != 0x80:
            if nal[at] == 6:
                return True
            # Types and sizes of 255 and more do not come before a recovery point in practice.
            at += 2 + nal[at + 1]
    return False


def split_annex_b(data: bytes) -> list[bytes]:
    """NAL units between start codes, without the zero bytes that may follow one (Annex B.1)."""
    return [nal for piece in data.split(b"\0\0\1") if (nal := piece.rstrip(b"\0"))]


# Sample aspect ratios by aspect_ratio_idc, from 1 on (ISO/IEC 14496-10 table E-1).
_ASPECTS = (
    "1:1 12:11 10:11 16:11 40:33 24:11 20:11 32:11 80:33 18:11 15:11 64:33 160:99 4:3 3:2 2:1"
).split()
# profile_idc of those whose sets say more about the samples (7.3.2.1.1).
_HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


def picture_shape(sps: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the cropped picture in pixels, and of a pixel (7.3.2.1.1, E.1.1)."""
    bits = "".join(f"{byte:08b}" for byte in sps[1:].replace(b"\0\0\3", b"\0\0"))
    at = 24

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    def golomb(count: int = 1) -> int:
        value = 0
        for _ in range(count):
            zeros = bits.index("1", at) - at
            value = take(2 * zeros + 1) - 1
        return value

    golomb()
    chroma, planes = 1, 0
    if sps[1] in _HIGH:
        chroma = golomb()
        if chroma == 3:
            planes = take(1)
        golomb(2)
        take(1)
        if take(1):
            for number in range(12 if chroma == 3 else 8):
                if take(1):
                    last = following = 8
                    for _ in range(16 if number < 6 else 64):
                        if following:
                            code = golomb()
                            following = (last + (code + 1) // 2 * (1 if code & 1 else -1)) % 256
                        last = following or last
    golomb()
    order = golomb()
    if order == 0:
        golomb()
    elif order == 1:
        take(1)
        golomb(2)
        golomb(golomb())
    golomb()
    take(1)
    width, height = 16 * (golomb() + 1), 16 * (golomb() + 1)
    frames = take(1)
    if not frames:
        height *= 2
        take(1)
    take(1)
    if take(1):
        # Cropping counts in samples of chroma (6.2), and in lines of both fields.
        wide = 2 if chroma in (1, 2) and not planes else 1
        high = (2 if chroma == 1 and not planes else 1) * (2 - frames)
        width -= wide * (golomb() + golomb())
        height -= high * (golomb() + golomb())
    return (width, height), (_aspect(take) if take(1) and take(1) else (1, 1))


def _aspect(take: Callable[[int], int]) -> tuple[int, int]:
    which = take(8)
    if which == 255:
        return take(16), take(16)
    width, height = _ASPECTS[which - 1 if 1 <= which <= len(_ASPECTS) else 0].split(":")
    return int(width), int(height)


def descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, fields) of ISO/IEC 14496-1 descriptors, the nested ones after their parent's."""
    at = 0
    while at < len(data):
        tag, size = data[at], 0
        at += 1
        while True:
            size = size << 7 | data[at] & 0x7F
            at += 1
            if not data[at - 1] & 0x80:
                break
        own = {3: 3, 4: 13}.get(tag, size)
        yield tag, data[at : at + own]
        at += own


def esds_fields(config: bytes) -> bytes:
    """An esds box's fields around an AudioSpecificConfig, as short as they can be."""

    def descriptor(tag: int, body: bytes) -> bytes:
        size = len(body)
        more = [size & 0x7F]
        while size := size >> 7:
            more.insert(0, size & 0x7F | 0x80)
        return bytes([tag, *more]) + body

    decoder = descriptor(4, b"\x40\x15" + bytes(11) + descriptor(5, config))
    return bytes(4) + descriptor(3, bytes(3) + decoder + descriptor(6, b"\2"))


# Asked for each frame, of a configuration that hardly ever changes.
@lru_cache(maxsize=64)
def adts_fields(config: bytes) -> bytes:
    """Profile, rate index and channels of an AudioSpecificConfig's core (14496-3 1.6.2.1)."""
    bits = int.from_bytes(config.ljust(12, b"\0")[:12], "big")
    at = 96

    def take(count: int) -> int:
        nonlocal at
        at -= count
        return bits >> at & (1 << count) - 1

    kind = take(5)
    if kind == 31:
        kind = 32 + take(6)
    rate = take(4)
    if rate == 15:
        rate = RATES.index(take(24))
    channels = take(4)
    if kind in (5, 29):
        if take(4) == 15:
            take(24)
        kind = take(5)
    return bytes([kind - 1 & 255, rate, channels])


def sound_claims(config: bytes) -> tuple[set[str], int]:
    """What CODECS may be for an AudioSpecificConfig (RFC 6381 3.3), and CHANNELS.

    Spectral band replication and parametric stereo are signalled before the core's configuration,
    or behind it, or not at all (ISO/IEC 14496-3 1.6.5): then the frames alone have them.
    """
    core, rate, channels = adts_fields(config)
    bits = "".join(f"{byte:08b}" for byte in config)
    outer = int(bits[:5], 2)
    count = channels + (channels == 7)
    if outer in (5, 29):
        kinds = {outer}
    elif (at := bits.find(f"{0x2B7:011b}00101" + "1")) >= 0:
        # sbrPresentFlag, then a rate of its own, and whether there is parametric stereo.
        at += 17 + (28 if bits[at + 17 : at + 21] == "1111" else 4)
        stereo = bits[at : at + 12] == f"{0x548:011b}1"
        kinds = {29 if stereo else 5}
    else:
        kinds = {core + 1} | ({5, 29} if core == 1 and RATES[rate] <= 24000 else set())
    return {f"mp4a.40.{kind}" for kind in kinds}, count
