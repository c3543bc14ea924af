"""The ladder of messages is what a naive reader of them adds up."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from made_market_data import Maker

from ssmd_common.book import Level
from ssmd_stream.market.ladder import ladder
from ssmd_stream.market.messages import BookMessage

PRICES = st.integers(1, 9999).map(lambda n: f"{n / 10_000:.4f}")
COUNTS = st.integers(1, 100_000).map(lambda n: f"{n / 100:.2f}")
SIDE = st.dictionaries(PRICES, COUNTS, max_size=8)


@given(
    SIDE, SIDE, st.lists(st.tuples(st.sampled_from(["yes", "no"]), PRICES, COUNTS)), st.booleans()
)
def test_it_is_the_sum_of_what_is_said(
    yes: dict[str, str], no: dict[str, str], changes: list[tuple[str, str, str]], yes_price: bool
) -> None:
    maker = Maker()
    messages: list[BookMessage] = [
        maker.delta("M", "yes", "0.5000", "7.00"),
        maker.snapshot("M", list(yes.items()), list(no.items())),
        *(maker.delta("M", side, price, delta) for side, price, delta in changes),
        # Whatever is there goes again.
        *(maker.delta("M", side, price, f"-{delta}") for side, price, delta in changes[:3]),
    ]
    for message in messages:
        message.yes_price = yes_price
    assert ladder(messages) == added_up(messages[1:])


def added_up(messages: list[BookMessage]) -> tuple[list[Level], list[Level]]:
    """Bids and asks of a snapshot and changes that take away no more than there is."""
    sides: dict[str, dict[Decimal, Decimal]] = {"yes": {}, "no": {}}
    for said in messages:
        levels = (
            [("yes", *level) for level in said.yes or ()]
            + [("no", *level) for level in said.no or ()]
            if said.delta is None
            else [(said.side, said.price, said.delta)]
        )
        for side, price, count in levels:
            asked = side == "no" and not said.yes_price
            at = 1 - Decimal(price) if asked else Decimal(price)
            sides[side][at] = sides[side].get(at, Decimal(0)) + Decimal(count)
    bids, asks = (
        [(f"{price:.4f}", f"{count:.2f}") for price, count in sorted(side.items()) if count]
        for side in sides.values()
    )
    return bids[::-1], asks
