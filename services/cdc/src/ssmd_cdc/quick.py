"""The most frequent message, quickly: an update that keeps the row's key, status and nulls.

What is unusual in any way is left to `pgoutput` and `envelope`, which know everything and decide.
"""

from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, Final, TypeAlias

from ssmd_cdc.errors import UnreadableValue
from ssmd_cdc.pgoutput import Value
from ssmd_cdc.values import LONGEST_KEPT, MOST_KEPT, NULL, ToJson

if TYPE_CHECKING:
    from ssmd_cdc.envelope import Envelope, Outgoing
    from ssmd_cdc.shape import Shape

# A text column is "t", four bytes of length, and text without NUL. So where no text is longer than
# 65,535 bytes, splitting at this separates the columns: each piece is the rest of the length, the
# text, and an "n" for each null that follows. Every piece's length is checked against its own.
_TEXT: Final = b"t\0\0"
_OLD: Final = ord("O")

_MOST_KNOWN: Final = 1 << 14


class _Unusual(Exception):
    """Nothing for us."""


Step: TypeAlias = "tuple[bytes, _Place, bytes, int, bytes | None]"
"""What a piece means at its place: its members of the row's JSON object, the place of the next
piece, the value's JSON, the column, and the text itself where it identifies the row."""


class _Place(dict[bytes, Step]):
    """Where a column begins. What a piece means there is worked out once for as long as it is kept.

    Most columns hold few different values: a status, a strike type, a price in cents.
    """

    __slots__ = ("_at", "_convert", "_identifies", "_quick", "label")

    def __init__(
        self, quick: "Quick", at: int, label: bytes, convert: ToJson | None, *, identifies: bool
    ) -> None:
        self._quick = quick
        self._at = at
        self._convert = convert
        self._identifies = identifies
        self.label = label

    def __missing__(self, piece: bytes) -> Step:
        if self._convert is None:
            raise _Unusual  # A piece behind the last column.
        end = 2 + (piece[0] << 8 | piece[1])
        after = self._at + 1
        if len(piece) == end:
            text = piece[2:]
            value = self._convert(text)
            members = self.label + value
        else:
            text, nulls = piece[2:end], piece[end:]
            if len(text) + 2 != end or nulls.strip(b"n"):
                raise _Unusual
            value = self._convert(text)
            members = b",".join(
                [self.label + value, *self._quick.nulls[after : after + len(nulls)]]
            )
            after += len(nulls)
        text_or_none = text if self._identifies else None
        made = members, self._quick.places[after], value, self._at, text_or_none
        if len(piece) <= LONGEST_KEPT:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[piece] = made
        return made


class Quick:
    """What is known of one table."""

    def __init__(self, shape: "Shape", converters: tuple[ToJson, ...]) -> None:
        self._shape = shape
        self._who = tuple(sorted(shape.identity | set(shape.ticker)))
        self._unusual = shape.identity | shape.watched_columns
        self._known: dict[tuple[Value, ...], tuple[str, bytes, bytes]] = {}
        self._count = len(converters).to_bytes(2, "big")
        self.nulls = [label + NULL for label in shape.labels]
        self.places = [
            _Place(self, at, label, convert, identifies=at in self._who)
            for at, (label, convert) in enumerate(zip(shape.labels, converters, strict=True))
        ]
        self.places.append(_Place(self, len(converters), b"", None, identifies=False))

    def update(self, envelope: "Envelope", data: bytes) -> "Outgoing | None":
        """The message for an update, or None if it is not a plain one."""
        pieces = data[8:].split(_TEXT)
        middle = len(pieces) // 2
        # Both rows have the same nulls, so as many pieces.
        leading = pieces[0]
        end = b"N" + self._count + leading
        if (
            data[5] != _OLD
            or data[6:8] != self._count
            or len(pieces) != 2 * middle + 1
            or not pieces[middle].endswith(end)
            or leading.strip(b"n")
        ):
            return None
        new = pieces[middle + 1 :]
        old = pieces[1 : middle + 1]
        old[-1:] = [old[-1][: -len(end)]] if old else []
        try:
            steps = self._walk(len(leading), new)
            changes = self._changes(steps, old, new)
            identity = self._identity(steps)
        except (_Unusual, UnreadableValue, UnicodeDecodeError, IndexError):
            return None
        row = b",".join([*self.nulls[: len(leading)], *[step[0] for step in steps]])
        return envelope.plain_update(self._shape, *identity, row, changes)

    def _walk(self, leading: int, pieces: list[bytes]) -> list[Step]:
        place = self.places[leading]
        steps: list[Step] = []
        for piece in pieces:
            step = place[piece]
            steps.append(step)
            place = step[1]
        if place is not self.places[-1]:
            raise _Unusual
        return steps

    def _changes(self, steps: list[Step], old: list[bytes], new: list[bytes]) -> bytes:
        changes = []
        for at in compress(range(len(old)), map(ne, old, new)):
            step = steps[at]
            if step[3] in self._unusual:
                raise _Unusual
            place = self.places[step[3]]
            before = place[old[at]]
            if before[1] is not step[1]:
                raise _Unusual  # A null came or went.
            changes.append(b'%b{"old":%b,"new":%b}' % (place.label, before[2], step[2]))
        return b",".join(changes)

    def _identity(self, steps: list[Step]) -> tuple[str, bytes, bytes]:
        """Subject, ticker and key."""
        texts = tuple([_text(steps, column) for column in self._who])
        known = self._known.get(texts)
        if known is None:
            row = dict(zip(self._who, texts, strict=True))
            shape = self._shape
            known = shape.subject("update", row), shape.ticker_json(row), shape.key_json(row)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[texts] = known
        return known


def _text(steps: list[Step], column: int) -> Value:
    # Each null before it is one step less.
    at = min(column, len(steps) - 1)
    while at >= 0 and steps[at][3] > column:
        at -= 1
    return steps[at][4] if at >= 0 and steps[at][3] == column else None
