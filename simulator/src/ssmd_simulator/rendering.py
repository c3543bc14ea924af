"""Markets as the bytes of the exchange's JSON.

What the markets of an event share is encoded once, with a mark where a market's own label goes; so
a market is rendered by joining pieces, and its bytes are kept until something about it changes.
"""

from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from ssmd_simulator.ladders import LADDERS, price_ranges
from ssmd_simulator.life import next_boundary
from ssmd_simulator.quotes import UNTRADED, move_of, trading
from ssmd_simulator.universe import Event, Market
from ssmd_simulator.wire import NEVER, rfc3339

if TYPE_CHECKING:
    from ssmd_simulator.floor import Floor

_json = msgspec.json.Encoder()
_DECIDED = frozenset({"determined", "disputed", "amended", "finalized"})
_SETTLEMENT_VALUES = {"yes": "1.0000", "no": "0.0000"}
_PRICE_RANGES = {name: msgspec.Raw(_json.encode(price_ranges(name))) for name in LADDERS}
_MARK, _ENCODED_MARK = "\x01", b"\\u0001"


class Renderer:
    """Renders at a time; `anchor` is where the made-up trading counts its moves from."""

    def __init__(self, anchor: float, *, still: bool) -> None:
        self._anchor = anchor
        self._still = still
        self.floor: Floor | None = None
        self.flipped: dict[str, float] = {}
        """Tickers that are shown as they were so many seconds ago."""

    def market(self, market: Market, now: float) -> bytes:
        """One whole market."""
        if self.flipped and market.ticker in self.flipped:
            return self._render(market, now - self.flipped[market.ticker])[0]
        if not market.rendered_at <= now < market.rendered_until:
            market.rendered, market.rendered_until = self._render(market, now)
            market.rendered_at = now
        return market.rendered

    def markets(
        self, markets: list[Market], now: float, before: bytes = b"", after: bytes = b""
    ) -> bytes:
        """A JSON array of whole markets, between what comes before and after it in the reply."""
        shown = [self.market(market, now) for market in markets] or [b""]
        # A page is more than a megabyte: it is copied once.
        shown[0] = before + b"[" + shown[0]
        shown[-1] += b"]" + after
        return b",".join(shown)

    def quote(self, market: Market, now: float) -> bytes:
        """The quote of a market that no floor has traded yet, as JSON members after a comma."""
        return self._trading(market, market.status(now), now)[0]

    def _trading(self, market: Market, status: str, now: float) -> tuple[bytes, float]:
        if status == "initialized":
            return UNTRADED, inf
        move, until = market.trades, inf
        if not self._still and status in ("active", "inactive"):
            moves, until = move_of(market, self._anchor, now)
            move += moves
        return trading(market, move, final=status in _DECIDED), until

    def _render(self, market: Market, now: float) -> tuple[bytes, float]:
        """The market at a time, and until when it stays like that."""
        event, status = market.event, market.status(now)
        until = next_boundary(market.life, now)
        decided = status in _DECIDED
        traded = None if self.floor is None else self.floor.members(market, final=decided)
        if traded is None:
            traded, moves_at = self._trading(market, status, now)
            until = min(until, moves_at)
        own = _own(market)
        own |= _decision(market) if decided else _UNDECIDED
        if market.edits or event.multivariate:
            fields = fields_of(market) | _shared(market, status, now) | own | (market.edits or {})
            return _json.encode(fields)[:-1] + traded + b"}", until
        key = (id(market.life), market.structure, status, market.updated)
        known = event.shared.get(key)
        if known is None:
            fields = _texts(event, _MARK) | _shared(market, status, now)
            # The timetable is kept beside its bytes, so that its id stays its own.
            known = (market.life, _json.encode(fields)[1:-1].split(_ENCODED_MARK))
            event.shared[key] = known
        return b"".join((
            b'{"ticker":"', market.ticker.encode(), b'",',
            _json.encode(market.label)[1:-1].join(known[1]), b",",
            _json.encode(own)[1:-1], traded, b"}",
        )), until  # fmt: skip


def updated_at(market: Market, now: float) -> float | None:
    """The last non-trading change: an edit, the determination or the settlement; None: never."""
    for moment in (market.life.settled, market.life.determined):
        if moment <= now:
            return max(moment, market.updated or 0.0)
    return market.updated


def settlement_value(result: str) -> str:
    """What YES pays for a result; the exchange's scalar markets pay in between."""
    return _SETTLEMENT_VALUES.get(result, "0.5000")


def fields_of(market: Market) -> dict[str, Any]:
    """Texts and strikes; optional fields are absent, not null."""
    fields = {"ticker": market.ticker, **_texts(market.event, market.label), **_own(market)}
    if market.event.multivariate:
        fields |= _legs_of(market)
    return fields | (market.edits or {})


def _texts(event: Event, label: str) -> dict[str, Any]:
    title = event.question.replace("{}", label)
    return {
        "event_ticker": event.ticker,
        "title": title,
        "subtitle": "",
        "yes_sub_title": label,
        "no_sub_title": label,
        "rules_primary": f"If the answer to “{title}” is yes, then the market resolves to Yes.",
        "exchange_index": 0,
        "settlement_bounds_type": "default",
    }


def _own(market: Market) -> dict[str, Any]:
    seed = market.seed
    fields: dict[str, Any] = {
        "market_type": "scalar" if market.result == "scalar" else "binary",
        "can_close_early": seed % 4000 != 0,
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
    if seed % 3:
        fields["early_close_condition"] = (
            "This market will close and expire early if the event occurs."
        )
    if seed % 97 == 0:
        fields["fee_waiver_expiration_time"] = rfc3339(int(market.life.close))
    if seed % 11 == 0:
        fields["primary_participant_key"] = "basketball_team"
    return fields


_UNDECIDED = {"result": "", "expiration_value": ""}


def _decision(market: Market) -> dict[str, str]:
    value = market.label if market.result == "yes" else ""
    if market.floor is not None:
        # What the determination looked at.
        value = f"{market.floor + (1.5 if market.result == 'yes' else -1.5):.2f}"
    return {
        "result": market.result,
        "expiration_value": value,
        "settlement_value_dollars": settlement_value(market.result),
    }


def _legs_of(market: Market) -> dict[str, Any]:
    """What a listing says of a combination beyond what it says of others."""
    custom = market.custom or {}
    named = [
        custom.get(name, "").split(",") for name in ("Associated Events", "Associated Markets")
    ]
    return {
        "mve_collection_ticker": market.event.collection or f"{market.event.series.ticker}-R",
        "mve_selected_legs": [
            {"event_ticker": event, "market_ticker": leg, "side": "yes"}
            for event, leg in zip(*named, strict=True)
            if leg
        ],
    }


def _shared(market: Market, status: str, now: float) -> dict[str, Any]:
    """What follows from the timetable, the structure, the status and the last change."""
    event, life = market.event, market.life
    latest = life.latest_expiration or life.close + 7 * 86400
    updated = updated_at(market, now)
    fields: dict[str, Any] = {
        "price_level_structure": market.structure,
        "price_ranges": _PRICE_RANGES[market.structure],
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
        "status": status,
        "updated_time": NEVER if updated is None else rfc3339(updated),
    }
    if life.expected_expiration is not None:
        fields["expected_expiration_time"] = rfc3339(life.expected_expiration)
    if event.strike_at is not None:
        fields["occurrence_datetime"] = rfc3339(event.strike_at)
    if status == "finalized":
        fields["settlement_ts"] = rfc3339(life.settled)
    return fields
