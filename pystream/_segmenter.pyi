from typing_extensions import Buffer

def cuts(
    key_pts: Buffer,
    forced: Buffer,
    timescale: int,
    target_us: int,
    end_pts: int,
    out: Buffer,
) -> int: ...
def grid(
    frame_pts: Buffer,
    timescale: int,
    target_us: int,
    end_pts: int,
    out: Buffer,
) -> int: ...
def follow(
    cut_pts: Buffer,
    cut_timescale: int,
    frame_pts: Buffer,
    frame_timescale: int,
    out: Buffer,
) -> None: ...
def common(
    a_pts: Buffer,
    a_timescale: int,
    b_pts: Buffer,
    b_timescale: int,
    tolerance_us: int,
    out_a: Buffer,
    out_b: Buffer,
) -> int: ...
def extinf_us(boundaries: Buffer, timescale: int, out: Buffer) -> None: ...
def peak_bps(sizes: Buffer, durations_us: Buffer, target_s: int) -> int: ...
def average_bps(sizes: Buffer, durations_us: Buffer) -> int: ...
