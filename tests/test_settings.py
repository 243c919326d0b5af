"""Settings: what the file and the environment say, and where an error is said to be."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream import _core
from pystream.attendance.nodes import PROXIES
from pystream.errors import SettingsError
from pystream.server.settings import (
    EXAMPLE,
    Listen,
    Network,
    Settings,
    find,
    from_json,
    load,
    needing_new_processes,
    parse,
    to_json,
    with_changes,
)

TEXT = Path(EXAMPLE).read_text()


def refused(text: str, environ: dict[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        parse(text, "pystream.toml", environ or {})
    return caught.value


# The example


def test_the_example_is_the_defaults() -> None:
    assert parse(TEXT, EXAMPLE, {}) == Settings() == parse("", "", {})


def test_what_the_readme_has_for_a_server_in_the_open_is_right() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (text,) = re.findall("```toml\n(.*?)```", readme, re.DOTALL)
    settings = parse(text, "pystream.toml", {})
    assert settings.tls.redirect and settings.tls.certificates
    assert [listen.port for listen in (*settings.server.listen, *settings.tls.listen)] == [80, 443]


def test_the_example_has_every_key_and_says_what_it_is() -> None:
    given = tomllib.loads(TEXT)
    sections = get_type_hints(Settings)
    assert list(given) == list(sections)
    for name, kind in sections.items():
        assert list(given[name]) == list(kind.__struct_fields__)
    lines = TEXT.splitlines()
    described = 0
    for number, line in enumerate(lines):
        if re.match(r"[a-z]", line):
            # A comment above it, or above the keys that it belongs with.
            first = number
            while re.match(r"[a-z]", lines[first - 1]):
                first -= 1
            assert lines[first - 1].startswith("#"), line
            described += 1
    assert described == sum(len(kind.__struct_fields__) for kind in sections.values())


def test_values_come_through() -> None:
    settings = parse(
        """
        [server]
        listen = ["*:80", "[::1]:8080", "unix:/run/pystream/http"]
        workers = 4
        path_prefix = "/video"
        admin = []
        trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]
        proxy_protocol = true
        [limits]
        idle_seconds = 5
        [tls]
        listen = ["*:443"]
        redirect = true
        hsts_seconds = 31_536_000
        [[tls.certificates]]
        certificate = "/etc/a.pem"
        key = "/etc/a.key"
        """,
        "pystream.toml",
        {},
    )
    server = settings.server
    assert [(each.host, each.port, each.path) for each in server.listen] == [
        ("*", 80, ""),
        ("::1", 8080, ""),
        ("", 0, "/run/pystream/http"),
    ]
    assert (server.workers, server.path_prefix, server.admin) == (4, "/video", ())
    ten, documentation = server.trusted_proxies
    assert "10.1.2.3" in ten and "::ffff:10.1.2.3" in ten and "11.0.0.1" not in ten
    assert "2001:db8::1" in documentation and "10.1.2.3" not in documentation
    assert "nonsense" not in ten
    assert settings.limits.idle_seconds == 5.0
    assert settings.tls.certificates[0].key == "/etc/a.key"


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().server.workers = 3  # type: ignore[misc]


# Errors


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        # Names
        ("[server]\nworkers = 1\nwokers = 2", 3, "server.wokers", "is workers meant?"),
        ("[server]\nzzz = 2", 2, "server.zzz", "no such key: listen, socket_mode,"),
        ("[sever]\n", 1, "sever", "is server meant?"),
        ("workers = 2", 1, "workers", "no such key; is [server] workers meant?"),
        ("listen = []", 1, "listen", "is [server] listen or [tls] listen meant?"),
        ("[limits]\nloop_lag_ms = 1", 2, "limits.loop_lag_ms", "is [overload] loop_lag_ms meant?"),
        ("[[tls.certificates]]\nfile = ''", 2, "tls.certificates[0].file", "no such key"),
        # Types
        ("\n\n[server]\n# x\nworkers = '1'", 5, "server.workers", "a whole number is wanted"),
        ("[server]\nworkers = 1.5", 2, "server.workers", "a whole number is wanted"),
        ("[server]\nworkers = true", 2, "server.workers", "a whole number is wanted"),
        ("[server]\nproxy_protocol = 1", 2, "server.proxy_protocol", "true or false is wanted"),
        ("[server]\nlisten = 'a:1'", 2, "server.listen", "a list in brackets is wanted"),
        ("[server]\nlisten = [1]", 2, "server.listen[0]", "a string in quotes"),
        ("[store]\nurl = 1", 2, "store.url", "a string in quotes is wanted"),
        ("server = 1", 1, "server", "a table is wanted"),
        ("[limits]\nidle_seconds = '5'", 2, "limits.idle_seconds", "a number is wanted"),
        ("[log]\nformat = 'xml'", 2, "log.format", '"auto" or "json" or "text" is wanted, not xml'),
        # Ranges
        ("[server]\nworkers = -1", 2, "server.workers", ">= 0"),
        ("[limits]\nidle_seconds = 0", 2, "limits.idle_seconds", "> 0"),
        ("[outgoing]\nports = [443, 0]", 2, "outgoing.ports[1]", ">= 1"),
        ("[outgoing]\nports = ['443']", 2, "outgoing.ports[0]", "a whole number is wanted"),
        ("[outgoing]\nallow = ['10.0.0.1/8']", 2, "outgoing.allow[0]", "host bits"),
        ("[limits]\nidle_seconds = nan", 2, "limits.idle_seconds", "a number"),
        ("[limits]\nrequest_line = 10", 2, "limits.request_line", ">= 256"),
        ("[cache]\nsegment_bytes = 17_592_186_044_417", 2, "cache.segment_bytes", "<= "),
        # Words
        ("[server]\nlisten = ['80']", 2, "server.listen[0]", '"host:port"'),
        ("[server]\nlisten = ['a:0']", 2, "server.listen[0]", "from 1 to 65535"),
        ("[server]\nlisten = ['a:65536']", 2, "server.listen[0]", "from 1 to 65535"),
        ("[server]\nlisten = ['a:٣']", 2, "server.listen[0]", "from 1 to 65535"),
        ("[server]\nlisten = [':80']", 2, "server.listen[0]", 'is "*:80"'),
        ("[server]\nlisten = ['::1:80']", 2, "server.listen[0]", "in brackets"),
        ("[server]\nlisten = ['[x]:80']", 2, "server.listen[0]", "'x'"),
        ("[server]\nlisten = ['unix:a']", 2, "server.listen[0]", "unix:/path"),
        (f"[server]\nlisten = ['unix:/{'a' * 107}']", 2, "server.listen[0]", "107 bytes"),
        ("[server]\npath_prefix = '/a/'", 2, "server.path_prefix", "no slash at its end"),
        ("[server]\npath_prefix = 'a'", 2, "server.path_prefix", '"/video"'),
        ("[server]\npath_prefix = '/a/../b'", 2, "server.path_prefix", '"/video"'),
        (
            "[server]\ntrusted_proxies = ['10.0.0.1/8']",
            2,
            "server.trusted_proxies[0]",
            "network is 10.0.0.0/8",
        ),
        ("[server]\ntrusted_proxies = ['a']", 2, "server.trusted_proxies[0]", "'a'"),
        ("[guard]\nexempt = ['fe80::%eth0/64']", 2, "guard.exempt[0]", "an interface"),
        # Whole statements, wherever they begin and end
        ("server.listen = [\n'a:1',\n'a'\n]", 1, "server.listen[1]", '"host:port"'),
        ("[server]\nlisten = [\n'a:1', # ]\n\n'a:2']\nworkers=-1", 6, "server.workers", ">= 0"),
        ("[store]\nurl = '''\n[server]\nworkers = 1'''\n[server]\nworkers = -1", 6, "", ">= 0"),
        ("[server]\n'workers' = -1", 2, "server.workers", ">= 0"),
        ('server = { workers = 1, "work\\u0065r" = -1 }', 1, "server.worker", "workers meant?"),
        ("tls.certificates = [{ key = 1, certificate = '' }]", 1, "tls.certificates[0].key", ""),
        (
            "[[tls.certificates]]\nkey = ''\ncertificate = ''\n[[tls.certificates]]\nkey = 1",
            5,
            "tls.certificates[1].key",
            "a string",
        ),
        ("[[tls.certificates]]\nkey = ''", 1, "tls.certificates[0]", "certificate is missing"),
        # TOML
        (
            "[log]\naccess = true\n[server]\nworkers = 1\nworkers = 2\n",
            5,
            "server.workers",
            "twice",
        ),
        ("a = ", 1, "a", "'' is no value of TOML"),
        ("[log]\naccess = yes\n", 2, "log.access", "'yes' is no value of TOML; true or false is"),
        ("[log]\nformat = text\n", 2, "log.format", "a text in quotes is wanted"),
        ("[server]\nworkers = two\n", 2, "server.workers", "a whole number is wanted"),
        ("[server]\nlisten = [\n", 2, "server.listen", ""),
        ("[server]\nlisten = [\n  'a:1'\n\nworkers = 1\n", 2, "server.listen", "Unclosed array"),
        ("[server\nworkers = 1\n", 1, "", "Expected ']'"),
        ("[server]\n\x00", 2, "", ""),
        # What goes together
        ("[server]\nlisten = []", 2, "server.listen", "nowhere to listen"),
        ("[server]\nproxy_protocol = true", 2, "server.proxy_protocol", "trusted_proxies"),
        ("[tls]\nlisten = ['a:1']", 2, "tls.listen", "tls.certificates names none"),
        (
            "[attendance]\ntimestamp_url = 'https://a.example/'",
            2,
            "attendance.timestamp_url",
            "attendance.timestamp_certificates has to name a file",
        ),
        (
            "[attendance]\ntimestamp_url = 'a.example'\ntimestamp_certificates = 'a.pem'",
            2,
            "attendance.timestamp_url",
            "a URL like",
        ),
        (
            "[attendance]\nmail_server = 'mail.example'\nmail_from = 'a@b.example'",
            2,
            "attendance.mail_server",
            "a host and a port",
        ),
        (
            "[attendance]\nmail_server = 'mail.example:587'\nmail_from = 'a@b'",
            3,
            "attendance.mail_from",
            "an address like",
        ),
        (
            "[attendance]\nmail_server = 'x.y:587'\nmail_from = 'a@b.c'\nmail_user = 'a'",
            4,
            "attendance.mail_user",
            "mail_password_file",
        ),
        (
            f"[cache]\nsegment_bytes = {_core.CACHE_BLOCK - 1}",
            2,
            "cache.segment_bytes",
            f"{_core.CACHE_BLOCK:,} bytes and more",
        ),
        ("[tls]\nredirect = true", 2, "tls.redirect", "no HTTPS"),
        ("[tls]\nhsts_seconds = 1", 2, "tls.hsts_seconds", "no HTTPS"),
        ("[server]\nlisten = ['a:1', 'a:1']", 2, "server.listen", "named twice"),
        ("[server]\nadmin = ['127.0.0.1:8080']", 2, "server.admin", "named twice"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, line: int, key: str, said: str) -> None:
    error = refused(text)
    assert (error.place, error.line) == ("pystream.toml", line), error
    assert error.key == key or not key
    assert said in str(error)
    assert str(error).startswith(f"pystream.toml:{line}: {error.key}")


def test_the_largest_cache_is_one_that_can_be_made() -> None:
    most = parse(f"[cache]\nsegment_bytes = {2**44}", "x", {}).cache.segment_bytes
    os.close(_core.Cache.create(most, 1))
    with pytest.raises(ValueError, match="cannot be larger"):
        _core.Cache.create(most + _core.CACHE_BLOCK, 1)


def test_what_stands_in_front_of_a_node() -> None:
    behind = "[server]\ntrusted_proxies = ['10.0.0.0/8']\n"
    found = [
        parse(text, "x", {}).server.proxy for text in ("", behind, f"{behind}proxy_protocol = true")
    ]
    assert found == list(PROXIES)


def test_what_is_no_toml_hides_nothing_else() -> None:
    text = """
        [log]
        access = yes
        format = "x"
        [server]
        workers = 1
        workers = 2
        wokers = 3
        [[tls.certificates]]
        certificate = a.pem
        key = "a.key"
        """
    places = [problem.split(": ")[:2] for problem in refused(text).problems]
    assert places == [
        ["pystream.toml:3", "log.access"],
        ["pystream.toml:4", "log.format"],
        ["pystream.toml:7", "server.workers"],
        ["pystream.toml:8", "server.wokers"],
        # That a certificate's file is missing would be no news.
        ["pystream.toml:10", "tls.certificates[0].certificate"],
    ]


def test_everything_that_is_wrong_is_told_in_the_order_of_the_file() -> None:
    text = """
        [log]
        format = "xml"
        [server]
        wokers = 1
        listen = ["80", "90"]
        workers = "4"
        [[tls.certificates]]
        key = "a.key"
        [sever]
    """
    wrong = refused(text, {"PYSTREAM_LIMITS_BODY": "x", "PYSTREAM_LIMITS_BODI": "1"})
    places = [problem.split(": ")[:2] for problem in wrong.problems]
    assert places == [
        ["PYSTREAM_LIMITS_BODI", "there is no such key; is body meant?"],
        ["PYSTREAM_LIMITS_BODY", "limits.body"],
        ["pystream.toml:3", "log.format"],
        ["pystream.toml:5", "server.wokers"],
        ["pystream.toml:6", "server.listen[0]"],
        ["pystream.toml:7", "server.workers"],
        ["pystream.toml:8", "tls.certificates[0]"],
        ["pystream.toml:10", "sever"],
    ]
    assert str(wrong) == "; ".join(wrong.problems)
    # What contradicts itself is looked for where all else is sound.
    wrong = refused("[server]\nlisten = []\nproxy_protocol = true\n[tls]\nredirect = true")
    assert [problem.split(": ")[1] for problem in wrong.problems] == [
        *("server.listen", "server.proxy_protocol", "tls.redirect")
    ]


def test_an_error_of_the_defaults_needs_no_file() -> None:
    error = refused("", {"PYSTREAM_SERVER_LISTEN": ""})
    assert str(error).startswith("PYSTREAM_SERVER_LISTEN: server.listen: there is nowhere")


def places(value: Any, key: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [place for name, each in value.items() for place in places(each, (*key, name))]
    return [key]


@given(st.randoms(use_true_random=False))
def test_the_line_is_the_keys_wherever_it_stands(chance: Any) -> None:
    """Each key of the example, spoiled, among lines that look like it."""
    lines = TEXT.splitlines()
    keys = [n for n, line in enumerate(lines) if re.match(r"[a-z]", line)]
    number = chance.choice(keys)
    name = lines[number].split(" = ")[0]
    lines[number] = f"{name} = {{}}" if chance.random() < 0.5 else f"{name} = [\n1979-05-27,\n]"
    noise = chance.randrange(len(lines))
    lines.insert(noise, f"# {name} = {{}}")
    line = number + 1 + (noise <= number)
    error = refused("\n".join(lines))
    assert error.line == line
    assert error.key.split(".")[1].split("[")[0] == name


@given(st.text(max_size=80) | st.lists(st.sampled_from(TEXT.split(" ")), max_size=30).map(" ".join))
def test_any_text_is_settings_or_an_error(text: str) -> None:
    try:
        assert isinstance(parse(text, "x", {}), Settings)
    except SettingsError as error:
        assert str(error).startswith("x")
        assert error.line is None or 1 <= error.line <= text.count("\n") + 1


# The environment


def test_the_environment_overrides_the_file() -> None:
    environ = {
        "PYSTREAM_SERVER_WORKERS": "7",
        "PYSTREAM_SERVER_LISTEN": "*:80, unix:/run/x",
        "PYSTREAM_SERVER_ADMIN": "",
        "PYSTREAM_SERVER_PROXY_PROTOCOL": "true",
        "PYSTREAM_SERVER_TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "PYSTREAM_SERVER_PATH_PREFIX": "/v",
        "PYSTREAM_LIMITS_IDLE_SECONDS": "2.5",
        "PYSTREAM_TLS_CERTIFICATES": '[{certificate = "a", key = "b"}]',
        "PYSTREAM_TLS_LISTEN": "*:443",
        "PYSTREAM_OUTGOING_PORTS": "443, 8443",
        "PYSTREAM_OUTGOING_ALLOW": "10.0.0.0/8,fd00::/8",
        "PYSTREAM_STORE_URL": "postgresql://eva@db/x",
        # Neither is a key of a section.
        "PYSTREAM_MASTER_KEY": "00" * 32,
        "PYSTREAM_CONFIG": "/elsewhere",
        "PYSTREAMSERVER_WORKERS": "x",
    }
    settings = parse("[server]\nworkers = 3\nmax_connections = 5", "x", environ)
    assert settings.server.workers == 7
    assert settings.server.max_connections == 5
    assert settings.server.listen == (Listen("*:80"), Listen("unix:/run/x"))
    assert settings.server.admin == ()
    assert settings.server.proxy_protocol is True
    assert settings.server.trusted_proxies == (Network("10.0.0.0/8"),)
    assert settings.server.path_prefix == "/v"
    assert settings.limits.idle_seconds == 2.5
    assert settings.tls.certificates[0].key == "b"
    assert settings.outgoing.ports == (443, 8443)
    assert settings.outgoing.allow == (Network("10.0.0.0/8"), Network("fd00::/8"))
    assert settings.store.url == "postgresql://eva@db/x"


def test_every_key_can_be_overridden() -> None:
    for section, kind in get_type_hints(Settings).items():
        for name in kind.__struct_fields__:
            default = getattr(kind(), name)
            value = msgspec.to_builtins(default, enc_hook=str)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
            variable = f"PYSTREAM_{section.upper()}_{name.upper()}"
            assert parse("", "x", {variable: text}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("PYSTREAM_SERVER_WOKERS", "1", ": there is no such key; is workers meant?"),
        ("PYSTREAM_SERVER_WORKERS", "x", ": server.workers: a whole number is wanted"),
        ("PYSTREAM_SERVER_WORKERS", "", ": server.workers: a whole number is wanted"),
        ("PYSTREAM_LOG_ACCESS", "yes", ": log.access: true or false is wanted"),
        ("PYSTREAM_LIMITS_IDLE_SECONDS", "5s", ": limits.idle_seconds: a number is wanted"),
        ("PYSTREAM_SERVER_LISTEN", "[a:1", ": server.listen: a list, in brackets"),
        ("PYSTREAM_SERVER_WORKERS", "-1", ": server.workers: a whole number >= 0 is wanted"),
        ("PYSTREAM_SERVER_WORKERS", '"1"', ": server.workers: a whole number is wanted"),
        ("PYSTREAM_SERVER_LISTEN", "*:80,x", ": server.listen[1]: "),
        ("PYSTREAM_TLS_CERTIFICATES", "[{a = 1}]", ": tls.certificates[0].a: there is no such key"),
    ],
)
def test_an_error_names_the_variable(variable: str, text: str, said: str) -> None:
    error = refused("[server]\nworkers = 1", {variable: text})
    assert str(error).startswith(variable + said)
    assert error.line is None


# While the node runs


def test_settings_go_from_one_process_to_another() -> None:
    text = """
    [server]
    listen = ["*:80", "[::1]:8080", "unix:/run/pystream/http"]
    socket_mode = 0o600
    path_prefix = "/video"
    trusted_proxies = ["10.0.0.0/8", "unix"]
    [tls]
    listen = ["*:443"]
    certificates = [{ certificate = "a.pem", key = "a.key" }]
    """
    settings = parse(text, "pystream.toml", {})
    assert from_json(to_json(settings)) == settings
    assert settings.server.socket_mode == 0o600
    assert from_json(to_json(Settings())) == Settings()


def test_a_running_process_changes_what_it_can() -> None:
    before = parse("[server]\nworkers = 1\n[limits]\nbody = 1", "x", {})
    after = parse(
        "[server]\nworkers = 2\nproxy_protocol = true\ntrusted_proxies = ['unix']\n[limits]\nbody = 2\n"
        "[store]\nurl = 'sqlite:///other.db'",
        "x",
        {},
    )
    assert needing_new_processes(before, after) == ["server.workers", "store.url"]
    made = with_changes(before, after)
    assert (made.server.workers, made.store, made.limits.body) == (1, before.store, 2)
    assert made.server.proxy_protocol and needing_new_processes(before, made) == []
    assert needing_new_processes(before, before) == []


def test_who_comes_by_a_unix_socket_is_in_no_network_of_addresses() -> None:
    assert "unix" in Network("unix") and "10.0.0.1" not in Network("unix")
    assert "unix" not in Network("0.0.0.0/0") and str(Network("unix")) == "unix"


# Files


def test_paths_begin_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "pystream.toml").write_text(
        "tls.certificates = [{ certificate = 'a.pem', key = '/abs/a.key' }]"
    )
    for path in ("etc/pystream.toml", str(folder / "pystream.toml")):
        settings = load(path, {})
        assert settings.store.url == f"sqlite:///{folder}/pystream.db"
        assert settings.keys.master_key_file == f"{folder}/pystream.key"
        assert settings.keys.store == f"sqlite:///{folder}/keys.db"
        assert settings.keys.erasures == f"{folder}/erasures.txt"
        (certificate,) = settings.tls.certificates
        assert (certificate.certificate, certificate.key) == (f"{folder}/a.pem", "/abs/a.key")
    assert load(None, {}).store.url == f"sqlite:///{tmp_path}/pystream.db"
    for url, wanted in (
        ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
        ("x.db", f"sqlite:///{tmp_path}/x.db"),
        ("postgresql://host/x", "postgresql://host/x"),
    ):
        assert load(None, {"PYSTREAM_STORE_URL": url}).store.url == wanted


@pytest.mark.parametrize(
    ("store", "named", "keys", "erasures"),
    [
        ("sqlite:////data/x.db", {}, "sqlite:////data/keys.db", "/data/erasures.txt"),
        ("postgresql://host/x", {}, "sqlite:////etc/p/keys.db", "/etc/p/erasures.txt"),
        (
            "sqlite:////data/x.db",
            {"STORE": "postgresql://host/keys"},
            "postgresql://host/keys",
            "/etc/p/erasures.txt",
        ),
        (
            "sqlite:////data/x.db",
            {"STORE": "/safe/k.db", "ERASURES": "/other/list"},
            "sqlite:////safe/k.db",
            "/other/list",
        ),
    ],
)
def test_the_key_store_is_beside_the_store_and_the_list_beside_that(
    store: str, named: dict[str, str], keys: str, erasures: str
) -> None:
    environ = {"PYSTREAM_STORE_URL": store, "PYSTREAM_KEYS_MASTER_KEY_FILE": "/etc/p/master"}
    environ |= {f"PYSTREAM_KEYS_{name}": value for name, value in named.items()}
    found = load(None, environ).keys
    assert (found.store, found.erasures) == (keys, erasures)


def test_what_is_no_file_of_settings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "missing.toml"), {})
    (tmp_path / "latin").write_bytes("[server]\n# f\xfcr\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"latin:2: this is no UTF-8"):
        load(str(tmp_path / "latin"), {})


def test_where_settings_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find({"PYSTREAM_CONFIG": "/a/b.toml"}) == "/a/b.toml"
    assert find({}) in (None, "/etc/pystream/pystream.toml")
    (tmp_path / "pystream.toml").touch()
    assert find({}) == "pystream.toml"
