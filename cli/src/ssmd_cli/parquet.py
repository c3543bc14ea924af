"""Rows as Parquet, with the types that the client library knows."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ssmd_client import frames, rows
from ssmd_client.decoding import convert_rows
from ssmd_client.errors import Missing
from ssmd_common.errors import ConfigurationError

KINDS: Final[dict[str, type[msgspec.Struct]]] = {
    "markets": rows.ListedMarket,
    "events": rows.ListedEvent,
    "series": rows.Series,
}
_AT_ONCE: Final = 5000


def check_place(file: Path | None) -> None:
    """Refuse what cannot end well, before anything is asked.

    Raises:
        ConfigurationError: it would be shown on a terminal, or pyarrow is not installed.
    """
    if file is None and sys.stdout.isatty():
        raise ConfigurationError("Parquet is not for terminals: give --file, or use a pipe")
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs pyarrow: pip install 'ssmd-cli[parquet]'"
        ) from error


def write(documents: Iterable[Any], of: str, to: BinaryIO) -> None:
    """Write the rows of a list of `of` (markets, events or series)."""
    import pyarrow.parquet

    kind = KINDS[of]
    pages = (convert_rows(page, kind) for page in _pages(iter(documents)))
    try:
        pyarrow.parquet.write_table(frames.arrow(pages, kind), to, compression="zstd")
    except Missing as error:
        raise ConfigurationError(str(error)) from error


def _pages(documents: Iterator[Any]) -> Iterator[list[Any]]:
    while page := list(islice(documents, _AT_ONCE)):
        yield page
