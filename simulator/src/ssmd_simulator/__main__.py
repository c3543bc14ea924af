"""`python -m ssmd_simulator`: an exchange on localhost until SIGTERM."""

import argparse
import asyncio
import logging
import signal
import sys
from datetime import datetime
from pathlib import Path

import msgspec

from ssmd_simulator.generator import SIZES
from ssmd_simulator.server import Simulator
from ssmd_simulator.settings import QUICK
from ssmd_simulator.signatures import UnsupportedKey, key_at

_log = logging.getLogger("ssmd_simulator")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, event and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "service": "simulator",
            "event": record.getMessage(),
            **{k: v for k, v in vars(record).items() if k not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _tempo(text: str) -> float | None:
    if text == "quick":
        return QUICK
    if text == "still":
        return None
    value = float(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _day(text: str) -> float:
    return datetime.fromisoformat(text + "T00:00:00+00:00").timestamp()


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ssmd-simulator", description="A Kalshi exchange that runs offline."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: a free one, named in the ready line")
    add("--size", choices=sorted(SIZES), default="small")
    add("--seed", type=int, default=7)
    tempo = f"divides lifespans: 1 is real, quick is {QUICK:g}; still: nothing moves by itself"
    add("--tempo", type=_tempo, default=1.0, metavar="FACTOR|quick|still", help=tempo)
    anchor = "the day the universe is made for (default: today)"
    add("--anchor", type=_day, metavar="YYYY-MM-DD", help=anchor)
    add("--budget", type=float, default=200.0, help="tokens per second and caller; 0: unlimited")
    lag = "seconds for which GET /markets/{ticker} does not know a new market"
    add("--creation-lag", type=float, default=0.25, help=lag)
    retention = "seconds from settlement to the historical tier (default: 60 days by the tempo)"
    add("--historical-after", type=float, help=retention)
    incidents = "seconds between incidents to old markets; 0: none"
    add("--incidents", type=float, help=incidents)
    population = "directory of the real population: its tickers instead of generated ones"
    add("--population", type=Path, metavar="DIR", help=population)
    replay = "directory of recorded replies and frames, served as they are"
    add("--replay", type=Path, metavar="DIR", help=replay)
    add("--no-ws-auth", action="store_true", help="accept WebSocket handshakes without a key")
    key = "know this private key (made if missing) and accept no other"
    add("--write-key", type=Path, metavar="PATH", help=key)
    add("--key-id", default="simulator", help="the id of that key")
    add("--key-type", choices=("rsa", "ed25519"), default="rsa")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    keys = {}
    if options.write_key is not None:
        keys[options.key_id] = key_at(options.write_key, options.key_type)
    simulator = Simulator(
        options.size,
        seed=options.seed,
        tempo=options.tempo,
        host=options.host,
        port=options.port,
        keys=keys,
        anchor=options.anchor,
        budget=options.budget,
        creation_lag=options.creation_lag,
        historical_after=options.historical_after,
        incidents=options.incidents,
        population=options.population,
        replay=options.replay,
        ws_auth=not options.no_ws_auth,
    )
    async with simulator:
        _log.info(
            "ready",
            extra={
                "base_url": simulator.base_url,
                "ws_url": simulator.ws_url,
                "control_url": simulator.control_url,
                "series": len(simulator.universe.series),
                "events": len(simulator.universe.events),
                "markets": len(simulator.universe.markets),
                "key_id": options.key_id if keys else None,
            },
        )
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


def main() -> None:
    """The console script."""
    options = arguments().parse_args()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        asyncio.run(serve(options))
    except (OSError, UnsupportedKey) as error:
        _log.error("cannot start", extra={"reason": str(error)})
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
