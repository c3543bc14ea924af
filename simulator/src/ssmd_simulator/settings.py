"""How a simulator is set up; the command line's options have the same names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

AckNumbers = Literal["used", "next", "last", "none"]
"""What an acknowledgement's `seq` is: one of its own, the next message's, the last one's, or not
there. Nobody wrote down which of them the exchange means."""

QUICK = 40.0
"""`--tempo quick`: a 15-minute market lives, from creation to settlement, about 40 seconds."""

REAL_HISTORICAL_AFTER = 60 * 86400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`tempo` divides lifespans (1: real); None keeps the universe still but for control calls.

    `budget` is tokens per second for each caller (0: unlimited). `anchor` is the day (epoch
    seconds) that a generated universe is made for; None: today. `creation_lag` is for how many
    seconds `GET /markets/{ticker}` does not know a new market yet. `historical_after` is how many
    seconds after settlement a market leaves the live tier; None: 60 days divided by the tempo.
    `scenarios` is how often (seconds) something happens to some old market; None: every 3 s with a
    tempo above 1, else never; 0: never. `disconnect_every` seconds all WebSockets are closed; 0: at
    the start of the weekly maintenance only.

    `market_rate` is messages a second on the channels trade, ticker and orderbook_delta that
    anybody listens to (0: nothing is traded but on demand), in at most `traded_markets`. A
    subscriber may lag `frames_kept` behind before its subscription ends with error 25;
    `market_limit` markets fit into one (0: any number; error 26), `command_rate` commands a second
    (0: any number; 27).
    `ack_numbers`, `trade_numbers` (whether trades carry `seq`) and `snapshot_ack` (whether
    `get_snapshot` is acknowledged) are what third parties disagree about. Snapshots that were asked
    for come after `snapshot_delay` seconds; REST knows a trade after `trade_lag`. Whether a
    market's volume has block trades (`block_volume`) nobody wrote down, either. Every frame is
    written to `sent_log`, with what became of it.
    """

    size: str = "small"
    seed: int = 7
    tempo: float | None = None
    anchor: float | None = None
    budget: float = 200.0
    costs: dict[str, float] = field(default_factory=dict)
    creation_lag: float = 0.25
    historical_after: float | None = None
    scenarios: float | None = None
    ping_seconds: float = 10.0
    disconnect_every: float = 0.0
    ws_auth: bool = True
    market_rate: float = 0.0
    traded_markets: int = 5000
    frames_kept: int = 20_000
    market_limit: int = 0
    command_rate: int = 0
    ack_numbers: AckNumbers = "used"
    trade_numbers: bool = True
    snapshot_ack: bool = True
    snapshot_delay: float = 0.0
    trade_lag: float = 0.0
    block_volume: bool = True
    sent_log: Path | None = None
    population: Path | None = None
    replay: Path | None = None

    @property
    def retention(self) -> float:
        """Seconds from settlement to the historical tier."""
        if self.historical_after is not None:
            return self.historical_after
        return REAL_HISTORICAL_AFTER / max(1.0, self.tempo or 1.0)

    @property
    def scenario_period(self) -> float:
        """Seconds between scenarios; 0: none."""
        if self.scenarios is not None:
            return self.scenarios
        return 3.0 if self.tempo is not None and self.tempo > 1 else 0.0
