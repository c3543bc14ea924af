"""`ssmd fees sync|list`."""

from typing import Annotated

import typer

from ssmd_cli import complete, output, past, verbs
from ssmd_cli.options import AsCsv, AsJson, Output, use_local_system
from ssmd_cli.output import Format
from ssmd_cli.syncverbs import add_sync

app = verbs.group("Sync and list fee schedules.", use_local_system)
add_sync(app, "fees_sync")


@verbs.verb(
    app,
    "list",
    "ssmd fees list KXBTCD",
    "ssmd fees list prod KXBTCD --price 0.55 --count 100",
)
def list_fees(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROFILE] [SERIES]",
            help="A series; without one, the coefficients by tier.",
            autocompletion=complete.series_after_profile,
        ),
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
            help="As this database knew it then: a time, or how long ago (24h).",
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Dollars a contract: also say what a fill costs.")
    ] = None,
    count: Annotated[str | None, typer.Option(help="Contracts of the fill.")] = None,
    wanted: Output = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List a series' fee schedule, or the coefficients of the exchange's formula."""
    from ssmd_cli.api import connect, segment
    from ssmd_cli.profiles import named_first, read_profiles

    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    environment, rest = named_first(words or [], may_be_alone=True)
    if len(rest) > 1 and environment is None:
        # Of two words the first was meant for one.
        read_profiles().named(rest[0])
    if len(rest) > 1:
        raise typer.BadParameter("give one series", param_hint="SERIES")
    if not rest:
        if as_of or price or count:
            raise typer.BadParameter("--as-of, --price and --count need a series")
        with connect(environment) as api:
            found = api.get("fees", {"tier": tier, "as_of": known_at})["fees"]
        output.rows(found, ("tier", "taker_fee", "maker_fee"), style)
        return
    query = {"as_of": as_of, "known_at": known_at, "price": price, "count": count, "tier": tier}
    with connect(environment) as api:
        document = api.get(f"fees/{segment(rest[0])}", query)
    if style is Format.JSON:
        output.document(document)
        return
    steps = [
        {**step, "in_force": "yes" if step == document["in_force"] else ""}
        for step in document["schedule"]
    ]
    columns = ("fee_type", "fee_multiplier", "in_force", "effective_from", "effective_to")
    output.rows(steps, columns, style)
    if fee := document.get("fee"):
        cost = fee["cost"]
        output.note(
            f"{fee['count']} at {fee['price']}: taker {cost['taker_dollars']}, "
            f"maker {cost['maker_dollars']} dollars"
            if cost
            else "no fee can be computed: nothing is in force then, or its type is unknown"
        )
