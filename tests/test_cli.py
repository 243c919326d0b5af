"""The command line from outside: a process, its standard streams and its exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from pystream.cli import COMMANDS, main
from tests import program
from tests.oracles import synthetic

ROOT = Path(__file__).resolve().parent.parent
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
ENCRYPT = ("--encrypt", "aes-128")

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
    for flag in ("-V", "--version"):
        assert re.fullmatch(r"pystream \d+\.\d+\.\d+\S*\n", run(flag).stdout)


def test_help_is_a_command_too() -> None:
    assert run("help").stdout == run("help", "--help").stdout == run("--help").stdout != ""
    for name in COMMANDS:
        assert run("help", name).stdout == run(name, "--help").stdout != ""
    assert "no command 'nosuch'" in refused(2, "help", "nosuch")


def test_a_copy_does_what_a_start_does(tmp_path: Path) -> None:
    """`program.run`, with which most tests run commands, and Python started by nobody but this test."""
    narrow = ENVIRONMENT | {"COLUMNS": "60", "TZ": "Asia/Tokyo", "PYSTREAM_STORE_URL": "other.db"}
    cases: list[tuple[list[str], dict[str, Any]]] = [
        ([], {}),
        (["tenant", "add", "-h"], {"env": narrow}),
        (["tenant", "add", "acme", "--display", "Grün \udcff"], {}),
        (["tenant", "add", "acme", "--display", "Grün"], {}),
        (["tenant", "list"], {}),
        (["tenant", "list"], {"env": narrow}),
        (["tenant", "add", "other"], {"env": narrow}),
        (["password", "derive", "acme"], {"stdin": subprocess.DEVNULL}),
        (["password", "end", "acme", "--list", "-"], {"input": "\n" * 100_000 + "Ä\n"}),
        (["password", "end", "acme", "--list", "-"], {"input": ""}),
        (["probe", str(PLAIN)], {"cwd": MEDIA}),
        (["package", str(PLAIN), "-o", "hls"], {}),
    ]
    # From here on there is one to copy, which knows nothing of what follows.
    assert program.run("--version", env=ENVIRONMENT).returncode == 0
    told = []
    for copied in (True, False):
        folder = tmp_path / "here"
        folder.mkdir()
        (folder / "pystream.toml").write_text("[store]\nurl = 'sqlite:///acl.db'\n")
        umask = os.umask(0o027)
        try:
            done = []
            for words, options in cases:
                given = {"env": ENVIRONMENT, "cwd": folder} | options
                each = program.run(*words, **given) if copied else run(*words, **given)
                said = re.sub(r" in [\d.]+ s$", "", each.stdout, flags=re.M)
                done.append((each.returncode, said, each.stderr))
        finally:
            os.umask(umask)
        files = {path.name: path.stat().st_mode for path in folder.rglob("*")}
        told.append((done, files))
        shutil.rmtree(folder)
    for (words, _), copy, start in zip(cases, told[0][0], told[1][0], strict=True):
        assert copy == start, words
    assert told[0][1] == told[1][1]
    assert {code for code, _, _ in told[0][0]} == {0, 1, 2}
    assert "Grün" in told[0][0][4][1] and "other.db" in told[0][1]


def test_the_package_is_a_command_too() -> None:
    """`python -m pystream`, for where its script is not on the path."""
    for arguments in (["--version"], ["probe", str(PLAIN)]):
        words = [sys.executable, "-P", "-m", "pystream", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, run(*arguments).stdout)
    words = [sys.executable, "-P", "-m", "pystream", "probe", "missing.mp4"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "pystream probe: missing.mp4: No such file or directory\n"


def examples(text: str) -> list[str]:
    """The command lines in a text, without what they are piped into."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^ *pystream ((?:package|probe|verify) [^|\n]+\.mp4[^|\n]*)", joined, re.M)
    return [line.strip() for line in lines if "INPUT" not in line and "SOURCE" not in line]


def test_examples_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's, and those of each command's help, one after the other."""
    monkeypatch.chdir(tmp_path)
    names = dict(zip(("360p.mp4", "720p.mp4", "1080p.mp4", "sound.m4a"), LADDER, strict=True))
    for name, source in {"film.mp4": PLAIN, **names}.items():
        (tmp_path / name).write_bytes(source.read_bytes())
    ran = 0
    helps = "\n".join(run(name, "--help").stdout for name in ("package", "probe", "verify"))
    for text in ((ROOT / "README.md").read_text(), helps):
        for line in examples(text):
            done = run(*line.split())
            assert (done.returncode, done.stderr) == (0, ""), line
            ran += 1
        for path in tmp_path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    assert ran == 4 + 3 + 3 + 3


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


@pytest.mark.parametrize(
    "command",
    [
        *("tenant privacy", "privacy statement", "password cards"),
        *("report", "attendance purpose", "attendance join"),
    ],
)
def test_what_is_handed_on_is_of_one_language(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the language: German, as of all that is handed on, unless it says en" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), f"no command is given: {', '.join(COMMANDS)}"),
        (("frobnicate",), f"no command 'frobnicate': {', '.join(COMMANDS)}"),
        (("verfiy",), "no command 'verfiy', did you mean verify?"),
        (("event", "add", "acme/x"), "no command 'event', did you mean attendance event?"),
        (("event", "--help"), "did you mean attendance event?"),
        (("receipts",), "did you mean attendance receipt?"),
        (("backup",), "did you mean keyring backup?"),
        (("package", PLAIN, "-o", "x", "--overwrte"), "--overwrte, did you mean --overwrite?"),
        (("package", PLAIN, "-o", ""), "-o/--output: a name is wanted, and this one is empty"),
        (("package", "", "-o", "x"), "INPUT: a name is wanted, and this one is empty"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-file", ""), "--key-file: a name is wanted"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-dir", ""), "--key-dir: a name is wanted"),
        (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-uri", ""), "--key-uri: a URI"),
        (("probe", PLAIN, ""), "INPUT: a name is wanted"),
        (("verify", "", "x"), "SOURCE: a name is wanted"),
        (("verify", PLAIN, ""), "PLAYLIST: a name is wanted"),
        (("package", "-", "-o", "x"), "INPUT: - (standard input) is not possible"),
        (("package", PLAIN, "-o", "-"), "-o/--output: - (standard output) is not possible"),
        (("probe", "-"), "INPUT: - (standard input) is not possible"),
        (("verify", "-", "x"), "SOURCE: - (standard input) is not possible"),
        (("package", PLAIN, PLAIN, "-o", "x"), "plain.mp4 are the same file"),
        (("probe", PLAIN, MEDIA / ".." / "media" / "plain.mp4"), "are the same file"),
        (("verify", PLAIN, PLAIN, "x"), "SOURCE: "),
        *(
            (("package", PLAIN, "-o", "x", *ENCRYPT, "--key-uri", u, "--key-dir", "d"), said)
            for u, said in {
                "https://keys.example": "part of the host",
                "//keys.example:81": "part of the host",
                "https://keys.example/a b/": "--key-uri: a URI has no white space",
                'k"/': "--key-uri: a URI has no white space",
            }.items()
        ),
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
        rf"{tmp_path}/hls/index\.m3u8: 1 rendition, 1 segment, 6\.000 s, \d\d,\d+ bytes in \S+ s\n",
        done.stdout,
    )
    done = run("package", *LADDER, "-o", tmp_path / "ladder", "--segment-duration", "2")
    assert ": 4 renditions, 16 segments, 8.023 s, " in done.stdout


def test_package_says_where_a_short_tail_goes(tmp_path: Path) -> None:
    """As --help has it: a tail shorter than half a segment joins the segment before."""
    text = " ".join(run("package", "--help").stdout.split())
    assert "a tail shorter than half of it joins the segment before" in text
    # Six seconds, with key frames at 0, 2 and 4.
    for seconds, count in (("4", 2), ("3.9", 2), ("5", 1)):
        out = tmp_path / seconds
        summary = package(out, PLAIN, "--segment-duration", seconds)
        assert summary["renditions"][0]["segments"] == count


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
    line = refused(1, "verify", PLAIN, out / "index.m3u8")
    assert f"its key {base}v0-0.key lies elsewhere: --key-dir says where" in line
    inside = ("--key-uri", base, "--key-dir", out / "keys", "--overwrite")
    assert "must not be" in refused(1, "package", PLAIN, "-o", out, *ENCRYPT, *inside)


@pytest.mark.parametrize("name", ["a0-0.key", "v0-0.key"])
def test_a_key_file_of_the_key_folder_stays(tmp_path: Path, name: str) -> None:
    """Whether only the earlier output names it, or it is written again."""
    out, keys = tmp_path / "hls", tmp_path / "keys"
    there = ("--key-uri", "https://keys.example.org/film/", "--key-dir", keys)
    package(out, PLAIN, MEDIA / "ladder_audio.m4a", *ENCRYPT, *there)
    assert sorted(os.listdir(keys)) == ["a0-0.key", "a1-0.key", "v0-0.key"]
    key = (keys / name).read_bytes()
    package(out, PLAIN, *ENCRYPT, *there, "--key-file", keys / name, "--overwrite")
    assert sorted(os.listdir(keys)) == sorted({name, "v0-0.key"})
    assert (keys / name).read_bytes() == (keys / "v0-0.key").read_bytes() == key


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert "not empty; --overwrite" in refused(1, "package", PLAIN, "-o", tmp_path)
    line = refused(1, "package", PLAIN, "-o", tmp_path, "--overwrite")
    assert "no earlier output, since it holds no index.m3u8" in line
    assert "choose another folder, or empty this one" in line
    assert os.listdir(tmp_path) == ["mine"]
    (tmp_path / "mine").unlink()
    for _ in range(2):
        package(tmp_path, PLAIN, "--overwrite")
        assert sorted(os.listdir(tmp_path)) == ["index.m3u8", "v0"]


@pytest.mark.parametrize("base", ["https://keys.example.org?name=", "https://k.example/?a=/", "k/"])
def test_bases_that_names_can_be_appended_to(tmp_path: Path, base: str) -> None:
    out, keys = tmp_path / "hls", tmp_path / "keys"
    package(out, PLAIN, *ENCRYPT, "--key-uri", base, "--key-dir", keys)
    assert f'URI="{base}v0-0.key"' in (out / "v0" / "index.m3u8").read_text()
    assert run("verify", PLAIN, out, "--key-dir", keys).returncode == 0


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


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "gone").mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); from pystream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "package", str(PLAIN), "-o", ".", *more],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "pystream package: . cannot be found from the current folder, which has been removed:"
        " change to another one, or give an absolute path\n"
    )


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
        ("folder", "folder: Is a directory"),
        ("pipe", "pipe: no regular file"),
        ("text", "text: this is no MP4 file"),
        ("empty", "empty: the file is empty"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ("package", "missing.mp4", "-o", "hls"),
        ("package", PLAIN, "-o", "full"),
        ("probe", "missing.mp4"),
        ("verify", "missing.mp4", "x.m3u8"),
        ("verify", PLAIN, "missing.m3u8"),
    ],
)
def test_errors_are_json_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str | Path, ...]
) -> None:
    """Under one name, whatever the command, and the same as standard error has."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    done = run(*arguments, "--json")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert done.stderr == f"pystream {arguments[0]}: {json.loads(line)['error']}\n"
    # A file of that name is no option.
    assert run("package", "-o", "hls", "--", "--json").stdout == ""


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


def into_closed_pipe(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard error of a command whose output nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(*arguments, stdout=theirs, stderr=subprocess.PIPE, capture_output=False)
    os.close(theirs)
    return done.returncode, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    helps: list[tuple[str | Path, ...]] = [("--help",), ("--version",), ("package", "--help")]
    works = [("package", PLAIN, "-o", out), ("verify", PLAIN, out)]
    works += [("probe", PLAIN), ("probe", "--json", *[PLAIN, *LADDER])]
    for arguments in (*helps, *works):
        assert into_closed_pipe(*arguments) == (0, "")
    assert (out / "index.m3u8").exists()


def test_a_closed_pipe_hides_no_other_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp4"
    for more in ((), ("--json",)):
        for arguments in (("probe", missing, PLAIN), ("verify", missing, PLAIN)):
            code, said = into_closed_pipe(*arguments, *more)
            assert code == 1
            assert said == f"pystream {arguments[0]}: {missing}: No such file or directory\n"


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_summary_that_cannot_be_printed_is_told_from_work_that_failed(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    out = tmp_path / "hls"
    for command, said in (
        (("package", PLAIN, "-o", out), f"{out}/index.m3u8 is written"),
        (("verify", PLAIN, out), f"nothing wrong was found in {out}/index.m3u8"),
    ):
        with open("/dev/full", "w") as full:
            done = run(*command, *more, stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert done.returncode == 1
        assert done.stderr == (
            f"pystream {command[0]}: {said}, but standard output cannot be written:"
            " No space left on device\n"
        )
    assert run("verify", PLAIN, out).returncode == 0


@pytest.mark.parametrize("word", [PLAIN, "--help"])
def test_a_full_standard_output_is_an_error(word: str | Path) -> None:
    with open("/dev/full", "w") as full:
        done = run("probe", word, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr == (
        "pystream probe: standard output cannot be written: No space left on device\n"
    )


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


LOOKED = """
import gc, os, sys
looks = []
gc.callbacks.append(lambda phase, about: looks.append(phase))
end = os._exit
os._exit = lambda code: (print(looks.count("start"), file=sys.stderr, flush=True), end(code))
from pystream.cli import main
main()
"""


def test_a_command_does_not_look_for_garbage_among_its_modules(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LOOKED, "tenant", "list"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    # With Python's own threshold it is more than a hundred times.
    assert 0 < int(done.stderr.split()[-1]) < 30


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


def test_a_narrow_terminal_cuts_nothing_off(tmp_path: Path) -> None:
    code, text = on_terminal("package", *LADDER, "-o", tmp_path / "hls", *ENCRYPT, columns=40)
    assert code == 0
    lines = bare(text)
    shown = "\n".join(lines)
    assert "…" not in shown.rpartition("00:00")[2]
    for said in ("v1  320×180 25 fps", "avc1.64000c", "a0  audio stereo", "1 segment, 0:08.0"):
        assert said in shown
    assert max(map(len, lines[-25:])) <= 40


def test_hints_say_what_works(tmp_path: Path) -> None:
    _, text = on_terminal("package", PLAIN, "-o", tmp_path / "hls", *ENCRYPT, columns=200)
    shown = "\n".join(bare(text))
    assert f"python3 -m http.server --bind 127.0.0.1 -d {tmp_path}/hls" in shown
    assert "open http://127.0.0.1:8000/index.m3u8" in shown
    elsewhere = ("--key-uri", "https://keys.example.org/film/", "--key-dir", tmp_path / "keys")
    out = tmp_path / "elsewhere"
    _, text = on_terminal("package", PLAIN, "-o", out, *ENCRYPT, *elsewhere, columns=200)
    shown = "\n".join(bare(text))
    assert "players fetch the keys from https://keys.example.org/film/" in shown
    assert "http.server" not in shown and "ffplay" not in shown


def test_verify_shows_how_far_it_is(tmp_path: Path) -> None:
    package(tmp_path / "hls", PLAIN, "--segment-duration", "2")
    code, text = on_terminal("verify", PLAIN, tmp_path / "hls")
    assert code == 0
    assert "verifying" in text and "100%" in text
    assert "verifying" not in "".join(text.rsplit("\x1b[2K", 1)[-1])
    done = run("verify", PLAIN, tmp_path / "hls")
    assert done.stderr == "" and "verifying" not in done.stdout


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
        ("no_stss.mp4", "pictures that the index calls key frames and are none: 147"),
        ("late_key.mp4", "warning: the first 34 of 134 samples are left out"),
        ("mp3_beside.mp4", "warning: track 3 (audio, mp4a.6b) is left out"),
        ("hevc.mp4", "warning: track 1 (video, hvc1) is left out"),
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


def test_package_and_probe_call_a_track_that_is_left_out_the_same(tmp_path: Path) -> None:
    nameless = synthetic.pictures([25])
    nameless.entries = []
    (tmp_path / "film.mp4").write_bytes(
        synthetic.movie(synthetic.pictures([50]), synthetic.sound((0, 94)), nameless)
    )
    for path, said in (
        (MEDIA / "mp3_beside.mp4", "track 3 (audio, mp4a.6b) is left out"),
        (tmp_path / "film.mp4", "track 3 (video) is left out: "),
    ):
        done = run("package", path, "-o", tmp_path / "out", "--overwrite")
        assert done.returncode == 0
        assert said in done.stderr
        assert said in run("probe", path).stdout


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
    whole = json.loads(done.stdout)
    found = whole["inputs"]
    assert "No such file" in found[0]["error"] and found[1]["size"] > 0
    assert whole["error"] == found[0]["error"] and whole["together"] is None


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
    assert "├── track 1: video avc1.64000c" in shown and "! track 3 (audio" in shown


# verify


@pytest.fixture
def output(tmp_path: Path) -> Path:
    package(tmp_path / "hls", PLAIN, *ENCRYPT)
    return tmp_path / "hls" / "index.m3u8"


def test_verify_says_what_was_compared(output: Path) -> None:
    done = run("verify", PLAIN, output)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"{output}: 1 segment in 1 playlist \(.*AES-128.* samples equal the source's\n",
        done.stdout,
    )
    assert run("verify", PLAIN, output.parent).stdout == done.stdout
    found = json.loads(run("verify", "--json", PLAIN, output.parent).stdout)
    assert found["playlist"] == str(output)
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
