"""`ssmd fees sync|list`."""

import asyncio
from typing import Annotated, Any

import typer

from ssmd_cli import output, past
from ssmd_cli.options import AsCsv, AsJson, use_local_system
from ssmd_cli.output import Format
from ssmd_cli.syncverbs import add_sync

app = typer.Typer(
    no_args_is_help=True, help="Sync and list fee schedules.", callback=use_local_system
)
add_sync(app, "fees_sync")


@app.command("list")
def list_fees(
    series: Annotated[
        str | None, typer.Argument(help="A series; without one, the coefficients by tier.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="The tier of the coefficients.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What is in force then; default now.")
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            "--known-at",
            parser=past.moment,
            metavar="TIME",
            help="As this database knew it then: a time, or -24h.",
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Dollars a contract: also say what a fill costs.")
    ] = None,
    count: Annotated[str | None, typer.Option(help="Contracts of the fill.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List a series' fee schedule, or the coefficients of the exchange's formula, from the API."""
    style = output.chosen(as_json=as_json, as_csv=as_csv)
    if series is None:
        if as_of or price or count:
            raise typer.BadParameter("--as-of, --price and --count need a series")
        found = asyncio.run(_fetch("fees", {"tier": tier, "as_of": known_at}))["fees"]
        output.rows(found, ("tier", "taker_fee", "maker_fee"), style)
        return
    query = {"as_of": as_of, "known_at": known_at, "price": price, "count": count, "tier": tier}
    document = asyncio.run(_fetch(f"fees/{series}", query))
    if style is Format.JSON:
        output.document(document)
        return
    steps = [
        {**step, "in_force": "yes" if step == document["in_force"] else ""}
        for step in document["schedule"]
    ]
    columns = ("fee_type", "fee_multiplier", "effective_from", "effective_to", "in_force")
    output.rows(steps, columns, style)
    if fee := document.get("fee"):
        cost = fee["cost"]
        output.note(
            f"{fee['count']} at {fee['price']}: taker {cost['taker_dollars']}, "
            f"maker {cost['maker_dollars']} dollars"
            if cost
            else "no fee can be computed: nothing is in force then, or its type is unknown"
        )


async def _fetch(path: str, query: dict[str, Any]) -> Any:
    from ssmd_cli.api_client import connect, segment

    async with connect() as api:
        return await api.get("/".join(segment(part) for part in path.split("/", 1)), query)
