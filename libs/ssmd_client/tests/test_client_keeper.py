"""What keeps a picture current, with a source that does what is hard to have a server do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec
import observers
import pytest
from test_client_picture import market, row

from ssmd_client import NotTheApi, Secmaster
from ssmd_client.live import keeper
from ssmd_client.live.messages import Change, Message, Renewed
from ssmd_client.live.scope import Scope
from ssmd_client.live.source import Batch, Gone, Interrupted, RawRow, Start
from ssmd_stream.visibility import Snapshot

EVENT = row("events", event_ticker="E", series_ticker="S", status="open")


def message(sequence: int, ticker: str, **more: Any) -> Message:
    data = market(ticker, "E", "S", title=f"after {sequence}")
    document = {
        "v": 1,
        "lsn": f"0/{sequence:X}",
        "seq": 0,
        "xid": 1000 + sequence,
        "epoch": 1,
        "table": "markets",
        "op": "update",
        "type": "market_updated",
        "ticker": ticker,
        "key": {"ticker": ticker},
        "data": data,
        "timestamp": "2026-02-03T22:05:00Z",
    }
    return Message(sequence, "", msgspec.json.encode(document | more))


class Scripted:
    """Each step is what comes next: rows of a snapshot, messages, or an error."""

    def __init__(self, *steps: Any, rows: Sequence[Any] = ()) -> None:
        self.steps = list(steps)
        self.rows = list(rows)
        self.done = asyncio.Event()

    def next(self) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def snapshot(self) -> AsyncIterator[Start | list[RawRow]]:
        yield Start(Snapshot.parse("1:1:"), 0)
        rows = self.next()
        yield [RawRow("events", msgspec.json.encode(EVENT))]
        for each in rows:
            if isinstance(each, Exception):
                raise each
            yield [RawRow("markets", msgspec.json.encode(market(each, "E", "S")))]

    async def follow(self) -> AsyncIterator[Batch]:
        while self.steps:
            messages = self.next()
            yield Batch(messages, messages[-1].sequence if messages else 0, is_current=True)
        self.done.set()
        await asyncio.Event().wait()

    async def row(self, table: str, key: dict[str, Any], *, whole: bool = False) -> bytes | None:
        found = self.rows.pop(0)
        if isinstance(found, Exception):
            raise found
        return None if found is None else msgspec.json.encode(market(found, "E", "S", title="read"))

    async def close(self) -> None:
        pass


class Kept:
    """A view of a scripted source, and what it tells from the first moment on."""

    def __init__(self, source: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper, "FIRST_WAIT_SECONDS", 0.001)
        self.view = Secmaster(source, Scope())
        self.source = source
        self.told: list[Any] = []
        self.view.on(["market_updated", "renewed"], self.told.append)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self.view._keeper.running(30))
        await asyncio.wait_for(self.source.done.wait(), 180)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def sequences(self) -> list[int]:
        return [item.sequence for item in self.told if isinstance(item, Change)]

    @property
    def tickers(self) -> set[str]:
        return {each.ticker for each in self.view.markets}


async def test_what_comes_after_a_row_that_is_read_elsewhere_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole batch is out of the source by then."""
    batch = [message(1, "A"), message(2, "B", data=None, error="large"), message(3, "C")]
    away = Interrupted("away")
    source = Scripted(["A"], batch, [message(4, "A")], rows=[away, away, "B"])
    async with Kept(source, monkeypatch) as kept:
        assert kept.sequences == [1, 2, 3, 4]
        assert kept.tickers == {"A", "B", "C"}
        found = kept.view.get("B")
        assert found is not None
        assert found.title == "read"


async def test_an_interruption_goes_on_and_a_gap_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Scripted(
        Interrupted("no snapshot yet"),
        ["A", Interrupted("it broke off")],
        ["A", "B"],
        [message(1, "A")],
        Interrupted("away"),
        [message(2, "B")],
        Gone("purged"),
        ["B", Interrupted("it broke off")],
        ["B", "C"],
        [message(9, "C")],
    )
    async with Kept(source, monkeypatch) as kept:
        assert kept.tickers == {"B", "C"}
        assert kept.sequences == [1, 2, 9]
        [renewed] = [item for item in kept.told if isinstance(item, Renewed)]
        assert renewed.reason == "purged"
        assert renewed.differences["markets"] >= 2
        assert kept.view.age.renewals == 1
        assert kept.view.age.is_following


async def test_readers_that_wait_through_a_renewal_begin_again_from_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Scripted(["A"], [message(1, "A")], Gone("purged"), ["B"], [message(3, "B")])
    monkeypatch.setattr(keeper, "FIRST_WAIT_SECONDS", 0.001)
    view = Secmaster(source, Scope())
    changes = view.changes()
    async with view._keeper.running(30):
        await asyncio.wait_for(source.done.wait(), 180)
        item = await anext(changes)
        # The picture shows what came after it by now, so that is not told again.
        assert isinstance(item, Renewed)
        assert changes.waiting == 0
        found = view.get("B")
        assert found is not None
        assert found.title == "after 3"


async def test_a_message_that_asks_for_a_snapshot_asks_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The join may begin before it again."""
    lost = message(2, "A", data=None, key=None, error="unreadable")
    source = Scripted(["A"], [message(1, "A"), lost], ["A", "B"], [lost, message(3, "B")])
    async with Kept(source, monkeypatch) as kept:
        assert kept.sequences == [1, 3]
        assert kept.view.age.renewals == 1


async def test_silence_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Scripted):
        async def follow(self) -> AsyncIterator[Batch]:
            if self.steps:
                yield Batch([self.next()], 1, is_current=True)
                await asyncio.Event().wait()
            self.done.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(keeper, "SILENT_SECONDS", 0.05)
    async with Kept(Silent(["A"], message(1, "A")), monkeypatch) as kept:
        assert kept.sequences == [1]

        async def noticed() -> None:
            assert kept.view.age.why == "nothing came for 0.05 s"

        await observers.eventually(noticed, 30)


async def test_what_trying_again_cannot_mend_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Scripted(["A"], [message(1, "A")], NotTheApi("something else answers"))
    view = Secmaster(source, Scope())
    with pytest.raises(Exception, match="something else answers"):
        async with view._keeper.running(30):
            await anext(view.changes(market="none"))
    assert view.get("A") is not None
