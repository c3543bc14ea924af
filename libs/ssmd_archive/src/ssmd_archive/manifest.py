"""The lines of a day's `manifest.jsonl` (docs/archive.md). Pure.

Lines of all days, one after the other, are a chain: each has the SHA-256 of the one before. Each
says which sequences of the stream it accounts for, `from_seq` to `to_seq`; it begins where the line
before ends, unless it is a `Chain`. A line that accounts for none has `to_seq` one below
`from_seq`.

The newest line is in no chain yet. So that a changed byte is seen in it, too, each line ends with
the CRC-32 of what stands before it.
"""

import hashlib
import re
import zlib
from typing import Final, TypeAlias

import msgspec

from ssmd_archive.errors import UnreadableLine

VERSION: Final = 1


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    v: int = VERSION
    stream: str
    """The stream's name."""
    created: str
    """When the stream was created, as NATS says it: of one name there may be several."""
    chain: int
    """Counts the incarnations of the stream that were archived, from 1."""
    from_seq: int
    to_seq: int
    previous: str | None
    """The SHA-256 of the line before, without its end; null for the first one there ever was."""

    @property
    def next_sequence(self) -> int:
        return self.to_seq + 1


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences inside a segment whose messages the stream had lost."""

    from_seq: int
    to_seq: int
    why: str

    @property
    def size(self) -> int:
        return self.to_seq + 1 - self.from_seq


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed file of a segment. `raw_bytes` are those of its lines, with their ends.

    The times are those of its first and last message.
    """

    path: str
    table: str
    messages: int
    bytes: int
    raw_bytes: int
    sha256: str
    from_seq: int
    to_seq: int
    first_time: str
    last_time: str


class Segment(_Line, frozen=True, kw_only=True, tag="segment"):
    """Files that were sealed together: messages and holes make up the range.

    The times are those of the first and last message. `counts` are by table and type, `files` and
    `holes` in the order of their paths and sequences.
    """

    window: str
    """The start of the span of time that it belongs to, RFC 3339."""
    messages: int
    first_time: str
    last_time: str
    counts: dict[str, dict[str, int]]
    files: list[File]
    holes: list[Hole] = []


class HoleLine(_Line, frozen=True, kw_only=True, tag="hole"):
    """A range without a message: what the stream had lost where no segment was open."""

    why: str


class Expired(_Line, frozen=True, kw_only=True, tag="expired"):
    """A range that had left the stream at its beginning before it could be read."""

    why: str


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """The incarnation of a stream that a new one replaces, and up to where it was archived."""

    created: str
    chain: int
    to_seq: int


class Chain(_Line, frozen=True, kw_only=True, tag="chain"):
    """An incarnation of the stream begins, at `from_seq`. `old` is null for the first one."""

    why: str
    old: Old | None = None


class StateFile(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one table in a state, a line each."""

    path: str
    table: str
    rows: int
    bytes: int
    raw_bytes: int
    sha256: str


class State(_Line, frozen=True, kw_only=True, tag="state"):
    """A snapshot of PostgreSQL's rows, and how the stream goes on from it.

    Changes with a sequence after `after_seq` apply on top if and only if their transaction is
    invisible in `snapshot` (`ssmd_stream.visibility.applies`). What the snapshot holds was
    committed below `lsn`: once a message has a higher one, no later message is in it. Its rows
    count as announced in `epoch`. `window` is the start of the span of time that the stream was in.
    """

    window: str
    after_seq: int
    snapshot: str
    lsn: str
    epoch: int
    files: list[StateFile]


class Removed(_Line, frozen=True, kw_only=True, tag="removed"):
    """Whole days that the archive's own retention deleted: the oldest there were.

    The first line that is left has `last_line` as its `previous`.
    """

    days: list[str]
    last_line: str


class Repaired(_Line, frozen=True, kw_only=True, tag="repaired"):
    """The manifests were written anew: what could not be read was replaced, and the chain of all
    lines made again. What stood there before is kept beside the archive.

    `head` is the SHA-256 of the newest line before, `lost` how many messages became holes. The
    first line that there is has `before` as its `previous`, where lines before it are gone.
    """

    head: str | None
    lost: int
    before: str | None


Line: TypeAlias = Segment | HoleLine | Expired | Chain | State | Removed | Repaired

_decoder: Final = msgspec.json.Decoder(Line)


class _Versioned(msgspec.Struct):
    v: int


_versioned: Final = msgspec.json.Decoder(_Versioned)

_CHECK: Final = re.compile(rb',"crc32":"([0-9a-f]{8})"\}')
_CHECK_BYTES: Final = len(',"crc32":"00000000"}')


def encode(line: Line) -> bytes:
    """One line, with its end."""
    text = msgspec.json.encode(line)[:-1]
    return b'%b,"crc32":"%08x"}\n' % (text, zlib.crc32(text))


def decode(text: bytes) -> Line:
    """Read a line, without its end.

    Raises:
        UnreadableLine: it is no line of this version, or is not as it was written.
    """
    try:
        if _versioned.decode(text).v != VERSION:
            raise UnreadableLine(
                f"a manifest's line is of another version than {VERSION}, which this program reads"
            )
        line: Line = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableLine(f"a manifest's line cannot be read: {error}") from error
    check = _CHECK.fullmatch(text, max(0, len(text) - _CHECK_BYTES))
    if check is None or int(check[1], 16) != zlib.crc32(text[: check.start()]):
        raise UnreadableLine("a manifest's line is not as it was written: its crc32 is another")
    return line


def digest(text: bytes) -> str:
    """What the next line has as `previous`; `text` is a line with or without its end."""
    return hashlib.sha256(text.removesuffix(b"\n")).hexdigest()


def whole_lines(content: bytes) -> int:
    """How many bytes of a manifest are whole lines.

    Its last line is torn where it has no end, or is no line: the machine went down before it was on
    the disk. No other can be, since each is on the disk before the next is written.
    """
    end = content.rfind(b"\n") + 1
    if end < len(content) or not end:
        return end
    start = content.rfind(b"\n", 0, end - 1) + 1
    try:
        decode(content[start : end - 1])
    except UnreadableLine:
        return start
    return end


def files_of(line: Line) -> list[File] | list[StateFile]:
    """The files that a line lists."""
    return line.files if isinstance(line, Segment | State) else []


def missing(line: Segment) -> int:
    """How many sequences of its range the stream had lost."""
    return sum(hole.size for hole in line.holes)
