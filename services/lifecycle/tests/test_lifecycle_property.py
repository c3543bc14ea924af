"""One thing wrong in one frame of a stream: everything else arrives exactly.

A random stream of frames in the exchange's shapes is recorded for three universes that differ in
their names: as it is, with one corruption for each market and event, and with the corrupted fields
left out. The rows with a corruption must be those with the field left out, and but for its columns
those of the stream as it is.
"""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.loaders import forgive_values
from ssmd_kalshi.feed import Message, Unreadable
from ssmd_kalshi.subscriptions import Subscriptions
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message, parse_unreadable
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database

Connection = psycopg.AsyncConnection[Any]
NOW = datetime.now(UTC).replace(microsecond=0)
GOOD, BAD, SPARED = "KXGOOD", "KXBADD", "KXSPAR"

DEEP = '{"a":' * 2000 + "1" + "}" * 2000
ODD_TEXT = [r'"a\u0000b"', r'"a\ud800"', '"a\xff"']
NO_NUMBER = ["NaN", "-Infinity", "1e999", "9" * 5000, "true", "{}", "[]", DEEP]
# JSON texts that no field of the kind can mean.
UNREADABLE = {
    "text": ["5", "1.5", "false", '{"a":1}', "[]", "NaN", DEEP, *ODD_TEXT],
    "flag": ['"true"', "0", "1", "{}", '"yes"', DEEP],
    "time": ['"soon"', '"1694635200"', "-1", "1e300", str(10**15), *NO_NUMBER, *ODD_TEXT],
    "number": ['"abc"', '"1_0"', '" 1"', '"1e99"', "1e300", *NO_NUMBER, *ODD_TEXT],
    "dollars": ['"1e9"', "10000", *NO_NUMBER, *ODD_TEXT],
    "object": ['"x"', "5", "[1]", DEEP, r'{"a":"\u0000"}', '{"a":NaN}', f'{{"a":"{"x" * 20000}"}}'],
    "objects": ['"x"', "5", '{"a":1}', "[5]", f"[{DEEP}]", '[{"a":1e999}]'],
    "whole": ['"0"', "1.5", "true", "{}"],
    "anything": [DEEP, *ODD_TEXT, "NaN", '"x"', "[1e999]", "9" * 400],
}
# Field → kind, and the columns that it stands for.
FIELDS: dict[str, tuple[str, set[str]]] = {
    "title": ("text", {"title"}),
    "yes_sub_title": ("text", {"yes_sub_title"}),
    "no_sub_title": ("text", {"no_sub_title"}),
    "rules_primary": ("text", {"rules_primary"}),
    "rules_secondary": ("text", {"extra"}),
    "can_close_early": ("flag", {"can_close_early"}),
    "expected_expiration_ts": ("time", {"expected_expiration_time"}),
    "strike_type": ("text", {"strike_type"}),
    "floor_strike": ("number", {"floor_strike"}),
    "cap_strike": ("number", {"cap_strike"}),
    "custom_strike": ("object", {"custom_strike"}),
    "open_ts": ("time", {"open_time", "open_ts"}),
    "close_ts": ("time", {"close_time", "close_ts"}),
    "determination_ts": ("time", {"determined_ts"}),
    "settled_ts": ("time", {"settled_time", "settled_ts"}),
    "result": ("text", {"result"}),
    "settlement_value": ("dollars", {"settlement_value_dollars"}),
    "price_level_structure": ("text", {"price_level_structure"}),
    "price_ranges": ("objects", {"price_ranges"}),
    "exchange_index": ("whole", {"extra"}),
    "subtitle": ("text", {"sub_title"}),
    "collateral_return_type": ("text", {"collateral_return_type"}),
    "strike_date": ("time", {"strike_date"}),
    "strike_period": ("text", {"strike_period"}),
    "fee_type_override": ("text", {"fee_type_override"}),
    "fee_multiplier_override": ("number", {"fee_multiplier_override"}),
    "sending_ts_ms": ("time", {"sent_at"}),
    "seq": ("text", set()),
    "sid": ("text", set()),
    "surprise": ("anything", set()),
}


@dataclass
class Frame:
    """A frame to be, its parts as JSON texts, so that any of them may be spoilt."""

    about: str
    at: datetime
    envelope: dict[str, str]
    msg: dict[str, str]
    inner: dict[str, str] = field(default_factory=dict)

    def parts(self) -> list[dict[str, str]]:
        return [self.envelope, self.msg, *([self.inner] if self.inner else [])]

    def renamed(self, old: str, new: str) -> "Frame":
        def names(part: dict[str, str]) -> dict[str, str]:
            return {name: value.replace(old, new) for name, value in part.items()}

        return Frame(
            self.about.replace(old, new),
            self.at,
            names(self.envelope),
            names(self.msg),
            names(self.inner),
        )

    def raw(self) -> bytes:
        msg = dict(self.msg)
        if self.inner:
            msg["additional_metadata"] = _object(self.inner)
        text = _object({**self.envelope, "msg": _object(msg)})
        # What Latin-1 can hold beyond ASCII is no UTF-8 this way.
        return text.encode("latin-1")


def _object(parts: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in parts.items()) + "}"


def stream(chance: random.Random, series: str) -> list[Frame]:
    """The life of three events with two markets each, in the exchange's shapes."""
    frames: list[Frame] = []

    def say(
        about: str, type_: str, msg: dict[str, Any], inner: dict[str, Any] | None = None
    ) -> None:
        number = len(frames) + 1
        at = NOW + timedelta(milliseconds=10 * number)
        envelope = {"type": type_, "sid": 1, "seq": number}
        if chance.random() < 0.8:
            envelope["sending_ts_ms"] = int(at.timestamp() * 1000)
        frames.append(
            Frame(
                about,
                at,
                *(
                    {n: json.dumps(v) for n, v in part.items()}
                    for part in (envelope, msg, inner or {})
                ),
            )
        )

    def words(*names: str) -> dict[str, Any]:
        return {
            name: f"{name} {chance.choice('äöß')} {chance.random()}".encode(
                "ascii", "replace"
            ).decode()
            for name in names
        }

    seconds = int(NOW.timestamp())
    for event in (f"{series}-{chance.randrange(10**6)}" for _ in range(3)):
        about = {"event_ticker": event, "exchange_index": 0}
        say(
            event,
            "event_lifecycle",
            about
            | words("title", "subtitle", "collateral_return_type", "strike_period")
            | {"series_ticker": series, "strike_date": seconds + 9000},
        )
        for ticker in (f"{event}-A", f"{event}-B"):
            market = {"market_ticker": ticker}

            def update(kind: str, of: dict[str, Any] = market, /, **more: Any) -> None:
                say(of["market_ticker"], "market_lifecycle_v2", of | {"event_type": kind} | more)

            say(
                ticker,
                "market_lifecycle_v2",
                market
                | {"event_type": "created", "exchange_index": chance.randrange(3)}
                | {"open_ts": seconds + 3600, "close_ts": seconds + 7200}
                | {"price_level_structure": "linear_cent"},
                words("title", "yes_sub_title", "no_sub_title", "rules_primary", "rules_secondary")
                | {"event_ticker": event, "can_close_early": chance.random() < 0.5}
                | {"expected_expiration_ts": seconds + 9000, "strike_type": "custom"}
                | {
                    "floor_strike": chance.randrange(10**6) / 100,
                    "cap_strike": chance.randrange(99),
                }
                | {"custom_strike": {"Name": [chance.random(), {"a": None}]}},
            )
            if chance.random() < 0.5:
                update("metadata_updated", **words("yes_sub_title"), floor_strike="97499.99")
            if chance.random() < 0.5:
                ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
                update(
                    "price_level_structure_updated",
                    price_level_structure="deci_cent",
                    price_ranges=ranges,
                )
            if chance.random() < 0.5:
                update("close_date_updated", close_ts=seconds + 8000)
            if chance.random() < 0.5:
                update("deactivated")
                update("activated")
            if chance.random() < 0.6:
                update(
                    "determined",
                    result=chance.choice(["yes", "no"]),
                    settlement_value="0.5600",
                    determination_ts=seconds,
                )
                if chance.random() < 0.6:
                    update("settled", settled_ts=seconds)
        fee = {"fee_type_override": chance.choice(["flat", None]), "fee_multiplier_override": 0.5}
        say(event, "event_fee_update", about | fee)
    return frames


def spoil(
    chance: random.Random, frames: list[Frame], spared: list[Frame]
) -> dict[str, tuple[str, str]]:
    """Corrupt one field in one frame of each market and event, and leave it out of the spared one:
    which field, and how."""
    done: dict[str, tuple[str, str]] = {}
    by_ticker: dict[str, list[int]] = {}
    for number, frame in enumerate(frames):
        by_ticker.setdefault(frame.about, []).append(number)
    for ticker, numbers in by_ticker.items():
        number = chance.choice(numbers)
        parts = frames[number].parts()
        chance.choice(parts)["surprise"] = "null"
        place, name = chance.choice(
            [(i, n) for i, part in enumerate(parts) for n in part if n in FIELDS]
        )
        parts[place][name] = chance.choice(UNREADABLE[FIELDS[name][0]])
        spared[number].parts()[place].pop(name, None)
        done[ticker] = name, parts[place][name]
    return done


def received(frames: list[Frame]) -> list[LifecycleMessage]:
    """What the service makes of frames of a subscription."""
    subscriptions = Subscriptions(["market_lifecycle_v2"])
    assert subscriptions.command(0, 10)
    subscriptions.take(b'{"type":"subscribed","id":1,"msg":{"sid":1}}', NOW)
    messages = []
    for frame in frames:
        subscriptions.take(frame.raw(), frame.at)
        while subscriptions.events:
            match subscriptions.events.popleft():
                case Message() as message:
                    messages.append(parse_message(message))
                case Unreadable() as unreadable:
                    messages.append(parse_unreadable(unreadable))
    return messages


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await postgres.open_pool(
        SecretStr(database.url), "t", budget_seconds=30, max_size=2, configure=forgive_values
    )
    yield opened
    await opened.close()


async def all_rows(connection: Connection, series: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of a universe, without what is a row's own; tickers without the series."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with connection.cursor(row_factory=dict_row) as cursor:
        for table, key in (
            ("markets", "ticker"),
            ("events", "event_ticker"),
            ("market_lifecycle_events", "coalesce(market_ticker, event_ticker)"),
        ):
            order = "id" if table == "market_lifecycle_events" else key
            await cursor.execute(
                f"SELECT to_jsonb(t) - '{{created_at,updated_at,id,dedupe_key}}'::text[] AS row"
                f" FROM {table} t WHERE {key} LIKE %s ORDER BY {order}",
                (f"{series}-%",),
            )
            found[table] = [
                json.loads(json.dumps(row["row"]).replace(series, "KX"))
                for row in await cursor.fetchall()
            ]
    return found


def without(row: dict[str, Any], columns: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in columns | {"metadata"}}


def words_of(metadata: dict[str, Any], field: str) -> dict[str, Any]:
    """A message as stored, without one field wherever it stands."""

    def bare(part: Any) -> Any:
        return (
            {n: bare(v) for n, v in part.items() if n not in (field, "surprise")}
            if isinstance(part, dict)
            else part
        )

    return bare(metadata)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]
)
async def test_everything_else_arrives_exactly(
    pool: Pool, connection: Connection, seed: int
) -> None:
    store = MessageStore(pool)
    for turn in range(4):
        chance = random.Random(1000 * seed + turn)
        series, bad_series, spared_series = (f"{name}{turn}" for name in (GOOD, BAD, SPARED))
        clean = stream(chance, series)
        frames = [frame.renamed(series, bad_series) for frame in clean]
        spared = [frame.renamed(series, spared_series) for frame in clean]
        spoilt = {
            ticker.replace(bad_series, "KX"): what
            for ticker, what in spoil(chance, frames, spared).items()
        }
        messages = received(frames)
        assert [m.fault for m in messages] == [None] * len(frames), spoilt
        for start in range(0, len(frames), 7):
            for each in (received(clean), messages, received(spared)):
                outcome = await store.record(each[start : start + 7], NOW)
                assert outcome.unplaced == []
        right, found, left_out = [
            await all_rows(connection, name) for name in (series, bad_series, spared_series)
        ]
        for table, rows in found.items():
            assert len(right[table]) == len(left_out[table]) == len(rows), (table, spoilt)
            for row, spared_row, right_row in zip(rows, left_out[table], right[table], strict=True):
                ticker = row.get("ticker") or row.get("market_ticker") or row["event_ticker"]
                name, value = spoilt[ticker]
                columns, case = FIELDS[name][1], (table, name, value[:80])
                assert without(row, set()) == without(spared_row, set()), case
                # A message of nothing but the corrupted field changes no row.
                columns = columns | {"observed_at"}
                assert without(row, columns) == without(right_row, columns), case
                if "metadata" in row:
                    assert words_of(row["metadata"], name) == words_of(right_row["metadata"], name)
        # The same frames again are no news.
        again = [m for m in messages if m.sent_at is not None]
        assert (await store.record(again, NOW)).stored == 0
