"""`python -m ssmd_simulator`: an exchange on localhost until SIGTERM."""

import argparse
import asyncio
import gc
import signal
from datetime import datetime
from pathlib import Path

import structlog
import uvloop

from ssmd_common import logs
from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.generator import SIZES
from ssmd_simulator.population import MissingPopulation
from ssmd_simulator.replay import NoRecordings
from ssmd_simulator.server import Simulator
from ssmd_simulator.settings import QUICK
from ssmd_simulator.signatures import UnsupportedKey, key_at

log = structlog.get_logger(__name__)


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
    scenarios = "seconds between scenarios to old markets; 0: none"
    add("--scenarios", "--incidents", type=float, help=scenarios)
    population = "directory of the real population: its tickers instead of generated ones"
    add("--population", type=Path, metavar="DIR", help=population)
    replay = "directory of recorded replies and frames, served as they are"
    add("--replay", type=Path, metavar="DIR", help=replay)
    add("--no-ws-auth", action="store_true", help="accept WebSocket handshakes without a key")
    key = "know this private key (made if missing) and accept no other"
    add("--write-key", type=Path, metavar="PATH", help=key)
    add("--key-id", default="simulator", help="the id of that key")
    add("--disconnect-every", type=float, default=0.0, help="seconds; 0: only on Thursdays")
    rate = "messages a second on trade, ticker and orderbook_delta; 0: trades on demand only"
    add("--market-rate", type=float, default=0.0, help=rate)
    add("--traded-markets", type=int, default=5000, help="at most so many are traded")
    add("--frames-kept", type=int, default=20_000, help="then a subscriber's error 25")
    add("--market-limit", type=int, default=0, help="markets of a subscription; 0: any number")
    add("--command-rate", type=int, default=0, help="a second and subscription; 0: any number")
    acks = "what an acknowledgement's seq is"
    add("--ack-numbers", choices=("used", "next", "last", "none"), default="used", help=acks)
    add("--no-trade-numbers", action="store_true", help="trades carry no seq")
    add("--no-snapshot-ack", action="store_true", help="get_snapshot is not acknowledged")
    add("--snapshot-delay", type=float, default=0.0, help="seconds until one that was asked for")
    add("--trade-lag", type=float, default=0.0, help="seconds until REST knows a trade")
    add("--sent-log", type=Path, metavar="PATH", help="every frame and what became of it")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    add("--log-format", choices=("json", "console"), default="json")
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
        scenarios=options.scenarios,
        disconnect_every=options.disconnect_every,
        population=options.population,
        replay=options.replay,
        ws_auth=not options.no_ws_auth,
        market_rate=options.market_rate,
        traded_markets=options.traded_markets,
        frames_kept=options.frames_kept,
        market_limit=options.market_limit,
        command_rate=options.command_rate,
        ack_numbers=options.ack_numbers,
        trade_numbers=not options.no_trade_numbers,
        snapshot_ack=not options.no_snapshot_ack,
        snapshot_delay=options.snapshot_delay,
        trade_lag=options.trade_lag,
        sent_log=options.sent_log,
    )
    async with simulator:
        log.info(
            "ready",
            base_url=simulator.base_url,
            ws_url=simulator.ws_url,
            control_url=simulator.control_url,
            series=len(simulator.universe.series),
            events=len(simulator.universe.events),
            markets=len(simulator.universe.markets),
            key_id=options.key_id if keys else None,
        )
        # A frozen heap is not walked again by each collection, and what is rendered stays.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, simulator.life}, return_when=asyncio.FIRST_COMPLETED)
        if simulator.life.done():
            simulator.life.result()
        log.info("stopping")
    log.info("stopped")


def main() -> None:
    """The console script."""
    options = arguments().parse_args()
    logs.configure("simulator", options.log_level, options.log_format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except (MissingPopulation, NoRecordings, UnsupportedKey) as error:
        log.critical("cannot start", error=str(error))
        raise SystemExit(ExitCode.USAGE) from error
    except OSError as error:
        log.critical("cannot start", error=f"{error.strerror} (--port {options.port})")
        raise SystemExit(ExitCode.USAGE) from error


if __name__ == "__main__":
    main()
