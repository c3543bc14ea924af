"""Where files are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_archive import layout
from ssmd_archive.layout import OTHER, PART, SECMASTER_CDC, FileName, Window

SECONDS = st.sampled_from([1, 10, 60, 900, 3600, 7000, 86_400])


@pytest.mark.parametrize(
    ("subject", "folder"),
    [
        ("cdc.markets.update.A.B.C", "markets"),
        ("cdc.fees.truncate", "fees"),
        ("cdc.series_fees.snapshot_end", "series_fees"),
        ("cdc.markets", OTHER),
        ("cdc.unknown.insert.A", OTHER),
        ("cdc.state.insert.A", OTHER),
        ("cdc._other.insert.A", OTHER),
        ("cdc./etc/passwd.x", OTHER),
        ("other.markets.update", OTHER),
        ("", OTHER),
    ],
)
def test_only_known_tables_have_folders(subject: str, folder: str) -> None:
    assert SECMASTER_CDC.folder(subject) == folder


@given(st.integers(0, 4_000_000_000 * 10**9), SECONDS)
def test_a_message_is_in_its_window_and_day(stored_at_ns: int, seconds: int) -> None:
    window = layout.window_of(stored_at_ns, seconds)
    moment = stored_at_ns // 10**9
    assert window.start <= moment < window.start + seconds
    assert window.day == layout.day_of(moment)
    assert window.start % layout.DAY_SECONDS % seconds == 0


@given(
    st.sampled_from(["markets", OTHER, "state/markets"]),
    st.integers(0, 4_000_000_000 // 60).map(lambda minutes: Window(minutes * 60)),
    st.integers(1, 2**63),
    st.integers(1, 20),
    st.booleans(),
)
def test_a_path_says_what_it_was_made_from(
    folder: str, window: Window, sequence: int, chain: int, part: bool
) -> None:
    path = layout.file_path(folder, window, sequence, chain) + (PART if part else "")
    found = layout.parse_path(window.day, path)
    assert found == FileName(folder, window, sequence, chain, part)
    assert found.is_state == folder.startswith("state/")


@pytest.mark.parametrize(
    "path",
    [
        "manifest.jsonl",
        "markets/2460-000000000001.jsonl.gz",
        "markets/1700-1.jsonl.gz",
        "markets/1700-0000000000001.jsonl.gz",
        "markets/1700-000000000001-c1.jsonl.gz",
        "markets/1700-000000000001-c02.jsonl.gz",
        "markets/1700-000000000001.jsonl.gz.part.part",
        "../markets/1700-000000000001.jsonl.gz",
        "state/1700-000000000001.jsonl",
    ],
)
def test_what_is_no_path_of_ours_is_none(path: str) -> None:
    assert layout.parse_path("2026-11-28", path) is None
    assert layout.parse_path("2026-13-28", "markets/1700-000000000001.jsonl.gz") is None
