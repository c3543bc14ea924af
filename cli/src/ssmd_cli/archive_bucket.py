"""What `ssmd archive fetch` does and prints."""

import asyncio
import sys
from pathlib import Path

import msgspec
import typer

from ssmd_archive import fetch as fetching
from ssmd_archive.coverage import day_of
from ssmd_cli import output
from ssmd_cli.archive_remote import bucket_of
from ssmd_cli.archive_streams import layout
from ssmd_cli.progress import BytesRead
from ssmd_common.errors import ConfigurationError


def fetch(
    root: Path,
    days: list[str] | None,
    stream: str | None,
    tables: list[str] | None,
    *,
    parquet: bool,
    as_json: bool,
) -> None:
    """Fetch days, and say what came.

    Raises:
        ConfigurationError: a day is none, or no bucket is named.
        NotArchived, BucketRefused, BucketUnreachable, ForeignArchive, ArchiveDamaged: see
            `ssmd_archive.fetch`.
    """
    for day in days or ():
        try:
            day_of(day)
        except ValueError:
            raise ConfigurationError(f"--date {day} is no day such as 2026-02-03") from None
    named = layout(stream).stream if stream else None
    wanted = frozenset(tables) if tables else None
    found = asyncio.run(
        fetching.fetch(
            root,
            bucket_of(),
            days or None,
            stream=named,
            wanted=lambda folder: wanted is None or folder in wanted,
            certificates=not (days or stream or tables),
            parquet=parquet,
            told=BytesRead(1 << 24) if sys.stderr.isatty() else lambda _: None,
        )
    )
    if as_json:
        output.document(msgspec.to_builtins(found))
        return
    for day in found.days:
        typer.echo(day)
    output.note(
        f"{found.files} files came ({found.bytes} bytes), {found.manifests} manifests and "
        f"{found.certificates} certificates"
    )
