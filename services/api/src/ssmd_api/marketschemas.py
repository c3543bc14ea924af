"""JSON schemas of market data: `GET /v1/markets/{ticker}/trades|ticker|book`."""

from typing import Any, Final

from ssmd_api.schemas import PAGE_CURSOR, Schema, list_of, ref, thing

_TEXT: Final[Schema] = {"type": "string"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_PRICE: Final[Schema] = {
    "type": "string",
    "pattern": r"^-?[0-9]+\.[0-9]{4,}$",
    "example": "0.5400",
}
_COUNT: Final[Schema] = {
    "type": "string",
    "pattern": r"^-?[0-9]+\.[0-9]{2,}$",
    "example": "100.00",
}
_LEVELS: Final[Schema] = list_of(
    thing(price={**_PRICE, "description": "Dollars of YES."}, count=_COUNT)
)


def _maybe(schema: Schema, description: str = "") -> Schema:
    found: dict[str, Any] = {**schema, "type": [schema["type"], "null"]}
    return {**found, "description": description} if description else found


def _or_null(name: str, description: str) -> Schema:
    return {"anyOf": [ref(name), {"type": "null"}], "description": description}


MARKET_DATA_SCHEMAS: Final[dict[str, Schema]] = {
    "Capture": thing(
        stream={**_TEXT, "description": "Where it was read."},
        since=_maybe(_TIME, "The stream begins then; what came before has left it."),
        until=_maybe(_TIME, "The stream's last message, of whatever market, was stored then."),
        note=_maybe(_TEXT, "What speaks against it: nothing of this market, or a capture that "
                    "stands still. Gaps are in the records of the capture."),
    ),
    "Trade": thing(
        sequence={"type": "integer", "minimum": 1, "description": "In the stream."},
        trade_id=_TEXT,
        price={**_PRICE, "description": "What YES cost, in dollars."},
        count=_COUNT,
        taker_side={"type": ["string", "null"], "enum": ["yes", "no", None]},
        block={"type": "boolean"},
        exchange_time=_maybe(_TIME),
        received_at=_TIME,
        source={"type": "string", "enum": ["ws", "rest"], "description": "rest: a repair's."},
    ),
    "TradePage": thing(
        ticker=_TEXT,
        trades=list_of(ref("Trade")),
        capture=ref("Capture"),
        cursor=PAGE_CURSOR,
    ),
    "CapturedQuote": thing(
        price=_maybe(_PRICE, "Of the last trade."),
        yes_bid=_maybe(_PRICE),
        yes_ask=_maybe(_PRICE),
        yes_bid_size=_maybe(_COUNT),
        yes_ask_size=_maybe(_COUNT),
        last_size=_maybe(_COUNT),
        volume=_maybe(_COUNT),
        open_interest=_maybe(_COUNT),
        exchange_time=_maybe(_TIME),
        received_at=_TIME,
    ),
    "MarketQuote": thing(
        ticker=_TEXT,
        quote=_or_null("CapturedQuote", "Null where none is in the stream."),
        capture=ref("Capture"),
    ),
    "Book": thing(
        bids={**_LEVELS, "description": "From the highest."},
        asks={**_LEVELS, "description": "From the lowest."},
        valid={
            "type": "boolean",
            "description": "Nothing speaks against its being the exchange's.",
        },
        doubt=_maybe(_TEXT, "What does."),
        snapshot_at=_TIME,
        received_at={**_TIME, "description": "Its last message."},
        confirmed_at=_maybe(_TIME, "Until then the capture is known to have been whole."),
    ),
    "MarketBook": thing(
        ticker=_TEXT,
        book=_or_null("Book", "Null where none is in the streams."),
        capture=ref("Capture"),
    ),
}  # fmt: skip
