"""The library as a server uses it: lengths before bytes, any order, any thread, any buffer."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import random
import subprocess
import sys
import threading
import tracemalloc
from array import array
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pystream
from pystream import _core
from tests.oracles import synthetic
from tests.oracles.hls import CLIPS, LADDER, MEDIA, opened, planned, segments

KEY = bytes(range(16))
FORMATS = ("ts", "fmp4")


def secret() -> pystream.Aes128:
    return pystream.Aes128(key_for=lambda name, period: f"{name:8}{period:8}".encode())


# Playlists without the interpreter


def manners() -> list[pystream.Aes128 | None]:
    return [
        None,
        pystream.Aes128(key=KEY),
        pystream.Aes128(key_uri="https://keys.example/a/"),
        pystream.Aes128(rotate_every=1),
        pystream.Aes128(rotate_every=3, key_uri="key/"),
    ]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("names", [*[(name,) for name in CLIPS], LADDER, ("two_entries.mp4",)])
def test_a_playlists_text_is_that_of_its_value(names: tuple[str, ...], format: str) -> None:
    for encryption in manners():
        made = planned(*names, format=format, seconds=0.5, encryption=encryption)
        for rendition in made.renditions:
            for base, key_base in (("", None), ("../s/a/", ""), ("https://b.example/", "../k/")):
                value = made.media_playlist(rendition, base, key_base)
                assert made.media_playlist_text(rendition, base, key_base) == value.text()


@pytest.mark.parametrize("format", FORMATS)
def test_text_and_value_agree_where_configurations_change(format: str) -> None:
    runs = [(0, 300), (1, 7), (0, 200), (1, 1), (0, 1), (1, 150)]
    film = pystream.open(synthetic.movie(synthetic.sound(*runs)))
    for encryption in manners():
        made = pystream.plan([film], format=format, segment_duration=1, encryption=encryption)
        (rendition,) = made.renditions
        text = made.media_playlist_text(rendition)
        assert text.count("#EXT-X-DISCONTINUITY\n") == 5
        assert text == made.media_playlist(rendition).text()


def test_a_base_that_is_no_uri_is_refused_in_text_as_well() -> None:
    made = planned("plain.mp4")
    with pytest.raises(ValueError, match="no URI"):
        made.media_playlist_text(made.renditions[0], "a b/")


def operations(work: Callable[[], object]) -> int:
    """What the interpreter does meanwhile, counted by its own instructions."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_long_film_takes_no_more_of_the_interpreter_than_a_short_one(format: str) -> None:
    def film(seconds: int) -> list[pystream.Input]:
        pictures = synthetic.pictures([2] * seconds, Fraction(2))
        sound = synthetic.sound((0, 48_000 * seconds // 1024))
        languages = synthetic.sound((0, 48_000 * seconds // 1024), language="deu", seed=1)
        tracks = [[pictures, sound], [pictures], [sound], [sound, languages]]
        return [pystream.open(synthetic.movie(*mine)) for mine in tracks]

    def work(inputs: list[pystream.Input], encryption: pystream.Aes128 | None) -> None:
        made = pystream.plan(inputs, format=format, segment_duration=1, encryption=encryption)
        made.multivariant_playlist().text()
        for rendition in made.renditions:
            made.media_playlist_text(rendition)

    def key_for(name: str, period: int) -> bytes:
        return f"{name:8}{period:8}".encode()

    short, long = film(60), film(360)
    derived = pystream.Aes128(key_for=key_for, rotate_every=2, on_demand=True)
    for encryption in (None, pystream.Aes128(), derived):
        for some in ([0], [1], [0, 1], [2], [3]):
            counts = [
                operations(partial(work, [inputs[i] for i in some], encryption))
                for inputs in (short, long)
            ]
            # 300 segments more, and a few steps more of looking something up by halves.
            assert counts[1] - counts[0] < 300, (some, counts)


# Lengths


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "aes"])
@pytest.mark.parametrize("name", CLIPS)
def test_every_segment_has_the_length_that_was_told(
    name: str, encrypted: bool, format: str
) -> None:
    for target in (0.5, 2, 6):
        encryption = secret() if encrypted else None
        presentation = planned(name, format=format, seconds=target, encryption=encryption)
        for rendition in presentation.renditions:
            told = list(rendition.lengths())
            assert told == [rendition.length(n) for n in range(len(rendition))]
            assert told == [len(segment) for segment in segments(rendition)]
            assert len(rendition.durations_us) == len(rendition) == len(told)


@pytest.mark.parametrize("format", FORMATS)
def test_a_ladder_keeps_its_word(format: str) -> None:
    for rendition in planned(*LADDER, format=format, encryption=secret()).renditions:
        assert list(rendition.lengths()) == [len(s) for s in segments(rendition)]


def test_lengths_cost_no_read_of_the_media() -> None:
    class Counted:
        def __init__(self, content: bytes) -> None:
            self.content = content
            self.size = len(content)
            self.bytes = 0

        def read_at(self, offset: int, n: int) -> bytes:
            self.bytes += n
            return self.content[offset : offset + n]

    source = Counted((MEDIA / "moov_last.mp4").read_bytes())
    film = pystream.open(source)
    source.bytes = 0
    presentation = pystream.plan([film], segment_duration=2, scan=False)
    presentation.multivariant_playlist().text()
    for rendition in presentation.renditions:
        presentation.media_playlist(rendition).text()
        rendition.lengths()
    assert source.bytes == 0
    assert not presentation.independent
    assert "INDEPENDENT" not in presentation.multivariant_playlist().text()
    # With the scan: a little at each cut.
    checked = pystream.plan([film], segment_duration=2)
    assert checked.independent
    assert 0 < source.bytes <= 4096 * len(checked.renditions[0])
    source.bytes = 0
    rendition = presentation.renditions[0]
    rendition.segment(1)
    assert source.bytes <= 2 * rendition.length(1)


# Order


def in_a_fresh_process(name: str, format: str, order: list[tuple[int, int]]) -> dict[str, str]:
    """Digests by rendition and segment, asked for in this order."""
    code = f"""
import hashlib, pystream
key_for = lambda name, period: f"{{name:8}}{{period:8}}".encode()
film = pystream.open({str(MEDIA / name)!r})
made = pystream.plan([film], format={format!r}, segment_duration=2,
                     encryption=pystream.Aes128(key_for=key_for))
for r, n in {order!r}:
    segment = made.renditions[r].segment(n)
    print(f"{{made.renditions[r].name}}/{{n}}", hashlib.sha256(segment).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["irregular_gop.mp4", "nal_2.mp4", "fragmented.mp4", "fps_8.mp4"])
def test_any_order_in_fresh_processes_gives_the_same_bytes(name: str, format: str) -> None:
    presentation = planned(name, format=format, encryption=secret())
    run = {
        f"{rendition.name}/{n}": hashlib.sha256(segment).hexdigest()
        for rendition in presentation.renditions
        for n, segment in enumerate(segments(rendition))
    }
    order = [(r, n) for r, x in enumerate(presentation.renditions) for n in range(len(x))]
    for seed in (1, 2):
        random.Random(seed).shuffle(order)
        assert in_a_fresh_process(name, format, order) == run


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_the_command_writes_what_the_library_makes(format: str, jobs: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ("plain.mp4",)
    arguments = [str(MEDIA / name) for name in names]
    arguments += ["-o", str(out), "--format", format, "--segment-duration", "2", "--jobs", jobs]
    arguments += ["--encrypt", "aes-128", "--key", KEY.hex(), "--iv", bytes(16).hex()]
    program = "import sys; from pystream.cli import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", program, "package", *arguments], check=True, capture_output=True
    )
    encryption = pystream.Aes128(key=KEY, iv=bytes(16))
    presentation = planned(*names, format=format, encryption=encryption)
    files = {"index.m3u8": presentation.multivariant_playlist().text().encode()}
    for rendition in presentation.renditions:
        name = rendition.name
        files[f"{name}/index.m3u8"] = presentation.media_playlist(rendition).text().encode()
        files |= {f"{name}/{rendition.uri(n)}": s for n, s in enumerate(segments(rendition))}
        files |= {f"{name}/{rendition.init_uri(i)}": s for i, s in enumerate(rendition.inits())}
        files |= {f"{name}/{key_name}": key for key_name, key in rendition.key_files()}
    written = {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }
    assert written == files


@pytest.mark.parametrize("format", FORMATS)
def test_many_at_once_are_one_by_one(format: str) -> None:
    for encryption in (None, secret()):
        for rendition in planned(
            "intra.mp4", format=format, seconds=0.2, encryption=encryption
        ).renditions:
            one_by_one = segments(rendition)
            count = len(rendition)
            for numbers in (range(count), range(count - 1, -1, -1), [0] * 9, [3, 3, 1], []):
                made = [bytes(segment) for segment in rendition.segments(numbers)]
                assert made == [one_by_one[n] for n in numbers]


@pytest.mark.parametrize("format", FORMATS)
def test_there_is_no_segment_outside(format: str) -> None:
    rendition = planned("plain.mp4", format=format).renditions[0]
    for n in (
        len(rendition),
        len(rendition) + 1,
        1 << 40,
        1 << 70,
        -1,
        -len(rendition),
        -(1 << 70),
    ):
        for ask in (
            lambda n=n: rendition.segment(n),
            lambda n=n: rendition.segments([0, n]),
            lambda n=n: rendition.segment_into(n, bytearray(1 << 20)),
            lambda n=n: rendition.length(n),
            lambda n=n: rendition.uri(n),
            lambda n=n: rendition.init_uri(n),
        ):
            with pytest.raises(IndexError):
                ask()


# Buffers


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "aes"])
def test_segment_into_fills_what_it_needs_and_no_more(encrypted: bool, format: str) -> None:
    encryption = secret() if encrypted else None
    for rendition in planned("plain.mp4", format=format, encryption=encryption).renditions:
        for n in range(len(rendition)):
            length, content = rendition.length(n), bytes(rendition.segment(n))
            for more in (0, 1, 5000):
                buffer = bytearray(b"\xa5" * (length + more))
                assert rendition.segment_into(n, buffer) == length
                assert buffer[:length] == content
                assert buffer[length:] == b"\xa5" * more
            small = bytearray(b"\xa5" * (length - 1))
            with pytest.raises(ValueError, match=str(length)):
                rendition.segment_into(n, small)
            assert small == b"\xa5" * (length - 1)


def test_segment_into_takes_any_writable_bytes_and_nothing_else() -> None:
    (rendition,) = planned("plain.mp4").renditions
    length, content = rendition.length(0), bytes(rendition.segment(0))
    whole = bytearray(length + 20)
    assert rendition.segment_into(0, memoryview(whole)[10 : 10 + length]) == length
    assert whole == bytes(10) + content + bytes(10)
    unsigned = array("B", bytes(length))
    rendition.segment_into(0, unsigned)
    assert unsigned.tobytes() == content
    for wrong in (
        bytes(length),
        memoryview(bytes(length)),
        memoryview(bytearray(2 * length))[::2],
        array("q", bytes(length // 8 * 8 + 8)),
    ):
        before = bytes(wrong)
        with pytest.raises((BufferError, ValueError)):
            rendition.segment_into(0, wrong)
        assert bytes(wrong) == before
    with pytest.raises(TypeError):
        rendition.segment_into(0, "text")


def test_several_segments_into_buffers_that_must_not_share_memory() -> None:
    (rendition,) = planned("long_gop.mp4", encryption=secret()).renditions
    lengths = [rendition.length(n) for n in range(len(rendition))]
    whole = bytearray(sum(lengths))
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    views = [
        memoryview(whole)[end - length : end] for end, length in zip(ends, lengths, strict=True)
    ]
    assert rendition.segments_into(enumerate(views)) == lengths
    assert whole == b"".join(bytes(segment) for segment in rendition.segments(range(len(lengths))))
    with pytest.raises(ValueError, match="share memory"):
        rendition.segments_into([(0, memoryview(whole)), (1, memoryview(whole)[lengths[0] - 1 :])])
    assert rendition.segments_into([]) == []


class PyBuffer(ctypes.Structure):
    """`Py_buffer` of the C API, as far as `internal`."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


def test_a_refused_buffer_leaves_no_owner_in_the_view() -> None:
    # The documentation of bf_getbuffer: "set view->obj to NULL and return -1".
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get.argtypes = [ctypes.py_object, ctypes.POINTER(PyBuffer), ctypes.c_int]
    release.argtypes = [ctypes.POINTER(PyBuffer)]
    release.restype = None
    writable, simple = 1, 0

    def owner(view: PyBuffer) -> int | None:
        found: int | None = view.obj
        return found

    (rendition,) = planned("plain.mp4").renditions
    for lent in (rendition.segment(0), rendition.tracks[0].pts(0, 5)):
        view = PyBuffer(obj=id(lent))
        count = sys.getrefcount(lent)
        with pytest.raises(BufferError, match="read-only"):
            get(lent, view, writable)
        assert owner(view) is None
        assert sys.getrefcount(lent) == count
        # And one that is granted has it, until it is released.
        assert get(lent, view, simple) == 0
        assert owner(view) == id(lent)
        assert view.readonly == 1
        assert sys.getrefcount(lent) == count + 1
        release(view)
        assert sys.getrefcount(lent) == count


# Threads


@pytest.mark.parametrize("format", FORMATS)
def test_several_threads_at_once_get_the_same_bytes(format: str) -> None:
    presentation = planned("long_gop.mp4", format=format, encryption=secret())
    wanted = {
        (rendition.name, n): segment
        for rendition in presentation.renditions
        for n, segment in enumerate(segments(rendition))
    }
    wrong: list[object] = []
    together = threading.Barrier(6)

    def viewer(seed: int) -> None:
        dice = random.Random(seed)
        together.wait()
        for _ in range(30):
            rendition = dice.choice(presentation.renditions)
            n = dice.randrange(len(rendition))
            buffer = bytearray(rendition.length(n))
            made = rendition.segments([n, n])
            rendition.segment_into(n, buffer)
            if not bytes(made[0]) == bytes(made[1]) == buffer == wanted[rendition.name, n]:
                wrong.append((seed, rendition.name, n))

    threads = [threading.Thread(target=viewer, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def lets_others_run(call: Callable[[], object]) -> bool:
    """Whether another thread gets the interpreter during `call`.

    With a switch interval of hours nobody is ever asked to give the interpreter up, so the other
    thread runs only if `call` gives it up by itself. It may be slow to take it: hence the rounds.
    """
    go, ran = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(4000)
    try:
        go.set()
        for _ in range(5000):
            if ran.is_set():
                return True
            call()
        return ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_the_interpreter_is_not_held() -> None:
    rendition = planned("plain.mp4", encryption=secret()).renditions[0]
    buffer = bytearray(rendition.length(0))
    assert lets_others_run(lambda: rendition.segment(0))
    assert lets_others_run(lambda: rendition.segments([0, 1]))
    assert lets_others_run(lambda: rendition.segment_into(0, buffer))
    assert lets_others_run(lambda: pystream.open(MEDIA / "plain.mp4"))
    # The measure itself: what keeps the interpreter lets nobody else run.
    assert not lets_others_run(lambda: rendition.length(0))


# The whole


def test_pain_73_all_uris_are_relative_and_lead_to_files(tmp_path: Path) -> None:
    for format in FORMATS:
        presentation = planned(*LADDER, format=format, encryption=secret())
        texts = [presentation.multivariant_playlist().text()]
        texts += [presentation.media_playlist(r).text() for r in presentation.renditions]
        for text in texts:
            uris = [line for line in text.splitlines() if line and not line.startswith("#")]
            uris += [part.split('"')[0] for part in text.split('URI="')[1:]]
            assert uris
            for uri in uris:
                assert not uri.startswith(("/", ".")) and ":" not in uri and ".." not in uri


def test_a_presentation_knows_what_it_holds_and_lasts() -> None:
    presentation = planned("plain.mp4", format="fmp4")
    assert presentation.nbytes == sum(r.nbytes for r in presentation.renditions)
    assert presentation.nbytes > 0
    assert abs(presentation.duration - 6) < 0.1
    assert [r.kind for r in presentation.renditions] == ["video", "audio"]
    assert [r.name for r in presentation.renditions] == ["v0", "a0"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_presentation_holds_is_counted(format: str) -> None:
    # A new configuration, and in fmp4 a new initialization section, with each sample.
    film = pystream.open(synthetic.movie(synthetic.sound(*[(i & 1, 1) for i in range(4000)])))
    pystream.plan([film], format=format)
    gc.collect()
    tracemalloc.start()
    try:
        presentation = pystream.plan([film], format=format, encryption=secret())
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (rendition,) = presentation.renditions
    of_python = rendition.nbytes - rendition._made.nbytes
    assert of_python == pytest.approx(held, rel=0.05)


def test_a_segment_is_asked_for_by_a_whole_number() -> None:
    for encryption in (None, secret()):
        (rendition,) = planned("plain.mp4", encryption=encryption).renditions
        for ask in (rendition.segment, rendition.length, rendition.uri):
            with pytest.raises(TypeError, match="integer"):
                ask(0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {"format": "webm"},
        {"segment_duration": 0.05},
        {"segment_duration": 3601},
        {"segment_duration": float("inf")},
        {"segment_duration": float("nan")},
        {"start_seconds": 0},
        {"start_seconds": 1 << 31},
        {"start_seconds": 1 << 70},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        pystream.plan([opened("plain.mp4")], **arguments)  # type: ignore[arg-type]


def test_no_input_is_no_presentation() -> None:
    with pytest.raises(pystream.PystreamError):
        pystream.plan([])


def test_the_installed_core_is_no_debug_build() -> None:
    assert not _core.DEBUG


def test_what_is_no_opened_input_is_refused_with_what_is_wanted() -> None:
    film = opened("plain.mp4")
    wrong: list[object] = [film, "film.mp4", b"film", ["film.mp4"], [film, None]]
    for inputs in wrong:
        with pytest.raises(TypeError, match=r"pystream\.open"):
            pystream.plan(inputs)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pystream\.Aes128, not 'aes-128'"):
        pystream.plan([film], encryption="aes-128")  # type: ignore[arg-type]


def test_what_one_sees_of_a_presentation_says_what_it_is() -> None:
    presentation = planned("plain.mp4")
    (rendition,) = presentation.renditions
    assert repr(presentation) == "<pystream.Presentation: v0, 6.000 s>"
    assert repr(rendition) == (
        "<pystream.Rendition 'v0': avc1.64000c,mp4a.40.2, 3 segments, 6.000 s>"
    )
    assert repr(rendition.tracks[0]) == "<pystream track 1: video, avc1.64000c, 150 samples>"
    assert f"{rendition.length(0)} bytes" in repr(rendition.segment(0))
