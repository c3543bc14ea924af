"""`ssmd secmaster export`: a whole list as one array of JSON, lines of it, CSV or Parquet."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from ssmd_cli.nearest import nearest
from ssmd_cli.output import Format
from ssmd_common.errors import ConfigurationError

_FORMATS: Final = (Format.JSON, Format.JSONL, Format.CSV, Format.PARQUET)
_OTHER_NAMES: Final = {"ndjson": Format.JSONL, "pq": Format.PARQUET}


def format_of(wanted: str | None, file: Path | None) -> Format:
    """What --output says, else the name of the file, else one array of JSON.

    Raises:
        ConfigurationError: --output names no format; it named a file before there was --file.
    """
    if wanted is None:
        ending = file.suffix.removeprefix(".").lower() if file else ""
        return next((form for form in _FORMATS if form == ending), None) or _OTHER_NAMES.get(
            ending, Format.JSON
        )
    if wanted in _FORMATS:
        return Format(wanted)
    names = ", ".join(_FORMATS)
    if "." in wanted or "/" in wanted:
        raise ConfigurationError(
            f"--output {wanted}: must be one of {names}; a file's name is given with --file"
        )
    near = nearest(wanted, _FORMATS)
    raise ConfigurationError(
        f"--output {wanted}: must be one of {names}" + (f"; did you mean {near}?" if near else "")
    )


def export_to(
    environment: str | None, query: dict[str, Any], style: Format, file: Path | None
) -> None:
    """Write the list to a file, which appears when it is whole, or to stdout.

    Raises:
        UpstreamUnavailable: among others, when the reply breaks off: no file is there then.
        ConfigurationError: Parquet is to be shown on a terminal, or cannot be written here.
    """
    from ssmd_cli.api import connect

    if style is Format.PARQUET:
        from ssmd_cli.parquet import check_place

        check_place(file)
    with connect(environment) as api:
        of = str(query["entity"])
        form = "csv" if style is Format.CSV else "jsonl"
        chunks = api.stream("export", {**query, "format": form})
        if file is None:
            _write(chunks, style, of, sys.stdout.buffer)
            return
        part = file.with_name(f".{file.name}.part")
        try:
            with part.open("wb") as opened:
                _write(chunks, style, of, opened)
            part.replace(file)
        except OSError as error:
            raise ConfigurationError(f"--file {file}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


def _write(chunks: Iterable[bytes], style: Format, of: str, to: BinaryIO) -> None:
    match style:
        case Format.JSON:
            to.writelines(one_array(lines_of(chunks)))
        case Format.PARQUET:
            from ssmd_cli.parquet import write
            from ssmd_client.documents import document

            write(map(document, lines_of(chunks)), of, to)
        case _:
            to.writelines(chunks)
    to.flush()


def one_array(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of JSON as one array, a row a line."""
    before = b"[\n"
    for line in lines:
        yield before + line
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, without their ends, of bytes that come in pieces of any size."""
    kept = b""
    for chunk in chunks:
        *whole, kept = (kept + chunk).split(b"\n")
        yield from (line for line in whole if line)
    if kept:
        yield kept
