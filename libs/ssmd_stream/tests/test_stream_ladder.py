"""The ladder of messages is the exchange's book, whichever of the two makes it."""

from hypothesis import given
from hypothesis import strategies as st
from made_market_data import Maker

from ssmd_kalshi.books import Book
from ssmd_stream.market.ladder import ladder
from ssmd_stream.market.messages import BookMessage

PRICES = st.integers(1, 9999).map(lambda n: f"{n / 10_000:.4f}")
COUNTS = st.integers(1, 100_000).map(lambda n: f"{n / 100:.2f}")
SIDE = st.dictionaries(PRICES, COUNTS, max_size=8)


@given(
    SIDE, SIDE, st.lists(st.tuples(st.sampled_from(["yes", "no"]), PRICES, COUNTS)), st.booleans()
)
def test_it_equals_the_book_of_the_exchanges_client(
    yes: dict[str, str], no: dict[str, str], changes: list[tuple[str, str, str]], yes_price: bool
) -> None:
    maker, book = Maker(), Book("M")
    messages: list[BookMessage] = [
        maker.delta("M", "yes", "0.5000", "7.00"),
        maker.snapshot("M", list(yes.items()), list(no.items())),
        *(maker.delta("M", side, price, delta) for side, price, delta in changes),
        # Whatever is there goes again.
        *(maker.delta("M", side, price, f"-{delta}") for side, price, delta in changes[:3]),
    ]
    for message in messages:
        message.yes_price = yes_price
    book.begin(yes.items(), no.items(), yes_price=yes_price)
    for message in messages[2:]:
        assert message.side
        assert message.price
        assert message.delta
        book.change(message.side, message.price, message.delta, yes_price=yes_price)
    assert ladder(messages) == book.ladder()
