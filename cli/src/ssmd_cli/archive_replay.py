"""What `ssmd archive replay` gives: lines of JSON, or messages to NATS."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ssmd_archive import lines
from ssmd_archive.coverage import day_of
from ssmd_archive.layout import OTHER, is_day
from ssmd_archive.playback import Item, Lost, Played
from ssmd_cli import output
from ssmd_cli.archive_place import parse_day
from ssmd_cli.since import parse_since
from ssmd_client.replaying import replay as replayed
from ssmd_common.errors import ConfigurationError
from ssmd_common.words import counted


async def replay(
    root: Path,
    since: str | None,
    until: str | None,
    *,
    to_nats: str | None,
    **wanted: Any,
) -> bool:
    """Give a span's messages; whether nothing of it is missing. `wanted` is `ssmd_client.replay`'s.

    Raises:
        ConfigurationError: an option means nothing.
        NoArchive, ArchiveDamaged: it cannot be read.
        UpstreamUnavailable: NATS does not answer, or does not take what is published.
    """
    start, stop = _moment(since, "--from"), _moment(until, "--to", ends=True)
    if start is not None and stop is not None and start >= stop:
        raise ConfigurationError(f"--to {until} is not after --from {since}")
    try:
        source = replayed(root, start, stop, **wanted)
        async with aclosing(source) as items:
            if to_nats is None:
                return await _to_stdout(items, at_once=wanted.get("speed") is not None)
            from ssmd_cli.archive_republish import publish

            return await publish(items, to_nats, tell)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _moment(text: str | None, option: str, *, ends: bool = False) -> datetime | None:
    """A time, an age or a day: its beginning, or its end."""
    if text is not None and is_day(text):
        return day_of(parse_day(text, option))[1 if ends else 0]
    match parse_since(text, option, "day (2026-02-03)"):
        case None:
            return None
        case datetime() as moment:
            return moment.astimezone(UTC)
        case _:
            raise ConfigurationError(
                f"{option} {text} is of one stream, and a replay is of several: give a time, an "
                "age (24h) or a day (2026-02-03)"
            )


async def _to_stdout(items: AsyncIterator[Item], *, at_once: bool) -> bool:
    """`at_once`: each line is to be seen when its moment comes."""
    is_complete = True
    write = sys.stdout.write
    async for item in items:
        if isinstance(item, Lost):
            is_complete = False
            write(lost_line(item))
            tell(item)
        else:
            write(line(item))
        if at_once:
            sys.stdout.flush()
    sys.stdout.flush()
    return is_complete


def line(message: Played) -> str:
    """As it stands in the archive, with the stream and the chain before it."""
    head = f'{{"_stream":"{message.stream}","_chain":{message.chain},'
    if message.folder == OTHER:
        raw = lines.encode_other(
            message.sequence, message.stored_at_ns, message.own_subject or "", message.payload
        )
    else:
        raw = lines.encode(message.sequence, message.stored_at_ns, message.payload)
    return head + raw[1:].decode()


def lost_line(lost: Lost) -> str:
    """Of what is missing."""
    document = {
        "_stream": lost.stream,
        "_chain": lost.chain,
        "_lost": {
            "kind": lost.kind,
            "from_seq": lost.from_seq,
            "to_seq": lost.to_seq,
            "messages": lost.messages,
            "folder": lost.folder,
            "why": lost.why,
        },
    }
    return msgspec.json.encode(document).decode() + "\n"


def tell(lost: Lost) -> None:
    """Say on stderr what is missing."""
    what = f"{counted(lost.messages, 'message')} of {lost.stream}"
    if lost.kind == "chain":
        what = f"what {lost.stream} still had before its chain {lost.chain}"
    output.note(f"missing: {what}, sequences {lost.from_seq} to {lost.to_seq}: {lost.why}")
