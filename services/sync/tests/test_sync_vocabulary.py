"""What a scope that selects less than was meant is told."""

from ssmd_kalshi.wire import SportFilters
from ssmd_sync.scope import Scope, SeriesFacts
from ssmd_sync.vocabulary import explained, idle_words, without_games

SERIES = [
    SeriesFacts("KXBTC", "Crypto", ["BTC"]),
    SeriesFacts("KXNBAGAME", "Sports", ["Basketball"], is_game=True),
    SeriesFacts("KXOTHER"),
]
TAGS = {"Crypto": ["BTC", "ETH"], "Elections": []}
SPORTS = {
    "Basketball": SportFilters(scopes=["Games", "Futures"]),
    "Golf": SportFilters(scopes=["Futures", "Events"]),
    "Chess": SportFilters(),
}


def test_words_that_no_series_has_are_idle() -> None:
    scope = Scope(tags=("BTC", "ETH"), categories=("Crypto", "crypto"))
    assert idle_words(scope, SERIES) == [("tag", "ETH"), ("category", "crypto")]


def test_each_idle_word_is_known_or_close_to_one_or_strange() -> None:
    idle = [("tag", "ETH"), ("tag", "basketbal"), ("tag", "Golf"), ("category", "zzz")]
    assert explained(idle, TAGS, SPORTS) == [
        "no series has the tag ETH at present",
        "the exchange has no tag basketbal; it has Basketball",
        "no series has the tag Golf at present",
        "the exchange has no category zzz; it has nothing like it",
    ]


def test_a_sport_without_single_games_is_told_when_games_are_asked_for() -> None:
    tags = ("Basketball", "Golf", "Chess")
    assert without_games(Scope(tags=tags, games_only=True), SPORTS) == [
        "Golf has no single games; the exchange lists its Futures, Events"
    ]
    assert without_games(Scope(tags=tags), SPORTS) == []
    assert without_games(Scope(tags=tags, games_only=True, categories=("Crypto",)), SPORTS) == []
