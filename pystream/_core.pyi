"""The Rust core. `pystream` is the public face; what is here may change with any release."""

import os
from collections.abc import Sequence, Set
from typing import Any, Final, Protocol, final

from typing_extensions import Buffer

CACHE_BLOCK: Final[int]
CACHE_SEATS: Final[int]
DEBUG: Final[bool]
SESSIONS: Final[int]
VERSION: Final[str]

def canonical_events(lines: bytes) -> list[bytes]:
    """The events of lines of an evidence file, each as RFC 8785 spells it. Raises `MalformedEvidence`."""

def leaf_hashes(salts: bytes, events: Sequence[bytes]) -> bytes:
    """SHA-256(0x00 || salt || event) of each, one behind the other; a salt is 16 bytes."""

def inclusion_parts(size: int, places: Sequence[int]) -> list[tuple[int, int]]:
    """Over which parts of a log, each from one leaf to before another, `LeafHashes.inclusion` has a root.
    `ValueError` for other places."""

def consistency_parts(old: int, new: int) -> list[tuple[int, int]]:
    """The same of `LeafHashes.consistency`. `ValueError` where there is none."""

def check_inclusion(
    size: int, root: bytes, places: Sequence[int], leaves: bytes, proof: bytes
) -> None:
    """Raises `NotProven` unless the proof leads from the leaves to the root."""

def check_consistency(old: tuple[int, bytes], new: tuple[int, bytes], proof: bytes) -> None:
    """Sizes and roots. Raises `NotProven` unless the later log begins with the earlier one."""

class _ReadAt(Protocol):
    def read_at(self, offset: int, n: int, /) -> Buffer: ...

@final
class Evidence:
    """What was delivered and told, as lines of an evidence file say it. Any thread may use it."""

    def __new__(cls) -> Evidence: ...
    def read(self, lines: bytes) -> None:
        """Whole lines; the last one need not end. Raises `MalformedEvidence`, with its line counted
        from 1 in `lines`; those before it are read."""
    def select(
        self, lines: bytes, key: str | None, streams: Set[str] | None, begin: int, end: int
    ) -> int:
        """Those of whole lines that are of this key and these streams, None for any, and from `begin` to
        before `end`; what is of no viewer where it touches that. Returns how many."""
    def append(self, other: Evidence) -> None:
        """Moves all that `other` holds into this one."""

@final
class Ledger:
    """What has been watched by the evidence taken so far: `attendance-v1`.

    Times are ms. `zone` is the content of a file of the time zone database. Any thread may use one at
    any time.
    """

    def __new__(
        cls,
        *,
        live: bool,
        target_duration: int,
        lookahead: int,
        bridge: int,
        zone: bytes,
        windows: Sequence[tuple[int, int]],
        breaks: Sequence[tuple[int, int]],
        live_only: int | None = None,
        verified: bool = False,
        require_visible: bool = False,
        credit_outage: bool = False,
        union: bool = False,
    ) -> Ledger: ...
    def take(self, evidence: Evidence) -> None:
        """Takes all events, which leave `evidence`. `ValueError` where one lies before others of its
        session that were taken earlier; none is taken then."""
    def rows(self) -> list[dict[str, Any]]:
        """By key, stream and day; None last."""
    def store(self) -> bytes:
        """All of it as bytes, options too: an evidence's next events may follow after `load`."""
    @staticmethod
    def load(state: bytes) -> Ledger:
        """`ValueError` for bytes that `store` has not made."""

@final
class Frontier:
    """The end of a log: its size, and the roots of its complete subtrees. Hashes lie one behind the other,
    32 bytes each. Any thread may use one at any time."""

    def __new__(cls) -> Frontier: ...
    @property
    def size(self) -> int: ...
    def append(self, leaves: bytes) -> None: ...
    def root(self) -> bytes: ...
    def store(self) -> bytes:
        """All of it, 8 bytes and at most 63 hashes: a log goes on after `load`."""
    @staticmethod
    def load(state: bytes) -> Frontier:
        """`ValueError` for bytes that `store` cannot have made."""

@final
class LeafHashes:
    """All leaves of a log, 64 bytes each, and what it takes to make proofs. Leaves are counted from 0. Any
    thread may use one at any time."""

    def __new__(cls) -> LeafHashes: ...
    @property
    def size(self) -> int: ...
    def append(self, leaves: bytes) -> None: ...
    def root(self, size: int) -> bytes: ...
    def inclusion(self, size: int, places: Sequence[int]) -> bytes:
        """That leaves at ascending places are among the first `size`: of one leaf RFC 9162's proof, of
        several without what they share. `ValueError` for other places."""
    def consistency(self, old: int, new: int) -> bytes:
        """That the first `new` leaves begin with the first `old`. `ValueError` where there are none."""

@final
class Column:
    """64-bit integers, native byte order, lent as a read-only buffer of format `q`.

    `numpy.asarray(column)` is a view of it, without a copy.
    """

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Segment:
    """A finished segment, lent as a read-only buffer of bytes."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Movie:
    """An opened MP4. Frozen: any thread may use it at any time."""

    @staticmethod
    def open_path(path: str | os.PathLike[str], name: str) -> Movie: ...
    @staticmethod
    def open_descriptor(descriptor: int, name: str) -> Movie: ...
    @staticmethod
    def open_bytes(data: bytes, name: str) -> Movie: ...
    @staticmethod
    def open_object(object: _ReadAt, size: int, name: str) -> Movie: ...
    @property
    def tracks(self) -> list[Track]: ...
    @property
    def skipped(self) -> list[tuple[int, str, str, str]]:
        """`(track id, handler, codec, reason)` of each track that cannot be carried."""
    @property
    def warnings(self) -> list[tuple[str, str]]:
        """`(code, sentence)`."""
    @property
    def fragmented(self) -> bool: ...
    @property
    def truncated(self) -> bool:
        """A fragmented recording that was cut off."""
    @property
    def timescale(self) -> int:
        """Ticks a second of edit durations (`mvhd`, ISO/IEC 14496-12 8.2.2)."""
    @property
    def edits(self) -> list[tuple[int, int, list[tuple[int, int | None, float]]]]:
        """Edit lists as they stand in the file (ISO/IEC 14496-12 8.6.6): `(track id, ticks a second
        of media times, edits)`.

        An edit is `(duration, media time, rate)`: the duration in ticks of the movie, the media time
        None for an empty edit.
        """
    @property
    def size(self) -> int:
        """Bytes of the source."""
    @property
    def nbytes(self) -> int:
        """Bytes of memory held, those of a source in memory with them."""
    def fileno(self) -> int | None:
        """The descriptor of a local file, which is open as long as this is; None of any other source."""

@final
class Track:
    """A track that can be carried, and its samples as columns.

    Times are ticks of `timescale` a second on the presentation's time line: edit lists (ISO/IEC
    14496-12 8.6.6) are applied, and times before its zero are negative. Samples are counted from 0
    in decoding order. Frozen: any thread may use it at any time.
    """

    @property
    def id(self) -> int:
        """`track_ID` (ISO/IEC 14496-12 8.3.2)."""
    @property
    def kind(self) -> str:
        """`video` or `audio`."""
    @property
    def enabled(self) -> bool:
        """`track_enabled` (ISO/IEC 14496-12 8.3.2.3): where tracks are alternatives, those to begin
        with. The others are carried as well."""
    @property
    def language(self) -> str:
        """ISO 639-2/T; `und` where the file does not say."""
    @property
    def timescale(self) -> int: ...
    @property
    def rotation(self) -> int:
        """Degrees clockwise by which a player should turn the picture: 0, 90, 180 or 270."""
    @property
    def sample_count(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
    @property
    def shown(self) -> tuple[int, int]:
        """First and end of the samples that are carried."""
    @property
    def configs(self) -> list[tuple[str, int, int, int, int]]:
        """`(codecs, width, height, sampling rate in Hz, channels)` of each configuration."""
    @property
    def config_runs(self) -> list[tuple[int, int]]:
        """`(first sample, index into configs)` of each run, in order."""
    def outline(self) -> bytes:
        """The same for tracks whose tables are the same, in this process. Reads nothing."""
    def content(self) -> bytes:
        """The same for tracks of one outline that hold the same samples. Reads a few of them."""
    def offsets(self, first: int, end: int) -> Column:
        """Byte offsets in the source of samples `first..end`. Raises `IndexError`."""
    def sizes(self, first: int, end: int) -> Column:
        """Bytes of samples `first..end`. Raises `IndexError`."""
    def dts(self, first: int, end: int) -> Column:
        """Decoding times of samples `first..end`, ticks. Raises `IndexError`."""
    def pts(self, first: int, end: int) -> Column:
        """Presentation times of samples `first..end`, ticks. Raises `IndexError`."""
    def keys(self, first: int, end: int) -> tuple[Column, Column]:
        """Indexes and presentation times of the sync samples among `first..end`."""
    def with_keys(self, indexes: Sequence[int]) -> Track:
        """The same track with other sync samples: where the file's own word is wrong. Columns are
        shared. Raises `IndexError`."""
    def end_pts(self, first: int, end: int) -> int:
        """When the last of samples `first..end` stops being shown, ticks. Raises `IndexError`."""
    def check_keys(self, first: int, end: int) -> bytes:
        """Which of the sync samples among `first..end` are key frames by their own NAL units too.

        One bit a sample: that of sample `first + n` is `result[n // 8] >> n % 8 & 1`, set for IDR
        pictures and recovery points. Reads a little of the source for each sync sample, in one pass.
        Raises `IndexError`, `SourceError`, and `UnsupportedMedia` where more than 65,536 in a row are
        none.
        """
    def picture_kinds(self, indexes: Sequence[int]) -> list[str]:
        """What each of some samples begins with: `idr`, `recovery` (open GOP) or `other`.

        Reads a little of the source for each. Raises `IndexError`, `SourceError`.
        """
    def frame(self, index: int) -> Segment:
        """Sample `index` by itself, as an fMP4 of nothing else. Raises `IndexError`, `MediaError`,
        `SourceError`."""

@final
class Rendition:
    """One rendition, laid out. Frozen: any thread may use it at any time."""

    def __new__(
        cls,
        format: str,
        streams: list[tuple[Track, Buffer]],
        start_seconds: int,
        input: str,
    ) -> Rendition: ...
    def __len__(self) -> int: ...
    @property
    def scanned(self) -> bool: ...
    @property
    def holes(self) -> list[tuple[int, int]]:
        """Where the clock of a transport stream jumps: begin and end of the first 64 holes that are
        too long to be filled, in ticks of 90 kHz from the presentation's zero."""
    @property
    def nbytes(self) -> int: ...
    def sizes(self) -> Column: ...
    def init(self, n: int) -> bytes: ...
    def segments_into(
        self, wanted: list[tuple[int, Buffer, tuple[bytes, bytes] | None]]
    ) -> list[int]: ...
    def segments(self, wanted: list[tuple[int, tuple[bytes, bytes] | None]]) -> list[Segment]: ...

@final
class Work:
    """Segments to be written, each to a file of its own. Several threads may `run` it at once."""

    def __new__(
        cls, files: list[tuple[Rendition, int, str, tuple[bytes, bytes] | None]], threads: int
    ) -> Work: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def written(self) -> int: ...

def segment_lines(
    first: int,
    durations: Buffer,
    base: str,
    suffix: str,
    before: list[tuple[int, str, bool]],
    key: tuple[str, str, int] | None,
) -> str:
    """The lines of segments `first` and on of a media playlist.

    `durations`: of all segments, microseconds, 64 bits each; `base`, `suffix`: what stands before and
    after their numbers; `before`: `(segment, lines, whether they have a key tag)`, rising; `key`: what
    stands before and after the period's number in a key tag, and segments a period.
    """

def encrypt(message: Buffer, secret: tuple[bytes, bytes]) -> bytes:
    """AES-128-CBC with PKCS#7 of one message; `secret` is key and IV."""

_Row = tuple[int, int]
"""What a response is booked under: the stream's number, and a kind of `pystream.acl.traffic`."""

def plain_path(data: bytes, begin: bytes, rest: bytes, most: int) -> str | None:
    """The path of a request that begins with `begin` and ends with `rest`, and in between has nothing but a
    path, of at most `most` bytes, without escapes and without a segment that begins with a dot (RFC 3986
    3.3); None for everything else."""

@final
class Line:
    def __new__(cls, fd: int, meter: Meter, tls: Tls | None = None) -> Line: ...
    def fileno(self) -> int: ...
    def receive(self, quiet: bool = False) -> bytes | None: ...
    @property
    def full(self) -> bool: ...
    def respond(
        self, head: bytes, body: bytes, row: _Row | None, tag: bytes | None = None
    ) -> Rest | None: ...
    def is_gone(self) -> bool: ...
    def settle(self) -> bool: ...
    def shut(self) -> None: ...
    def close(self, reset: bool) -> None: ...

@final
class Rest: ...

@final
class Tls:
    def __new__(
        cls, certificates: list[tuple[str, bytes, str, bytes]], ticket_secret: bytes
    ) -> Tls: ...

@final
class Delivery:
    def __new__(
        cls,
        window: int,
        stall_ms: int,
        cache: Cache | None = None,
        patience_ms: int = 8000,
        least_rate: int = 0,
    ) -> Delivery: ...
    def fileno(self) -> int: ...
    def segment(
        self,
        id: int,
        line: Line,
        head: bytes,
        rendition: Rendition,
        n: int,
        secret: tuple[bytes, bytes] | None,
        range: tuple[int, int],
        row: _Row | None,
        key: bytes | None = None,
        tag: bytes | None = None,
    ) -> None: ...
    def download(
        self,
        id: int,
        line: Line,
        head: bytes,
        download: Download,
        range: tuple[int, int],
        row: _Row | None,
        rate: int | None,
        tag: bytes | None = None,
    ) -> None: ...
    def rest(self, id: int, line: Line, rest: Rest) -> None: ...
    def cancel(self, id: int) -> None: ...
    def outcomes(self) -> list[tuple[int, str, str | None]]: ...
    def counters(self) -> tuple[int, int]: ...
    def reading(self) -> tuple[int, int]: ...
    def beats(self) -> int: ...
    def makings(self) -> int: ...

@final
class Download:
    """A film's own file as it is handed out: with `moov` before the media data."""

    def __new__(cls, path: str | os.PathLike[str], name: str) -> Download: ...
    @property
    def size(self) -> int:
        """Bytes of the file as it is handed out."""
    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""

_Counted = tuple[int, int, int, int, tuple[int, int, int]]

@final
class Meter:
    def __new__(cls, fd: int) -> Meter: ...
    @staticmethod
    def create(rows: int) -> int: ...
    def rows(self) -> list[_Counted]: ...
    def retire(self, row: _Counted) -> bool: ...
    def lost(self) -> int: ...
    def delivered(self) -> bytes: ...

@final
class Reading:
    """Reads a meter again and again, and tells what is new."""

    def __new__(cls) -> Reading: ...
    def changes(self, meter: Meter) -> list[tuple[int, int, int, int, int]]:
        """What was counted since the last call, or since the meter was made: stream, kind, requests,
        bytes, aborted. A stream and kind may come more than once. The interpreter is let go meanwhile."""

@final
class Gcra:
    def __new__(cls, fd: int, secret: bytes) -> Gcra: ...
    @staticmethod
    def create(size: int) -> int: ...
    def check(self, key: bytes, now_us: int, emission_us: int, burst_us: int) -> int: ...
    def peek(self, key: bytes, now_us: int, emission_us: int, burst_us: int) -> int: ...
    def give_back(self, key: bytes, now_us: int, emission_us: int) -> None: ...
    def counters(self) -> tuple[int, int, int]: ...

@final
class Limiter:
    """The limits of a node: who asks too often, and what follows. Its clock is CLOCK_MONOTONIC, which all
    processes of a machine share, or the caller's: `now_us` is in microseconds."""

    SOFT: Final[int]  # 1
    HARD: Final[int]  # 2
    BANNED: Final[int]  # 3
    BEGAN: Final[int]  # 4

    def __new__(
        cls,
        fd: int,
        secrets: tuple[bytes, bytes],
        *,
        kinds: Sequence[Sequence[tuple[int, int]]],
        offences: tuple[int, int],
        strikes: tuple[int, int],
        bans_us: tuple[int, int],
        exempt: Sequence[tuple[str, int]],
    ) -> Limiter:
        """Takes over the descriptor of a table of `Gcra.create` that is used for nothing else, whose keys
        are hashed with the first of the `secrets`, and were with the second before, 16 bytes each.

        `kinds`: by the number of a kind the budgets of a source, its network, a grant and a tenant, each
        how many at once, and the microseconds for one more; (0, 0) is no bound. `offences`: refusals until
        a connection ends; `strikes`: those until the source is banned. `bans_us`: the shortest and the
        longest. `exempt`: networks, as address and bits.

        Raises `ValueError` for a descriptor that is no table's, or an address that is none.
        """
    def arrive(self, address: str, kind: int, now_us: int | None = None) -> int:
        """Counts a request of a kind: 0 where it may go on, or else what follows, in its lowest three bits
        (`SOFT`, `HARD`, `BANNED`, or `BEGAN`, a ban that began with it), and above them the
        microseconds until it might. Of what has no address, as of a Unix socket, nothing is counted."""
    def granted(
        self, address: str, grant: bytes, tenant: int, kind: int, now_us: int | None = None
    ) -> int:
        """Counts a request with a grant that is right, as `arrive` does."""
    def offend(self, address: str, now_us: int | None = None) -> int:
        """Counts an attack of a source that has shaken hands, found out otherwise: `SOFT` the first time,
        with the microseconds for which it has no budget left, and then `BEGAN`."""
    def banned(self, address: str, now_us: int | None = None) -> int:
        """Microseconds for which an address is banned."""

@final
class Cache:
    """A node's segment cache, at one of its seats."""

    def __new__(cls, fd: int, seat: int) -> Cache: ...
    @staticmethod
    def create(size: int, seats: int) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def seats(self) -> int: ...
    def reap(self, seat: int) -> None: ...
    def counters(self) -> tuple[int, int, int, int]: ...

@final
class Session:
    """A session as it was at one moment. All times are Unix seconds."""

    @property
    def id(self) -> bytes: ...
    @property
    def stream(self) -> int: ...
    @property
    def expires(self) -> int:
        """The hard end: from this second on it is over."""
    @property
    def idle_s(self) -> int:
        """It is over, too, when it was not asked for during more than so many seconds; 0 for never."""
    @property
    def holder(self) -> int:
        """What let the viewer in: the application's number of it, below 2**64."""
    @property
    def opened(self) -> int: ...
    @property
    def last_seen(self) -> int: ...
    @property
    def standing(self) -> int:
        """`Sessions.OPEN`, or the reason of its end, as it is written: `check` may still end it."""

@final
class Sessions:
    """The session table of a node: one process, the writer, opens and ends; all processes check.

    Ids are 16 bytes. `now` and `expires` are Unix seconds, not below 0; those beyond the year 2106
    are taken for its last one. A method with an id of another length, or a number that does not fit,
    raises `ValueError` or `OverflowError`.
    """

    UNKNOWN: Final[int]  # 0
    OPEN: Final[int]  # 1
    # Ended, and why: 2 to 7.
    EXPIRED: Final[int]
    IDLE: Final[int]
    REVOKED: Final[int]
    KICKED: Final[int]
    CLOSED: Final[int]
    STREAM_CLOSED: Final[int]

    def __new__(cls, fd: int) -> Sessions:
        """Takes over the descriptor, which is closed with the table."""
    @staticmethod
    def create(capacity: int) -> int:
        """The descriptor of a new table, of 63 bytes a session, for all processes to inherit."""
    def check(self, id: bytes, stream: int, now: int) -> int:
        """How it stands with a session of this stream: `OPEN`, `UNKNOWN`, or why it has ended.

        Of an open one, notes that it was seen now. One that is past its hard end or idle is ended,
        for good: a clock that steps back does not open it again.
        """
    def get(self, id: bytes) -> Session | None: ...
    def entries(self) -> list[Session]:
        """All sessions, ended ones too: what a new writer builds its own books from."""
    def open(
        self, id: bytes, stream: int, now: int, *, expires: int, idle_s: int, holder: int
    ) -> None:
        """For the writer, as all that follows. `TableFull` where there is no room even when those
        past at `now` are forgotten, `ValueError` where the table holds a session of this id."""
    def end(self, id: bytes, reason: int) -> bool:
        """Whether it stood as open. The reason of one that has ended stays what it was."""
    def end_holder(self, holder: int, reason: int) -> int:
        """Ends all open sessions of a holder; returns how many."""
    def end_stream(self, stream: int, reason: int) -> int:
        """Ends all open sessions of a stream; returns how many."""
    def forget(self, id: bytes) -> bool:
        """Whether there was one, open or ended."""
    def sweep(self, now: int) -> int:
        """Forgets what is past its hard end, and ends what is idle; returns how many it forgot."""
    @property
    def capacity(self) -> int: ...
    def __len__(self) -> int:
        """Sessions it holds, ended ones too. So an empty table is false."""
    def gauges(self) -> tuple[int, int, int, int]:
        """Open and ended ones, and since the table was made, opened and refused for want of room.

        An open one may be past or idle if nobody has asked for it since: `sweep` first. Any refused
        are an alarm.
        """
