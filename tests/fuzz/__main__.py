"""Fuzzes: `python -m tests.fuzz TARGET [FOLDER...] [-max_total_time=600 ...]`.

planner, http: guided by coverage of the Python, which atheris instruments (`pip install atheris`); of
the planner, that of its loops as well: `_segmenter.pyx` is built anew with clang's instrumentation,
AddressSanitizer and overflow checks. What is new goes to the first folder, `build/fuzz/TARGET` where
none is named; the kept corpus is read beside it. An input that does harm is written to the current
folder.

ports: a running server, `python -m tests.fuzz ports [--seconds 180]`; `tests/fuzz/ports.py` says how.
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
# What is instrumented, and the function that is fed.
TARGETS = {
    "planner": (["pystream.packager", "pystream.playlist"], "planned"),
    "http": (["pystream.server"], "asked"),
}


def main() -> None:
    name, *arguments = sys.argv[1:] or [""]
    if name == "ports":
        from tests.fuzz import ports

        ports.main(arguments)
        return
    if name not in TARGETS:
        sys.exit(f"tests.fuzz: name a target: {', '.join(TARGETS)} or ports")
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit(
            "tests.fuzz: atheris is missing: install it into this environment (pip install atheris)"
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    if name == "planner" and INSIDE not in os.environ:
        build()
        enter(Path(atheris.path()))
    instrumented, function = TARGETS[name]
    with atheris.instrument_imports(include=instrumented):
        if name == "planner":
            load_instrumented()
        target = getattr(importlib.import_module(f"tests.fuzz.{name}"), function)
    options = [argument for argument in arguments if argument.startswith("-")]
    folders = [argument for argument in arguments if not argument.startswith("-")]
    if not folders:
        folders = [str(BUILD / name), str(CORPUS / name)]
        Path(folders[0]).mkdir(exist_ok=True)
    # Short inputs are tried first, and soon longer ones: a film takes some.
    usual = ["-max_len=1000", "-len_control=10", "-timeout=10"]
    words = Path(__file__).with_name(f"{name}.dict")
    if words.exists():
        usual.append(f"-dict={words}")
    atheris.Setup([str(again(name)), *usual, *options, *folders], target)
    atheris.Fuzz()


def build() -> None:
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


def again(name: str) -> Path:
    """This command as a program: libFuzzer starts it once more to merge corpora."""
    program = BUILD / f"{name}.sh"
    program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.fuzz {name} "$@"\n')
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
