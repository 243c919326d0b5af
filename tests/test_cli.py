"""The command line from outside: a process, its standard streams and its exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from pystream.cli import COMMANDS

MEDIA = Path(__file__).parent / "media"
PLAIN = MEDIA / "plain.mp4"
LADDER = [MEDIA / f"ladder_{name}" for name in ("90.mp4", "180.mp4", "270.mp4", "audio.m4a")]
# -P: the package that is under test, not a folder that happens to be the current one.
COMMAND = [
    sys.executable,
    "-P",
    "-c",
    "import sys; from pystream.cli import main; sys.exit(main())",
]
KEY = "00112233445566778899aabbccddeeff"

pytestmark = pytest.mark.slow


# With its buffers, which is where what is printed lies when a pipe turns out to be closed.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    given: Any = {"capture_output": True, "check": False, "env": ENVIRONMENT} | options
    return subprocess.run([*COMMAND, *map(str, arguments)], text=True, **given)


def package(out: Path, *arguments: str | Path) -> dict[str, Any]:
    done = run("package", *arguments, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    summary: dict[str, Any] = json.loads(line)
    return summary


def refused(code: int, *arguments: str | Path) -> str:
    """The one line on standard error of a command that fails."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pystream")
    return line


def on_terminal(*arguments: str | Path, columns: int = 80, **environment: str) -> tuple[int, str]:
    """Exit code and what a terminal of so many columns gets from both streams."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    child = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env | {"TERM": "xterm-256color"} | environment,
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:
        pass  # EIO: the other end is closed
    finally:
        os.close(ours)
    return child.wait(), b"".join(parts).decode()


def bare(text: str) -> list[str]:
    """Lines without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").splitlines()


# Help and usage


def test_help_names_the_commands() -> None:
    for flag in ("-h", "--help"):
        done = run(flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert re.fullmatch(r"pystream \d+\.\d+\.\d+\S*\n", run("--version").stdout)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "package",
            "--output --format --segment-duration --encrypt --key --key-file --iv --key-uri --key-dir"
            " --rotate-every --jobs --strict --json --overwrite",
        ),
        ("probe", "--segment-duration --json"),
        ("verify", "--key-dir --lenient --json"),
    ],
)
def test_help_tells_all_and_fits_a_terminal(command: str, options: str) -> None:
    done = run(command, "--help", env=os.environ | {"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    named = set(re.findall(r"--[a-z-]+", done.stdout))
    assert named >= {*options.split(), "--help"}
    assert re.search(r"^exit codes:$", done.stdout, re.M)
    assert re.search(r"^examples:$", done.stdout, re.M)
    assert max(map(len, done.stdout.splitlines())) <= 80


ENCRYPT = ("--encrypt", "aes-128")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no command"),
        (("frobnicate",), "no command 'frobnicate'"),
        (("package",), "INPUT, -o"),
        (("package", PLAIN), "-o/--output"),
        (("package", PLAIN, "-o", "x", "--format", "mkv"), "--format"),
        (("package", PLAIN, "-o", "x", "--segment-duration", "nan"), "0.1 to 3600"),
        (("package", PLAIN, "-o", "x", "--segment-duration", "six"), "0.1 to 3600"),
        (("package", PLAIN, "-o", "x", "--jobs", "0"), "--jobs: a whole number above 0"),
        (("package", PLAIN, "-o", "x", "--over"), "no option --over"),
        (("package", PLAIN, "-o", "x", "--key", KEY), "--key needs --encrypt"),
        (("package", PLAIN, "-o", "x", "--iv", "0" * 32), "--iv needs --encrypt"),
        (("package", PLAIN, "-o", "x", "--rotate-every", "2"), "--rotate-every needs --encrypt"),
        (("package", PLAIN, "-o", "x", "--key-uri", "u", "--key-dir", "d"), "--key-uri needs"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-dir", "d"), "go together"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-uri", "u"), "go together"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key", KEY, "--key-file", "f"), "exclude"),
        (
            ("package", PLAIN, "-o", "x", *ENCRYPT, "--rotate-every", "2", "--key", KEY),
            "excludes --key",
        ),
        (
            ("package", PLAIN, "-o", "x", *ENCRYPT, "--rotate-every", "2", "--iv", KEY),
            "excludes --iv",
        ),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--rotate-every", "0"), "above 0"),
        (("package", PLAIN, "-o", "x", "--encrypt", "sample-aes"), "--encrypt"),
        (("probe",), "INPUT"),
        (("verify", PLAIN), "PLAYLIST"),
    ],
    ids=lambda value: None,
)
def test_a_wrong_command_line_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(2, *arguments)
    assert said in line
    assert KEY not in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("option", ["--key", "--iv", "--kye", "--keys="])
def test_a_mistyped_key_is_not_repeated(tmp_path: Path, option: str) -> None:
    typed = [option + KEY[1:]] if option.endswith("=") else [f"{option}={KEY[1:]}"]
    line = refused(2, "package", PLAIN, "-o", tmp_path / "hls", *ENCRYPT, *typed)
    assert KEY[1:] not in line


@pytest.mark.parametrize("typed", ["00 " * 16, KEY[:-1] + "g", KEY + "00", "０" * 32])
def test_keys_are_32_digits(tmp_path: Path, typed: str) -> None:
    line = refused(2, "package", PLAIN, "-o", tmp_path / "hls", *ENCRYPT, "--key", typed)
    assert "32 hexadecimal digits" in line


# package


def test_package_says_in_a_line_what_it_made(tmp_path: Path) -> None:
    done = run("package", PLAIN, "-o", tmp_path / "hls")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"{tmp_path}/hls/index\.m3u8: 1 renditions, 1 segments, 6\.000 s, \d+ bytes in \S+ s\n",
        done.stdout,
    )


def test_json_is_one_object_for_scripts(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    summary = package(out, *LADDER, "--segment-duration", "2", *ENCRYPT, "--rotate-every", "2")
    assert set(summary) == {
        *("playlist", "format", "encryption", "key_files", "bytes", "duration", "target_duration"),
        *("independent_segments", "seconds", "renditions", "warnings"),
    }
    assert summary["playlist"] == f"{out}/index.m3u8"
    assert (summary["format"], summary["encryption"]) == ("ts", "aes-128")
    assert summary["independent_segments"] is True and summary["warnings"] == []
    assert [r["name"] for r in summary["renditions"]] == ["v0", "v1", "v2", "a0"]
    for rendition in summary["renditions"]:
        segments = list((out / rendition["name"]).glob("*.ts"))
        assert rendition["playlist"] == f"{out}/{rendition['name']}/index.m3u8"
        assert rendition["segments"] == len(segments) == 4
        assert rendition["bytes"] == sum(path.stat().st_size for path in segments)
        assert rendition["bandwidth"] >= rendition["average_bandwidth"] > 0
    assert summary["renditions"][1]["resolution"] == [320, 180]
    assert summary["renditions"][1]["frame_rate"] == 25
    assert summary["renditions"][3]["channels"] == 2
    assert len(summary["key_files"]) == 8
    for name in summary["key_files"]:
        assert Path(name).stat().st_size == 16
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert run("verify", *LADDER, out / "index.m3u8").returncode == 0


def test_keys_are_never_printed(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_bytes(bytes.fromhex(KEY))
    for more in ((), ("--json",)):
        done = run(
            *("package", PLAIN, "-o", tmp_path / "hls", *ENCRYPT, "--key-file", secret),
            *("--overwrite", *more),
        )
        assert done.returncode == 0
        assert (tmp_path / "hls" / "v0" / "v0-0.key").read_bytes() == bytes.fromhex(KEY)
        assert KEY not in done.stdout.lower() + done.stderr.lower()
    _, text = on_terminal("package", PLAIN, "-o", tmp_path / "t", *ENCRYPT, "--key-file", secret)
    assert KEY not in text.lower()


def test_a_key_file_keeps_the_key_out_of_the_command_line(tmp_path: Path) -> None:
    """What `ps` shows is the arguments; of those, none is the key."""
    secret, by_hand = tmp_path / "key", tmp_path / "by_hand"
    secret.write_bytes(bytes.fromhex(KEY))
    package(tmp_path / "by_file", PLAIN, *ENCRYPT, "--key-file", secret, "--iv", "0x" + "0" * 32)
    package(by_hand, PLAIN, *ENCRYPT, "--key", KEY.upper(), "--iv", "0" * 32)
    segment = Path("v0", "0.ts")
    assert (tmp_path / "by_file" / segment).read_bytes() == (by_hand / segment).read_bytes()


@pytest.mark.parametrize("size", [0, 15, 17, 1000])
def test_a_key_file_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    secret = tmp_path / "key"
    secret.write_bytes(b"k" * size)
    line = refused(1, "package", PLAIN, "-o", tmp_path / "hls", *ENCRYPT, "--key-file", secret)
    assert f"{secret}: an AES-128 key has 16 bytes" in line
    assert "kkk" not in line
    assert os.listdir(tmp_path) == ["key"]


def test_keys_that_are_served_elsewhere(tmp_path: Path) -> None:
    out, keys = tmp_path / "hls", tmp_path / "keys"
    base = "https://keys.example.org/film/"
    summary = package(out, PLAIN, *ENCRYPT, "--key-uri", base, "--key-dir", keys)
    assert f'URI="{base}v0-0.key"' in (out / "v0" / "index.m3u8").read_text()
    assert summary["key_files"] == [f"{keys}/v0-0.key"]
    assert not list(out.rglob("*.key"))
    assert run("verify", PLAIN, out / "index.m3u8", "--key-dir", keys).returncode == 0
    assert "v0-0.key" in refused(1, "verify", PLAIN, out / "index.m3u8")
    inside = ("--key-uri", base, "--key-dir", out / "keys", "--overwrite")
    assert "must not be" in refused(1, "package", PLAIN, "-o", out, *ENCRYPT, *inside)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert "not empty" in refused(1, "package", PLAIN, "-o", tmp_path)
    assert os.listdir(tmp_path) == ["mine"]
    package(tmp_path, PLAIN, "--overwrite")
    assert sorted(os.listdir(tmp_path)) == ["index.m3u8", "v0"]


def test_overwriting_what_is_being_read_is_refused(tmp_path: Path) -> None:
    film = tmp_path / "films" / "film.mp4"
    film.parent.mkdir()
    film.write_bytes(PLAIN.read_bytes())
    for out in (film.parent, tmp_path):
        assert "lies in" in refused(1, "package", film, "-o", out, "--overwrite")
    home = os.environ | {"HOME": str(tmp_path)}
    done = run("package", PLAIN, "-o", tmp_path, "--overwrite", env=home)
    assert done.returncode == 1 and "lies in" in done.stderr
    assert film.read_bytes() == PLAIN.read_bytes()


def test_warnings_follow_success(tmp_path: Path) -> None:
    done = run("package", MEDIA / "mp3_beside.mp4", "-o", tmp_path / "hls")
    assert done.returncode == 0
    assert re.fullmatch(
        r"pystream package: warning: \S+mp3_beside\.mp4: track 3 .* left out.*\n", done.stderr
    )
    summary = package(tmp_path / "more", MEDIA / "mp3_beside.mp4")
    assert [w["code"] for w in summary["warnings"]] == ["track-left-out"]


def test_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    cut = MEDIA / "fragmented_cut.mp4"
    line = refused(1, "package", cut, "-o", tmp_path / "strict", "--strict")
    assert "--strict: " in line and "cut off at byte" in line
    assert os.listdir(tmp_path) == []
    done = run("package", cut, "-o", tmp_path / "hls")
    assert done.returncode == 0 and "cut off at byte" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.mp4", "missing.mp4: No such file or directory"),
        ("folder", "folder: no regular file"),
        ("pipe", "pipe: no regular file"),
        ("text", "text: "),
        ("empty", "empty: "),
        ("cut", "the file was cut off (in moov at byte 32)"),
    ],
)
def test_inputs_at_fault_are_1(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("no film at all\n" * 9)
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(PLAIN.read_bytes()[:2000])
    for arguments in (("package", "-o", tmp_path / "hls"), ("probe",)):
        assert said in refused(1, arguments[0], tmp_path / name, *arguments[1:])
    assert not (tmp_path / "hls").exists()


def test_a_ladder_that_is_none_says_what_differs(tmp_path: Path) -> None:
    line = refused(1, "package", LADDER[0], MEDIA / "late_key.mp4", "-o", tmp_path / "hls")
    assert "only" in line and "late_key.mp4 has key frames at 1.440" in line


# What happens at the moment when the temporary folder is made, of which Python's audit events tell.
AT_MKDIR = """
import os, signal, sys
from pystream.cli import main

def hook(event, _):
    if event == "os.mkdir":
        {}

sys.addaudithook(hook)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", 130, "interrupted"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 130, "interrupted"),
        ("os.kill(os.getpid(), signal.SIGHUP)", 130, "interrupted"),
        ("raise MemoryError", 1, "memory is exhausted"),
        ("1 / 0", 1, "a bug in pystream, please report it: ZeroDivisionError: .* at <string>:7"),
        ("raise OSError(28, 'No space', 'hls', None, 'there')", 1, r"\S+: there: No space"),
    ],
)
def test_no_end_is_a_traceback(tmp_path: Path, what: str, code: int, said: str) -> None:
    words = ["package", str(PLAIN), "-o", str(tmp_path / "hls")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", AT_MKDIR.format(what), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(f"pystream package: {said}\n", done.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["INT", "HUP"])
def test_what_is_ignored_stays_ignored(tmp_path: Path, name: str) -> None:
    """`nohup`, and background jobs of a script, which the shell starts so."""
    script = AT_MKDIR.format(f"os.kill(os.getpid(), signal.SIG{name})")
    words = [sys.executable, "-P", "-c", script, "package", str(PLAIN), "-o", str(tmp_path / "hls")]
    trap = f"trap '' {name}; exec \"$@\""
    done = subprocess.run(["bash", "-c", trap, "bash", *words], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


# Standard streams


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    helps: list[tuple[str | Path, ...]] = [("--help",), ("package", "--help")]
    for arguments in (*helps, ("probe", PLAIN), ("package", PLAIN, "-o", tmp_path / "hls")):
        ours, theirs = os.pipe()
        os.close(ours)
        done = run(*arguments, stdout=theirs, stderr=subprocess.PIPE, capture_output=False)
        os.close(theirs)
        assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "hls" / "index.m3u8").exists()


@pytest.mark.parametrize("word", [PLAIN, "--help"])
def test_a_full_standard_output_is_an_error(word: str | Path) -> None:
    with open("/dev/full", "w") as full:
        done = run("probe", word, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr == "pystream probe: No space left on device\n"


def test_a_wrong_input_after_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    script = "import sys; from pystream.cli import main; print(1); sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "package", "missing.mp4", "-o", str(tmp_path / "hls")],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    os.close(theirs)
    assert done.returncode == 1
    assert done.stderr == "pystream package: missing.mp4: No such file or directory\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_not_there(tmp_path: Path, closed: str) -> None:
    command = f'exec "$@" {closed}'
    for film, code in ((PLAIN, 0), (tmp_path / "missing.mp4", 1)):
        words = [*COMMAND, "package", str(film), "-o", str(tmp_path / f"hls{code}")]
        done = subprocess.run(
            ["bash", "-c", command, "bash", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "Traceback" not in done.stdout + done.stderr
        # Complaints never turn up among the results.
        assert "missing" not in done.stdout


LOADED = """
import sys
from pystream.cli import main
code = main(sys.argv[1:])
print(code, *sorted(name.partition(".")[0] for name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["package", "probe"])
def test_a_pipe_loads_neither_numpy_nor_rich(tmp_path: Path, command: str) -> None:
    more = ["-o", str(tmp_path / "hls"), *ENCRYPT] if command == "package" else []
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOADED, command, str(PLAIN), *more],
        capture_output=True,
        text=True,
        check=True,
    )
    code, *loaded = done.stderr.split()
    assert code == "0"
    assert not {"numpy", "rich", "typing", "dataclasses", "pathlib", "ctypes"} & set(loaded)


# A terminal


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_bar_and_a_table(tmp_path: Path, columns: int) -> None:
    out = tmp_path / "hls"
    code, text = on_terminal("package", *LADDER, "-o", out, *ENCRYPT, columns=columns)
    assert code == 0
    assert "packaging" in text and "100%" in text
    lines = bare(text)
    shown = "\n".join(lines)
    for said in ("v0", "320×180 25 fps", "avc1.64000c", "audio stereo", "4 key files", "serve"):
        assert said in shown
    # The bar went; what stays is the summary.
    assert "packaging" not in "".join(text.rsplit("\x1b[2K", 1)[-1])
    assert max(map(len, lines[-14:])) <= columns


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    _, text = on_terminal("probe", PLAIN)
    assert coloured.search(text)
    _, text = on_terminal("probe", PLAIN, NO_COLOR="1")
    assert not coloured.search(text)


def test_json_is_json_on_a_terminal_too(tmp_path: Path) -> None:
    code, text = on_terminal("package", PLAIN, "-o", tmp_path / "hls", "--json")
    assert code == 0 and json.loads(text)["warnings"] == []


# probe


def probe(*arguments: str | Path) -> dict[str, Any]:
    done = run("probe", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_probe_tells_what_a_file_holds() -> None:
    (film,) = probe(PLAIN, "--segment-duration", "2")["inputs"]
    assert (film["container"], film["truncated"]) == ("progressive MP4", False)
    assert film["size"] == PLAIN.stat().st_size
    video, audio = film["tracks"]
    assert (video["id"], video["kind"], video["codecs"]) == (1, "video", ["avc1.64000c"])
    assert (video["resolution"], video["frame_rate"], video["rotation"]) == ([256, 144], 25, 0)
    assert (video["samples"], video["duration"], video["first_presentation"]) == (150, 6, 0)
    assert video["edits"] == [{"duration": 6.0, "media_time": 0.08, "rate": 1.0}]
    keys = video["key_frames"]
    assert (keys["count"], keys["idr"], keys["recovery_points"]) == (3, 3, 0)
    assert keys["least_distance"] == keys["typical_distance"] == keys["most_distance"] == 2
    assert (audio["sampling_rate"], audio["channels"], audio["codecs"]) == (48000, 2, ["mp4a.40.2"])
    assert audio["first_presentation"] == pytest.approx(-1024 / 48000)
    plan = film["package"]
    assert plan["renditions"][0]["segments"] == 3
    assert (plan["target_duration"], plan["independent_segments"], plan["scanned"]) == (
        2,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fragmented_cut.mp4", "fragmented MP4, cut off"),
        ("fragmented_cut.mp4", "warning: the recording was cut off at byte"),
        ("audio_late.mp4", "edit list: nothing, 0.678 s, media from 0.000 s on, 6.022 s"),
        ("video_late.mp4", "6.000 s from 0.720 s"),
        ("irregular_gop.mp4", "key frames: "),
        ("intra.mp4", "key frames: every picture, all IDR"),
        ("open_gop.mp4", "1 IDR and 2 recovery points (open GOP)"),
        ("open_gop.mp4", "segments that are not all independent"),
        ("no_stss.mp4", "pictures that the index calls key frames are none"),
        ("late_key.mp4", "warning: the first 34 of 134 samples are left out"),
        ("mp3_beside.mp4", "warning: track 3 (soun, mp4a.6b) is left out"),
        ("hevc.mp4", "warning: track 1 (vide, hvc1) is left out"),
        ("nal_2.mp4", "NAL lengths of fewer than 4 bytes"),
        ("two_entries.mp4", "256x144 and 192x108"),
        ("languages.mp4", "2 channels, deu"),
        ("audio_8k.m4a", "8000 Hz, 1 channel"),
        ("long_gop.mp4", "key frames are far apart"),
    ],
)
def test_probe_tells_what_is_unusual(name: str, said: str) -> None:
    done = run("probe", MEDIA / name, "--segment-duration", "1.9")
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout, done.stdout


def test_probe_says_whether_inputs_make_one_ladder() -> None:
    together = probe(*LADDER)["together"]
    assert [r["name"] for r in together["renditions"]] == ["v0", "v1", "v2", "a0"]
    differ = probe(LADDER[0], MEDIA / "misaligned.mp4", "--segment-duration", "2")["together"]
    assert "key frame" in differ["error"]
    assert probe(PLAIN)["together"] is None
    assert "all inputs together" in run("probe", *LADDER).stdout


def test_probe_shows_the_others_where_one_cannot_be_read(tmp_path: Path) -> None:
    done = run("probe", tmp_path / "missing.mp4", PLAIN)
    assert done.returncode == 1
    assert done.stderr == f"pystream probe: {tmp_path}/missing.mp4: No such file or directory\n"
    assert done.stdout.startswith(f"{PLAIN}: progressive MP4")
    done = run("probe", "--json", tmp_path / "missing.mp4", PLAIN)
    found = json.loads(done.stdout)["inputs"]
    assert "No such file" in found[0]["error"] and found[1]["size"] > 0


def test_probe_of_what_cannot_be_packaged_is_no_error(tmp_path: Path) -> None:
    film = tmp_path / "silent.mp4"
    film.write_bytes((MEDIA / "hevc.mp4").read_bytes().replace(b"mp4a", b"xyzw"))
    done = run("probe", film)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be packaged: " in done.stdout


def test_probe_draws_trees_on_a_terminal() -> None:
    code, text = on_terminal("probe", PLAIN, MEDIA / "mp3_beside.mp4")
    assert code == 0
    shown = "\n".join(bare(text))
    assert "├── track 1: video avc1.64000c" in shown and "! track 3 (soun" in shown


# verify


@pytest.fixture
def output(tmp_path: Path) -> Path:
    package(tmp_path / "hls", PLAIN, *ENCRYPT)
    return tmp_path / "hls" / "index.m3u8"


def test_verify_says_what_was_compared(output: Path) -> None:
    done = run("verify", PLAIN, output)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"{output}: 1 segments .*AES-128.* samples equal the source's\n", done.stdout
    )
    found = json.loads(run("verify", "--json", PLAIN, output).stdout)
    assert found["ok"] is True and found["encrypted"] is True and found["segments"] == 1
    code, text = on_terminal("verify", PLAIN, output)
    assert code == 0 and "✓" in text


def test_verify_says_where_and_what(output: Path) -> None:
    segment = output.parent / "v0" / "0.ts"
    data = bytearray(segment.read_bytes())
    data[5000] ^= 1
    segment.write_bytes(data)
    assert f"{segment}: " in refused(1, "verify", PLAIN, output)
    done = run("verify", "--json", PLAIN, output)
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["ok"] is False and found["where"] == str(segment)
    assert "No such file" in refused(1, "verify", output.parent / "missing.mp4", output)
