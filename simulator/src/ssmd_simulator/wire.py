"""How the exchange spells values: times, dollars, counts and page cursors."""

import base64
import binascii
from datetime import date, timedelta
from functools import lru_cache

NEVER = "0001-01-01T00:00:00Z"
"""What the exchange prints for a time it does not have (Go's zero time)."""

_1970 = date(1970, 1, 1)


@lru_cache(maxsize=16384)
def rfc3339(seconds: float | None) -> str:
    """Seconds since 1970 as RFC 3339 UTC, to microseconds, without zeros at a fraction's end."""
    if seconds is None:
        return NEVER
    whole = int(seconds // 1)
    micros = round((seconds - whole) * 1_000_000)
    if micros == 1_000_000:
        whole, micros = whole + 1, 0
    day, second = divmod(whole, 86400)
    minute = second // 60
    text = f"{_day(day)}T{minute // 60:02d}:{minute % 60:02d}:{second % 60:02d}"
    if micros:
        return f"{text}.{micros:06d}".rstrip("0") + "Z"
    return text + "Z"


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return (_1970 + timedelta(days=number)).isoformat()


def dollars(ten_thousandths: int) -> str:
    """A price in units of $0.0001 as the exchange's dollar string: 5400 → `0.5400`."""
    return f"{ten_thousandths // 10000}.{ten_thousandths % 10000:04d}"


def count(hundredths: int) -> str:
    """A contract count in hundredths as the exchange's fixed-point string: 5643 → `56.43`."""
    return f"{hundredths // 100}.{hundredths % 100:02d}"


class BadCursor(ValueError):
    """The page cursor is not one that this exchange handed out."""


def encode_cursor(micros: int, ticker: str) -> str:
    """An opaque keyset position, in the exchange's form: protobuf {1: {1: s, 2: ns}, 2: ticker}."""
    whole, nanos = micros // 1_000_000, micros % 1_000_000 * 1000
    stamp = b"\x08" + _varint(whole) + (b"\x10" + _varint(nanos) if nanos else b"")
    name = ticker.encode()
    raw = b"\x0a" + _varint(len(stamp)) + stamp + b"\x12" + _varint(len(name)) + name
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(text: str) -> tuple[int, str]:
    """The (microseconds, ticker) inside a cursor; BadCursor if it is not one of ours."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if raw[0] != 0x0A:
            raise BadCursor(text)
        length, at = _read_varint(raw, 1)
        stamp, at = raw[at : at + length], at + length
        if stamp[0] != 0x08 or raw[at] != 0x12:
            raise BadCursor(text)
        whole, used = _read_varint(stamp, 1)
        nanos = _read_varint(stamp, used + 1)[0] if used < len(stamp) else 0
        size, at = _read_varint(raw, at + 1)
        if at + size != len(raw):
            raise BadCursor(text)
        return whole * 1_000_000 + nanos // 1000, raw[at:].decode()
    except (IndexError, ValueError, binascii.Error) as error:
        raise BadCursor(text) from error


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        if not value:
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
