"""The servers that are measured: started in a folder of their own, pinned, watched from outside.

nginx is found on the PATH, or where PYSTREAM_BENCH_NGINX says. nginx-vod-module, which packages on
request too, is loaded from where PYSTREAM_BENCH_VOD says. Distributions do not have it; it is built
once, outside of this folder, against the very nginx that will load it:

    apt-get install nginx nginx-dev libpcre2-dev libssl-dev zlib1g-dev libxml2-dev
    cp -rL /usr/share/nginx/src nginx-src
    git clone https://github.com/dio-az/nginx-vod-module     # the fork that is kept alive
    git -C nginx-vod-module checkout v1.1.0                  # AES-128 works in no later release
    cd nginx-src
    ./configure --with-compat --with-threads --with-http_ssl_module --with-cc-opt='-O3 -mpopcnt' \\
        --add-dynamic-module=../nginx-vod-module
    make -f objs/Makefile modules
    export PYSTREAM_BENCH_VOD=$PWD/objs/ngx_http_vod_module.so

Its settings are those that its own README advises for speed, and it reads what is in the page cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.attendance.purpose import VERSION
from pystream.rehearsal import watching
from pystream.rehearsal.players import first_variant, media_playlist
from pystream.rehearsal.wire import trusting

TENANT = "bench"
_SETTINGS = TenantSettings(attendance_purpose=VERSION)
# It ends where the server does; this is for machines that have much else to do.
_READY_SECONDS = 120.0
_READY_ANSWERS = 16


class Unavailable(Exception):
    """A server is not on this machine, or does not do what is asked for; says what is missing."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs. `clear`, `secure` and `admin` are the addresses of its roots, without a slash;
    nginx has no `admin`, and no `settings`, a file that pystream's commands take."""

    name: str
    process: subprocess.Popen[bytes]
    clear: str
    secure: str
    admin: str = ""
    settings: str = ""

    def pids(self) -> list[int]:
        """Its processes, the first one first."""
        return watching.family(self.process.pid)

    def workers(self) -> list[int]:
        """Those that serve."""
        return watching.workers(self.pids())

    def cpu(self) -> float:
        """Processor seconds that all its processes have used, in steps of 10 ms (proc(5))."""
        return sum(map(watching.cpu, self.pids()))

    def rss(self) -> int:
        """Bytes of memory that its workers hold."""
        return sum(map(watching.rss, self.workers()))


def free_ports(count: int) -> list[int]:
    """So many, of which no two are the same."""
    with contextlib.ExitStack() as stack:
        there = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in there:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in there]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key on P-256, made by openssl; the same pair for all servers."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    if not chain.exists():
        if shutil.which("openssl") is None:
            raise Unavailable("openssl is not installed")
        subprocess.run(
            [
                *"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1".split(),
                *"-nodes -days 30 -subj /CN=127.0.0.1".split(),
                *(
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-keyout",
                    str(key),
                    "-out",
                    str(chain),
                ),
            ],
            check=True,
            capture_output=True,
        )
    return chain, key


@contextlib.contextmanager
def _running(
    name: str, command: list[str], cores: str | None, folder: Path, *ports: int
) -> Iterator[Server]:
    """`ports`: HTTP, HTTPS, and the admin's; the first has to answer before anybody is told."""
    pinned = ["taskset", "--cpu-list", cores, *command] if cores else command
    log = folder / f"{name}.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=Path(__file__).parent.parent,
        )
    schemes = ("http", "https", "http")
    roots = (f"{s}://127.0.0.1:{port}" for s, port in zip(schemes, ports, strict=False))
    try:
        if not _answers(ports[0], process):
            words = log.read_text(errors="replace").strip().splitlines()
            raise Unavailable(": ".join([f"{name} does not start", *words[-1:]]))
        yield Server(name, process, *roots)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits for a server to answer: so many times that each of its workers has, most likely, as the
    kernel shares connections out between them by chance."""
    deadline = time.monotonic() + _READY_SECONDS
    answered = 0
    while answered < _READY_ANSWERS and process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), _READY_SECONDS) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                answered += bool(one.recv(1))
        except OSError:
            time.sleep(0.05)
    return answered == _READY_ANSWERS


# pystream


@contextlib.contextmanager
def pystream(
    streams: Mapping[str, StreamSettings],
    folder: Path,
    *,
    cores: str | None = None,
    workers: int = 1,
    cache: int = 0,
    store: str = "",
    more: str = "",
) -> Iterator[Server]:
    """A node with these streams of one tenant. `cache`: bytes for segments that several want. `store`:
    the address of an empty database, if it is to be another one than SQLite's; `more`: further
    settings."""
    home = folder / f"pystream-{secrets.token_hex(4)}"
    home.mkdir()
    store = store or f"sqlite:///{home}/store.db"
    clear, secure, admin = free_ports(3)
    chain, key = certificate(folder)
    master = home / "master.key"
    master.touch(mode=0o600)
    master.write_text(secrets.token_hex(32))
    settings = home / "pystream.toml"
    settings.write_text(
        f"""\
[server]
listen = ["127.0.0.1:{clear}"]
admin = ["127.0.0.1:{admin}"]
workers = {workers}
[limits]
idle_seconds = 600.0
[tls]
listen = ["127.0.0.1:{secure}"]
certificates = [{{ certificate = "{chain}", key = "{key}" }}]
[store]
url = "{store}"
[keys]
master_key_file = "{master}"
[cache]
segment_bytes = {cache}
{more}"""
    )
    now = int(time.time())
    with Store.open(store) as opened:
        opened.add_tenant(TENANT, _SETTINGS, who="benchmarks", now=now)
        for name, stream in streams.items():
            opened.add_stream(TENANT, name, stream, who="benchmarks", now=now)
    command = [sys.executable, "-m", "pystream", "serve", "--config", str(settings)]
    with _running("pystream", command, cores, home, clear, secure, admin) as server:
        yield replace(server, settings=str(settings))


def entrance(server: Server, stream: str, secure: bool = False) -> str:
    """Where a viewer of a stream of `pystream` begins."""
    return f"{server.secure if secure else server.clear}/{TENANT}/{stream}/master.m3u8"


def granted(server: Server, stream: str) -> str:
    """The multivariant playlist under a new grant; the film is not opened by that."""
    url = entrance(server, stream)
    parts = urlsplit(url)
    with contextlib.closing(HTTPConnection(parts.netloc, timeout=60)) as connection:
        connection.request("GET", parts.path)
        place = connection.getresponse().getheader("Location", "")
    return urljoin(url, place)


def lags(server: Server) -> dict[float, float]:
    """How often the workers' loops were late by how much at most, in seconds: the cumulative
    histogram of /metrics. Empty where a server has none."""
    try:
        text = get(f"{server.admin}/metrics")[1].decode()
    except (OSError, ValueError):
        return {}
    found = re.findall(r'^pystream_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.M)
    return {float(bound): float(count) for bound, count in found}


# nginx


@contextlib.contextmanager
def nginx(
    root: Path,
    folder: Path,
    *,
    films: Path | None = None,
    segment_seconds: float = 6,
    cores: str | None = None,
    workers: int = 1,
) -> Iterator[Server]:
    """nginx with the files below `root`; with `films`, nginx-vod-module below /vod/ of the MP4 files
    there, as TS with AES-128."""
    program = shutil.which(os.environ.get("PYSTREAM_BENCH_NGINX") or "nginx")
    if program is None and os.access("/usr/sbin/nginx", os.X_OK):
        program = "/usr/sbin/nginx"
    if program is None:
        raise Unavailable("nginx is not installed")
    home = folder / f"nginx-{secrets.token_hex(4)}"
    home.mkdir()
    chain, key = certificate(folder)
    clear, secure = free_ports(2)
    configuration = home / "nginx.conf"
    load = f"load_module {vod_module()};" if films else ""
    packaging = _VOD % {"films": films, "ms": round(segment_seconds * 1000)} if films else ""
    configuration.write_text(
        _NGINX
        % {
            "user": "user root;" if os.geteuid() == 0 else "",
            "load": load,
            "home": home,
            "root": root,
            "workers": workers,
            "clear": clear,
            "secure": secure,
            "chain": chain,
            "key": key,
            "caches": _VOD_CACHES if films else "",
            "packaging": packaging,
        }
    )
    command = [program, "-p", str(home), "-c", str(configuration)]
    name = "nginx-vod-module" if films else "nginx"
    with _running(name, command, cores, home, clear, secure) as server:
        yield server


def vod_module() -> str:
    """The path of the module; raises `Unavailable`."""
    path = os.environ.get("PYSTREAM_BENCH_VOD", "")
    if not os.path.isfile(path):
        raise Unavailable("nginx-vod-module: PYSTREAM_BENCH_VOD does not name its .so")
    return path


_NGINX = """\
%(load)s
%(user)s
daemon off;
worker_processes %(workers)d;
worker_rlimit_nofile 65536;
pid %(home)s/nginx.pid;
error_log %(home)s/error.log warn;
events { worker_connections 20000; }
http {
    access_log off;
    default_type application/octet-stream;
    types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    open_file_cache max=2000 inactive=10m;
    open_file_cache_valid 10m;
    client_body_temp_path %(home)s/body;
    proxy_temp_path %(home)s/proxy;
    fastcgi_temp_path %(home)s/fastcgi;
    uwsgi_temp_path %(home)s/uwsgi;
    scgi_temp_path %(home)s/scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    %(caches)s
    server {
        listen 127.0.0.1:%(clear)d backlog=4096;
        listen 127.0.0.1:%(secure)d ssl backlog=4096;
        ssl_certificate %(chain)s;
        ssl_certificate_key %(key)s;
        root %(root)s;
        gzip_static on;
        add_header Cache-Control "private, no-store";
        %(packaging)s
    }
}
"""
_VOD_CACHES = """\
vod_mode local;
    vod_metadata_cache metadata 1024m;
    vod_response_cache responses 128m;
"""
_VOD = """\
location /vod/ {
            alias %(films)s/;
            vod hls;
            vod_segment_duration %(ms)d;
            vod_align_segments_to_key_frames on;
            vod_hls_encryption_method aes-128;
            vod_secret_key "the same for all films";
            vod_max_metadata_size 512m;
            vod_max_frames_size 64m;
            vod_max_frame_count 20000000;
            vod_output_buffer_pool 64k 64;
        }
"""


# What they have


def get(url: str) -> tuple[str, bytes]:
    """The body of an address, and where that was in the end."""
    with urllib.request.urlopen(url, timeout=60, context=_context(url)) as answer:
        return answer.url, answer.read()


def _context(url: str) -> ssl.SSLContext | None:
    return trusting() if url.startswith("https:") else None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Of what a film's first rendition has."""

    playlist: str
    segments: list[str]
    key: str | None


def addresses(url: str) -> Addresses:
    """What a playlist leads to, be it a multivariant one or a media playlist."""
    url, text = get(url)
    variant = first_variant(text)
    if variant is not None:
        url, text = get(urljoin(url, variant))
    segments = media_playlist(text)
    key = segments[0].key
    return Addresses(
        url, [urljoin(url, s.uri) for s in segments], urljoin(url, key) if key else None
    )
