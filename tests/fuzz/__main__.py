"""Fuzzes the planner: `python -m tests.fuzz [FOLDER...] [-max_total_time=600 ...]`.

Guided by coverage of both halves: `_segmenter.pyx` is built anew with clang's instrumentation,
AddressSanitizer and overflow checks, and the Python that calls it is instrumented by atheris
(`pip install atheris`). What is new goes to the first folder, `build/fuzz/found` where none is
named; the kept corpus is read beside it. An input that does harm is written to the current folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
BUILD = ROOT / "build" / "fuzz"
MODULE = BUILD / "_segmenter.abi3.so"
# As shipped, but for the optimizer, -fwrapv (an overflow is a finding here) and NDEBUG.
SANITIZE = (
    "-g -O1 -fPIC -shared -DPy_LIMITED_API=0x030b0000 -fno-omit-frame-pointer"
    " -fsanitize=fuzzer-no-link,address,signed-integer-overflow,integer-divide-by-zero,shift,array-bounds"
    " -fno-sanitize-recover=all"
)
# Set in the process that has the sanitizer's runtime.
INSIDE = "PYSTREAM_FUZZ_INSIDE"


def main() -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit(
            "tests.fuzz: atheris is missing: install it into this environment (pip install atheris)"
        )
    if INSIDE not in os.environ:
        build()
        enter(Path(atheris.path()))
    with atheris.instrument_imports(include=["pystream.packager", "pystream.playlist"]):
        load_instrumented()
        from tests.fuzz.planner import planned
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not folders:
        folders = [str(BUILD / "found"), str(CORPUS)]
        Path(folders[0]).mkdir(exist_ok=True)
    # Short inputs are tried first, and soon longer ones: a film takes some.
    usual = ["-max_len=1000", "-len_control=10", "-timeout=10"]
    atheris.Setup([str(again()), *usual, *options, *folders], planned)
    atheris.Fuzz()


def build() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    c_file = BUILD / "_segmenter.c"
    source = ROOT / "pystream" / "_segmenter.pyx"
    include = f"-I{sysconfig.get_path('include')}"
    for command in (
        [sys.executable, "-m", "cython", "-3", str(source), "-o", str(c_file)],
        ["clang", *shlex.split(SANITIZE), include, str(c_file), "-o", str(MODULE)],
    ):
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit("tests.fuzz: clang is missing (Debian: apt-get install clang libclang-rt-dev)")
        except subprocess.CalledProcessError:
            sys.exit(f"tests.fuzz: {shlex.join(command)} failed; the lines above say why")


def enter(atheris: Path) -> None:
    """Starts this command again with libFuzzer and the sanitizer's runtime loaded before Python."""
    environment = os.environ | {
        INSIDE: "1",
        "LD_PRELOAD": str(atheris / "asan_with_fuzzer.so"),
        # Python's own allocator stays: columns are bounds-checked by Cython in every build, and what
        # the loops take for themselves comes from malloc.
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32",
    }
    os.execve(sys.executable, [sys.executable, "-m", "tests.fuzz", *sys.argv[1:]], environment)


def again() -> Path:
    """This command as a program: libFuzzer starts it once more to merge corpora."""
    program = BUILD / "planner"
    program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.fuzz "$@"\n')
    program.chmod(0o755)
    return program


def load_instrumented() -> None:
    """Puts the instrumented module where `pystream` looks for its own."""
    name = "pystream._segmenter"
    spec = importlib.util.spec_from_file_location(name, MODULE)
    if spec is None or spec.loader is None:
        sys.exit(f"tests.fuzz: {MODULE} is no module")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if __name__ == "__main__":
    main()
