"""Series and events as the bytes of the exchange's JSON."""

from typing import Any

import msgspec

from ssmd_simulator.universe import Event, Series
from ssmd_simulator.wire import count, rfc3339

_json = msgspec.json.Encoder()


def event_bytes(event: Event, nested: bytes | None = None) -> bytes:
    """An event; with `nested`, a JSON array of its markets inside it."""
    encoded = event.rendered
    if encoded is None:
        encoded = event.rendered = _event(event)
    return encoded if nested is None else encoded[:-1] + b',"markets":' + nested + b"}"


def _event(event: Event) -> bytes:
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
    return _json.encode(fields)


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
