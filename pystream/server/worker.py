"""One worker process: what the supervisor has given it, put together and served."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import trio

from pystream import _core
from pystream.acl.disclosure import document
from pystream.acl.grants import Grants
from pystream.acl.keys import Keyring
from pystream.acl.store import Snapshot, Store
from pystream.acl.store.keystore import KeyStore, root_name
from pystream.acl.streams import Stream, Tenant, problems, records_attendance
from pystream.attendance.purpose import told
from pystream.errors import PystreamError, SettingsError, StoreError
from pystream.server import child, http, log, page
from pystream.server.answers import Answers
from pystream.server.attending import Teller
from pystream.server.beacons import Beacons
from pystream.server.clock import Anchor
from pystream.server.connections import Connections, Limits
from pystream.server.descriptors import allowed, most_connections, most_films
from pystream.server.desk import Line
from pystream.server.door import Door
from pystream.server.edge import Edge, edge_of
from pystream.server.entrance import Entrance
from pystream.server.gate import Gate
from pystream.server.gauges import Board, State
from pystream.server.guard import signs as signing
from pystream.server.guard.limiter import Limiter
from pystream.server.guard.signs import Signs
from pystream.server.handoffs import Handoffs
from pystream.server.keys import open_key_store
from pystream.server.listeners import HTTP, HTTPS
from pystream.server.observer import Observer
from pystream.server.office.line import Window, longest_body
from pystream.server.origin import Origin
from pystream.server.own_count import Counting, Counts
from pystream.server.pace import Pace
from pystream.server.page import Page
from pystream.server.reaching import Earnings
from pystream.server.roll import Roll
from pystream.server.settings import Settings
from pystream.server.shelf import Loans

WINDOW = 128 * 1024
_NEWS_SECONDS = 1.0
_RENEW_SECONDS = 3600.0
# Players ask for something every few seconds. Who has not by then is not playing.
_PATIENCE_SECONDS = 15.0
# Read at a time, of some megabytes each.
_LONG_BODIES = 8


class Streams:
    """The store's streams, as of a moment ago."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.take(snapshot)

    def take(self, snapshot: Snapshot) -> None:
        """All that there is."""
        self._streams = dict[tuple[str, str], Stream]()
        self._tenant_of = dict[int, str]()
        self._known = set[int]()
        self.learn(snapshot)

    def learn(self, news: Snapshot) -> None:
        """What is new: of thousands of streams, few change at a time."""
        self.revision = news.revision
        self._tenants = {each.name: each for each in news.tenants}
        known, self._known = self._known, {each.id for each in news.tenants}
        if known - self._known:
            # The store has none of their streams any more that could be news.
            self._streams = {
                place: each
                for place, each in self._streams.items()
                if each.tenant_id in self._known
            }
        for each in news.streams:
            place = each.tenant, each.name
            self._tenant_of[each.id] = each.tenant
            if each.removed_at is None and self._is_sound(each):
                self._streams[place] = each
            else:
                self._streams.pop(place, None)

    def _is_sound(self, stream: Stream) -> bool:
        """One that somebody has spoiled by hand costs none beside it."""
        wrong = problems(stream.settings)
        if wrong:
            place = f"{stream.tenant}/{stream.name}"
            log.error("stream-not-served", stream=place, problems=list(wrong))
        return not wrong

    def find(self, tenant: str, name: str) -> Stream | None:
        return self._streams.get((tenant, name))

    def tenant_of(self, stream_id: int) -> str | None:
        return self._tenant_of.get(stream_id)

    def tenant_bps(self, tenant: str) -> int | None:
        """What all of a tenant's viewers may get together until nobody more is let in, bits a second."""
        found = self._tenants.get(tenant)
        return None if found is None else found.settings.max_rate_bps

    def notice(self, stream: Stream) -> str:
        """What viewers are told before they come in: what the tenant says, and what is recorded."""
        found = self._tenants.get(stream.tenant)
        said = "" if found is None else found.settings.notice
        if not self.attends(stream):
            return said
        on = stream.settings
        recorded = told(beacons=on.beacons, checks=on.check_minutes is not None, no_skip=on.no_skip)
        return f"{said}\n\n{recorded}".lstrip()

    def attends(self, stream: Stream) -> bool:
        """Whether who watches it is recorded."""
        return records_attendance(stream, self._tenants.get(stream.tenant))

    def tenant(self, name: str) -> Tenant | None:
        return self._tenants.get(name)

    async def follow(self, store: Store) -> None:
        """Takes what changed, about a second later."""
        while True:
            await trio.sleep(_NEWS_SECONDS)
            try:
                revision = await trio.to_thread.run_sync(store.revision)
                if revision > self.revision:
                    self.learn(await trio.to_thread.run_sync(store.changed_since, self.revision))
                elif revision < self.revision:
                    # An older store was put in its place.
                    self.take(await trio.to_thread.run_sync(store.snapshot))
            except StoreError as error:
                # What is known is served on.
                log.lasting("store-unreachable", error)


def answering(
    settings: Settings,
    keyring: Keyring,
    streams: Streams,
    origin: Origin,
    door: Door,
    pace: Pace,
    sessions: _core.Sessions,
    entrance: Entrance,
    gate: Gate,
    office: Window | None,
    teller: Teller,
    earnings: Earnings,
    beacons: Beacons,
    counts: Counts,
    limiter: Limiter,
    signs: Signs,
) -> Answers:
    return Answers(
        streams.find,
        Grants(*keyring.grant_keys(int(time.time()))),
        keyring.content_key,
        origin,
        prefix=settings.server.path_prefix,
        page=player_page(),
        door=door,
        pace=pace,
        sessions=sessions,
        entrance=entrance,
        notice=streams.notice,
        gate=gate,
        earnings=earnings,
        beacons=beacons,
        counts=counts,
        films=settings.console.films,
        attends=lambda stream: streams.attends(stream) and teller.expects(),
        office=None if office is None else office.ask,
        privacy=disclosing(settings, streams),
        limiter=limiter,
        signs=signs,
    )


def disclosing(settings: Settings, streams: Streams) -> Callable[[str | None], bytes | None]:
    """What says, as JSON, what is kept: of a tenant's name, or of the node for None. It says None where
    there is no such tenant."""
    practice = settings.practice

    def disclosed(name: str | None) -> bytes | None:
        tenant = None if name is None else streams.tenant(name)
        if name is not None and tenant is None:
            return None
        return json.dumps(document(practice, tenant)).encode()

    return disclosed


def player_page() -> Page | None:
    """The page, or None in a tree where it was never built; films are served there all the same."""
    try:
        return page.load()
    except FileNotFoundError as error:
        log.warning("player-page-left-out", missing=error.filename, remedy="build pystream anew")
        return None


def connecting(
    settings: Settings,
    answers: Answers,
    delivery: _core.Delivery,
    meter: _core.Meter,
    edge: Edge,
    count: int,
    observer: Observer,
    limiter: Limiter,
) -> Connections:
    return Connections(
        answers.answer,
        delivery,
        meter,
        limits_of(settings, count),
        edge,
        observer.ended,
        observer.broke_off,
        observer.not_accepted,
        limiter,
        answers.too_often,
    )


def limits_of(settings: Settings, count: int) -> Limits:
    """The limits of one of `count` workers."""
    limits = settings.limits
    return Limits(
        limits.header_seconds,
        limits.body_seconds,
        limits.idle_seconds,
        limits.send_stall_seconds,
        most_connections(settings, count, allowed()),
        http.Limits(
            limits.request_line,
            limits.headers,
            limits.header_count,
            limits.body,
            limits.pipelined,
            long_bodies(settings),
        ),
    )


def long_bodies(settings: Settings) -> http.LongBodies | None:
    """What the office takes that is longer than other bodies."""
    if not settings.console.enabled:
        return None
    prefix = settings.server.path_prefix

    def most(method: str, path: str) -> int:
        return longest_body(method, path.removeprefix(prefix)) if path.startswith(prefix) else 0

    return http.LongBodies(most, _LONG_BODIES)


def segment_cache(node: dict[str, Any]) -> _core.Cache | None:
    """The node's segment cache; None where there is none, or where it was made for fewer processes
    than there are."""
    if "cache" not in node:
        return None
    try:
        return _core.Cache(node["cache"], node["seat"])
    except ValueError as error:
        log.warning("segment-cache-left-out", remedy="restart the node", **log.fault(error))
        return None


async def serve(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop."""
    settings: Settings = node["settings"]
    secret = os.pread(node["ticket_secret"], 32, 0)
    edge = edge_of(settings, secret, node["https_port"])
    store = Store.open(settings.store.url, migrate=False)
    streams = Streams(store.snapshot())
    keys = open_key_store(settings.keys, os.environ, migrate=False)
    root = keys.root()
    store.check_key_store(root_name(root))
    keyring = Keyring(root)
    meter = _core.Meter(node["meter"])
    board = Board(node["gauges"])
    seat = board.seats[node["gauges_seat"]]
    door = Door(settings.overload, board, seat, meter, streams.tenant_of, streams.tenant_bps)
    loans = Loans(node["shelf"])
    origin = Origin(settings.cache.index_bytes, most_films(allowed()), loans=loans)
    pace_table = _core.Gcra(node["pace"], keyring.table_secret())
    pace = Pace(pace_table)
    line = Line(node["desk"])
    anchor = Anchor(node["anchor"])
    teller = Teller(node["attendance"], meter, anchor, Roll(node["roll"]))
    tries = _core.Gcra(node["tries"], keyring.table_secret())
    gate = Gate(settings.geo)
    proxies = settings.server.trusted_proxies
    signs = Signs()
    limiter = Limiter(settings.guard, proxies, node["guard"], secret, board, seat, signs)
    sessions = _core.Sessions(node["sessions"])
    console = settings.console
    window = Window(node["office"], console.hosts) if console.enabled else None
    stall_ms = round(settings.limits.send_stall_seconds * 1000)
    rate = settings.limits.send_bytes_a_second
    delivery = _core.Delivery(WINDOW, stall_ms, segment_cache(node), least_rate=rate)

    def gauges() -> dict[str, int]:
        under_way, waiting = delivery.counters()
        reads, stuck = delivery.reading()
        return {
            "connections": connections.count,
            "answers": under_way,
            "window_bytes": waiting,
            "index_bytes": origin.nbytes,
            "delivery_beats": delivery.beats(),
            "reads": reads,
            "reads_stuck": stuck,
            "handshakes": connections.handshakes,
            "makings": delivery.makings(),
        }

    observer = Observer(seat, gauges, access=settings.log.access, busy=lambda: connections.count)

    def each_second() -> None:
        door.sample()
        limiter.tick()

    async def leave(patience: float) -> None:
        seat.state = State.DRAINING
        await connections.drain(patience)
        await teller.finish()
        nursery.cancel_scope.cancel()

    async def follow_supervisor() -> None:
        async for settings in child.new_settings():
            try:
                connections.edge = edge_of(settings, secret, node["https_port"])
                connections.limits = limits_of(settings, node["workers"])
                door.overload = settings.overload
                observer.access = settings.log.access
                answers.privacy = disclosing(settings, streams)
                handoffs.settings = settings.outgoing
                gate.reload(settings.geo)
                limiter.reload(settings.guard, settings.server.trusted_proxies)
            except SettingsError as error:
                log.error("settings-refused", **log.fault(error))
            child.tell(node, child.RELOADED)
        await leave(_PATIENCE_SECONDS)

    with trio.open_signal_receiver(*child.SIGNALS) as signals:
        child.accept_signals()
        async with trio.open_nursery() as nursery:
            handoffs = Handoffs(settings.outgoing, nursery, node["workers"])
            entrance = Entrance(
                store, keys.peppers(), line, tries, keyring, gate, store.verifiers(keys), handoffs
            )
            counts = Counts(sessions, Counting(store, keys).compute, anchor.now)
            answers = answering(
                settings,
                keyring,
                streams,
                origin,
                door,
                pace,
                sessions,
                entrance,
                gate,
                window,
                teller,
                Earnings(sessions, line.reach),
                Beacons(pace_table, keyring.presence_secret(), sessions, teller.say, anchor.now),
                counts,
                limiter,
                signs,
            )
            connections = connecting(
                settings, answers, delivery, meter, edge, node["workers"], observer, limiter
            )
            nursery.start_soon(streams.follow, store)
            nursery.start_soon(renew, answers, keyring)
            nursery.start_soon(answers.watch)
            nursery.start_soon(line.run)
            nursery.start_soon(teller.run)
            nursery.start_soon(signing.tell, signs, node["signs"])
            nursery.start_soon(counts.run)
            nursery.start_soon(loans.run)
            nursery.start_soon(follow_peppers, keys, entrance)
            sockets = ([socket.socket(fileno=fd) for fd in node[kind]] for kind in (HTTP, HTTPS))
            await nursery.start(connections.run, *sockets)
            nursery.start_soon(observer.run, each_second)
            seat.state = State.SERVING
            child.tell(node, child.READY)
            nursery.start_soon(follow_supervisor)
            async for number in signals:
                # What a terminal sends reaches all processes; the supervisor says what it means.
                if number == signal.SIGTERM:
                    nursery.start_soon(leave, 0)
                elif number == child.CUT:
                    connections.cut()


async def follow_peppers(keys: KeyStore, entrance: Entrance) -> None:
    """While a pepper is changed, passwords are looked up with both."""
    revision = -1
    while True:
        try:
            found = await trio.to_thread.run_sync(keys.revision)
            if found != revision:
                entrance.peppers = await trio.to_thread.run_sync(keys.peppers)
                revision = found
        except PystreamError as error:
            log.lasting("key-store-unreachable", error)
        await trio.sleep(_NEWS_SECONDS)


async def renew(answers: Answers, keyring: Keyring) -> None:
    """Keys for grants change with the clock."""
    while True:
        await trio.sleep(_RENEW_SECONDS)
        answers.grants = Grants(*keyring.grant_keys(int(time.time())))


def main() -> None:
    """The whole of this process."""
    child.run(serve)
