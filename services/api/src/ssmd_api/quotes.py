"""What an order would cost: its fee, what it takes in all, and the price at which it breaks even.

An event's override goes before its series' schedule; of each, type and multiplier for themselves.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Final, Literal, TypeVar

import msgspec

from ssmd_api import feeschedule
from ssmd_api.feeschedule import Terms
from ssmd_api.parameters import count, moment, price, text
from ssmd_api.problems import Fault, bad_parameters
from ssmd_api.rows import Row
from ssmd_api.tierfile import DEFAULT
from ssmd_common.times import spelled_moment

T = TypeVar("T")

MAX_QUOTES: Final = 1000
"""Quotes of one request."""

_PART: Final = Decimal("0.000001")
_MISSING: Final = "Object missing required field `"
_UNKNOWN: Final = "Object contains unknown field `"


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quote of the body, with its values as they were written."""

    ticker: str
    side: Literal["yes", "no"]
    price: str
    count: str = "1"
    role: Literal["taker", "maker"] = "taker"
    at: str | None = None


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/fees/quote."""

    quotes: list[Asked]
    tier: str = DEFAULT


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One quote that was read: `price` is dollars of the side's contract, `at` None is now."""

    ticker: str
    side: str
    price: Decimal
    count: Decimal
    role: str
    at: datetime | None


def read(body: bytes, now: datetime) -> tuple[list[Order], str]:
    """The orders of a body and the tier; a Problem 400 names all that is wrong, such as
    `quotes[3].price`."""
    try:
        given = msgspec.json.decode(body, type=Body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_parameters([_fault(str(error))]) from None
    if len(given.quotes) > MAX_QUOTES:
        raise bad_parameters([Fault("quotes", f"may have {MAX_QUOTES} at most")])
    faults: list[Fault] = []

    def value(name: str, form: Callable[[], T], otherwise: T) -> T:
        try:
            return form()
        except ValueError as error:
            faults.append(Fault(name, str(error)))
            return otherwise

    def order(at: str, asked: Asked) -> Order:
        return Order(
            ticker=value(f"{at}.ticker", lambda: text(asked.ticker), ""),
            side=asked.side,
            price=value(f"{at}.price", lambda: price(asked.price), Decimal(0)),
            count=value(f"{at}.count", lambda: count(asked.count), Decimal(0)),
            role=asked.role,
            at=value(f"{at}.at", lambda: None if asked.at is None else moment(asked.at, now), None),
        )

    tier = value("tier", lambda: text(given.tier), "")
    orders = [order(f"quotes[{n}]", asked) for n, asked in enumerate(given.quotes)]
    if faults:
        raise bad_parameters(faults)
    return orders, tier


def quote(order: Order, terms: Terms | None, tier: Row, now: datetime) -> Row:
    """The reply to one order; `terms` is None for a market that is not known."""
    said = {
        "ticker": order.ticker,
        "side": order.side,
        "price": str(order.price),
        "count": str(order.count),
        "role": order.role,
        # Null is now: a time that runs would make each reply another.
        "at": order.at and spelled_moment(order.at),
        "fee_type": None,
        "fee_multiplier": None,
        "by": None,
        "fee_dollars": None,
        "cost_dollars": None,
        "break_even_dollars": None,
        "error": None,
    }
    if terms is None:
        return said | _error("not-found", f"no market is called {order.ticker!r}")
    in_force = terms.in_force(order.at or now)
    if in_force is None:
        return said | _error("no-fee", "nothing says what fee is in force then")
    said |= in_force
    cost = feeschedule.cost(in_force, tier, order.price, order.count)
    if cost is None:
        return said | _error("unknown-fee", "the formula of this fee is not known")
    fee = Decimal(cost[f"{order.role}_dollars"])
    total = order.price * order.count + fee
    each = (total / order.count).quantize(_PART, ROUND_CEILING) if order.count else None
    return said | {
        "fee_dollars": str(fee),
        "cost_dollars": str(total),
        "break_even_dollars": each if each is None else str(each),
    }


def _error(kind: str, detail: str) -> Row:
    return {"error": {"kind": kind, "detail": detail}}


def _fault(error: str) -> Fault:
    """What msgspec says, by the name of what it says it of."""
    detail, _, where = error.partition(" - at `$")
    where = where.rstrip("`").removeprefix(".")
    for beginning in (_MISSING, _UNKNOWN):
        if detail.startswith(beginning):
            name = detail.removeprefix(beginning).rstrip("`")
            where = f"{where}.{name}" if where else name
    return Fault(where or "body", detail)
