"""`pystream password derive` and `check` from outside, where only the packager is installed."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pystream.acl.passwords import derive, generate

ROOT = Path(__file__).resolve().parent.parent
EFNS = ("802760901234567", "802760901234575", "802760901234583")


def extras() -> list[str]:
    """The modules of the extra `server`, by the names that they are imported by."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = wanted["optional-dependencies"]["server"]
    names = [re.match(r"[\w-]+", line)[0].lower().replace("-", "_") for line in lines]  # type: ignore[index]
    return [*names, "psycopg"]


# None in their places keeps Python from finding them.
COMMAND = [
    *(sys.executable, "-P", "-c"),
    f"import sys; sys.modules.update(dict.fromkeys({extras()!r}));"
    " from pystream.cli import main; sys.exit(main())",
]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    given: Any = {"capture_output": True, "check": False} | options
    return subprocess.run([*COMMAND, "password", *map(str, arguments)], text=True, **given)


def done(*arguments: str | Path, **options: Any) -> str:
    finished = run(*arguments, **options)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


def refused(code: int, *arguments: str | Path, **options: Any) -> str:
    finished = run(*arguments, **options)
    assert (finished.returncode, finished.stdout) == (code, ""), finished.stderr
    assert all(line.startswith("pystream password") for line in finished.stderr.splitlines())
    return finished.stderr


def secret_file(secret: bytes = bytes(range(32))) -> str:
    Path("acme.secret").write_text(secret.hex())
    Path("acme.secret").chmod(0o600)
    return "acme.secret"


def test_extras_are_really_missing() -> None:
    for name in ("sqlalchemy", "trio", "reportlab"):
        tried = subprocess.run(
            [*COMMAND[:-1], COMMAND[-1].partition("from pystream")[0] + f"import {name}"],
            capture_output=True,
            check=False,
        )
        assert tried.returncode == 1 and b"ModuleNotFoundError" in tried.stderr


def test_help_tells_all_and_fits_a_terminal() -> None:
    wanted = {
        "": "add import list cards set rotate end revoke erase data derive check",
        "add": "--count --shared --label --valid-from --valid-until --max-devices --test --by --json",
        "import": "--list --shared --by --config --json",
        "list": "--csv --by --config --json",
        "cards": "--url --output --overwrite --list --id --locale --by --config --json",
        "set": "--list --id --label --valid-from --valid-until --max-devices --by --config --json",
        "rotate": "--list --id --grace --by --config --json",
        "end": "--list --id --viewers --by --config --json",
        "revoke": "--list --id --by --config --json",
        "erase": "--list --id --by --config --json",
        "data": "--list --id --viewers --output --overwrite --by --config --json",
        "derive": "--secret-file --new-secret --column --keep-identifiers",
        "check": "--timezone --json",
    }
    for page, words in wanted.items():
        text = done(*page.split(), "--help", env=os.environ | {"COLUMNS": "200"})
        assert set(words.split()) <= set(re.findall(r"(?:--)?[a-z][a-z-]*", text))
        assert text.startswith(f"usage: pystream password {page}")
        assert re.search(r"^exit codes:$", text, re.M)
        assert max(map(len, text.splitlines())) <= 80, page
    assert (
        "password  " in subprocess.run([*COMMAND, "--help"], capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "",
            "no action is given: add, import, list, cards, set, rotate, end, revoke, erase, data, restrict,"
            " derive, check",
        ),
        ("derve", "there is no action 'derve'"),
        ("derive", "--secret-file"),
        ("derive --secret-file s --colum x", "did you mean --column?"),
        ("derive --secret-file s a b", "too many arguments"),
        ("check", "LIST"),
        ("check list --timezone Mars/North", "'Mars/North' is no time zone"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: str, said: str) -> None:
    Path("list").write_text("x")
    assert said in refused(2, *arguments.split())


def test_identifiers_become_opaque_passwords() -> None:
    secret = secret_file()
    wanted = [derive(bytes(range(32)), each) for each in EFNS]
    Path("ids").write_text("\r\n".join(EFNS) + "\r\n\r\n")
    printed = done("derive", "--secret-file", secret, "ids")
    assert printed.splitlines() == ["password", *wanted]
    for words in ([], ["-"]):
        text = "\n".join(EFNS)
        assert done("derive", "--secret-file", secret, *words, input=text) == printed
    assert not any(each in printed for each in EFNS)
    kept = done("derive", "--secret-file", secret, "--keep-identifiers", "ids")
    rows = [f"{one},{other}" for one, other in zip(EFNS, wanted, strict=True)]
    assert kept.splitlines() == ["identifier,password", *rows]
    # What is printed can be imported; the list with identifiers cannot.
    Path("passwords.csv").write_text(printed)
    assert "3 sound passwords, 0 problems, 0 warnings: it would be imported" in done(
        "check", "passwords.csv"
    )
    Path("kept.csv").write_text(kept)
    assert "there is no column 'identifier'" in run("check", "kept.csv").stderr


def test_a_column_of_a_csv_has_the_identifiers() -> None:
    secret = secret_file()
    Path("doctors.csv").write_text(f"Name;EFN\nMüller;{EFNS[0]}\nMaier;\nKühn;{EFNS[1]}\n")
    wanted = [derive(bytes(range(32)), each) for each in EFNS[:2]]
    words = ["derive", "--secret-file", secret, "doctors.csv"]
    assert done(*words, "--column", "efn").splitlines() == ["password", *wanted]
    assert "line 1: there are several columns" in refused(1, *words)
    assert "does not name that column" in refused(1, *words, "--column", "LANR")


def test_an_identifier_that_comes_again_is_told_and_left_out() -> None:
    ran = run("derive", "--secret-file", secret_file(), input=f"{EFNS[0]}\n{EFNS[1]}\n{EFNS[0]} \n")
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 3
    assert ran.stderr == (
        "pystream password derive: warning: standard input: line 3: the identifier of line 1 once"
        " more, left out\n"
    )


def test_identifiers_that_look_like_formulas_are_kept_as_text() -> None:
    printed = done("derive", "--secret-file", secret_file(), "--keep-identifiers", input="=1+1\n")
    assert printed.splitlines()[1].startswith("'=1+1,")


def test_a_new_secret_is_made_once_and_is_its_owners() -> None:
    words = ["derive", "--secret-file", "new.secret", "--new-secret"]
    before = os.umask(0)
    try:
        made = run(*words, input=EFNS[0])
    finally:
        os.umask(before)
    assert made.returncode == 0
    assert "new.secret is a new secret: keep it" in made.stderr
    path = Path("new.secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = bytes.fromhex(path.read_text())
    assert made.stdout.splitlines() == ["password", derive(secret, EFNS[0])]
    assert secret.hex() not in made.stdout + made.stderr
    assert "without --new-secret it is used" in refused(1, *words, input=EFNS[0])
    assert bytes.fromhex(path.read_text()) == secret
    assert done(*words[:-1], input=EFNS[0]) == made.stdout


def test_no_secret_is_made_for_nothing() -> None:
    words = ["derive", "--secret-file", "new.secret", "--new-secret"]
    assert "there is no identifier in it" in refused(1, *words, input="\n")
    assert "line 1: the line is not UTF-8" in refused(1, *words, "latin", stdin=latin())
    assert "nowhere: No such file" in refused(1, *words, "nowhere")
    assert not Path("new.secret").exists()


def latin() -> int:
    Path("latin").write_bytes("Müller".encode("latin-1"))
    return subprocess.DEVNULL


def test_a_secret_that_is_none_is_not_used() -> None:
    words = ["derive", "--secret-file", "acme.secret"]
    assert "acme.secret: there is no such file or folder; --new-secret" in refused(
        1, *words, input="1"
    )
    secret_file(bytes(31))
    said = refused(1, *words, input="1")
    assert "acme.secret: a secret is written as 64 hexadecimal digits" in said
    secret_file()
    Path("acme.secret").chmod(0o644)
    assert "others than its owner may use the secret (mode 0644): chmod 600" in refused(
        1, *words, input="1"
    )


def test_check_says_what_an_import_would() -> None:
    good = generate()
    Path("list.csv").write_text(f"password;label\n{good};Zimmer 1\n007;Zimmer 2\n0815;\n")
    assert done("check", "list.csv").splitlines() == [
        "list.csv: lines 3 to 4: the password can be guessed: it is so short that strangers find it by"
        " trying it here: the server slows them down, and does not keep them out",
        "list.csv: 3 sound passwords, 0 problems, 2 warnings: it would be imported",
    ]
    told = json.loads(done("check", "list.csv", "--json"))
    assert (told["ok"], told["passwords"], told["problems"]) == (True, 3, [])
    assert [each["line"] for each in told["warnings"]] == [3, 4]
    assert "error" not in told


def test_check_warns_of_what_is_over() -> None:
    """As an import does: it takes them, for lists that somebody has kept for years."""
    lines = f"{generate()},2031-05-01\n{generate()},2001-05-01\n"
    Path("list.csv").write_text(f"password,valid until\n{lines}")
    assert done("check", "list.csv").splitlines() == [
        "list.csv: line 3: valid until: that is over; such a password opens nothing",
        "list.csv: 2 sound passwords, 0 problems, 1 warning: it would be imported",
    ]
    Path("list.csv").write_text(f"Code;Gültig bis\n{lines.replace(',', ';')}")
    assert "line 3: 'Gültig bis': that is over" in done("check", "list.csv")


def test_check_refuses_with_every_line() -> None:
    text = f"password,valid until\n{generate()},2031-02-30\n007,\n007,\n,\n\x00,\n"
    ran = run("check", "-", input=text)
    assert ran.returncode == 1
    assert [line.split(": ")[2] for line in ran.stderr.splitlines()] == [
        "line 2",
        "line 4",
        "line 6",
    ]
    assert ran.stdout.splitlines()[-1] == (
        "standard input: 1 sound password, 3 problems, 1 warning: it would be refused"
    )
    assert "007" not in ran.stdout + ran.stderr
    ran = run("check", "-", "--json", input=text)
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["ok"]) == (1, False)
    assert [each["line"] for each in told["problems"]] == [2, 4, 6]
    assert told["error"] == f"line 2: {told['problems'][0]['text']}"


def test_times_are_those_of_the_zone() -> None:
    """The hour that Berlin leaves out is no reason to refuse; an end before the begin is."""
    Path("list").write_text(
        "password,valid from,valid until\nx,2031-05-01T12:00+02:00,1.5.2031 11:30\n"
    )
    assert run("check", "list", "--timezone", "Europe/Berlin").returncode == 1
    assert run("check", "list", "--timezone", "UTC").returncode == 0


def test_the_machine_need_have_no_tables_of_time_zones() -> None:
    bare = os.environ | {"PYTHONTZPATH": ""}
    text = f"password,valid until\n{generate()},2031-05-01\n"
    for known in ((), ("--timezone", "Europe/Berlin")):
        assert "1 sound password, 0 problems" in done("check", "-", *known, input=text, env=bare)
    said = refused(2, "check", "-", "--timezone", "Europe/Bielefeld", input=text, env=bare)
    assert "is no time zone that this machine knows" in said


def test_a_list_that_is_not_there_is_an_error_for_scripts() -> None:
    ran = run("check", "nowhere", "--json")
    assert (ran.returncode, json.loads(ran.stdout)) == (
        1,
        {"error": "nowhere: No such file or directory"},
    )
