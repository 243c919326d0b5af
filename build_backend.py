"""The build backend of pystream (PEP 517 and 660): Cython first, then maturin.

A wheel holds two compiled modules. `pystream._core` is Rust: maturin builds it and makes wheel and
sdist. `pystream._segmenter` is Cython: it is compiled here, into the package folder, from where
maturin takes it by `include` (pyproject.toml). Both keep to the limited API of Python 3.11, so one
wheel an architecture serves 3.11 and everything later.

Where there is no cargo, maturin asks for a package that fetches a Rust toolchain of its own, unless
`MATURIN_NO_INSTALL_RUST` is set. One that is too old is told in a sentence, before cargo tells it in
many.

`CC`, `CFLAGS` and `LDFLAGS` in the environment mean what they mean everywhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
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


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: Settings = None
) -> str:
    check_rust()
    name: str = maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)
    return name


def prepare_metadata_for_build_editable(
    metadata_directory: str, config_settings: Settings = None
) -> str:
    check_rust()
    name: str = maturin.prepare_metadata_for_build_editable(metadata_directory, config_settings)
    return name


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    check_rust()
    compile_segmenter()
    wheel: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return wheel


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    check_rust()
    compile_segmenter()
    wheel: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return wheel


def check_rust() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    wanted = workspace["package"]["rust-version"]
    advice = "install it with rustup, or run 'rustup update stable'"
    if shutil.which("cargo") is None:
        # Without build isolation nobody has installed what maturin asked for.
        unaided = importlib.util.find_spec("puccinialin") is None
        if unaided or os.environ.get("MATURIN_NO_INSTALL_RUST"):
            sys.exit(f"pystream: Rust {wanted} or later is needed, and there is no cargo: {advice}")
        return
    try:
        command = ["rustc", "--version"]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"pystream: Rust {wanted} or later is needed, and rustc does not run: {advice}")
    # As in "rustc 1.89.0-nightly (…)".
    found = said.split()[1] if len(said.split()) > 1 else "0"
    if numbers(found) < numbers(wanted):
        path = shutil.which("rustc")
        sys.exit(f"pystream: Rust {wanted} or later is needed, and {path} is {found}: {advice}")


def numbers(version: str) -> tuple[int, ...]:
    """Major and minor number, to compare versions by."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


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
