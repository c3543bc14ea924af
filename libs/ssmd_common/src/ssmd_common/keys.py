"""Names in Redis (docs/contracts.md § 3). Values are rows as JSON with epoch, lsn and seq added.

A ticker or category stands in a name as its `token`, so that no two names are the same for
different rows, whatever their tickers are.
"""

from dataclasses import dataclass


def token(text: str) -> str:
    """`text` with `%` as `%25` and `:` as `%3A`, as it stands in a key; all else is itself."""
    if "%" in text or ":" in text:
        return text.replace("%", "%25").replace(":", "%3A")
    return text


def from_token(text: str) -> str:
    """What `token` was given."""
    return text.replace("%3A", ":").replace("%25", "%") if "%" in text else text


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key that the cache writes and the API reads; `prefix` is put before each."""

    prefix: str = ""

    def series(self, series: str) -> str:
        return f"{self.prefix}secmaster:series:{token(series)}"

    def event(self, series: str, event: str) -> str:
        return f"{self.prefix}secmaster:series:{token(series)}:{token(event)}"

    def market(self, series: str, event: str, market: str) -> str:
        return f"{self.prefix}secmaster:series:{token(series)}:{token(event)}:{token(market)}"

    def fee(self, series: str) -> str:
        return f"{self.prefix}secmaster:fee:{token(series)}"

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
        return f"{self.prefix}secmaster:event_markets:{token(event)}"

    def markets_by_category(self, category: str) -> str:
        """Set: tickers of open or active markets; the event's category, else the series'."""
        return f"{self.prefix}secmaster:markets:by_category:{token(category)}"

    @property
    def expiring(self) -> str:
        """Sorted set: open or active tickers by close_time in seconds since 1970."""
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

    def uncategorised(self, series: str) -> str:
        """Of the bookkeeping: the series' events that have no category of their own."""
        return self.own(f"uncategorised:{token(series)}")
