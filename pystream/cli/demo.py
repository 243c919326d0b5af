"""`pystream demo`: a whole server with the sample film, on loopback, until it is stopped."""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time

from pystream.cli._store import not_installed

_SAMPLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "demo/sample.mp4"
)


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pystream demo",
        description="Serves a film on this machine alone, and says where.",
        epilog="Everything it needs lies in a temporary folder, which is removed in the end.",
    )
    parser.add_argument("source", nargs="*", default=[_SAMPLE], metavar="INPUT", help="the film")
    parser.add_argument("--port", type=int, default=8080, help="where to listen (default: 8080)")
    parser.add_argument(
        "--seconds", type=float, help="end after so long (default: $DEMO_SECONDS, or never)"
    )
    options = parser.parse_args(arguments)
    seconds = options.seconds
    if seconds is None and os.environ.get("DEMO_SECONDS"):
        seconds = float(os.environ["DEMO_SECONDS"])

    try:
        from pystream.acl.store import Store
        from pystream.acl.streams import StreamSettings, TenantSettings
        from pystream.server.settings import load
        from pystream.server.workers import supervise
    except ModuleNotFoundError as error:
        raise not_installed(error) from None

    with tempfile.TemporaryDirectory(prefix="pystream-demo-") as folder:
        os.environ.update(
            PYSTREAM_STORE_URL=f"sqlite:///{folder}/store.db",
            PYSTREAM_SERVER_LISTEN=f"127.0.0.1:{options.port}",
            PYSTREAM_SERVER_WORKERS="1",
            PYSTREAM_SERVER_ADMIN="",
            PYSTREAM_MASTER_KEY=secrets.token_hex(32),
        )
        now = int(time.time())
        with Store.open(os.environ["PYSTREAM_STORE_URL"]) as store:
            store.add_tenant("demo", TenantSettings(display="Demo"), who="demo", now=now)
            sources = tuple(os.path.abspath(path) for path in options.source)
            film = StreamSettings(sources=sources, title="Sample", encryption="aes-128")
            store.add_stream("demo", "film", film, who="demo", now=now)
        address = f"http://127.0.0.1:{options.port}/demo/film/"
        print(f"Open {address} in a browser. Ctrl-C ends the demo.", flush=True)
        print(f"Other players (VLC, mpv, ffplay) open {address}master.m3u8", flush=True)
        return supervise(load(None, os.environ), None, seconds)
