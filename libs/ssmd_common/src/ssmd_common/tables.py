"""Tables by their columns, from `ssmd_common.models`. Pure."""

from typing import Final

from ssmd_common.columns import Column, Kind, Table, columns_of
from ssmd_common.models import (
    ApiKey,
    Collection,
    Event,
    FeeTier,
    LifecycleRow,
    Market,
    Series,
    SeriesFee,
    SyncRun,
)

SERIES: Final = Table("series", columns_of(Series))
EVENTS: Final = Table("events", columns_of(Event))
MARKETS: Final = Table("markets", columns_of(Market))
SERIES_FEES: Final = Table("series_fees", columns_of(SeriesFee))
FEES: Final = Table("fees", columns_of(FeeTier))
COLLECTIONS: Final = Table("multivariate_collections", columns_of(Collection))
_NUMBER: Final = Column(name="id", kind=Kind.INTEGER)
LIFECYCLE: Final = Table("market_lifecycle_events", (_NUMBER, *columns_of(LifecycleRow)))

PUBLISHED: Final = {
    table.name: table for table in (SERIES, EVENTS, MARKETS, SERIES_FEES, FEES, LIFECYCLE)
}
"""Those of the change stream, parents first."""

PRIMARY_KEY: Final = {
    "series": ("ticker",),
    "events": ("event_ticker",),
    "markets": ("ticker",),
    "series_fees": ("series_ticker", "effective_from"),
    "fees": ("tier",),
}
"""Of the tables whose rows a reader of the change stream holds: all but the log."""

SYNC_RUNS: Final = Table("sync_runs", columns_of(SyncRun))
API_KEYS: Final = Table("api_keys", columns_of(ApiKey))
