"""`pystream demo`: the whole node, with its processes, as a viewer meets it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin

import pytest

from tests.free_ports import free_port
from tests.waiting import pause

pytest.importorskip("trio")


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pystream", "demo", "--port", str(free_port()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def fetch(address: str) -> tuple[str, bytes]:
    """What an address has, and where that was in the end; waits for a server that is starting."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.url, answer.read()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            pause()


def play(address: str) -> int:
    """Bytes of the first segment, found from the page by relative addresses alone."""
    page, text = fetch(address)
    assert page == address and b"<title>Sample</title>" in text
    master, text = fetch(urljoin(page, "master.m3u8"))
    media, text = fetch(urljoin(master, uris(text)[0]))
    return len(fetch(urljoin(media, uris(text)[0]))[1])


def uris(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if line and not line.startswith("#")]


def children(pid: int) -> dict[str, int]:
    """Processes of a node by their role."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        pids = [int(word) for word in file.read().split()]
    found = {}
    for child in pids:
        with open(f"/proc/{child}/cmdline", "rb") as file:
            role = file.read().split(b"\0")[-2]
        found[role.decode()] = child
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["/nowhere/film.mp4"], 1, "pystream demo: /nowhere/film.mp4: No such file or directory\n"),
        ([__file__], 1, "this is no MP4 file"),
        (["--port", "99999"], 2, "argument --port: a port from 1 to 65535 is wanted"),
        (["--port", "0"], 2, "argument --port: a port from 1 to 65535 is wanted"),
        (["--seconds", "soon"], 2, "argument --seconds: a number of seconds above 0 is wanted"),
    ],
)
def test_what_is_wrong_is_said_before_it_serves(arguments: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-m", "pystream", "demo", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_no_address_is_told_where_somebody_else_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "pystream", "demo", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    said = "somebody listens there already; choose another port with --port N, under make with DEMO_PORT=N"
    assert done.stderr == f"pystream demo: 127.0.0.1:{port}: {said}\n"


def test_a_variable_that_is_wrong_is_told_by_its_name() -> None:
    command = [sys.executable, "-m", "pystream", "demo"]
    for name, said in (
        ("DEMO_SECONDS", "a number of seconds above 0 is wanted"),
        ("DEMO_PORT", "a port from 1 to 65535 is wanted"),
    ):
        environ = os.environ | {name: "x"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"pystream demo: {name}: {said} (pystream demo --help)\n"


@pytest.mark.slow
def test_a_variable_says_where() -> None:
    port = free_port()
    environ = os.environ | {"DEMO_PORT": str(port), "DEMO_SECONDS": "0.1"}
    command = [sys.executable, "-m", "pystream", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 0 and f"http://127.0.0.1:{port}/demo/film/" in done.stdout


@pytest.mark.slow
def test_it_plays_and_ends_by_itself() -> None:
    with demo("--seconds", "6") as (process, address):
        assert play(address) > 100_000
        assert process.wait(60) == 0


@pytest.mark.slow
def test_a_killed_worker_has_a_successor_with_the_same_sockets() -> None:
    with demo() as (process, address):
        whole = play(address)
        os.kill(children(process.pid)["worker"], signal.SIGKILL)
        assert play(address) == whole
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
