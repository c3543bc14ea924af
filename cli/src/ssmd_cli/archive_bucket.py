"""What `ssmd archive fetch` does and prints."""

import asyncio
import sys
from pathlib import Path

import msgspec
import typer

from ssmd_archive import fetch as fetching
from ssmd_cli import output
from ssmd_cli.archive_place import parse_day
from ssmd_cli.archive_remote import bucket_of
from ssmd_cli.archive_streams import layout
from ssmd_cli.progress import BytesRead
from ssmd_common.words import counted


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
        parse_day(day)
    named = None if stream is None else layout(stream).stream
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
        f"{counted(found.files, 'file')} came ({counted(found.bytes, 'byte')}), "
        f"{counted(found.manifests, 'manifest')} and "
        f"{counted(found.certificates, 'certificate')}"
    )
