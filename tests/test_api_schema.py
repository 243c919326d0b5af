"""The API against its own description: a program that knows nothing else asks a real node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pystream.acl.people import SCOPES
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.acl.streams import StreamSettings, TenantSettings
from tests.test_serve import SAMPLE, Node, environment, node_in

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        films = tmp_path / "films" / "acme"
        films.mkdir(parents=True)
        os.link(SAMPLE, films / "film.mp4")
        # Those who look for faults are faster than customers' sites.
        made.settings(rest='[console]\nfilms = "films"\nrequests_per_minute = 1_000_000\n')
        with Store.open(str(tmp_path / "pystream.db")) as store:
            store.add_tenant("acme", TenantSettings(), who="test", now=0)
            for name, access in (("course", "personal"), ("talk", "shared")):
                film = StreamSettings(sources=(str(SAMPLE),), access=access)
                store.add_stream("acme", name, film, who="test", now=0)
        made.start()
        made.hear("READY=1")
        yield made


def token_of(node: Node) -> str:
    with Store.open(str(node.folder / "pystream.db")) as store:
        id, now = store.tenant("acme").id, int(time.time())
        accounts = Accounts(store.people)
        return accounts.add_token(id, "all", SCOPES, None, who="test", now=now)[1]


# A value that its type allows may still not go with another one, or name what is not there.
_CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 412, 422]
"""


def test_the_api_is_as_it_is_described(node: Node) -> None:
    (node.folder / "schemathesis.toml").write_text(_CONFIG)
    base = f"http://127.0.0.1:{node.port}"
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"{base}/api/v1/openapi.json", "--url", base),
            *("--header", f"Authorization: Bearer {token_of(node)}"),
            *("--seed", "20310515", "--generation-deterministic"),
            *("--max-examples", "10", "--workers", "1", "--no-color", "--max-failures", "20"),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=node.folder,
        check=False,
    )
    print(done.stdout[-20_000:], done.stderr[-5000:])
    assert done.returncode == 0
    assert "Traceback" not in node.said()
