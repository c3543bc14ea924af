"""Where the frames of a WebSocket begin and end (RFC 6455 § 5.2), as a client gets them. Pure."""

from __future__ import annotations

from typing import NamedTuple

_TEXT, _BINARY = 0x81, 0x82
"""The first byte of a message that is one frame: final, no extension."""
_MASKED = 0x80
_TWO_BYTES, _EIGHT_BYTES = 126, 127


class Split(NamedTuple):
    """Whole frames in their order: what a message of one frame holds (True), or any other frame
    with its head. `tail` is the beginning of the next one; `is_beyond`: that one is larger than
    allowed, or masked, and is not waited for."""

    frames: list[tuple[bytes, bool]]
    tail: bytes
    is_beyond: bool


def split(data: bytes, most: int) -> Split:
    """The frames of `data`, which begins with one; none holds more than `most` bytes."""
    frames: list[tuple[bytes, bool]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        first, size = data[at], data[at + 1]
        begin = at + 2
        if size >= _TWO_BYTES:
            if size >= _MASKED:
                return Split(frames, data[at:], is_beyond=True)
            begin += 2 if size == _TWO_BYTES else 8
            if begin > end:
                break
            size = int.from_bytes(data[at + 2 : begin], "big")
            if size > most:
                return Split(frames, data[at:], is_beyond=True)
        until = begin + size
        if until > end:
            break
        if first in (_TEXT, _BINARY):
            frames.append((data[begin:until], True))
        else:
            frames.append((data[at:until], False))
        at = until
    return Split(frames, data[at:] if at < end else b"", is_beyond=False)
