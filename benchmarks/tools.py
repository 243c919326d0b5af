"""The packagers that are measured, and how each is told to do the same job.

A peer is found on the PATH, or where its environment variable says, which may name several with
colons between them: builds of one program differ. Each is asked for the plainest way to the same
result: stream copy, segments of 6 s, whole-segment AES-128 with one key, a VOD playlist. What a
program cannot do, or can only do by another program's help, it is not asked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KEY = bytes(range(16))
KEY_NAME = "key.bin"
SEGMENT_SECONDS = 6


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made: `format` is `ts` or `fmp4`; `jobs` is pystream's number of threads."""

    format: str
    encrypted: bool
    jobs: int | None = None

    @property
    def suffix(self) -> str:
        """Of segment files."""
        return "ts" if self.format == "ts" else "m4s"


Command = Callable[[str, Sequence[Path], Path, Path, Job], list[str] | None]
"""`(program, sources, output folder, folder of keys, job)` to a command line, or None."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A packager on this machine. `version` is what it says of itself."""

    name: str
    program: str
    version: str
    command: Command

    def line(self, sources: Sequence[Path], out: Path, keys: Path, job: Job) -> list[str] | None:
        """The command that does the job, or None where this tool does not do it."""
        return self.command(self.program, sources, out, keys, job)


def prepare_keys(folder: Path) -> None:
    """Writes the key, and what ffmpeg and GPAC want to be told about it in a file."""
    (folder / KEY_NAME).write_bytes(KEY)
    (folder / "ffmpeg.txt").write_text(f"{KEY_NAME}\n{folder / KEY_NAME}\n")
    (folder / "gpac.xml").write_text(
        '<GPACDRM><CrypTrack IV="0x00000000000000000000000000000000">'
        f'<key KID="0x{1:032x}" value="0x{KEY.hex()}" hlsInfo="URI=&quot;{KEY_NAME}&quot;"/>'
        "</CrypTrack></GPACDRM>\n"
    )


def cp(sources: Sequence[Path], out: Path) -> list[str]:
    """The measure of all: the input's bytes, copied."""
    return ["cp", *map(str, sources), str(out)]


def pystream_script() -> str:
    """`pystream` of the environment that this interpreter is of."""
    script = shutil.which("pystream", path=str(Path(sys.executable).parent))
    if script is None:
        raise SystemExit(f"benchmarks: there is no pystream beside {sys.executable}: make install")
    return script


def pystream() -> Tool:
    """The program that all this is about."""
    script = pystream_script()
    return Tool("pystream", script, _says([script, "--version"], r"pystream (.*)"), _pystream)


def peers() -> Iterator[Tool]:
    """Those that are there."""
    for name, variable, program, ask, pattern, command in _PEERS:
        asked = os.environ.get(variable) or program
        paths = [path for part in asked.split(":") if (path := shutil.which(part))]
        for path in paths:
            version = _says([path, *ask], pattern)
            yield Tool(f"{name} {version}" if len(paths) > 1 else name, path, version, command)


def _says(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1].strip() if found else "unknown"


def _pystream(
    program: str, sources: Sequence[Path], out: Path, keys: Path, job: Job
) -> list[str] | None:
    line = [program, "package", *map(str, sources), "-o", str(out), "--format", job.format]
    if job.encrypted:
        line += ["--encrypt", "aes-128"]
    if job.jobs:
        line += ["--jobs", str(job.jobs)]
    return line


def _ffmpeg(
    program: str, sources: Sequence[Path], out: Path, keys: Path, job: Job
) -> list[str] | None:
    if len(sources) > 1 or (job.format == "fmp4" and job.encrypted):
        return None
    line = [program, "-v", "error", "-i", str(sources[0]), "-c", "copy", "-f", "hls"]
    line += ["-hls_time", str(SEGMENT_SECONDS), "-hls_playlist_type", "vod"]
    if job.format == "fmp4":
        line += ["-hls_segment_type", "fmp4"]
    if job.encrypted:
        line += ["-hls_key_info_file", str(keys / "ffmpeg.txt")]
    return [*line, "-hls_segment_filename", f"{out}/%d.{job.suffix}", f"{out}/index.m3u8"]


def _gpac(
    program: str, sources: Sequence[Path], out: Path, keys: Path, job: Job
) -> list[str] | None:
    if len(sources) > 1 or (job.format == "fmp4" and job.encrypted):
        return None
    target = f"{out}/index.m3u8:profile=live:segdur={SEGMENT_SECONDS}:template=$Type$-$Number$"
    if job.format == "ts":
        target += ":muxtype=ts"
    if job.encrypted:
        target += f":hlsdrm={keys / 'gpac.xml'}"
    return [program, "-logs=all@error", "-i", str(sources[0]), "-o", target]


def _bento4(
    program: str, sources: Sequence[Path], out: Path, keys: Path, job: Job
) -> list[str] | None:
    if len(sources) > 1 or job.format != "ts":
        return None
    line = [program, "--segment-duration", str(SEGMENT_SECONDS)]
    line += ["--index-filename", f"{out}/index.m3u8"]
    line += ["--segment-filename-template", f"{out}/%d.ts", "--segment-url-template", "%d.ts"]
    if job.encrypted:
        line += ["--encryption-key", KEY.hex(), "--encryption-key-uri", KEY_NAME]
    return [*line, str(sources[0])]


def _shaka(
    program: str, sources: Sequence[Path], out: Path, keys: Path, job: Job
) -> list[str] | None:
    if len(sources) > 1 or (job.format == "fmp4" and job.encrypted):
        return None
    line = [program, "--quiet"]
    for kind in ("video", "audio"):
        stream = f"in={sources[0]},stream={kind},playlist_name={kind}/index.m3u8"
        stream += f",segment_template={out}/{kind}/$Number$.{job.suffix}"
        if job.format == "fmp4":
            stream += f",init_segment={out}/{kind}/init.mp4"
        if kind == "audio":
            stream += ",hls_group_id=audio"
        line.append(stream)
    line += ["--segment_duration", str(SEGMENT_SECONDS)]
    if job.encrypted:
        line += ["--enable_raw_key_encryption", "--keys", f"key_id={1:032x}:key={KEY.hex()}"]
        line += ["--protection_scheme", "aes128", "--clear_lead", "0", "--hls_key_uri", KEY_NAME]
    return [*line, "--hls_master_playlist_output", f"{out}/index.m3u8"]


_PEERS: list[tuple[str, str, str, list[str], str, Command]] = [
    ("ffmpeg", "PYSTREAM_BENCH_FFMPEG", "ffmpeg", ["-version"], r"ffmpeg version (\S+)", _ffmpeg),
    ("GPAC", "PYSTREAM_BENCH_GPAC", "gpac", ["-h"], r"version (\S+)", _gpac),
    ("Bento4", "PYSTREAM_BENCH_BENTO4", "mp42hls", [], r"Bento4 Version ([^)]+)", _bento4),
    ("Shaka", "PYSTREAM_BENCH_SHAKA", "packager", ["--version"], r"version (\S+)", _shaka),
]
