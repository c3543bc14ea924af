"""Tables of text, and a market's life: what stands where."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cli.life import draw as draw_life
from ssmd_cli.life import duration, steps_of
from ssmd_cli.nearest import nearest
from ssmd_cli.table import Column, cells_of, draw, shorten

NOW = datetime(2026, 2, 3, 12, 0, tzinfo=UTC)


def columns(*widths: int, prose: int) -> list[Column]:
    found = [Column(f"c{at}", f"c{at}", ["x" * width]) for at, width in enumerate(widths)]
    return [*found, Column("title", "title", ["w " * (prose // 2)], is_prose=True)]


def test_what_does_not_fit_is_left_out_from_the_end_and_named() -> None:
    wide = draw(columns(24, 6, 20, prose=40), None)
    assert wide.left_out == []
    narrow = draw(columns(24, 6, 20, prose=40), 60)
    assert narrow.left_out == ["title"]
    assert max(map(len, narrow.lines)) <= 60
    cut = draw(columns(24, 6, prose=40), 60)
    assert cut.left_out == []
    assert cut.lines[1].endswith("…")


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "Zs", "So"]), max_size=30), min_size=1),
    st.integers(20, 200),
)
def test_no_line_is_wider_than_the_terminal(titles: list[str], width: int) -> None:
    tickers = [f"T{at}" for at in range(len(titles))]
    drawn = draw(
        [Column("t", "t", tickers), Column("title", "title", titles, is_prose=True)], width
    )
    assert all(cells_of(line) <= width for line in drawn.lines)


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "Zs", "So"]), max_size=60), min_size=1),
    st.integers(30, 100),
)
def test_what_changed_goes_on_below_itself_with_all_that_it_has(
    texts: list[str], width: int
) -> None:
    keys = [f"T{at}" for at in range(len(texts))]
    drawn = draw([Column("key", "key", keys), Column("what", "what", texts, wraps=True)], width)
    assert drawn.left_out == []
    assert all(cells_of(line) <= width for line in drawn.lines)
    shown = "".join(line[len(drawn.lines[0].split("what")[0]) :] for line in drawn.lines[1:])
    assert "".join(shown.split()) == "".join("".join(texts).split())


def test_a_change_is_broken_between_words() -> None:
    what = Column("what", "what", ["status: open → settled; result: nothing → yes"], wraps=True)
    assert draw([Column("key", "key", ["T1"]), what], 30).lines == [
        "key  what",
        "T1   status: open → settled;",
        "     result: nothing → yes",
    ]


def test_wide_characters_take_two_cells() -> None:
    assert cells_of("東京") == 4
    assert shorten("東京都", 5) == "東京…"
    assert cells_of("e\N{COMBINING ACUTE ACCENT}") == 1


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("crypto", ["Crypto", "Sports"], "Crypto"),
        ("Cripto", ["Crypto", "Sports"], "Crypto"),
        ("climate", ["Climate and Weather", "Sports"], "Climate and Weather"),
        ("zzz", ["Crypto"], None),
        ("", [], None),
    ],
)
def test_nearest(text: str, names: list[str], found: str | None) -> None:
    assert nearest(text, names) == found


def iso(**after: float) -> str:
    return (NOW + timedelta(**after)).isoformat().replace("+00:00", "Z")


def test_the_life_of_a_market_in_the_middle() -> None:
    market = {
        "status": "active",
        "open_time": iso(hours=-2),
        "close_time": iso(minutes=5),
        "expected_expiration_time": iso(minutes=10),
        "latest_expiration_time": iso(days=7),
        "settled_time": None,
    }
    events = [
        {"event_type": "created", "sent_at": iso(hours=-3)},
        {"event_type": "activated", "received_at": iso(hours=-2), "metadata": {"source": "clock"}},
    ]
    lines = draw_life(steps_of(market, events), NOW, None)
    assert lines[:2] == ["life (UTC, now 12:00:00)", "● 2026-02-03 09:00:00  created"]
    told = [line.split("  ")[1].strip() for line in lines[1:]]
    assert told[0] == "created"
    assert set(told[1:3]) == {"opened", "activated"}
    assert told[3:] == ["closes", "result expected", "expires"]
    assert lines[4].startswith("○")
    assert lines[4].endswith("in 5 min")
    assert all(len(line) <= 60 for line in draw_life(steps_of(market, events), NOW, 60))


def test_the_life_of_a_market_that_is_over_tells_each_step_once() -> None:
    market = {
        "status": "settled",
        "result": "no",
        "open_time": iso(hours=-5),
        "close_time": iso(hours=-2),
        "expected_expiration_time": iso(hours=-1),
        "latest_expiration_time": iso(days=7),
        "settled_time": iso(hours=-1),
    }
    events = [
        {"event_type": "determined", "determined_ts": iso(hours=-1, minutes=-1), "result": "no"},
        {"event_type": "settled", "settled_ts": iso(hours=-1)},
    ]
    lines = draw_life(steps_of(market, events), NOW, None)
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [
        "opened",
        "closed",
        "determined",
        "settled",
    ]
    assert all(line.startswith("●") for line in lines[1:])
    assert "result no" in lines[3]


def test_a_close_that_is_past_and_has_not_happened_is_overdue() -> None:
    market = {"status": "active", "open_time": iso(hours=-2), "close_time": iso(minutes=-3)}
    assert draw_life(steps_of(market, []), NOW, None)[-1].endswith("3 min overdue")


def test_a_time_that_python_cannot_hold_is_no_step() -> None:
    assert steps_of({"status": "open", "close_time": "infinity"}, []) == []
    assert draw_life([], NOW, None) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (7261, "2 h 1 min"),
     (90000, "1 d 1 h"), (86400 * 12 + 5, "12 d")],
)  # fmt: skip
def test_durations_for_people(seconds: int, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text
