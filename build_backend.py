"""The build backend of pystream (PEP 517 and 660): Cython first, then maturin.

A wheel holds two compiled modules. `pystream._core` is Rust: maturin builds it and makes wheel and
sdist. `pystream._segmenter` is Cython: it is compiled here, into the package folder, from where
maturin takes it by `include` (pyproject.toml). Both keep to the limited API of Python 3.11, so one
wheel an architecture serves 3.11 and everything later.

`CC`, `CFLAGS` and `LDFLAGS` in the environment mean what they mean everywhere.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent
SOURCE = Path("pystream", "_segmenter.pyx")
MODULE = ROOT / "pystream" / "_segmenter.abi3.so"
LIMITED_API = "0x030b0000"

Settings = Mapping[str, Any] | None


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    compile_segmenter()
    wheel: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return wheel


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    compile_segmenter()
    wheel: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return wheel


def compile_segmenter() -> None:
    with tempfile.TemporaryDirectory(prefix="pystream-cython-") as folder:
        # The C file never enters the source tree, where a later build could pick it up.
        c_file = Path(folder, "_segmenter.c")
        run([sys.executable, "-m", "cython", "-3", str(SOURCE), "-o", str(c_file)])
        built = Path(folder, MODULE.name)
        run([*compiler(), *compile_options(), str(c_file), "-o", str(built), *link_options()])
        # By rename: a running interpreter may have the old file mapped.
        fresh = MODULE.with_name(f"{MODULE.name}.{os.getpid()}")
        shutil.copy2(built, fresh)
        fresh.replace(MODULE)


def compiler() -> list[str]:
    # The compiler that built this Python may not be on this machine, so it is only a first guess.
    guesses = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]
    for guess in filter(None, guesses):
        command = shlex.split(guess)
        if shutil.which(command[0]):
            return command
    sys.exit("pystream: no C compiler found: install one (Debian: gcc, libc6-dev) or set CC")


def compile_options() -> list[str]:
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        sys.exit(
            f"pystream: {include / 'Python.h'} is missing: "
            "install the headers of this Python (Debian: python3-dev)"
        )
    return [
        "-O3",
        "-DNDEBUG",
        # Without Python's own -fwrapv a signed overflow would be undefined behaviour.
        "-fwrapv",
        "-fPIC",
        f"-DPy_LIMITED_API={LIMITED_API}",
        f"-I{include}",
        *shlex.split(os.environ.get("CFLAGS", "")),
    ]


def link_options() -> list[str]:
    # On macOS the interpreter's symbols are looked up when the module is loaded.
    macos = ["-bundle", "-undefined", "dynamic_lookup"]
    kind = macos if sys.platform == "darwin" else ["-shared", "-Wl,-s"]
    return [*kind, *shlex.split(os.environ.get("LDFLAGS", ""))]


def run(command: list[str]) -> None:
    print(f"Running `{shlex.join(command)}`", flush=True)
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        sys.exit(f"pystream: building {SOURCE} failed; the lines above say why")
