"""A folder of HLS appears whole or not at all, whatever happens while it is made."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pystream
from pystream import playlist
from pystream.packager import folder

MEDIA = Path(__file__).parent / "media"
PLAIN = MEDIA / "plain.mp4"
OTHER = MEDIA / "audio_longer.mp4"


def planned(*inputs: object, encrypt: bool = False, **options: object) -> pystream.Presentation:
    opened = [pystream.open(source) for source in inputs or (PLAIN,)]  # type: ignore[arg-type]
    encryption = pystream.Aes128() if encrypt else None
    return pystream.plan(opened, segment_duration=2, encryption=encryption, **options)  # type: ignore[arg-type]


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def neighbours(path: Path) -> list[str]:
    """What lies beside the output, hidden or not."""
    return sorted(set(os.listdir(path.parent)) - {path.name})


class Held:
    """A source whose media can only be read once it is let go; the index always can."""

    def __init__(self, path: Path = PLAIN) -> None:
        self.data = path.read_bytes()
        self.size = len(self.data)
        self.holding = False
        self.reached = threading.Event()
        self.go = threading.Event()

    def read_at(self, offset: int, n: int) -> bytes:
        if self.holding:
            self.reached.set()
            self.go.wait()
        return self.data[offset : offset + n]


class Shrinking(Held):
    def read_at(self, offset: int, n: int) -> bytes:
        return self.data[offset : offset + n // 2 if self.holding else offset + n]


class Broken(Held):
    error: BaseException = OSError(errno.EIO, "the disk is on fire")

    def read_at(self, offset: int, n: int) -> bytes:
        if self.holding:
            raise self.error
        return self.data[offset : offset + n]


def test_a_new_folder_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "hls"
    presentation = planned(encrypt=True)
    total = folder.write(presentation, out)
    (video,) = presentation.renditions
    assert total == sum((out / "v0" / video.uri(n)).stat().st_size for n in range(len(video)))
    assert set(contents(out)) == {
        "index.m3u8",
        *(f"v0/{name}" for name in ("index.m3u8", "0.ts", "1.ts", "2.ts", "v0-0.key")),
    }
    assert (out / "v0" / "1.ts").read_bytes() == bytes(video.segment(1))
    assert stat.S_IMODE((out / "v0" / "v0-0.key").stat().st_mode) == 0o600
    assert neighbours(out) == []


def test_an_empty_folder_is_filled_and_keeps_its_mode(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    out.mkdir(0o750)
    folder.write(planned(), out)
    folder.write(planned(), out, overwrite=True)
    assert stat.S_IMODE(out.stat().st_mode) == 0o750
    assert neighbours(out) == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hls").mkdir()
    (tmp_path / "hls" / "precious").write_text("x")
    with pytest.raises(pystream.OutputError, match="not empty"):
        folder.write(planned(), tmp_path / "hls")
    assert contents(tmp_path) == {"hls/precious": b"x"}


@pytest.mark.parametrize(
    "name", ["precious", "index.m3u8/film", ".pystream.hls.0123456789abcdef.partial"]
)
def test_only_an_earlier_output_is_overwritten(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "hls" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("x")
    before = contents(tmp_path)
    with pytest.raises(pystream.OutputError, match=r"no earlier output, .* choose another folder"):
        folder.write(planned(), tmp_path / "hls", overwrite=True)
    assert contents(tmp_path) == before
    shutil.rmtree(tmp_path / "hls")
    (tmp_path / "hls" / "lost+found").mkdir(parents=True)
    folder.write(planned(), tmp_path / "hls", overwrite=True)


@pytest.mark.parametrize(
    "name",
    [
        *("thesis.txt", "photos/1.jpg", "lost+found/inode", "0.ts", "v0-0.key", "index.m3u8.gz"),
        *("v0/notes.txt", "v0/00.ts", "v0/0.TS", "v0/.ts", "v0/\u0661.ts", "v0/init-x.mp4"),
        *("v0/a0-0.key", "v0/v0.key", "v0/v0-.key", "v0/index.m3u8.old", "v0/deep/1.ts"),
        *("v0/7.ts/mine", "v00/0.ts", "v/0.ts", "b0/0.ts", "v0.old/0.ts", ".hidden"),
        ".pystream..0123456789abcdef.partial",
    ],
)
def test_an_output_with_anything_else_in_it_is_not_overwritten(tmp_path: Path, name: str) -> None:
    out = tmp_path / "hls"
    folder.write(planned(encrypt=True), out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("x")
    said = re.escape(str(Path(*Path(name).parts[: 2 if name[:3] == "v0/" else 1])))
    with unchanged(out / "v0"), pytest.raises(pystream.OutputError, match=f"since {said} in it"):
        folder.write(planned(), out, overwrite=True)
    assert neighbours(out) == []


def test_links_and_pipes_are_no_output(tmp_path: Path) -> None:
    out, there = tmp_path / "hls", tmp_path / "there"
    folder.write(planned(), out)
    for name in ("v0/0.ts", "index.m3u8", "v0"):
        (out / name).rename(there)
        (out / name).symlink_to(there)
        with pytest.raises(pystream.OutputError, match=f"since {name} in it"):
            folder.write(planned(), out, overwrite=True)
        (out / name).unlink()
        there.rename(out / name)
    os.mkfifo(out / "v0" / "9.ts")
    with pytest.raises(pystream.OutputError, match=r"since v0/9\.ts in it"):
        folder.write(planned(), out, overwrite=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "my songs",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/index.m3u8\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://example.org/v0/index.m3u8\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv0/other.m3u8\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n0.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_of_somebody_else_is_not_overwritten(tmp_path: Path, text: str) -> None:
    out = tmp_path / "hls"
    (out / "v0").mkdir(parents=True)
    (out / "index.m3u8").write_text(text)
    with (
        unchanged(out / "v0"),
        pytest.raises(pystream.OutputError, match=r"since index\.m3u8 in it"),
    ):
        folder.write(planned(), out, overwrite=True)


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_every_output_is_overwritten(tmp_path: Path, format: str) -> None:
    """Ladders, keys beside the playlists, several initialization sections."""
    out = tmp_path / "hls"
    inputs = [MEDIA / "ladder_90.mp4", MEDIA / "ladder_180.mp4", MEDIA / "ladder_audio.m4a"]
    for sources in (inputs, [MEDIA / "two_entries.mp4"]):
        opened = [pystream.open(source) for source in sources]
        encryption = pystream.Aes128(rotate_every=1)
        old = pystream.plan(opened, format=format, encryption=encryption, segment_duration=2)
        folder.write(old, out, overwrite=True)
        folder.write(planned(), out, overwrite=True)
        assert sorted(os.listdir(out)) == ["index.m3u8", "v0"]


def test_an_empty_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `os.path` it would be the current one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pystream.OutputError, match="name is empty"):
        folder.write(planned(), "", overwrite=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("at", ["file", "file/hls"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, at: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(pystream.OutputError, match="is no folder"):
        folder.write(planned(), tmp_path / at, overwrite=True)
    assert contents(tmp_path) == {"file": b"x"}


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "hls").symlink_to("there")
    folder.write(planned(), tmp_path / "hls")
    assert (tmp_path / "hls").is_symlink()
    assert (tmp_path / "there" / "index.m3u8").is_file()


def test_pain_69_a_stale_segment_never_survives(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    folder.write(planned(OTHER, format="fmp4", encrypt=True), out)
    (out / "v0" / "99.ts").write_text("stale")
    (out / "v7").mkdir()
    (out / "v7" / "init-99.mp4").write_text("stale")
    folder.write(planned(), out, overwrite=True)
    fresh = tmp_path / "fresh"
    folder.write(planned(), fresh)
    assert contents(out) == contents(fresh)
    assert sorted(os.listdir(out)) == ["index.m3u8", "v0"]
    assert neighbours(out) == ["fresh"]


def listed(out: Path) -> set[str]:
    """Every file that an output's playlists name, read through one open folder: a player that has
    read a playlist goes on with what belonged to it."""
    held = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:

        def read(name: str) -> bytes:
            with open(os.open(name, os.O_RDONLY, dir_fd=held), "rb") as file:
                return file.read()

        found = {"index.m3u8"}
        master = playlist.parse(read("index.m3u8").decode())
        assert isinstance(master, playlist.MultivariantPlaylist)
        uris = [v.uri for v in master.variants] + [r.uri for r in master.renditions if r.uri]
        for uri in uris:
            media = playlist.parse(read(uri).decode())
            assert isinstance(media, playlist.MediaPlaylist)
            beside = uri.rpartition("/")[0]
            names = [segment.uri for segment in media.segments]
            names += [segment.map.uri for segment in media.segments if segment.map]
            for name in dict.fromkeys(names):
                assert read(f"{beside}/{name}")
                found.add(f"{beside}/{name}")
            found.add(uri)
        return found
    finally:
        os.close(held)


def test_pain_69_nothing_is_visible_before_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    source = Held()
    presentation = planned(source)
    source.holding = True
    writer = threading.Thread(target=folder.write, args=(presentation, out))
    writer.start()
    source.reached.wait()
    assert not out.exists()
    (work,) = os.listdir(tmp_path)
    assert work.startswith(".") and not list((tmp_path / work).rglob("*.m3u8"))
    source.go.set()
    writer.join()
    assert len(listed(out)) == 5
    assert neighbours(out) == []


def test_pain_69_a_reader_sees_the_old_or_the_new_output_whole(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    old, new = planned(encrypt=True), planned(OTHER, format="fmp4")
    folder.write(old, out)
    kinds = [listed(out)]
    folder.write(new, out, overwrite=True)
    kinds.append(listed(out))
    seen: list[set[str]] = []
    stop, once = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                # An old folder that was opened just before it went loses its files while they are
                # read; who then opens again gets the new one.
                try:
                    seen.append(listed(out))
                except FileNotFoundError:
                    assert out.is_dir()
                once.set()
        except BaseException as error:
            failures.append(error)
            once.set()

    reader = threading.Thread(target=read)
    reader.start()
    for presentation in [old, new] * 5:
        once.clear()
        once.wait()
        folder.write(presentation, out, overwrite=True)
    stop.set()
    reader.join()
    assert failures == []
    assert all(each in kinds for each in seen)
    assert neighbours(out) == []


@pytest.fixture(params=["new", "old"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An output folder that is not there, or holds an older output."""
    out = tmp_path / "place" / "hls"
    if request.param == "old":
        folder.write(planned(OTHER, encrypt=True), out)
    return out


@contextmanager
def unchanged(out: Path) -> Iterator[None]:
    top = out.parent.parent
    there = contents(top)
    folders = sorted(str(path) for path in top.rglob("*"))
    yield
    assert contents(top) == there
    assert sorted(str(path) for path in top.rglob("*")) == folders


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (Shrinking(), pystream.SourceError),
        (Broken(), OSError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pain_69_an_input_that_fails_leaves_everything_as_it_was(
    before: Path, source: Held, error: type[BaseException]
) -> None:
    source.holding = False
    presentation = planned(source, encrypt=True)
    source.holding = True
    with unchanged(before), pytest.raises(error):
        folder.write(presentation, before, overwrite=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_a_source_that_stops_the_work_publishes_nothing(
    before: Path, error: type[BaseException]
) -> None:
    source = Broken()
    presentation = planned(source)
    source.error, source.holding = error("enough"), True
    with unchanged(before), pytest.raises(error):
        folder.write(presentation, before, overwrite=True)


def test_pain_69_a_file_that_is_cut_while_it_is_read(before: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(PLAIN, film)
    presentation = planned(film)
    os.truncate(film, film.stat().st_size - 1000)
    with unchanged(before), pytest.raises(pystream.SourceError, match=r"film\.mp4.*shrank"):
        folder.write(presentation, before, overwrite=True)


def test_progress_that_fails_leaves_everything_as_it_was(before: Path) -> None:
    def progress(done: int, total: int) -> None:
        raise ValueError("no more")

    with unchanged(before), pytest.raises(ValueError, match="no more"):
        folder.write(planned(), before, overwrite=True, progress=progress)


# Where somebody is.


@pytest.mark.parametrize(("inside", "given"), [("", "."), ("v0", ".."), ("a0", "..")])
def test_the_current_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, given: str
) -> None:
    out = tmp_path / "hls"
    folder.write(planned(OTHER, format="fmp4", encrypt=True), out)
    identity = os.stat(out / inside).st_ino
    monkeypatch.chdir(out / inside)
    folder.write(planned(), given, overwrite=True)
    assert os.stat(".").st_ino == os.stat(out / inside).st_ino == identity
    monkeypatch.chdir(tmp_path)
    folder.write(planned(), tmp_path / "same")
    assert contents(out) == contents(tmp_path / "same")
    # What stays for whoever is in it is no reason to refuse the next run.
    folder.write(planned(), out, overwrite=True)
    assert sorted(os.listdir(out)) == ["index.m3u8", "v0"]
    assert neighbours(out) == ["same"]


def test_an_empty_current_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "hls"
    out.mkdir()
    identity = out.stat().st_ino
    monkeypatch.chdir(out)
    folder.write(planned(), ".")
    assert out.stat().st_ino == identity
    assert len(listed(out)) == 5
    assert sorted(os.listdir()) == ["index.m3u8", "v0"] and neighbours(out) == []


def test_a_current_folder_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    presentation = planned(encrypt=True)
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = r"^{} cannot be found from the current folder, which has been removed: change to another"
    for given in (".", "hls", "../hls"):
        with pytest.raises(pystream.OutputError, match=said.format(re.escape(given))):
            folder.write(presentation, given)
    with pytest.raises(pystream.OutputError, match=said.format("keys")):
        folder.write(presentation, tmp_path / "hls", key_dir="keys")
    assert os.listdir(tmp_path) == []
    # Who does not ask for it does not miss it.
    folder.write(presentation, tmp_path / "hls", key_dir=tmp_path / "keys")
    assert (tmp_path / "hls" / "index.m3u8").is_file()


# What comes into the output's place while it is made.


def once(work: Callable[[], object]) -> Callable[[int, int], None]:
    """What `progress` may be, to do something after the checks and before all is in place."""
    left = [work]

    def progress(done: int, total: int) -> None:
        while left:
            left.pop()()

    return progress


def put(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_put_into_the_folder_meanwhile_stays(tmp_path: Path, overwrite: bool) -> None:
    out, keys = tmp_path / "hls", tmp_path / "keys"
    filled = once(lambda: put(out / "thesis.txt"))
    said = "no earlier output, since it holds no index" if overwrite else "not empty"
    with pytest.raises(pystream.OutputError, match=said):
        folder.write(planned(encrypt=True), out, key_dir=keys, overwrite=overwrite, progress=filled)
    assert contents(tmp_path) == {"hls/thesis.txt": b"x"}
    # Nor are keys left of what is not there.
    assert neighbours(out) == []


def test_a_file_that_takes_the_folders_place_stays(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    for overwrite in (False, True):
        with pytest.raises(pystream.OutputError, match="hls exists and is no folder"):
            folder.write(
                planned(), out, overwrite=overwrite, progress=once(lambda: out.write_text("x"))
            )
        assert contents(tmp_path) == {"hls": b"x"}
        out.unlink()


def test_what_is_put_into_an_earlier_output_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    folder.write(planned(OTHER, encrypt=True), out)
    there = contents(out)
    with pytest.raises(pystream.OutputError, match=r"since v0/notes\.txt in it"):
        folder.write(
            planned(), out, overwrite=True, progress=once(lambda: put(out / "v0" / "notes.txt"))
        )
    assert contents(out) == there | {"v0/notes.txt": b"x"}
    assert neighbours(out) == []


def test_of_two_runs_at_once_the_first_that_is_done_stays(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    first = planned(OTHER, encrypt=True)
    with pytest.raises(pystream.OutputError, match="not empty"):
        folder.write(planned(), out, progress=once(lambda: folder.write(first, out)))
    folder.write(first, tmp_path / "same")
    assert contents(out) == contents(tmp_path / "same")
    assert neighbours(out) == ["same"]


def test_a_key_that_comes_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    out, keys = tmp_path / "hls", tmp_path / "keys"
    presentation = planned(PLAIN, MEDIA / "ladder_audio.m4a", encrypt=True)
    names = [name for each in presentation.renditions for name, _ in each.key_files()]
    taken = once(lambda: put(keys / names[-1], "another film's"))
    with pytest.raises(pystream.OutputError, match=f"{names[-1]} exists; --overwrite replaces it"):
        folder.write(presentation, out, key_dir=keys, progress=taken)
    assert len(names) > 1
    assert contents(tmp_path) == {f"keys/{names[-1]}": b"another film's"}
    assert neighbours(out) == ["keys"]


def test_a_folder_in_which_another_run_writes_is_not_replaced_unasked(tmp_path: Path) -> None:
    """One for which it is a mount point. What a killed one left there is removed."""
    out = tmp_path / "hls"
    left = out / ".pystream..0123456789abcdef.partial"
    (left / "v0").mkdir(parents=True)
    with pytest.raises(pystream.OutputError, match=r"hls holds a folder \.pystream\.\.\*\.partial"):
        folder.write(planned(), out, progress=once(lambda: left.mkdir()))
    assert os.listdir(out) == [left.name] and os.listdir(left) == []
    (left / "v0").mkdir()
    folder.write(planned(), out)
    assert sorted(os.listdir(out)) == ["index.m3u8", "v0"]


# In a process of its own, which says when it reads, and goes on when its standard input ends. The
# signal is sent before that, so it is always heard first.
INTERRUPTED = """
import sys
from pathlib import Path
import pystream
from pystream.cli import _terminal
from pystream.packager import folder

class Held:
    data = Path(sys.argv[1]).read_bytes()
    size = len(data)
    holding = False

    def read_at(self, offset, n):
        if self.holding:
            print("reading", flush=True)
            sys.stdin.read()
        return self.data[offset : offset + n]

_terminal.on_signals()
held = Held()
presentation = pystream.plan([pystream.open(held)], segment_duration=2)
held.holding = True
try:
    folder.write(presentation, sys.argv[2], overwrite=True, jobs=1)
except KeyboardInterrupt:
    sys.exit(130)
"""


def python(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    # -P: the package that is under test, not a folder that happens to be the current one.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_pain_69_an_interrupted_run_leaves_everything_as_it_was(before: Path, name: str) -> None:
    with unchanged(before), python(INTERRUPTED, PLAIN, before) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        child.send_signal(getattr(signal, f"SIG{name}"))
        child.communicate()
        assert child.returncode == 130


# Interrupts itself at the moment of the renaming, of which Python's audit events tell.
TOO_LATE = """
import os, signal, sys
import pystream
from pystream.packager import folder

presentation = pystream.plan([pystream.open(sys.argv[1])], segment_duration=2)
old = os.path.exists(sys.argv[2])

def hook(event, _):
    if event == "os.rename":
        if old and not os.path.exists(sys.argv[2] + "/index.m3u8"):
            sys.exit("there is no output at this moment")
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
try:
    folder.write(presentation, sys.argv[2], overwrite=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
def test_an_interrupt_while_things_are_put_in_place_is_heard_after_that(before: Path) -> None:
    with python(TOO_LATE, PLAIN, before) as child:
        child.communicate()
    assert child.returncode == 130
    assert len(listed(before)) == 5
    assert neighbours(before) == []


# What a run that was killed leaves


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hls", "é" * 120])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    for other in ("x", "hls.x"):
        with python(INTERRUPTED, PLAIN, tmp_path / other) as child:
            assert child.stdout is not None and child.stdout.readline() == "reading\n"
            child.kill()
    others = os.listdir(tmp_path)
    assert len(others) == 2
    with python(INTERRUPTED, PLAIN, out) as child:
        assert child.stdout is not None and child.stdout.readline() == "reading\n"
        child.kill()
    (left,) = set(os.listdir(tmp_path)) - set(others)
    assert list((tmp_path / left).iterdir())
    # Nobody's are also those that only look so: by no run, and of no run for this target.
    mine = [f"{left}.old", left.replace(".partial", "0.partial"), f".pystream.{name[:40]}.partial"]
    for each in mine:
        (tmp_path / each).mkdir()
        (tmp_path / each / "precious").write_text("x")
    with pytest.raises(pystream.OutputError):
        # A run that is refused at once removes nothing.
        folder.write(planned(), tmp_path / mine[0])
    assert (tmp_path / left).exists()
    folder.write(planned(), out)
    assert sorted(neighbours(out)) == sorted([*others, *mine])


@pytest.mark.slow
def test_a_run_that_is_under_way_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "hls"
    with python(INTERRUPTED, PLAIN, out) as child:
        assert child.stdout is not None and child.stdout.readline() == "reading\n"
        (work,) = os.listdir(tmp_path)
        folder.write(planned(OTHER), out)
        assert neighbours(out) == [work]
        child.communicate()
        assert child.returncode == 0
    assert len(listed(out)) == 5
    assert neighbours(out) == []


def test_a_folder_that_was_just_made_is_left_alone(tmp_path: Path) -> None:
    """Between the making of it and the lock another run may come by."""
    fresh = tmp_path / ".pystream.hls.0123456789abcdef.partial"
    fresh.mkdir()
    folder.write(planned(), tmp_path / "hls")
    assert fresh.exists()


def test_leftovers_that_cannot_be_removed_are_no_error(tmp_path: Path) -> None:
    left = tmp_path / ".pystream.hls.0123456789abcdef.partial"
    left.symlink_to(tmp_path / "there")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").write_text("x")
    for n in range(9):
        (tmp_path / f".pystream.hls.fedcba987654321{n}.partial").write_text("a file")
        (tmp_path / f".pystream.hls.000000000000000{n}.partial" / "v0").mkdir(parents=True)
    folder.write(planned(), tmp_path / "hls")
    # The others are removed all the same.
    assert not list(tmp_path.glob(".pystream.hls.0000*"))
    assert (tmp_path / "there" / "precious").exists() and left.is_symlink()


# Somebody who may write to a leftover puts a link in the place of a folder in it, at the moment when
# that is opened, or listed.
SWAPPED = """
import os, sys
import pystream
from pystream.packager import folder

film, out, victim, event = sys.argv[1:]
presentation = pystream.plan([pystream.open(film)])

def hook(what, arguments):
    if what != event:
        return
    path = arguments[0]
    if isinstance(path, int):
        path = os.readlink(f"/proc/self/fd/{path}")
    if os.path.basename(path) == "sub" and not os.path.lexists(f"{out}/moved"):
        left = f"{out}/.pystream.hls.0123456789abcdef.partial/sub"
        os.rename(left, f"{out}/moved")
        os.symlink(victim, left)

sys.addaudithook(hook)
folder.write(presentation, f"{out}/hls")
"""


@pytest.mark.slow
@pytest.mark.parametrize("event", ["open", "os.listdir"])
def test_a_link_in_a_leftover_leads_nowhere(tmp_path: Path, event: str) -> None:
    place, victim = tmp_path / "place", tmp_path / "victim"
    sub = place / ".pystream.hls.0123456789abcdef.partial" / "sub"
    sub.mkdir(parents=True)
    (sub / "precious").write_text("left")
    victim.mkdir()
    (victim / "precious").write_text("x")
    with python(SWAPPED, PLAIN, place, victim, event) as child:
        child.communicate()
    assert child.returncode == 0
    assert (place / "moved").is_dir() and (place / "hls" / "index.m3u8").is_file()
    assert contents(victim) == {"precious": b"x"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_somebody_else_left_is_left_alone(tmp_path: Path) -> None:
    left = tmp_path / ".pystream.hls.0123456789abcdef.partial"
    left.mkdir()
    (left / "precious").write_text("x")
    os.chown(left, 65534, 65534)
    folder.write(planned(), tmp_path / "hls")
    assert contents(left) == {"precious": b"x"}


def let_in(path: Path) -> None:
    """Lets other users pass through pytest's own folders."""
    path.chmod(0o755)
    for parent in path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)


def in_child(work: Callable[[], None]) -> None:
    """Runs something in a forked process, for what cannot be taken back."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_pain_69_a_full_disk_by_its_limit(before: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(OSError) as caught:
            folder.write(planned(), before, overwrite=True)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename.startswith(f"{before}/v0/")

    with unchanged(before):
        in_child(work)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_not_be_written(before: Path, tmp_path: Path) -> None:
    presentation = planned()

    def work() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(PermissionError) as caught:
            folder.write(presentation, before, overwrite=True)
        assert caught.value.filename in (str(tmp_path), str(before.parent), str(before))

    let_in(tmp_path)
    with unchanged(before):
        in_child(work)


def mounts_allowed() -> bool:
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return done.returncode == 0


def may_mount() -> None:
    if shutil.which("unshare") is None or not mounts_allowed():
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail("CI runs as root and must not skip what needs a mount")
        pytest.skip("this user may not mount in a namespace of its own")


MOUNTED = """
import errno, os, re, sys
from pathlib import Path
import pystream
from pystream.packager import folder

def planned(path, **options):
    return pystream.plan([pystream.open(path)], segment_duration=2, **options)

plain, other, out = map(Path, sys.argv[1:4])
"""


def in_mount(script: str, out: Path, mount: str) -> subprocess.CompletedProcess[str]:
    """Runs Python where `out` is a mount point that nobody else sees."""
    out.mkdir(exist_ok=True, parents=True)
    command = f'set -e; {mount}; exec "$PY" -P -c "$SCRIPT" "$1" "$2" "$OUT"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", command, "bash", str(PLAIN), str(OTHER)],
        env={**os.environ, "PY": sys.executable, "SCRIPT": MOUNTED + script, "OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "mount",
    ['mount -t tmpfs none "$OUT"', 'mkdir "$OUT.there"; mount --bind "$OUT.there" "$OUT"'],
    ids=["tmpfs", "bound"],
)
def test_pain_69_a_mount_point_gets_file_by_file(tmp_path: Path, mount: str) -> None:
    may_mount()
    script = """
(out / "lost+found").mkdir()
identity = out.stat().st_ino, out.stat().st_dev
folder.write(planned(other, format="fmp4", encryption=pystream.Aes128()), out)
(out / "v0" / "99.ts").write_text("stale")
(out / "a0" / "index.m3u8").exists() or sys.exit("no audio rendition")
written, replace = [], os.replace
def noted(source, target):
    written.append(os.path.relpath(target, out))
    replace(source, target)
os.replace = noted
folder.write(planned(plain), out, overwrite=True)
found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
assert found == ["index.m3u8", "lost+found", "v0", "v0/0.ts", "v0/1.ts", "v0/2.ts",
                 "v0/index.m3u8"], found
assert written[-2:] == ["v0/index.m3u8", "index.m3u8"], written
assert identity == (out.stat().st_ino, out.stat().st_dev)
try:
    folder.write(planned(plain), out)
except pystream.OutputError:
    pass
# Killed while it put things in place: there is no playlist yet, and the rest is in a folder for it.
(out / "index.m3u8").unlink()
left = out / ".pystream..0123456789abcdef.partial"
left.mkdir()
(left / "index.m3u8").write_text("")
folder.write(planned(plain), out, overwrite=True)
assert sorted(os.listdir(out)) == ["index.m3u8", "lost+found", "v0"]
print("done")
"""
    done = in_mount(script, tmp_path / "hls", mount)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert not any(name.endswith(".partial") for name in os.listdir(tmp_path))


@pytest.mark.slow
def test_a_mount_point_that_is_filled_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    may_mount()
    script = """
# At the moment of an audit event of a file of that name, something else comes there.
waiting = {}

def hook(event, arguments):
    if event in ("os.link", "os.mkdir", "os.rename"):
        path = arguments[1] if event != "os.mkdir" else arguments[0]
        if act := waiting.pop((event, os.path.relpath(path, out)), None):
            act()

def put(name):
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("x")

def contents():
    return {str(path.relative_to(out)): path.read_bytes() if path.is_file() else None
            for path in out.rglob("*")}

def refused(said, overwrite=False, progress=None):
    try:
        folder.write(planned(plain), out, overwrite=overwrite, progress=progress)
    except pystream.OutputError as error:
        assert re.search(said, str(error)), error
    else:
        sys.exit(f"{said} was expected")
    assert not waiting

sys.addaudithook(hook)
refused("not empty", progress=lambda *_: put("thesis.txt"))
assert contents() == {"thesis.txt": b"x"}, contents()
(out / "thesis.txt").unlink()
waiting["os.mkdir", "v0"] = lambda: put("v0/precious")
refused("v0 exists")
assert contents() == {"v0": None, "v0/precious": b"x"}, contents()
(out / "v0" / "precious").unlink()
(out / "v0").rmdir()
waiting["os.link", "v0/1.ts"] = lambda: put("v0/1.ts")
refused("v0/1.ts exists; --overwrite")
assert contents() == {"v0": None, "v0/1.ts": b"x"}, contents()
(out / "v0" / "1.ts").unlink()
(out / "v0").rmdir()
waiting["os.link", "index.m3u8"] = lambda: put("index.m3u8")
refused("index.m3u8 exists")
assert contents() == {"index.m3u8": b"x"}, contents()
(out / "index.m3u8").unlink()

folder.write(planned(other, format="fmp4"), out)
before = contents()
refused("since v0/notes.txt in it", True, lambda *_: put("v0/notes.txt"))
assert contents() == before | {"v0/notes.txt": b"x"}, contents()
(out / "v0" / "notes.txt").unlink()
waiting["os.rename", "index.m3u8"] = lambda: (put("v0/notes.txt"), put("a0/notes.txt"), put("x"))
folder.write(planned(plain), out, overwrite=True)
found = sorted(name for name, data in contents().items() if data is not None)
assert found == ["a0/notes.txt", "index.m3u8", "v0/0.ts", "v0/1.ts", "v0/2.ts", "v0/index.m3u8",
                 "v0/notes.txt", "x"], found
print("done")
"""
    done = in_mount(script, tmp_path / "hls", 'mount -t tmpfs none "$OUT"')
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.slow
def test_pain_69_a_full_disk(tmp_path: Path) -> None:
    may_mount()
    script = """
os.mkdir(out / "place")
target = out / "place" / "hls"
folder.write(planned(plain), target)
before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

# Somebody else fills the disk as soon as the media is read.
class Filling:
    data = plain.read_bytes()
    size = len(data)
    filler = None

    def read_at(self, offset, n):
        if self.filler is not None:
            try:
                with open(self.filler, "ab", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
            except OSError:
                pass
        return self.data[offset : offset + n]

for _ in range(2):
    source = Filling()
    presentation = planned(source)
    source.filler = out / "filler"
    try:
        folder.write(presentation, target, overwrite=True)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        assert str(target) in error.filename, error
    else:
        sys.exit("it fitted")
    source.filler.unlink()
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert os.listdir(out / "place") == ["hls"]
print("done")
"""
    done = in_mount(script, tmp_path / "disk", 'mount -t tmpfs -o size=1m none "$OUT"')
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.slow
def test_what_surely_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    may_mount()
    script = """
def refused(target, said):
    before = sorted(out.rglob("*"))
    try:
        folder.write(planned(plain), target, overwrite=True)
    except pystream.OutputError as error:
        text = str(error)
        assert f"{target} needs 9" in text and "its file system has room for " in text, text
        assert re.search(rf"room for [0-9,]+{said}$", text), text
    else:
        sys.exit("it fitted")
    assert sorted(out.rglob("*")) == before

target = out / "deep" / "hls"
left = out / "deep" / ".pystream.hls.0123456789abcdef.partial"
left.mkdir(parents=True)
# What a killed run left does not count: it is removed before.
(left / "big").write_bytes(bytes(100_000))
folder.write(planned(plain), target)
refused(target, " beside the old output, which stays until the new one is whole")
refused(out / "new" / "hls", "")
print("done")
"""
    done = in_mount(script, tmp_path / "disk", 'mount -t tmpfs -o size=160k none "$OUT"')
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.slow
def test_a_read_only_file_system(tmp_path: Path) -> None:
    may_mount()
    script = """
try:
    folder.write(planned(plain), out / "hls")
except OSError as error:
    assert error.errno == errno.EROFS and error.filename == str(out), error
    print("done")
"""
    done = in_mount(script, tmp_path / "disk", 'mount -t tmpfs -o ro none "$OUT"')
    assert (done.stdout, done.stderr) == ("done\n", "")


# Keys that are served elsewhere.


def test_keys_go_to_their_folder(tmp_path: Path) -> None:
    out, keys = tmp_path / "hls", tmp_path / "secret" / "keys"
    folder.write(planned(encrypt=True), out, key_dir=keys)
    assert [path.name for path in keys.iterdir()] == ["v0-0.key"]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys / "v0-0.key").stat().st_mode) == 0o600
    assert not any(name.endswith(".key") for name in contents(out))


def test_a_key_folder_inside_the_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pystream.OutputError, match="must not be"):
        folder.write(planned(encrypt=True), tmp_path / "hls", key_dir=tmp_path / "hls" / "keys")
    assert os.listdir(tmp_path) == []


def test_keys_are_not_replaced_unasked(tmp_path: Path) -> None:
    out, keys = tmp_path / "hls", tmp_path / "keys"
    folder.write(planned(encrypt=True), out, key_dir=keys)
    there = contents(tmp_path)
    with pytest.raises(pystream.OutputError, match=r"v0-0\.key exists"):
        folder.write(planned(encrypt=True), tmp_path / "more", key_dir=keys)
    assert contents(tmp_path) == there
    presentation = planned(encrypt=True)
    folder.write(presentation, out, key_dir=keys, overwrite=True)
    assert os.listdir(keys) == ["v0-0.key"]
    ((_, key),) = presentation.renditions[0].key_files()
    assert (keys / "v0-0.key").read_bytes() == key != there["keys/v0-0.key"]


def rotated(every: int, base: str = "", *inputs: Path) -> pystream.Presentation:
    """Two, three or more keys, a period of `every` segments each."""
    sources = [pystream.open(source) for source in inputs or (OTHER,)]
    encryption = pystream.Aes128(rotate_every=every, key_uri=base)
    return pystream.plan(sources, segment_duration=2, encryption=encryption)


def test_keys_that_nothing_names_any_more_are_removed(tmp_path: Path) -> None:
    out, keys, base = tmp_path / "hls", tmp_path / "keys", "https://keys.example.org/?film="
    folder.write(rotated(1, base, OTHER, MEDIA / "ladder_audio.m4a"), out, key_dir=keys)
    assert {"v0-1.key", "v0-2.key", "a0-0.key", "a1-0.key"} <= {*os.listdir(keys)}
    # What no playlist of the earlier output names is somebody else's, and what is no key is none.
    kept = {"v0-10.key": bytes(16), "v1-0.key": bytes(16), "a0-0.key.old": bytes(16), "x": b""}
    for name, data in kept.items():
        (keys / name).write_bytes(data)
    (keys / "a1-0.key").write_bytes(bytes(17))
    kept["a1-0.key"] = bytes(17)
    presentation = rotated(4, base)
    fresh = dict(presentation.renditions[0].key_files())
    folder.write(presentation, out, key_dir=keys, overwrite=True)
    assert contents(keys) == kept | fresh


def test_keys_stay_where_the_output_stays_or_is_another_one(tmp_path: Path) -> None:
    out, keys, base = tmp_path / "hls", tmp_path / "keys", "https://keys.example.org/film/"
    folder.write(rotated(1, base), out, key_dir=keys)
    there = contents(tmp_path)
    with pytest.raises(FileNotFoundError):
        film = Held()
        source = pystream.open(film)
        film.read_at = missing  # type: ignore[method-assign]
        presentation = pystream.plan([source], scan=False, encryption=pystream.Aes128(key_uri=base))
        folder.write(presentation, out, key_dir=keys, overwrite=True)
    assert contents(tmp_path) == there
    # Keys that are served of another place lie elsewhere: these are another film's.
    folder.write(rotated(4, base + "other/"), out, key_dir=keys, overwrite=True)
    assert {*os.listdir(keys)} == {name.removeprefix("keys/") for name in there if "key" in name}
    # An output that is damaged, or was no playlist ever, names nothing.
    folder.write(rotated(1, base), out, key_dir=keys, overwrite=True)
    (out / "v0" / "index.m3u8").write_bytes(b"\xff")
    folder.write(rotated(4, base), out, key_dir=keys, overwrite=True)
    assert len(os.listdir(keys)) > 2


def missing(offset: int, n: int) -> bytes:
    raise FileNotFoundError(errno.ENOENT, "no such film")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_pain_69_old_keys_stay_where_the_new_output_cannot_be_put_in_place(tmp_path: Path) -> None:
    """A sticky folder lets others add files but not replace ours: the last step fails."""
    place, keys = tmp_path / "place", tmp_path / "keys"
    folder.write(planned(OTHER, encrypt=True), place / "hls", key_dir=keys)
    place.chmod(0o1777)
    os.chown(keys, 65534, 65534)
    os.chown(keys / "v0-0.key", 65534, 65534)
    let_in(tmp_path)
    presentation = planned(PLAIN, MEDIA / "ladder_audio.m4a", encrypt=True)

    def work() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(PermissionError):
            folder.write(presentation, place / "hls", key_dir=keys, overwrite=True)

    with unchanged(place / "hls"):
        in_child(work)
