"""Who may know whom: an arrow means "imports", and points down only.

                       pystream.cli
                            |
                    pystream.rehearsal
                            |
                      pystream.server
                            |
                        pystream           the public names
                       /        \\
                     acl        packager
                       |         |        \\
              attendance      playlist    _segmenter
                       \\         |        /
                       errors, model      _core
                                                |
                       core_rs/py -> core_rs/media, core_rs/cipher, core_rs/attendance
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pystream"

# `pystream/__init__.py`: the public names, which users and the rooms above see.
LOBBY = "pystream"
# A room may import those of a higher depth, and its own modules.
DEPTH = {
    "__main__": -2,
    "cli": -1,
    "rehearsal": 0,
    "server": 1,
    LOBBY: 2,
    "acl": 3,
    "packager": 3,
    "attendance": 4,
    "playlist": 4,
    "_segmenter": 4,
    "errors": 5,
    "model": 5,
    "_core": 5,
}
# These two lie at one depth and may know each other: errors name values, values raise errors.
NEIGHBOURS = {frozenset(("errors", "model"))}
# Imported where they are used: they cost more than the whole start of a command.
LAZY = {"numpy", "rich"}
# Each of these is the affair of one room, or of a few modules, and its users' through that room only.
HOMES: dict[str, str | tuple[str, ...]] = {
    "trio": "pystream.server",
    "httptools": "pystream.server",
    "httpcore2": "pystream.server",
    "msgspec": "pystream.server",
    "sqlalchemy": "pystream.acl.store",
    "alembic": "pystream.acl.store",
    "argon2": "pystream.acl.sign_in",
    "jinja2": "pystream.server.office.console",
    "smtplib": "pystream.server.mail",
    "sqlite3": "pystream.acl.store",
    "reportlab": (
        *("pystream.acl.cards", "pystream.acl.qr", "pystream.acl.typeface"),
        "pystream.acl.reports.paper",
    ),
    "xlsxwriter": "pystream.acl.reports.sheet",
    "joserfc": "pystream.acl.entrances",
    "maxminddb": "pystream.acl.entrances",
}
# What decides on plain values has no door to the outside.
OUTSIDE = {"asyncio", "http", "select", "selectors", "socket", "socketserver", "ssl", "urllib"}
# What draws on a terminal, and is itself imported only when there is one.
RENDERING = re.compile(r"pystream\.cli\._?(progress|render|table)")
ROOMS = {path.stem for path in PACKAGE.iterdir() if not path.stem.startswith("__")} | set(DEPTH)


def modules() -> list[Path]:
    return sorted(path for suffix in ("*.py", "*.pyx") for path in PACKAGE.rglob(suffix))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str | None:
    """`pystream.packager.plan` is in `packager`, `pystream.open` in the lobby; `os` is outside."""
    top, *below = name.split(".")
    if top != "pystream":
        return None
    return below[0] if below and below[0] in ROOMS else LOBBY


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module's full name, and whether the import runs when the module is loaded."""
    if path.suffix == ".pyx":
        # Cython's grammar is not Python's; its imports are lines of their own.
        yield from pyx_imports(path.read_text())
    else:
        yield from python_imports(path.read_text(), module_name(path), is_package(path))


def is_package(path: Path) -> bool:
    return path.name == "__init__.py"


def pyx_imports(text: str) -> Iterator[tuple[str, bool]]:
    for line in text.splitlines():
        found = re.match(r"(\s*)(?:from\s+(\S+)\s+c?import|c?import\s+(\S+))", line)
        if found:
            yield found[2] or found[3], not found[1]


def python_imports(text: str, name: str, package: bool) -> Iterator[tuple[str, bool]]:
    def walk(node: ast.AST, loading: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            loading = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            # For the type checker only, which needs the rooms as well but loads nothing.
            for only_checked in node.body:
                yield from walk(only_checked, False)
            for loaded in node.orelse:
                yield from walk(loaded, loading)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, loading
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name if package else name.rpartition(".")[0]
                base = importlib.util.resolve_name("." * node.level + base, here)
            for alias in node.names:
                # `from pystream import errors` names a room as much as `pystream.errors` does.
                yield f"{base}.{alias.name}" if base == "pystream" else base, loading
        for child in ast.iter_child_nodes(node):
            yield from walk(child, loading)

    yield from walk(ast.parse(text), True)


def violations(name: str, found: Iterator[tuple[str, bool]]) -> list[str]:
    here = room(name)
    assert here in DEPTH, f"no plan names the room {here}: add it above, and to whom it may know"
    wrong = []
    for imported, loading in found:
        there = room(imported)
        top = imported.split(".")[0]
        if there is not None and there != here:
            below = there in DEPTH and DEPTH[here] < DEPTH[there]
            if not below and frozenset((here, there)) not in NEIGHBOURS:
                wrong.append(f"{name} imports {imported}, which is not below it")
        homes = HOMES.get(top, ())
        homes = (homes,) if isinstance(homes, str) else homes
        if homes and not any(f"{name}.".startswith(f"{home}.") for home in homes):
            wrong.append(f"{name} imports {top}, which only {' and '.join(homes)} may")
        if here == "acl" and top in OUTSIDE:
            wrong.append(f"{name} imports {top}, and acl opens no socket")
        if top in LAZY and loading and not RENDERING.match(name):
            wrong.append(f"{name} imports {top} when it is loaded")
    return wrong


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_point_down(path: Path) -> None:
    assert violations(module_name(path), imports(path)) == []


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("pystream.packager.plan", "from pystream.cli import main", "not below"),
        ("pystream.packager.plan", "from ..server import answers", "not below"),
        ("pystream.packager.plan", "from pystream import acl", "not below"),
        ("pystream.packager.plan", "def f():\n    import pystream.cli.probe", "not below"),
        ("pystream.playlist", "from pystream.packager import Plan", "not below"),
        ("pystream.playlist", "import pystream._segmenter", "not below"),
        ("pystream.errors", "from pystream import _core", "not below"),
        ("pystream.packager.plan", "from pystream import open", "not below"),
        ("pystream.packager.plan", "import pystream", "not below"),
        ("pystream.cli.probe", "from pystream import open", ""),
        ("pystream", "from pystream.packager import open", ""),
        ("pystream", "from pystream.cli import main", "not below"),
        ("pystream.acl.grant", "import trio", "trio"),
        ("pystream.server.connections", "import trio", ""),
        ("pystream.acl.grant", "import socket", "opens no socket"),
        ("pystream.acl.grant", "from pystream.packager import open", "not below"),
        ("pystream.acl.grant", "from pystream.server import settings", "not below"),
        ("pystream.acl.grant", "from pystream.errors import GrantError", ""),
        ("pystream.acl.grant", "def f():\n    import sqlalchemy", "only pystream.acl.store may"),
        ("pystream.acl.store", "from sqlalchemy.engine import URL", ""),
        ("pystream.acl.store.migrations.versions.0001_first", "from alembic import op", ""),
        ("pystream.acl.stores", "import alembic", "only pystream.acl.store may"),
        ("pystream.server.door", "import joserfc", "only pystream.acl.entrances may"),
        ("pystream.acl.entrances.jwt", "from joserfc.jwk import import_key", ""),
        ("pystream.cli.tenant", "import msgspec", "only pystream.server may"),
        ("pystream.server.settings", "import msgspec", ""),
        ("pystream.cli.tenant", "def f():\n    from pystream.acl.store import Store", ""),
        ("pystream.server.writer", "from pystream.acl.store import Store", ""),
        ("pystream.cli.package", "from rich.progress import Progress", "when it is loaded"),
        ("pystream.cli.progress", "from rich.progress import Progress", ""),
        ("pystream.cli.package", "def f():\n    from rich.progress import Progress", ""),
        (
            "pystream.packager.plan",
            "try:\n    import numpy as np\nexcept ImportError: ...",
            "numpy",
        ),
        (
            "pystream.packager.plan",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy",
            "",
        ),
        ("pystream.cli.package", "from pystream.packager import package", ""),
        ("pystream.packager.plan", "from . import verify\nfrom .. import errors, _core", ""),
        ("pystream.model", "from pystream.errors import MalformedMedia", ""),
    ],
)
def test_the_walk_sees_an_upward_arrow(name: str, text: str, wrong: str) -> None:
    found = violations(name, python_imports(text, name, package=False))
    assert wrong in " ".join(found) if wrong else found == []


def test_the_walk_reads_cython() -> None:
    text = "cimport numpy\nfrom libc.stdint cimport int64_t\n    from pystream.cli import main\n"
    assert list(pyx_imports(text)) == [
        ("numpy", True),
        ("libc.stdint", True),
        ("pystream.cli", False),
    ]


STARTS = {"pystream", "pystream.cli", "pystream.acl", "pystream.server"}
_NAMES = (
    *("audit", "keyring", "package", "password", "person", "probe"),
    *("stream", "tenant", "token", "traffic"),
)
STARTS |= {f"pystream.cli.{name}" for name in _NAMES}


@pytest.mark.parametrize("name", sorted(STARTS & {*map(module_name, modules())}))
def test_a_start_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (LAZY | set(HOMES)) & set(done.stdout.split())


def crate(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "core_rs" / name / "Cargo.toml").read_text())


def crates() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "core_rs").glob("*/Cargo.toml"))


def dependencies(manifest: dict[str, Any]) -> set[str]:
    tables = [manifest, *manifest.get("target", {}).values()]
    kinds = ("dependencies", "dev-dependencies", "build-dependencies")
    return {name for table in tables for kind in kinds for name in table.get(kind, {})}


# The thread that sends what it encrypts and seals.
CRATES_BELOW = {"delivery": {"pystream-cipher", "pystream-shm", "pystream-tls"}}


@pytest.mark.parametrize("name", [name for name in crates() if name not in ("py", "fuzz")])
def test_rust_crates_know_neither_python_nor_each_other(name: str) -> None:
    wrong = {dep for dep in dependencies(crate(name)) if re.match(r"pyo3|numpy|pystream-", dep)}
    assert wrong <= CRATES_BELOW.get(name, set())


@pytest.mark.parametrize("name", ["attendance", "media"])
def test_these_forbid_unsafe_code(name: str) -> None:
    first_item = (ROOT / "core_rs" / name / "src" / "lib.rs").read_text().partition("mod ")[0]
    assert "#![forbid(unsafe_code)]" in first_item


def test_unsafe_rust_lives_in_few_places() -> None:
    """SIMD, memory that crosses the border, memory that processes share, and one `ioctl`."""
    core = ROOT / "core_rs"
    memory = ("py/src/buffers.rs", "shm/src/mapping.rs", "shm/src/cache/mod.rs")
    places = ("cipher/src", *memory, "delivery/src/queue.rs")
    allowed = {core / place for place in places}
    found = [
        path
        for path in core.glob("*/src/**/*.rs")
        if re.search(r"\bunsafe\s*(\{|fn|impl)", path.read_text())
    ]
    assert [path for path in found if not allowed & {path, *path.parents}] == []


def test_release_builds_keep_overflow_checks() -> None:
    profile = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["release"]
    assert profile["overflow-checks"] is True
    assert profile["lto"] == "fat"
