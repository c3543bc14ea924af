"""Where the files of an archive are (docs/archive.md). Pure.

    <root>/<stream>/<day>/<folder>/<HHMM>-<first sequence>.jsonl.gz     a segment's messages
    <root>/<stream>/<day>/state/<table>/<HHMM>-<sequence>.jsonl.gz      the rows of a state
    <root>/<stream>/<day>/manifest.jsonl

Paths in a manifest are relative to its day, with `/`.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import PurePath
from typing import Final, NamedTuple

from ssmd_common.streams import (
    MARKET_DATA_STREAM,
    MARKET_DATA_SUBJECTS,
    books_stream,
    books_subjects,
)
from ssmd_stream.subjects import STREAM, SUBJECTS, TOKEN_COLUMNS

MANIFEST: Final = "manifest.jsonl"
LOCK: Final = ".archiver.lock"
"""In the root: its holder writes, and nobody else."""
OTHER: Final = "_other"
"""The folder of messages that no table's folder takes."""
STATE: Final = "state"
SUFFIX: Final = ".jsonl.gz"
PART: Final = ".part"
"""After `SUFFIX`, while a file is written."""
DAY_SECONDS: Final = 86_400

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FILE: Final = re.compile(
    r"(?P<folder>[a-z_][a-z0-9_]*|state/[a-z][a-z0-9_]*)"
    r"/(?P<clock>(?:[01]\d|2[0-3])[0-5]\d)-(?P<sequence>\d{12,20})(?:-c(?P<chain>\d{1,10}))?"
    r"\.jsonl\.gz(?P<part>\.part)?"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one stream is laid out: a subject's second token is a table in `tables`, or is not.

    Of market data the tables are channels. `publisher` is the service that makes the stream.
    """

    stream: str
    prefix: str
    """The first token of its subjects."""
    tables: AbstractSet[str]
    subjects: tuple[str, ...]
    publisher: str

    @property
    def has_states(self) -> bool:
        """Whether its messages are changes of rows, whose state a day begins with."""
        return self.stream == STREAM

    @property
    def shard(self) -> int | None:
        """Of a stream of order books."""
        match = _SHARD.fullmatch(self.stream)
        return int(match[1]) if match else None

    def folder(self, subject: str) -> str:
        """The folder of a message by its subject: a table of the closed list, or `OTHER`.

        Whoever else publishes can thus make no folders, nor names that mean something to a shell.
        """
        prefix, _, rest = subject.partition(".")
        table, dot, _ = rest.partition(".")
        return table if prefix == self.prefix and dot and table in self.tables else OTHER


SECMASTER_CDC: Final = Layout(STREAM, "cdc", frozenset(TOKEN_COLUMNS), (SUBJECTS,), "cdc")
MARKET_DATA: Final = Layout(
    MARKET_DATA_STREAM,
    "md",
    frozenset(subject.split(".")[1] for subject in MARKET_DATA_SUBJECTS),
    MARKET_DATA_SUBJECTS,
    "connector",
)
_SHARD: Final = re.compile(re.escape(books_stream(0)).removesuffix("0") + r"(0|[1-9]\d{0,5})")


def books(shard: int) -> Layout:
    """The stream of a shard's order books."""
    subjects = books_subjects(shard)
    tables = frozenset(subject.split(".")[1] for subject in subjects)
    return Layout(books_stream(shard), "md", tables, subjects, "connector")


def layout_of(stream: str) -> Layout | None:
    """That of a stream of ours; None for any other."""
    if stream in (SECMASTER_CDC.stream, MARKET_DATA.stream):
        return SECMASTER_CDC if stream == SECMASTER_CDC.stream else MARKET_DATA
    match = _SHARD.fullmatch(stream)
    return books(int(match[1])) if match else None


class Window(NamedTuple):
    """A span of the server's time whose messages are sealed together; compares in time's order.

    `start` is its first second since 1970. Windows are counted from each midnight UTC, so that none
    lies in two days.
    """

    start: int

    @property
    def day(self) -> str:
        return day_of(self.start)

    def end(self, seconds: int) -> int:
        """Where the next one begins."""
        return min(self.start + seconds, self.start - self.start % DAY_SECONDS + DAY_SECONDS)

    @property
    def clock(self) -> str:
        """`HHMM`."""
        minutes = self.start % DAY_SECONDS // 60
        return f"{minutes // 60:02d}{minutes % 60:02d}"


def window_of(stored_at_ns: int, seconds: int) -> Window:
    """The window of a message that the server stored then, in nanoseconds since 1970."""
    moment = stored_at_ns // 1_000_000_000
    within = moment % DAY_SECONDS
    return Window(moment - within + within // seconds * seconds)


@lru_cache(maxsize=8)
def day_of(seconds: int) -> str:
    """`YYYY-MM-DD` of a second since 1970, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def is_day(name: str) -> bool:
    """Whether a folder of a stream is a day."""
    if not _DAY.fullmatch(name):
        return False
    try:
        datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def repair_of(path: PurePath) -> str:
    """The command that mends a stream, by its directory or anything in a day of it."""
    day = next((folder for folder in path.parents if is_day(folder.name)), None)
    return f"`ssmd archive repair --stream {day.parent.name if day else path.name}`"


def file_path(folder: str, window: Window, sequence: int, chain: int) -> str:
    """The path of a file in its day. All files of a segment have its first sequence in their names.

    A chain after the first is in the name, since its sequences begin anew.
    """
    suffix = f"-c{chain}" if chain > 1 else ""
    return f"{folder}/{window.clock}-{sequence:012d}{suffix}{SUFFIX}"


def state_folder(table: str) -> str:
    return f"{STATE}/{table}"


class FileName(NamedTuple):
    """What a path in a day says; `part` where the file is not sealed."""

    folder: str
    window: Window
    sequence: int
    chain: int
    part: bool

    @property
    def sealed(self) -> str:
        return file_path(self.folder, self.window, self.sequence, self.chain)

    @property
    def is_state(self) -> bool:
        return self.folder.startswith(f"{STATE}/")


def parse_path(day: str, path: str) -> FileName | None:
    """Read a path in a day; None for one that is no file of ours."""
    match = _FILE.fullmatch(path)
    if match is None or not is_day(day):
        return None
    clock = match["clock"]
    midnight = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    window = Window(midnight + (int(clock[:2]) * 60 + int(clock[2:])) * 60)
    name = FileName(
        match["folder"],
        window,
        int(match["sequence"]),
        int(match["chain"] or 1),
        match["part"] is not None,
    )
    # One spelling each: `-c1` and needless zeros are not ours.
    return name if path == name.sealed + (PART if name.part else "") else None
