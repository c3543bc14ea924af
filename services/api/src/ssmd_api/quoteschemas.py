"""JSON schemas of `POST /v1/fees/quote`."""

from typing import Any, Final

from ssmd_api import forms
from ssmd_api.filters import MOMENT, MOMENTS, TEXT
from ssmd_api.quotes import MAX_QUOTES
from ssmd_api.schemas import TIER_SOURCE, Schema, list_of, ref, thing
from ssmd_api.tierfile import DEFAULT

_TEXT: Final[Schema] = {"type": "string"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_SIDE: Final[Schema] = {"type": "string", "enum": ["yes", "no"]}
_ROLE: Final[Schema] = {"type": "string", "enum": ["taker", "maker"]}


def _formed(description: str, pattern: str, **more: Any) -> Schema:
    return {"type": "string", "pattern": pattern, "description": description, **more}


QUOTE_SCHEMAS: Final[dict[str, Schema]] = {
    "QuotedOrder": {
        **thing(
            ticker=TEXT,
            side=_SIDE,
            price=_formed("Dollars a contract of the side.", forms.whole(forms.PRICE)),
            count=_formed("Contracts.", forms.whole(forms.COUNT), default="1"),
            role={**_ROLE, "default": "taker"},
            at={
                **MOMENT,
                "type": ["string", "null"],
                "description": f"When; null is now. {MOMENTS}",
            },
        ),
        "required": ["ticker", "side", "price"],
    },
    "QuoteRequest": {
        **thing(
            quotes={**list_of(ref("QuotedOrder")), "maxItems": MAX_QUOTES},
            tier={**TEXT, "default": DEFAULT},
        ),
        "required": ["quotes"],
    },
    "Quote": thing(
        ticker=_TEXT,
        side=_SIDE,
        price=_TEXT,
        count=_TEXT,
        role=_ROLE,
        at={"type": ["string", "null"], "format": "date-time", "description": "Null is now."},
        fee_type=_MAYBE_TEXT,
        fee_multiplier=_MAYBE_TEXT,
        by={
            "type": ["string", "null"],
            "enum": ["event", "schedule", None],
            "description": "Whose they are: the event's override, or the series' schedule.",
        },
        fee_dollars={**_MAYBE_TEXT, "description": "Of the whole order."},
        cost_dollars={**_MAYBE_TEXT, "description": "price × count + fee."},
        break_even_dollars={
            **_MAYBE_TEXT,
            "description": "What a contract has to be worth at its settlement on average, rounded "
            "up to a millionth; null for a count of 0.",
        },
        error={
            "anyOf": [
                {"type": "null"},
                thing(
                    kind={"type": "string", "enum": ["not-found", "no-fee", "unknown-fee"]},
                    detail=_TEXT,
                ),
            ],
            "description": "Why there is no fee.",
        },
    ),
    "Quotes": thing(tier=_TEXT, tier_source=TIER_SOURCE, quotes=list_of(ref("Quote"))),
}
