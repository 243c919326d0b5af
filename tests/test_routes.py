"""What each path of the server means, and that no other path means anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.server import routes
from pystream.server.routes import Kind, Route, route

GRANTED: dict[str, Any] = {"tenant": "acme", "stream": "film"}
MEDIA: dict[str, Any] = {"tenant": "acme", "stream": "film", "version": "v1", "rendition": "v0"}

CASES = [
    ("/acme/film/", Route(Kind.PAGE, "acme", "film")),
    ("/acme/film", Route(Kind.UNSLASHED, "acme", "film")),
    ("/acme/film/session", Route(Kind.SESSION, "acme", "film")),
    ("/acme/film/master.m3u8", Route(Kind.ENTRANCE, "acme", "film", name="master.m3u8")),
    ("/acme/film/download.mp4", Route(Kind.ENTRANCE, "acme", "film", name="download.mp4")),
    ("/t/G/acme/film/master.m3u8", Route(Kind.MULTIVARIANT, **GRANTED)),
    ("/t/G/acme/film/download.mp4", Route(Kind.DOWNLOAD, **GRANTED)),
    ("/t/G/acme/film/leave", Route(Kind.LEAVE, **GRANTED)),
    ("/t/G/acme/film/beacon", Route(Kind.BEACON, **GRANTED)),
    ("/t/G/acme/film/count", Route(Kind.COUNT, **GRANTED)),
    ("/t/G/acme/film/v1/v0/index.m3u8", Route(Kind.PLAYLIST, **MEDIA)),
    ("/t/G/acme/film/v1/v0/init.mp4", Route(Kind.INIT, **MEDIA)),
    ("/t/G/acme/film/v1/v0/init-2.mp4", Route(Kind.INIT, **MEDIA, number=2)),
    ("/t/G/acme/film/v1/v0/0.ts", Route(Kind.SEGMENT, **MEDIA, name="ts")),
    ("/t/G/acme/film/v1/v0/17.m4s", Route(Kind.SEGMENT, **MEDIA, number=17, name="m4s")),
    ("/t/G/acme/film/v1/v0/key/v0-3.key", Route(Kind.KEY, **MEDIA, name="v0-3.key")),
    ("/t/G/acme/film/v1/v0/frame/9000.mp4", Route(Kind.FRAME, **MEDIA, number=9000)),
    ("/s/acme/film/v1/v0/4.ts", Route(Kind.SEGMENT, **MEDIA, number=4, name="ts")),
    ("/s/-/player.js", Route(Kind.ASSET, name="player.js")),
    ("/favicon.ico", Route(Kind.ASSET)),
    ("/console", Route(Kind.OFFICE)),
    ("/console/streams/film", Route(Kind.OFFICE)),
    ("/api/v1/streams", Route(Kind.OFFICE)),
    ("/.well-known/pystream-privacy.json", Route(Kind.PRIVACY)),
]

NOTHING = [
    "/",
    "/acme",
    "/acme/",
    "/acme",
    "/acme/film/index.m3u8",
    "/acme/film/leave",
    "/acme//",
    "/t/",
    "/t/G/acme/film/",
    "/t//acme/film/master.m3u8",
    "/t/G/acme/film/v0/index.m3u8",
    "/t/G/acme/film/v1/v0/other.m3u8",
    "/s/acme/film/v1/v0/index.m3u8",
    "/t/G/acme/film/v1/v0/01.ts",
    "/t/G/acme/film/v1/v0/+1.ts",
    "/t/G/acme/film/v1/v0/-1.ts",
    "/t/G/acme/film/v1/v0/1.mp4",
    "/t/G/acme/film/v1/v0/².ts",
    "/t/G/acme/film/v1/v0/.ts",
    "/t/G/acme/film/v1/v0/1234567890.ts",
    "/t/G/acme/film/v1/v0/init-0.mp4",
    "/t/G/acme/film/v1/v0/init-.mp4",
    "/t/G/acme/film/v1/v0/initial.mp4",
    "/t/G/acme/film/v1/v0/key/",
    "/t/G/acme/film/v1/v0/frame/x.mp4",
    "/s/acme/film/master.m3u8",
    "/s/acme/film/v1/v0/key/v0-0.key",
    "/s/acme/film/v1/v0/frame/0.mp4",
    "/s/-/",
    "/.well-known/",
]


@pytest.mark.parametrize(("path", "meaning"), CASES, ids=[path for path, _ in CASES])
def test_a_path_means_what_the_table_says(path: str, meaning: Route) -> None:
    assert route(path) == (meaning, "G" if path.startswith("/t/") else None)


@pytest.mark.parametrize("path", NOTHING)
def test_other_paths_mean_nothing(path: str) -> None:
    assert route(path)[0] is None


@given(st.lists(st.sampled_from(["", "t", "s", "-", "a", "0.ts", "init.mp4", "key", "frame"])))
def test_any_path_has_a_meaning_or_none(parts: list[str]) -> None:
    found, grant = route("/" + "/".join(parts))
    assert (grant is None) == (not parts or parts[0] != "t" or len(parts) < 3 or not parts[1])
    assert found is None or isinstance(found.kind, Kind)


def test_what_is_remembered_of_paths_is_bounded() -> None:
    for n in range(5000):
        route(f"/t/G/acme/film/v1/v0/{n}.ts")
        route(f"/t/G/acme/film/v1/{n:0200}/0.ts")
    known = routes._known_granted.cache_info()
    assert known.currsize == known.maxsize == 2048
    before = known.misses
    route(f"/t/G/acme/film/v1/{0:0200}/0.ts")
    assert routes._known_granted.cache_info().misses == before, "long ones are not remembered"


def test_every_kind_of_path_is_in_the_table() -> None:
    assert {meaning.kind for _, meaning in CASES} == set(Kind)
