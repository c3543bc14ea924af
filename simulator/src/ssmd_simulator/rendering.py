"""Series, events and markets as the bytes of the exchange's JSON.

A market is three pieces, so that a page of a thousand is one join: `head` (what is its own and
rarely changes), a piece shared by the markets of an event, and `tail` (state and trading, valid
until `tail_until`).
"""

from typing import Any

import msgspec

from ssmd_simulator.ladders import price_ranges
from ssmd_simulator.life import Timetable, next_boundary
from ssmd_simulator.quotes import EMPTY, Quote, move_of, quote_at
from ssmd_simulator.universe import Event, Market, Series
from ssmd_simulator.wire import NEVER, count, dollars, rfc3339

_json = msgspec.json.Encoder()
_DECIDED = frozenset({"determined", "disputed", "amended", "finalized"})


class Renderer:
    """Renders at a time; `anchor` is where the made-up trading counts its moves from."""

    def __init__(self, anchor: float, *, still: bool) -> None:
        self._anchor = anchor
        self._still = still
        self.flipped: dict[str, float] = {}
        """Tickers that are shown as they were so many seconds ago."""

    def market_pieces(self, market: Market, now: float, out: list[bytes]) -> None:
        """Append the pieces of one market, followed by a comma."""
        if market.tail is None or not market.tail_from <= now < market.tail_until:
            self._render_tail(market, now)
        tail = market.tail
        if self.flipped and market.ticker in self.flipped:
            self._render_tail(market, now - self.flipped[market.ticker])
            tail, market.tail = market.tail, None
        head = market.head
        if head is None:
            head = market.head = _head(market)
        life = market.life
        key = (id(life), market.structure)
        shared = market.event.shared.get(key)
        if shared is None:
            # The timetable is kept beside its bytes, so that its id stays its own.
            shared = market.event.shared[key] = (life, _shared(market, life))
        out.append(head)
        out.append(shared[1])
        out.append(tail or b"")

    def markets(self, markets: list[Market], now: float) -> bytes:
        """A JSON array of whole markets."""
        pieces = [b"["]
        for market in markets:
            self.market_pieces(market, now, pieces)
        if len(pieces) > 1:
            pieces[-1] = pieces[-1][:-1]
        pieces.append(b"]")
        return b"".join(pieces)

    def market(self, market: Market, now: float) -> bytes:
        """One whole market."""
        pieces: list[bytes] = []
        self.market_pieces(market, now, pieces)
        return b"".join(pieces)[:-1]

    def _render_tail(self, market: Market, now: float) -> None:
        status = market.status(now)
        decided = status in _DECIDED
        move, moves_at = (0, float("inf")) if self._still else move_of(market, self._anchor, now)
        if status not in ("active", "inactive"):
            moves_at = float("inf")
        q = EMPTY if status == "initialized" else quote_at(market, move, final=decided)
        text = f'"status":"{status}","updated_time":"{_updated(market, now)}",' + (
            _UNTRADED if q is EMPTY else _trading(q)
        )
        if decided:
            value = _json.encode(expiration_value(market)).decode()
            text += (
                f'"result":"{market.result}","expiration_value":{value},'
                f'"settlement_value_dollars":"{settlement_value(market.result)}"'
            )
        else:
            text += '"result":"","expiration_value":""'
        if status == "finalized":
            text += f',"settlement_ts":"{rfc3339(market.life.settled)}"'
        market.tail = text.encode() + b"},"
        market.tail_from = now
        market.tail_until = min(next_boundary(market.life, now), moves_at)


def _trading(q: Quote) -> str:
    return (
        f'"yes_bid_dollars":"{dollars(q.yes_bid)}","yes_ask_dollars":"{dollars(q.yes_ask)}",'
        f'"no_bid_dollars":"{dollars(10000 - q.yes_ask)}",'
        f'"no_ask_dollars":"{dollars(10000 - q.yes_bid)}",'
        f'"yes_bid_size_fp":"{count(q.bid_size)}","yes_ask_size_fp":"{count(q.ask_size)}",'
        f'"last_price_dollars":"{dollars(q.last)}",'
        f'"previous_yes_bid_dollars":"{dollars(q.previous_bid)}",'
        f'"previous_yes_ask_dollars":"{dollars(q.previous_ask)}",'
        f'"previous_price_dollars":"{dollars(q.previous)}",'
        f'"volume_fp":"{count(q.volume)}","volume_24h_fp":"{count(q.volume_24h)}",'
        f'"open_interest_fp":"{count(q.open_interest)}",'
    )


_UNTRADED = _trading(EMPTY)


def _updated(market: Market, now: float) -> str:
    updated = updated_at(market, now)
    return NEVER if updated is None else rfc3339(updated)


def updated_at(market: Market, now: float) -> float | None:
    """The last non-trading change: an edit, the determination or the settlement; None: never."""
    for moment in (market.life.settled, market.life.determined):
        if moment <= now:
            return max(moment, market.updated or 0.0)
    return market.updated


def settlement_value(result: str) -> str:
    """What YES pays for a result; the exchange's scalar markets pay in between."""
    return {"yes": "1.0000", "no": "0.0000"}.get(result, "0.5000")


def expiration_value(market: Market) -> str:
    """The value that the determination looked at."""
    if market.floor is not None:
        offset = 1.5 if market.result == "yes" else -1.5
        return f"{market.floor + offset:.2f}"
    return market.label if market.result == "yes" else ""


def title_of(market: Market) -> str:
    """The market's own title: its event's question with its answer filled in."""
    return market.event.question.replace("{}", market.label)


def rules_of(market: Market) -> str:
    """The primary rule."""
    return f"If the answer to “{title_of(market)}” is yes, then the market resolves to Yes."


def fields_of(market: Market) -> dict[str, Any]:
    """What is the market's own: texts and strikes; optional fields are absent, not null."""
    fields: dict[str, Any] = {
        "ticker": market.ticker,
        "event_ticker": market.event.ticker,
        "market_type": "scalar" if market.result == "scalar" else "binary",
        "title": title_of(market),
        "subtitle": "",
        "yes_sub_title": market.label,
        "no_sub_title": market.label,
        "rules_primary": rules_of(market),
        "can_close_early": market.seed % 4000 != 0,
        "exchange_index": 0,
        "settlement_bounds_type": "default",
    }
    if market.strike_type:
        fields["strike_type"] = market.strike_type
    if market.floor is not None:
        fields["floor_strike"] = market.floor
    if market.cap is not None:
        fields["cap_strike"] = market.cap
    if market.custom is not None:
        fields["custom_strike"] = market.custom
    if market.provisional:
        fields["is_provisional"] = True
    if market.seed % 3:
        fields["early_close_condition"] = (
            "This market will close and expire early if the event occurs."
        )
    if market.seed % 97 == 0:
        fields["fee_waiver_expiration_time"] = rfc3339(int(market.life.close))
    if market.seed % 11 == 0:
        fields["primary_participant_key"] = "basketball_team"
    if market.event.multivariate:
        fields.update(_legs_of(market))
    if market.edits:
        fields.update(market.edits)
    return fields


def _legs_of(market: Market) -> dict[str, Any]:
    legs = [
        leg.split("|") for leg in (market.custom or {}).get("Associated Markets", "").split(",")
    ]
    return {
        "mve_collection_ticker": market.event.series.ticker + "-R",
        "mve_selected_legs": [
            {"event_ticker": leg[0].rsplit("-", 1)[0], "market_ticker": leg[0], "side": "yes"}
            for leg in legs
            if leg[0]
        ],
    }


def _head(market: Market) -> bytes:
    return _json.encode(fields_of(market))[:-1] + b","


def _shared(market: Market, life: Timetable) -> bytes:
    event = market.event
    latest = life.latest_expiration or life.close + 7 * 86400
    fields: dict[str, Any] = {
        "price_level_structure": market.structure,
        "price_ranges": price_ranges(market.structure),
        "created_time": rfc3339(life.created) if life.created > 0 else NEVER,
        "open_time": rfc3339(life.open),
        "close_time": rfc3339(life.close),
        "expiration_time": rfc3339(latest),
        "latest_expiration_time": rfc3339(latest),
        "settlement_timer_seconds": 300 if event.template == "threshold" else 1800,
        "notional_value_dollars": "1.0000",
        "rules_secondary": ""
        if event.template == "binary"
        else "Refer to the settlement sources of the series for the value that counts.",
    }
    if life.expected_expiration is not None:
        fields["expected_expiration_time"] = rfc3339(life.expected_expiration)
    if event.strike_at is not None:
        fields["occurrence_datetime"] = rfc3339(event.strike_at)
    return _json.encode(fields)[1:-1] + b","


def event_bytes(event: Event, nested: bytes | None = None) -> bytes:
    """An event; with `nested`, a JSON array of its markets inside it."""
    fields: dict[str, Any] = {
        "event_ticker": event.ticker,
        "series_ticker": event.series.ticker,
        "title": event.title,
        "sub_title": event.sub_title,
        "category": event.category,
        "collateral_return_type": event.collateral,
        "mutually_exclusive": event.mutually_exclusive,
        "settlement_sources": event.series.sources,
        "last_updated_ts": rfc3339(event.updated),
        "exchange_index": 0,
    }
    if event.strike_at is not None:
        fields["strike_date"] = rfc3339(event.strike_at)
    else:
        fields["strike_period"] = event.strike_period or ""
    if event.fee_override is not None:
        fields["fee_type_override"], fields["fee_multiplier_override"] = event.fee_override
    encoded = _json.encode(fields)
    return encoded if nested is None else encoded[:-1] + b',"markets":' + nested + b"}"


def series_bytes(series: Series, *, volume: bool = False, metadata: bool = False) -> bytes:
    """A series; volume and product metadata only for those who ask."""
    base = "https://kalshi-public-docs.s3.amazonaws.com"
    fields: dict[str, Any] = {
        "ticker": series.ticker,
        "title": series.title,
        "category": series.category,
        "categories": [series.category, *series.more_categories],
        "tags": series.tags,
        "frequency": series.frequency,
        "settlement_sources": series.sources,
        "contract_url": f"{base}/regulatory/product-certifications/{series.ticker}.pdf",
        "contract_terms_url": f"{base}/contract_terms/{series.ticker}.pdf",
        "fee_type": series.fee_type,
        "fee_multiplier": series.fee_multiplier,
        "additional_prohibitions": None,
        "last_updated_ts": rfc3339(series.updated),
        "exchange_index": 0,
    }
    if volume:
        fields["volume_fp"] = count(series.volume)
    if metadata:
        fields["product_metadata"] = {"scope": "Games"} if "GAME" in series.ticker else None
    return _json.encode(fields)
