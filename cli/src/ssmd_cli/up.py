"""`ssmd up`: a whole system on this machine, with nothing installed beforehand."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmd_cli import verbs

if TYPE_CHECKING:
    from ssmd_stack.plan import Plan

app = verbs.single()

_PORT = "As last time, else a free one."


@verbs.verb(
    app,
    "up",
    "ssmd up",
    "ssmd up --detach --tempo 1",
    "ssmd up --exchange demo",
)
def up_command(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once ready; `ssmd down` stops it.")
    ] = False,
    exchange: Annotated[
        str, typer.Option(help="sim: simulated, offline; demo or live: Kalshi, with your key.")
    ] = "sim",
    size: Annotated[str, typer.Option(help="Of the simulated universe: small or full.")] = "small",
    tempo: Annotated[
        str,
        typer.Option(
            metavar="FACTOR|quick|still",
            help="Divides simulated lifespans: 1 is real, quick shows a whole life in a minute.",
        ),
    ] = "quick",
    seed: Annotated[int, typer.Option(help="Of the simulated universe.")] = 7,
    population: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Recorded tickers to simulate instead of made-up ones.",
        ),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="Where data, logs and addresses are kept.")
    ] = Path(".ssmd"),
    port_postgres: Annotated[int | None, typer.Option(min=1, max=65535, help=_PORT)] = None,
    port_nats: Annotated[int | None, typer.Option(min=1, max=65535, help=_PORT)] = None,
    port_redis: Annotated[int | None, typer.Option(min=1, max=65535, help=_PORT)] = None,
    port_api: Annotated[int | None, typer.Option(min=1, max=65535, help=_PORT)] = None,
    port_exchange: Annotated[int | None, typer.Option(min=1, max=65535, help=_PORT)] = None,
) -> None:
    """Start PostgreSQL, NATS, Valkey, the exchange and every service, and keep them running."""
    try:
        from ssmd_stack.plan import Exchange, Plan
    except ImportError:
        typer.echo("ssmd: `ssmd up` needs the development packages: run `make setup`", err=True)
        raise typer.Exit(1) from None
    _choice("--exchange", exchange, [choice.value for choice in Exchange])
    _choice("--size", size, ["small", "full"])
    _check_tempo(tempo)
    given = {
        "postgres": port_postgres,
        "nats": port_nats,
        "valkey": port_redis,
        "api": port_api,
        "exchange": port_exchange,
    }
    plan = Plan(
        directory=directory.absolute(),
        exchange=Exchange(exchange),
        size=size,
        tempo=tempo,
        seed=seed,
        population=population and population.absolute(),
        ports={name: port for name, port in given.items() if port is not None},
    )
    if detach:
        raise typer.Exit(_detach(plan))
    from ssmd_cli.foreground import run

    asyncio.run(run(plan))


def _detach(plan: "Plan") -> int:
    """Start this command again in a session of its own; return when it is ready or has failed."""
    from ssmd_cli.detached import start_and_wait

    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d")]
    return start_and_wait(plan, arguments)


def _choice(option: str, value: str, allowed: list[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}", param_hint=option)


def _check_tempo(text: str) -> None:
    if text in ("quick", "still"):
        return
    try:
        if float(text) > 0:
            return
    except ValueError:
        pass
    raise typer.BadParameter(
        f"{text!r} is neither a positive number nor quick nor still", param_hint="--tempo"
    )
