"""Names in Redis (docs/contracts.md § 3). Values are rows as JSON with epoch, lsn and seq added."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key that the cache writes and the API reads; `prefix` is put before each."""

    prefix: str = ""

    def series(self, series: str) -> str:
        return f"{self.prefix}secmaster:series:{series}"

    def event(self, series: str, event: str) -> str:
        return f"{self.prefix}secmaster:series:{series}:{event}"

    def market(self, series: str, event: str, market: str) -> str:
        return f"{self.prefix}secmaster:series:{series}:{event}:{market}"

    def fee(self, series: str) -> str:
        return f"{self.prefix}secmaster:fee:{series}"

    @property
    def markets(self) -> str:
        """Hash: market ticker → its key."""
        return f"{self.prefix}secmaster:markets"

    @property
    def events(self) -> str:
        """Hash: event ticker → its key."""
        return f"{self.prefix}secmaster:events"

    def event_markets(self, event: str) -> str:
        """Set: tickers of the event's markets that have a key."""
        return f"{self.prefix}secmaster:event_markets:{event}"

    def markets_by_category(self, category: str) -> str:
        """Set: tickers of open or active markets; the event's category, else the series'."""
        return f"{self.prefix}secmaster:markets:by_category:{category}"

    @property
    def expiring(self) -> str:
        """Sorted set: open or active tickers by close_time in epoch seconds."""
        return f"{self.prefix}secmaster:markets:expiring"

    @property
    def last_sync(self) -> str:
        return f"{self.prefix}secmaster:last_sync"

    @property
    def position(self) -> str:
        return f"{self.prefix}secmaster:position"

    def own(self, name: str) -> str:
        """A key of the cache's own bookkeeping, outside what readers may rely on."""
        return f"{self.prefix}secmaster:_cache:{name}"
