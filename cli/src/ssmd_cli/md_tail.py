"""Reading MARKET_DATA and MARKET_BOOKS_<shard> for `ssmd md tail`."""

import contextlib
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.text import Text

from ssmd_cli import output
from ssmd_cli.changes import clock
from ssmd_cli.console import Terminal
from ssmd_cli.following import follow
from ssmd_cli.since import Start
from ssmd_common.connections import nats as connections
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings
from ssmd_common.streams import MARKET_DATA_STREAM, books_stream
from ssmd_stream.market.messages import (
    BookMessage,
    Message,
    SessionRecord,
    TickerMessage,
    TradeMessage,
    UnreadableMessage,
    decoded,
)
from ssmd_stream.stream import Stream
from ssmd_stream.subjects import NONE, token

_OF_MARKETS: Final = ("trade", "ticker", "book")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is shown; `channel` None is trades and quotes."""

    channel: str | None = None
    series: str | None = None
    ticker: str | None = None
    shard: int = 0

    @property
    def stream(self) -> str:
        return books_stream(self.shard) if self.channel == "book" else MARKET_DATA_STREAM

    def subjects(self) -> list[str]:
        """What to ask the server for; it filters, so that nothing else travels.

        Raises:
            ConfigurationError: the channel has no markets.
        """
        if self.channel is not None and self.channel not in _OF_MARKETS:
            if self.series is not None or self.ticker is not None:
                raise ConfigurationError(
                    f"--channel {self.channel} is of no market: leave --series and --ticker out"
                )
            return [f"md.{self.channel}.>"]
        channels = [self.channel] if self.channel else ["trade", "ticker"]
        found = []
        for channel in channels:
            head = f"md.book.{self.shard}" if channel == "book" else f"md.{channel}"
            series = "*" if self.series is None else token(self.series)
            last = "*" if self.ticker is None else token(self.ticker)
            found.append(f"{head}.{series}.*.{last}")
            if self.series is not None:
                # Of a market that the secmaster did not know yet.
                found.append(f"{head}.{NONE}.{NONE}.{last}")
        return found

    def wants(self, message: Message) -> bool:
        """Of a market without a known series its ticker tells."""
        if self.series is None or not isinstance(
            message, TradeMessage | TickerMessage | BookMessage
        ):
            return True
        return message.series == self.series or (
            message.series is None and message.ticker.partition("-")[0] == self.series
        )


async def tail(
    settings: NatsSettings, wanted: Wanted, start: Start, *, limit: int | None, as_json: bool
) -> None:
    """Print messages until `limit` are, or for ever.

    Raises:
        NoStream: the stream is not there.
        ConfigurationError: the channel has no markets.
    """
    filters = wanted.subjects()
    client = await connections.connect(settings, "ssmd-md-tail", budget_seconds=5)
    console = Terminal(soft_wrap=True)
    stream = Stream(client, wanted.stream, publisher="connector")
    shown = 0
    try:
        async with contextlib.aclosing(
            follow(stream, filters, start, maker=_maker(wanted))
        ) as followed:
            async for delivery in followed:
                try:
                    message = decoded(delivery.payload)
                except ValueError as error:
                    output.note(
                        f"message {delivery.sequence} ({delivery.subject}) is passed over as "
                        f"unreadable: {error}"
                    )
                    continue
                if not wanted.wants(message):
                    continue
                if as_json:
                    sys.stdout.write(delivery.payload.decode() + "\n")
                    sys.stdout.flush()
                else:
                    console.print(line(message))
                shown += 1
                if shown == limit:
                    return
    finally:
        await connections.close(client)


def _maker(wanted: Wanted) -> str:
    return "connector with books in its scope" if wanted.channel == "book" else "connector"


_STYLES: Final = {
    "trade": "green",
    "ticker": "cyan",
    "book": "blue",
    "session": "magenta",
    "unreadable": "yellow",
}


def line(message: Message) -> Text:
    """One message for a person: when, what, which, and what it says."""
    text = Text()
    channel = str(message.__struct_config__.tag)
    text.append(clock(datetime.fromisoformat(message.received_at)), style="dim")
    text.append(f"  {channel:<10}", style=_STYLES[channel])
    match message:
        case TradeMessage():
            text.append(f" {message.ticker}", style="bold")
            taker = f"  taker {message.taker_side}" if message.taker_side else ""
            text.append(f"  {message.count} at {message.price}{taker}")
            if message.block:
                text.append("  block")
        case TickerMessage():
            text.append(f" {message.ticker}", style="bold")
            text.append(f"  bid {message.yes_bid or '-'}  ask {message.yes_ask or '-'}")
            text.append(f"  last {message.price or '-'}  volume {message.volume or '-'}")
        case BookMessage():
            text.append(f" {message.ticker}", style="bold")
            if message.delta is None:
                levels = len(message.yes or ()) + len(message.no or ())
                text.append(f"  snapshot of {levels} levels")
            else:
                sign = "" if message.delta.startswith("-") else "+"
                text.append(f"  {message.side} {message.price} {sign}{message.delta}")
        case SessionRecord():
            text.append(f" {message.what}", style="bold")
            text.append("".join(f"  {part}" for part in _said(message)))
        case UnreadableMessage():
            text.append(f" {message.of_channel or 'frame'}", style="bold")
            text.append(f"  {message.reason}")
    if isinstance(message, TradeMessage | TickerMessage) and message.source == "rest":
        text.append("  repaired", style="dim")
    return text


def _said(record: SessionRecord) -> list[str]:
    parts = [record.of_channel or "", record.reason or ""]
    if record.since or record.until:
        parts.append(f"{record.since or 'the start'} to {record.until or 'now'}")
    for name, counts in (("published", record.published), ("dropped", record.dropped)):
        if counts:
            told = ", ".join(f"{channel} {number:,}" for channel, number in counts.items())
            parts.append(f"{name} {told}")
    if record.tickers:
        parts.append(f"{len(record.tickers)} markets")
    if record.trades is not None:
        parts.append(f"{record.trades} trades")
    return [part for part in parts if part]
