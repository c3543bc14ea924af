"""`ssmd archive coverage`, and the other verbs over archived market data."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_market_data import Maker, subject_of
from typer.testing import CliRunner

from ssmd_archive.layout import MARKET_DATA, Layout, books
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_cli.archive import app
from ssmd_cli.coverage_picture import axis, picture
from ssmd_stream.market.coverage import State
from ssmd_stream.market.messages import Message, encoded
from ssmd_stream.market.timeline import Interval, Span

DAY = datetime(2026, 2, 3, tzinfo=UTC)


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def store(
    root: Path, layout: Layout, messages: Iterable[Message | None], shard: int | None = None
) -> None:
    """Archive messages as they were received; None is one that the stream lost."""
    writer = ArchiveWriter(root, layout, Rotation(900))
    writer.recover()
    if writer.created is None:
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
    start = writer.next_sequence
    for number, message in enumerate(messages, start):
        if message is not None:
            at = datetime.fromisoformat(message.received_at)
            ns = int(at.timestamp()) * 1_000_000_000
            writer.take([Stored(number, subject_of(message, shard), encoded(message), ns)])
            writer.work()
    writer.seal()
    writer.close()


def at(hour: float, day: datetime = DAY) -> datetime:
    return day + timedelta(hours=hour)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A session since two days before, a gap, a repair, a hole, a crash; one book."""
    root = tmp_path / "archive"
    root.mkdir()
    session, book = Maker("s1"), Maker("b1")
    counts = [session.record("count", at=at(hour)) for hour in (1, 2, 3)]
    with locked(root):
        store(
            root,
            MARKET_DATA,
            [
                session.record("opened", at=at(-26)),
                session.record("subscribed", of_channel="trade", everything=True, at=at(-26)),
                session.record("subscribed", of_channel="ticker", everything=True, at=at(-26)),
                session.record("count", at=at(-1)),
                session.trade("KXA-1", at=at(0.5)),
                *counts,
                session.record(
                    "gap", of_channel="trade", reason="closed", at=at(3),
                    since=at(2.5).isoformat(), until=at(3).isoformat(),
                ),
                session.record(
                    "repaired", of_channel="trade", at=at(3), trades=1,
                    since=at(2.5).isoformat(), until=at(3).isoformat(),
                ),
                session.record(
                    "gap", of_channel="ticker", reason="closed", at=at(3),
                    since=at(2.5).isoformat(), until=at(3).isoformat(),
                ),
                session.record("count", at=at(4)),
                None,
                None,
                session.record("count", at=at(5)),
                session.trade("KXA-1", at=at(6)),
            ],
        )  # fmt: skip
        added: dict[str, Any] = {"of_channel": "orderbook_delta", "tickers": ("KXA-1", "KXB-1")}
        store(
            root,
            books(0),
            [
                book.record("opened", at=at(1)),
                book.record("added", at=at(1), **added),
                book.record("count", at=at(6)),
                book.record("closed", at=at(6)),
            ],
            shard=0,
        )
    return root


def run(root: Path, *words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--root", str(root)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def states(document: dict[str, Any], channel: str, ticker: str | None = None) -> list[Any]:
    [found] = [
        each
        for each in document["coverage"]
        if each["channel"] == channel and each["ticker"] == ticker
    ]
    return [
        (datetime.fromisoformat(each["since"]).hour, each["state"]) for each in found["intervals"]
    ]


def test_what_the_scope_left_out_is_not_subscribed(tmp_path: Path) -> None:
    root, session = tmp_path / "archive", Maker("s1")
    root.mkdir()
    with locked(root):
        store(
            root,
            MARKET_DATA,
            [
                # Its records begin the day before, and so does what they say of the scope.
                session.record("opened", at=at(-2)),
                session.record("scope", at=at(-2), selectors=[{"series": ["KXA"]}]),
                session.record("subscribed", of_channel="trade", everything=True, at=at(-2)),
                session.record("left_out", at=at(-1), tickers=("KXB-1",)),
                session.record("count", at=at(-1)),
                session.record("count", at=at(3)),
                session.record("closed", at=at(3)),
            ],
        )
    for ticker, state in (("KXA-1", "complete"), ("KXB-1", "not subscribed")):
        words = ("coverage", "--date", "2026-02-03", "--ticker", ticker, "--json")
        document = json.loads(run(root, *words))
        assert states(document, "trade", ticker) == [(0, state)]


def test_coverage_tells_a_day_of_every_channel(root: Path) -> None:
    document = json.loads(run(root, "coverage", "--date", "2026-02-03", "--json"))
    # The archive reaches from the day before to six o'clock.
    assert [each["stream"] for each in document["streams"]] == ["MARKET_DATA", "MARKET_BOOKS_0"]
    assert document["streams"][0]["since"] == "2026-02-03T00:00:00.000000Z"
    assert states(document, "trade") == [
        (0, "complete"), (2, "repaired"), (3, "complete"), (4, "unknown"), (5, "unknown"),
    ]  # fmt: skip
    assert states(document, "ticker")[:3] == [(0, "complete"), (2, "gap"), (3, "complete")]
    why = [each["why"] or "" for each in document["coverage"][0]["intervals"]]
    assert "the archive lacks sequences 13 to 14" in why[3]
    assert why[4] == "nothing after the last count"
    assert states(document, "book", "KXA-1") == [(1, "complete")]
    seconds = document["coverage"][0]["seconds"]
    assert seconds["repaired"] == 1800.0


def test_coverage_of_a_market_a_series_a_channel(root: Path) -> None:
    def kinds(*words: str) -> list[tuple[str, str | None]]:
        document = json.loads(run(root, "coverage", *words, "--json"))
        return [(each["channel"], each["ticker"]) for each in document["coverage"]]

    assert kinds("--ticker", "KXA-1") == [
        ("trade", "KXA-1"), ("ticker", "KXA-1"), ("book", "KXA-1"),
    ]  # fmt: skip
    assert kinds("--series", "KXB", "--channel", "book") == [("book", "KXB-1")]
    assert kinds("--channel", "trade") == [("trade", None)]
    # Of a ticker that nobody has, too: so it is said that the market is not known.
    for ticker, is_known in (("KXA-1", True), ("KXNONE-1", False)):
        words = ["coverage", "--ticker", ticker, "--channel", "trade", "--root", str(root)]
        told = CliRunner().invoke(app, words).stderr
        assert (f"whether there is a market {ticker}" in told) != is_known, told
    before = json.loads(run(root, "coverage", "--date", "2026-02-02", "--json"))
    assert states(before, "trade") == [(0, "complete")]


def test_coverage_is_seen_at_a_glance(root: Path) -> None:
    shown = run(root, "coverage", "--date", "2026-02-03")
    lines = shown.splitlines()
    assert lines[0].split() == [
        "2026-02-03", "complete", "repaired", "gap", "unknown", "not", "subscribed",
    ]  # fmt: skip
    [trade] = [line for line in lines if line.startswith("trade all markets") and "█" in line]
    assert "▓" in trade
    assert "?" in trade
    assert "02:30:00 to 03:00:00  ticker all markets  gap (30 min): closed" in lines


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--date", "2026-02-30"], "is no day"),
        (["--date", "2026-03-03"], "nothing of market data is archived of 2026-03-03"),
        (["--channel", "books"], "give one of trade, ticker, book"),
        (["--ticker", "A", "--series", "B"], "exclude each other"),
    ],
)
def test_what_cannot_be_told_is_said(root: Path, words: list[str], code: str) -> None:
    done = CliRunner().invoke(app, ["coverage", *words, "--root", str(root)])
    assert code in str(done.exception)


def test_the_other_verbs_take_a_stream(root: Path) -> None:
    days = json.loads(run(root, "ls", "--stream", "MARKET_DATA", "--json"))["days"]
    assert [day["day"] for day in days] == [
        "2026-02-01", "2026-02-02", "2026-02-03",
    ]  # fmt: skip
    found = run(root, "cat", "--stream", "MARKET_DATA", "--table", "trade", "--json").splitlines()
    assert [json.loads(line)["ticker"] for line in found] == ["KXA-1", "KXA-1"]
    assert run(root, "cat", "--stream", "MARKET_DATA", "--series", "KXB") == ""
    shown = run(root, "cat", "--stream", "MARKET_BOOKS_0")
    assert "added" in shown
    report = json.loads(run(root, "verify", "--stream", "MARKET_DATA", "--deep", "--json"))
    assert report["findings"] == []
    for words in (
        ["cat", "--stream", "KV"],
        ["cat", "--stream", "MARKET_DATA", "--table", "markets"],
        ["cat", "--stream", "MARKET_DATA", "--type", "x"],
    ):
        done = CliRunner().invoke(app, [*words, "--root", str(root)])
        assert done.exit_code
        assert "MARKET_DATA" in str(done.exception)


def test_verify_looks_at_every_stream(root: Path) -> None:
    report = json.loads(run(root, "verify", "--json"))
    assert (report["messages"], report["findings"]) == (0, [])
    assert {name: each["messages"] for name, each in report["streams"].items()} == {
        "MARKET_DATA": 14, "MARKET_BOOKS_0": 4,
    }  # fmt: skip
    path = min((root / "MARKET_BOOKS_0").rglob("*.jsonl.gz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = CliRunner().invoke(app, ["verify", "--root", str(root)])
    assert done.exit_code == 6
    assert done.stdout.startswith(f"MARKET_BOOKS_0/{path.relative_to(root / 'MARKET_BOOKS_0')}")
    assert CliRunner().invoke(app, ["verify", "--json", "--root", str(root)]).exit_code == 6
    assert run(root, "verify", "--stream", "MARKET_DATA") == ""


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from(list(State))), min_size=1, max_size=20),
    st.integers(1, 40),
)
def test_no_hole_is_too_short_for_the_picture(lengths: list[tuple[int, State]], width: int) -> None:
    intervals, reached = [], 100
    for length, state in lengths:
        intervals.append(Interval(reached, reached + length, state))
        reached += length
    shown = picture(intervals, Span(100, reached), width, styled=False)
    assert len(shown) == width
    assert ("×" in shown) == any(state is State.GAP for _, state in lengths)
    assert " " not in shown


def many(root: Path, markets: int) -> Path:
    """Books of many markets: the second half was added an hour later, the last one has no gap."""
    root.mkdir()
    book, names = Maker("b1"), tuple(f"KXM-{number:03}" for number in range(markets))
    added: dict[str, Any] = {"of_channel": "orderbook_delta"}
    with locked(root):
        store(
            root,
            books(0),
            [
                book.record("opened", at=at(0)),
                book.record("added", at=at(0), tickers=names[: markets // 2], **added),
                book.record("added", at=at(1), tickers=names[markets // 2 :], **added),
                *(book.record("count", at=at(hour)) for hour in (2, 3)),
                book.record(
                    "gap", of_channel="orderbook_delta", at=at(4), reason="lost",
                    since=at(3.5).isoformat(), until=at(4).isoformat(),
                ),
                book.record("resnapshot", of_channel="orderbook_delta", at=at(4)),
                *(book.record("count", at=at(hour)) for hour in (4.1, 5, 6)),
            ],
            shard=0,
        )  # fmt: skip
    return root


@pytest.mark.parametrize(
    ("width", "clocks"), [(24, 2), (41, 2), (42, 3), (60, 3), (84, 5), (100, 5)]
)
def test_the_axis_is_as_long_as_the_picture(width: int, clocks: int) -> None:
    drawn = axis(Span(0, 86_400_000_000), width)
    assert len(drawn) == width
    assert drawn.startswith("00:00:00 ")
    assert drawn.endswith(" 00:00:00 UTC")
    assert len(drawn.split()) == clocks + 1


def test_markets_that_look_the_same_share_a_line(tmp_path: Path) -> None:
    root = many(tmp_path / "archive", 40)
    shown = run(root, "coverage").splitlines()
    names = [line.partition("  ")[0] for line in shown if line.startswith("book ")]
    assert names[:2] == ["book KXM-000 and 19 more", "book KXM-020 and 19 more"]
    assert any("book KXM-000 and 39 more  gap (" in line for line in shown)
    # Each for itself, where it is asked for.
    document = json.loads(run(root, "coverage", "--json"))
    assert len(document["coverage"]) == 40
    assert states(document, "book", "KXM-019")[0] == (0, "complete")
    assert states(document, "book", "KXM-020")[0] == (0, "not subscribed")
    assert states(document, "book", "KXM-039") == states(document, "book", "KXM-020")
    alone = run(many(tmp_path / "few", 4), "coverage")
    assert alone.count("\nbook KXM-00") == 8


def test_the_drawing_stands_alone_and_tells_states_without_colours(tmp_path: Path) -> None:
    root, file = many(tmp_path / "archive", 40), tmp_path / "coverage.svg"
    run(root, "coverage", "--svg", str(file))
    drawing = ET.parse(file).getroot()
    texts = {text.text for text in drawing.iter() if text.tag.endswith("text")}
    assert {"book KXM-000 and 19 more", "complete", "gap", "unknown"} <= texts
    bars = [
        (bar.get("height"), bar.get("fill")) for bar in drawing.iter() if bar.tag.endswith("rect")
    ]
    # Hatched, low, or neither: one of each kind.
    assert {("16", "url(#gap)"), ("16", "#2e7d32"), ("2", "#cfd8dc")} <= set(bars)
    assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")
