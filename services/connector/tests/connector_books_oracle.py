"""What the order books of a stream should be: the exchange's, at each of its messages."""

import json
from collections import defaultdict
from typing import Any

from ssmd_common.book import Book
from ssmd_simulator.server import Simulator
from ssmd_stream.market.books import doubt
from ssmd_stream.market.ladder import apply
from ssmd_stream.market.messages import BookMessage, Message, SessionRecord

Place = tuple[int | None, int | None]
"""A subscription, and the number of one of its messages."""


class BookOracle:
    """Every book at every message that the exchange made of it, sent or lost, by connection."""

    def __init__(self, sim: Simulator) -> None:
        self._books: dict[tuple[int, int, str], Book] = {}
        self._made: dict[int, dict[Place, tuple[Any, int]]] = defaultdict(dict)
        """What was said, and what the book was then."""
        sim.hub.witnesses.append(self._note)

    def _note(self, connection: int, fate: str, raw: bytes) -> None:
        frame = json.loads(raw)
        if fate == "doubled" or not frame["type"].startswith("orderbook_"):
            return
        said, sid = frame["msg"], frame["sid"]
        ticker = said["market_ticker"]
        if frame["type"] == "orderbook_snapshot":
            book = Book(ticker)
            sides = (said.get(f"{side}_dollars_fp", ()) for side in ("yes", "no"))
            book.begin(*sides, yes_price=True)
            self._books[connection, sid, ticker] = book
        else:
            book = self._books[connection, sid, ticker]
            book.change(said["side"], said["price_dollars"], said["delta_fp"], yes_price=True)
        self._made[connection][sid, frame["seq"]] = (said, _state(book))

    def check(self, stored: list[Message]) -> int:
        """Each book of a continuous interval is the exchange's at each of its messages; how many
        messages were compared."""
        sessions = defaultdict[str, list[Message]](list)
        for message in stored:
            sessions[message.session].append(message)
        return sum(self._check(session, messages) for session, messages in sessions.items())

    def _check(self, session: str, messages: list[Message]) -> int:
        made = self._of(session, messages)
        books: dict[str, Book] = {}
        compared = 0
        for message in messages:
            if isinstance(message, SessionRecord):
                for ticker in list(books):
                    if doubt([message], session, ticker):
                        del books[ticker]
            elif isinstance(message, BookMessage):
                if message.delta is None:
                    books[message.ticker] = Book(message.ticker)
                if (book := books.get(message.ticker)) is not None:
                    apply(book, message)
                    assert book.valid, (session, message)
                    assert _state(book) == made[message.sid, message.seq][1], (session, message)
                    compared += 1
        return compared

    def _of(self, session: str, messages: list[Message]) -> dict[Place, tuple[Any, int]]:
        """What was made for the connection that a session is of: all that the session has was said
        on it. Of two that were sent the same either will do."""
        have = [
            ((one.sid, one.seq), json.loads(bytes(one.msg)))
            for one in messages
            if isinstance(one, BookMessage)
        ]
        for made in self._made.values():
            if all(place in made and made[place][0] == said for place, said in have):
                return made
        assert not have, f"{session} has what no connection was sent"
        return {}


def _state(book: Book) -> int:
    return hash((frozenset(book.bids.items()), frozenset(book.asks.items())))
