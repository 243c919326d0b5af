"""Makes the project's own clips: `python tests/media/make.py [NAME...]`.

Needs an ffmpeg with libx264, libx265, libmp3lame and libopus, and DejaVu Sans for the demo's clock.
All pictures and sounds are synthetic, all files are committed, and one ffmpeg build makes the same
bytes each time, so the script is only run when a clip is added. What each clip is for:

sample              the film of `pystream demo`, beside it: 30 s, closed GOPs of 2 s with B-frames, a
                    flash and a beep at each full second, so that an eye and an ear can check the sync
plain               the ordinary file: B-frames, edit lists on both tracks, moov first
moov_last           the same film with moov behind mdat
ntsc                30000/1001 pictures a second; durations that no decimal expresses
fps_8, fps_12_5     pictures further apart than PCRs may be
irregular_gop       key frames at uneven times, once three within a second
long_gop            4 s between key frames, twice a segment of 2 s
ladder_*            three video-only renditions with common key frames, and one audio file
misaligned          a rendition whose key frames no ladder_* shares but the first
audio_48k, audio_8k audio only; 1024 samples at 8 kHz are 128 ms, longer than PCRs may be apart
he_aac, he_aac_sync SBR signalled as object type 5, and by the sync extension 0x2b7
fragmented          fragments that count from their moof
fragmented_base     fragments that say their place in the file
fragmented_tails    fragments whose second track goes on where the first one's data ended
fragmented_cut      a recording that was cut off inside its last fragment
audio_late, video_late      one track begins 700 ms after the other, by an empty edit
audio_longer, audio_shorter audio ends 3 s after, or 2 s before the pictures do
late_key            the first pictures depend on a key frame that is not there
vfr                 pictures at uneven times
intra               no stss, and rightly so: every picture is a key frame
no_stss             no stss, though most pictures are no key frames
open_gop            recovery points instead of IDR pictures, with leading pictures
aud_all, aud_some   access unit delimiters before every picture, or before every third one
nal_2               NAL lengths of two bytes
two_entries         two sample entries in one track: the picture size changes half way
two_sounds          two films joined: half way the sound changes from 48 kHz stereo to 24 kHz mono,
                    a frame before the picture's key frame, and the picture size changes at it
anamorphic          pixels of 16:11, in the sample entry and in the bitstream
co64                64-bit chunk offsets and a mdat with a 64-bit size
stz2                compact sample sizes
languages           three audio tracks: deu, eng, and one that says nothing
mp3_beside, opus_beside     a second audio track in a codec that is left out
hevc                no H.264 track at all, but AAC
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.oracles import boxes, mp4  # noqa: E402

HERE = Path(__file__).parent
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
AVC_AUD = b"\x09\xf0"


def ffmpeg(output: Path, *args: str) -> None:
    """Runs ffmpeg with what makes its output the same each time."""
    fixed = "-fflags +bitexact -flags +bitexact -threads 1 -map_metadata -1".split()
    command = ["ffmpeg", "-v", "error", "-y", *args, *fixed, str(output)]
    subprocess.run(command, check=True)


def picture(size: str = "256x144", rate: str = "25", seconds: float = 6) -> list[str]:
    """Moving colours with a clock, cheap to encode."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def sound(seconds: float = 6, rate: int = 48000, pitch: int = 440) -> list[str]:
    """A tone that swells, and a beep at each full second."""
    tone = f"0.2*sin(2*PI*{pitch}*t)*(0.6+0.4*sin(PI*t))"
    beep = f"0.4*sin(2*PI*{2 * pitch}*t)*lt(mod(t\\,1)\\,0.08)"
    return ["-f", "lavfi", "-i", f"aevalsrc='{tone}+{beep}':s={rate}:d={seconds}"]


def x264(gop: int = 50, kbps: int = 45, *, extra: str = "") -> list[str]:
    """H.264 with closed GOPs of `gop` pictures and nothing left to the machine."""
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:threads=1:sliced-threads=0"
    params += ":rc-lookahead=20:bframes=2:b-adapt=0" + (f":{extra}" if extra else "")
    return [
        *"-c:v libx264 -preset slow -profile:v high -pix_fmt yuv420p".split(),
        *("-b:v", f"{kbps}k", "-maxrate", f"{kbps * 2}k", "-bufsize", f"{kbps * 2}k"),
        *("-x264-params", params),
    ]


AAC = ["-c:a", "aac", "-b:a", "32k", "-ac", "2"]
FIRST = ["-movflags", "+faststart"]


def demo(out: Path) -> None:
    """Three scenes, a flash with each beep, a clock, a sweep that follows the film."""
    flash = "drawbox=x=iw-88:y=24:w=64:h=64:color=white:t=fill:enable='lt(mod(t,1),0.079)'"
    clock = (
        f"drawtext=fontfile={FONT}:text='%{{pts\\:hms}}':fontsize=28:fontcolor=white:"
        "borderw=2:x=24:y=h-52"
    )
    title = (
        f"drawtext=fontfile={FONT}:text='pystream':fontsize=56:fontcolor=white:borderw=3:x=24:y=24"
    )
    scenes = (
        "gradients=s=640x360:r=25:d=11:c0=0x0b3954:c1=0xff6663:c2=0xe0ff4f:c3=0x087e8b:nb_colors=4"
        ":x0=0:y0=0:x1=640:y1=360:speed=0.012:seed=7,format=yuv420p[a];"
        "mandelbrot=s=640x360:r=25:start_scale=1.6:end_scale=0.02:end_pts=300:maxiter=400,"
        "trim=duration=11,gblur=1.2,format=yuv420p[b];"
        "life=s=160x90:r=5:mold=20:ratio=0.25:seed=11:life_color=0xfedc97:death_color=0x28666e"
        ":mold_color=0x033f63,scale=640:360:flags=bilinear,fps=25,trim=duration=10,"
        "format=yuv420p[c];"
        "[a][b]xfade=transition=circleopen:duration=1:offset=10[ab];"
        f"[ab][c]xfade=transition=wipeleft:duration=1:offset=20,{title},{clock},{flash},"
        "trim=duration=30[v]"
    )
    sweep = "0.12*sin(2*PI*(220*t+6*t*t))"
    beep = "0.4*sin(2*PI*1000*t)*lt(mod(t,1),0.08)"
    audio = f"aevalsrc='{sweep}+{beep}|{sweep}*0.6+{beep}':s=48000:d=30[s]"
    ffmpeg(
        out,
        *("-filter_complex", f"{scenes};{audio}", "-map", "[v]", "-map", "[s]", "-t", "30"),
        *x264(50, 250, extra="ref=4"),
        *("-c:a", "aac", "-b:a", "64k"),
        *FIRST,
    )


def load(path: Path) -> list[boxes.Track]:
    """The tracks of a progressive file, ready to be changed and written again."""
    data = path.read_bytes()
    moov = next(box for box in boxes.parse(data) if box.kind == b"moov")
    tracks = []
    for trak, read in zip(moov.all("trak"), mp4.read(path).tracks, strict=True):
        raws = mp4.table_samples(trak)
        samples = [
            boxes.Sample(data[r.offset :][: r.size], r.duration, r.delta, r.sync, r.entry)
            for r in raws
        ]
        edits = []
        for elst in trak.all("edts/elst"):
            fields = mp4.u32s(elst.head[8:])
            if elst.head[0]:
                raise ValueError(f"{path}: elst of version 1")
            signed = [
                (length, media - (media >> 31 << 32))
                for length, media in zip(fields[::3], fields[1::3], strict=True)
            ]
            edits += signed
        width, height = (side >> 16 for side in mp4.u32s(trak.get("tkhd").head)[-2:])
        tracks.append(
            boxes.Track(
                read.handler,
                read.timescale,
                trak.get("mdia/minf/stbl/stsd").children,
                samples,
                read.language,
                width,
                height,
                edits,
            )
        )
    return tracks


def nals(sample: bytes, length_size: int = 4) -> list[bytes]:
    """The NAL units of a sample."""
    found, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + length_size], "big")
        at += length_size
        found.append(sample[at : at + size])
        at += size
    return found


def joined(units: list[bytes], length_size: int = 4) -> bytes:
    """A sample of these NAL units."""
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)


def av(
    out: Path,
    *,
    source: list[str] | None = None,
    seconds: float = 6,
    video: list[str] | None = None,
    after: list[str] = FIRST,
) -> None:
    """A clip with one H.264 and one AAC track."""
    ffmpeg(
        out,
        *(source or picture(seconds=seconds)),
        *sound(seconds),
        *(video or x264()),
        *AAC,
        *after,
    )


def patched(
    change: Callable[[list[boxes.Track]], boxes.Movie], **base: object
) -> Callable[[Path], None]:
    """A clip that ffmpeg makes and Python changes."""

    def make(out: Path) -> None:
        with TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.mp4"
            av(plain, **base)  # type: ignore[arg-type]
            out.write_bytes(bytes(change(load(plain))))

    return make


def no_stss(tracks: list[boxes.Track]) -> boxes.Movie:
    tracks[0].sync_table = False
    return boxes.Movie(tracks)


def co64(tracks: list[boxes.Track]) -> boxes.Movie:
    return boxes.Movie(tracks, moov_first=False, offsets_64=True, mdat_64=True)


def stz2(tracks: list[boxes.Track]) -> boxes.Movie:
    for track in tracks:
        track.compact_sizes = 16
        track.signed_offsets = True
    return boxes.Movie(tracks)


def aud_some(tracks: list[boxes.Track]) -> boxes.Movie:
    samples = tracks[0].samples
    for i in range(0, len(samples), 3):
        units = [unit for unit in nals(samples[i].data) if unit[0] & 31 != 9]
        samples[i] = replace(samples[i], data=joined([AVC_AUD, *units]))
    return boxes.Movie(tracks)


def nal_2(tracks: list[boxes.Track]) -> boxes.Movie:
    avcc = tracks[0].entries[0].get("avcC")
    avcc.head = avcc.head[:4] + bytes([avcc.head[4] & 0xFC | 1]) + avcc.head[5:]
    tracks[0].samples = [
        replace(sample, data=joined(nals(sample.data), 2)) for sample in tracks[0].samples
    ]
    return boxes.Movie(tracks)


def late_key(tracks: list[boxes.Track]) -> boxes.Movie:
    # From the P picture in decoding order 16 on, so that none of it is shown before the first one.
    tracks[0].samples = tracks[0].samples[16:]
    tracks[0].edits = []
    return boxes.Movie(tracks)


def two_entries(out: Path) -> None:
    """Two encodings, one after the other, in one track. Offsets of both begin alike."""
    with TemporaryDirectory() as folder:
        parts = []
        for size in ("256x144", "192x108"):
            path = Path(folder) / f"{size}.mp4"
            av(path, source=picture(size, seconds=4), seconds=4)
            parts.append(load(path))
        (video, audio), (second, more) = parts
        video.entries += second.entries
        video.samples += [replace(sample, entry=1) for sample in second.samples]
        video.edits = [(8000, video.edits[0][1])]
        # Sound of the second part without what the encoder put before and behind it, so that
        # both parts begin together: 4 s are 187.5 frames.
        audio.samples = [*audio.samples[:189], *more.samples[1:188]]
        audio.edits = [(8000, audio.edits[0][1])]
        out.write_bytes(bytes(boxes.Movie([video, audio])))


def two_sounds(out: Path) -> None:
    """Two encodings joined as they are: the second one's sound begins with the encoder's priming."""
    with TemporaryDirectory() as folder:
        parts = []
        for size, rate, channels in (("256x144", 48_000, 2), ("192x108", 24_000, 1)):
            path = Path(folder) / f"{size}.mp4"
            codec = ["-c:a", "aac", "-b:a", "24k", "-ac", str(channels)]
            ffmpeg(path, *picture(size, seconds=4), *sound(4, rate), *x264(), *codec, *FIRST)
            parts.append(load(path))
        (video, audio), (second, more) = parts
        video.entries += second.entries
        video.samples += [replace(sample, entry=1) for sample in second.samples]
        video.edits = [(8000, video.edits[0][1])]
        audio.entries += more.entries
        # 188 frames and the edit end 512 ticks before 4 s. What the second part has before its
        # sound are 1024 samples at 24 kHz, so 2048 ticks.
        audio.samples = [
            *audio.samples[:188],
            *(replace(s, entry=1, duration=2 * s.duration) for s in more.samples[:94]),
        ]
        audio.edits = [(8000, audio.edits[0][1])]
        out.write_bytes(bytes(boxes.Movie([video, audio])))


def he_aac(config: bytes, *, doubled: bool) -> Callable[[Path], None]:
    """AAC-LC at 24 kHz that says it carries SBR. It does not, which SBR decoders put up with."""

    def make(out: Path) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "lc.m4a"
            ffmpeg(path, *sound(6, 24000), "-c:a", "aac", "-b:a", "32k", "-ac", "2")
            tracks = load(path)
            tracks[0].entries = [boxes.aac_entry(config, 48000 if doubled else 24000, 2)]
            out.write_bytes(bytes(boxes.Movie(tracks)))

    return make


def audio_only(rate: int, channels: int, kbps: int) -> Callable[[Path], None]:
    def make(out: Path) -> None:
        flags = ["-c:a", "aac", "-b:a", f"{kbps}k", "-ac", str(channels)]
        ffmpeg(out, *sound(8, rate), *flags, *FIRST)

    return make


def ladder(size: str, kbps: int, gop: int = 50) -> Callable[[Path], None]:
    def make(out: Path) -> None:
        ffmpeg(out, *picture(size, seconds=8), *x264(gop, kbps), *FIRST)

    return make


def fragments(flags: str) -> Callable[[Path], None]:
    return lambda out: av(out, after=["-movflags", flags])


def fragmented_cut(out: Path) -> None:
    av(out, after=["-movflags", "frag_keyframe+empty_moov+default_base_moof"])
    data = out.read_bytes()
    at, last = 0, 0
    for box in boxes.parse(data):
        last = at if box.kind == b"moof" else last
        at += len(bytes(box))
    out.write_bytes(data[: (last + at) // 2])


def fragmented_tails(out: Path) -> None:
    """Takes each tfhd its flag and each second traf its data offset (8.8.7.1, last sentence)."""
    av(out, after=["-movflags", "frag_keyframe+empty_moov+default_base_moof"])
    tree = boxes.parse(out.read_bytes())
    for moof in tree:
        for number, traf in enumerate(moof.all("traf")):
            tfhd, trun = traf.get("tfhd"), traf.get("trun")
            flags = mp4.u32s(tfhd.head)[0] & ~0x20000
            tfhd.head = flags.to_bytes(4, "big") + tfhd.head[4:]
            flags = mp4.u32s(trun.head)[0]
            offset = mp4.u32s(trun.head)[2]
            if number == 0:
                first = offset
                continue
            trun.head = (flags & ~1).to_bytes(4, "big") + trun.head[4:8] + trun.head[12:]
        if moof.kind == b"moof":
            shrunk = 4 * (len(list(moof.all("traf"))) - 1)
            run = moof.get("traf/trun")
            run.head = run.head[:8] + (first - shrunk).to_bytes(4, "big") + run.head[12:]
    out.write_bytes(b"".join(bytes(box) for box in tree if box.kind != b"mfra"))


def shifted(video: float, audio: float) -> Callable[[Path], None]:
    """Tracks that begin at these seconds."""

    def make(out: Path) -> None:
        ffmpeg(
            out,
            *("-itsoffset", str(video), *picture()),
            *("-itsoffset", str(audio), *sound(), "-vsync", "passthrough"),
            *x264(),
            *AAC,
            *FIRST,
        )

    return make


def lengths(video: float, audio: float) -> Callable[[Path], None]:
    return lambda out: ffmpeg(out, *picture(seconds=video), *sound(audio), *x264(), *AAC, *FIRST)


def vfr(out: Path) -> None:
    drop = ["-vf", r"select='not(eq(mod(n\,7)\,3))*not(between(n\,60\,80))'", "-vsync", "vfr"]
    av(out, video=[*drop, *x264()])


def irregular(out: Path) -> None:
    forced = ["-force_key_frames", "0.8,2.04,2.4,2.8,5.6,6.4,9", *x264(250)]
    params = forced[-1].replace("min-keyint=250", "min-keyint=1")
    av(out, source=picture("160x90", seconds=10), seconds=10, video=[*forced[:-1], params])


def languages(out: Path) -> None:
    maps = [arg for stream in ("0:v", "1:a", "2:a", "3:a") for arg in ("-map", stream)]
    names = "-metadata:s:a:0 language=deu -metadata:s:a:1 language=eng".split()
    sounds = [arg for pitch in (330, 440, 550) for arg in sound(6, pitch=pitch)]
    ffmpeg(out, *picture(), *sounds, *maps, *x264(), *AAC, *names, *FIRST)


def beside(codec: str, *more: str) -> Callable[[Path], None]:
    def make(out: Path) -> None:
        maps = [arg for stream in ("0:v", "1:a", "2:a") for arg in ("-map", stream)]
        codecs = ["-c:a:0", "aac", "-c:a:1", codec, "-b:a", "32k", "-ac", "2", *more]
        ffmpeg(out, *picture(), *sound(), *sound(6, pitch=660), *maps, *x264(), *codecs, *FIRST)

    return make


def hevc(out: Path) -> None:
    params = "keyint=50:min-keyint=50:scenecut=0:pools=1:frame-threads=1:log-level=error"
    codec = ["-c:v", "libx265", "-b:v", "45k", "-tag:v", "hvc1", "-x265-params", params]
    av(out, video=codec)


FRAGMENTS = "frag_keyframe+empty_moov"
CLIPS: dict[str, Callable[[Path], None]] = {
    "plain.mp4": av,
    "moov_last.mp4": lambda out: av(out, after=[]),
    "ntsc.mp4": lambda out: av(
        out, source=picture(rate="30000/1001", seconds=8), seconds=8, video=x264(60)
    ),
    "fps_8.mp4": lambda out: av(out, source=picture(rate="8"), video=x264(16)),
    "fps_12_5.mp4": lambda out: av(out, source=picture(rate="25/2"), video=x264(25)),
    "irregular_gop.mp4": irregular,
    "long_gop.mp4": lambda out: av(
        out, source=picture("160x90", seconds=12), seconds=12, video=x264(100, 40)
    ),
    "ladder_270.mp4": ladder("480x270", 120),
    "ladder_180.mp4": ladder("320x180", 60),
    "ladder_90.mp4": ladder("160x90", 30),
    "ladder_audio.m4a": audio_only(44100, 2, 48),
    "misaligned.mp4": ladder("320x180", 60, 37),
    "audio_48k.m4a": audio_only(48000, 2, 48),
    "audio_8k.m4a": audio_only(8000, 1, 16),
    # Object type 5, 24 kHz, 2 channels, 48 kHz with SBR, object type 2 (ISO/IEC 14496-3 1.6.2.1).
    "he_aac.m4a": he_aac(bytes.fromhex("2b118800"), doubled=True),
    # Object type 2, 24 kHz, 2 channels; then 0x2b7, object type 5, SBR present, 48 kHz.
    "he_aac_sync.m4a": he_aac(bytes.fromhex("131056e598"), doubled=False),
    "fragmented.mp4": fragments(FRAGMENTS + "+default_base_moof"),
    "fragmented_base.mp4": fragments(FRAGMENTS),
    "fragmented_tails.mp4": fragmented_tails,
    "fragmented_cut.mp4": fragmented_cut,
    "audio_late.mp4": shifted(0, 0.7),
    "video_late.mp4": shifted(0.7, 0),
    "audio_longer.mp4": lengths(6, 9),
    "audio_shorter.mp4": lengths(6, 4),
    "late_key.mp4": patched(late_key),
    "vfr.mp4": vfr,
    "intra.mp4": lambda out: av(
        out, source=picture("160x90", seconds=4), seconds=4, video=x264(1, 100, extra="bframes=0")
    ),
    "no_stss.mp4": patched(no_stss),
    "open_gop.mp4": lambda out: av(out, video=x264(extra="open-gop=1")),
    "aud_all.mp4": lambda out: av(out, video=x264(extra="aud=1")),
    "aud_some.mp4": patched(aud_some),
    "nal_2.mp4": patched(nal_2),
    "two_entries.mp4": two_entries,
    "two_sounds.mp4": two_sounds,
    "anamorphic.mp4": lambda out: av(
        out,
        source=picture("144x144", seconds=2),
        seconds=2,
        video=[*x264(25, 30), "-aspect", "16:11"],
    ),
    "co64.mp4": patched(co64),
    "stz2.mp4": patched(stz2),
    "languages.mp4": languages,
    "mp3_beside.mp4": beside("libmp3lame"),
    "opus_beside.mp4": beside("libopus", "-strict", "-2"),
    "hevc.mp4": hevc,
}


def main() -> None:
    """Makes the clips named on the command line, or all."""
    wanted = sys.argv[1:] or [*CLIPS, "sample.mp4"]
    for name in wanted:
        out = ROOT / "pystream" / "cli" / name if name == "sample.mp4" else HERE / name
        (demo if name == "sample.mp4" else CLIPS[name])(out)
        print(f"{out.stat().st_size:>9,} {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
