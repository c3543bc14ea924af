"""A certificate: what came of comparing a market's archived trades with the exchange's
(docs/archive.md § Certificates). The format, and where the files are.
"""

import os
import re
import secrets
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from ssmd_archive.disk import Disk
from ssmd_archive.errors import CertificateUnreadable
from ssmd_archive.manifest import digest

VERSION: Final = 1
CERTIFICATES: Final = "certificates"
"""In the root, beside the streams."""
SUFFIX: Final = ".json"

_CHECK: Final = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n?')
_CHECK_BYTES: Final = len(',"sha256":""}') + 64


class Result(StrEnum):
    """What a certificate says."""

    COMPLETE = "complete"
    """Both have the same trades, and their counts add up to the market's volume."""
    REPAIRED = "repaired"
    """The same, and some of them were read over REST after a gap: those the comparison proves
    less of, since both sides come from one listing."""
    MISSING = "missing"
    """The archive lacks some, and where they should be it calls itself whole."""
    EXTRA = "extra"
    """The archive has some that the exchange has not."""
    DIFFERENT = "different"
    """Of some both say other things."""
    VOLUME_DIFFERS = "volume differs"
    """The trades are the same, and do not add up to the volume; no late capture explains it."""
    COVERAGE_GAP = "coverage gap"
    """The archive lacks some, or the exchange's own sum falls short of its volume, and the records
    of the capture say that some may be lacking."""
    DAMAGED = "damaged"
    """Files that may have some are not as they were sealed."""
    NOT_SETTLED = "not settled yet"
    UNKNOWN = "unknown"
    """It could not be found out."""


HOLDS: Final = (Result.COMPLETE, Result.REPAIRED)
FAILS: Final = (
    Result.MISSING, Result.EXTRA, Result.DIFFERENT, Result.VOLUME_DIFFERS, Result.DAMAGED,
)  # fmt: skip
SAYS_NOTHING: Final = (Result.NOT_SETTLED, Result.UNKNOWN)


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """The market as the exchange showed it; `volume` in contracts, exact."""

    status: str | None = None
    open_time: str | None = None
    close_time: str | None = None
    settled_time: str | None = None
    volume: str | None = None


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    """One side's trades, each id once (`ssmd_archive.tradesets`); counts are exact texts."""

    trades: int
    blocks: int
    count: str
    count_without_blocks: str
    sha256: str


class UsedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed file that has trades of the market; `path` is in the stream's directory."""

    path: str
    sha256: str
    trades: int


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: all sealed files of trades from `from_place` to `to_place` (chain:sequence).

    `head` is the SHA-256 of the newest line of the manifests then. `searched_sha256` is that of a
    line `<path> <sha256>` for each file that was read, in the order of the stream.
    """

    stream: str
    head: str
    from_place: str
    to_place: str
    searched: int
    searched_sha256: str
    files: list[UsedFile]
    doubled: int
    repaired: int
    trades: Trades


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are of each kind, and the first hundred ids."""

    fields: list[str]
    missing: int = 0
    extra: int = 0
    different: int = 0
    missing_ids: list[str] = []
    extra_ids: list[str] = []
    different_ids: list[str] = []


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A span in which trades are, or may be, missing; what the records of the capture say of it."""

    since: str
    until: str
    state: str
    why: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`volume` says what the counts add up to: `all trades`, `all but block trades`, `both` where
    there is no block trade, `neither`, or null where the exchange named no volume.

    What was not asked or read is null.
    """

    v: int = VERSION
    ticker: str
    result: Result
    why: str
    certified_at: str
    market: Market | None = None
    exchange: Trades | None = None
    archive: Archived | None = None
    compared: Differences | None = None
    volume: str | None = None
    gaps: list[Gap] = []
    damaged: list[str] = []

    @property
    def day(self) -> str | None:
        """The day of the settlement, UTC; None where there is none."""
        return self.market.settled_time[:10] if self.market and self.market.settled_time else None


def encode(certificate: Certificate) -> bytes:
    """Canonical: one line of JSON, its members sorted, then the SHA-256 of all before it."""
    text = msgspec.json.encode(certificate, order="sorted")
    return b'%b,"sha256":"%b"}\n' % (text[:-1], digest(text[:-1]).encode())


def decode(text: bytes) -> Certificate:
    """Read one.

    Raises:
        CertificateUnreadable: it is none of this version, or was changed.
    """
    check = _CHECK.fullmatch(text, max(0, len(text.removesuffix(b"\n")) - _CHECK_BYTES))
    if check is None or check[1].decode() != digest(text[: check.start()]):
        raise CertificateUnreadable("it is not as it was written: its sha256 is another")
    try:
        found: dict[str, Any] = msgspec.json.decode(text)
        del found["sha256"]
        if found.get("v") != VERSION:
            raise CertificateUnreadable(
                f"it is of another version than {VERSION}, which this program reads"
            )
        return msgspec.convert(found, Certificate)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CertificateUnreadable(f"it cannot be read: {error}") from error


def path_of(root: Path, ticker: str) -> Path:
    """Where a market's certificate is: there is one, the newest."""
    name = quote(ticker, safe="")
    # No name that a file system reads as another folder.
    series = name.partition("-")[0].replace(".", "%2E") or "_"
    return root / CERTIFICATES / series / f"{name}{SUFFIX}"


def paths(root: Path) -> Iterator[tuple[str, Path]]:
    """All certificates, by ticker."""
    for path in sorted((root / CERTIFICATES).glob(f"*/*{SUFFIX}")):
        yield unquote(path.name.removesuffix(SUFFIX)), path


def read(root: Path, ticker: str) -> Certificate | None:
    """A market's certificate; None where there is none.

    Raises:
        CertificateUnreadable: what is there is none.
    """
    try:
        found = decode(path_of(root, ticker).read_bytes())
    except FileNotFoundError:
        return None
    if found.ticker != ticker:
        raise CertificateUnreadable(f"it is that of {found.ticker}")
    return found


def write(root: Path, certificate: Certificate, disk: Disk | None = None) -> None:
    """Put it in the place of an earlier one, at once or not at all.

    One that says nothing stays no obstacle to one that does, and replaces none.
    """
    disk = disk or Disk()
    path = path_of(root, certificate.ticker)
    if certificate.result in SAYS_NOTHING:
        try:
            old = read(root, certificate.ticker)
        except CertificateUnreadable:
            old = None
        if old is not None and old.result not in SAYS_NOTHING:
            return
    disk.make_directory(path.parent)
    # Nobody locks certificates: two runs may write that of one market at the same time.
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    file = disk.open(part)
    try:
        try:
            disk.write(file, encode(certificate), 0)
            disk.sync(file)
        finally:
            os.close(file)
        disk.rename(part, path)
    finally:
        disk.remove(part)
    disk.sync_directory(path.parent)
