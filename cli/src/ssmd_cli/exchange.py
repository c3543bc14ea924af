"""`ssmd exchange drift`: what the exchange sends today that this version does not know."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ssmd_cli import output, verbs
from ssmd_cli.options import AsCsv, AsJson, Output, use_local_system
from ssmd_cli.output import Format
from ssmd_common.exitcodes import ExitCode

app = verbs.group("Look at the exchange itself.", use_local_system)

COLUMNS = ("kind", "entity", "name", "count", "rows", "example")


@verbs.verb(app, "drift", "ssmd exchange drift --pages 5")
def drift(
    pages: Annotated[
        int, typer.Option(min=1, help="Pages to read of each listing in each status.")
    ] = 1,
    wanted: Output = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Report unknown fields and words, missing fields, and fields and rows that cannot be read.

    Exit code 6 when there is any: what is good of a row is stored (its unknown and
    unreadable fields are kept in its `extra`), but it is time to look, or to update ssmd.
    """
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    findings, rows = asyncio.run(_survey(pages))
    output.note(f"{rows} rows looked at")
    if findings or style is not Format.TABLE:
        output.rows(findings, COLUMNS, style)
    if findings:
        raise typer.Exit(ExitCode.DRIFT)
    output.note("nothing that this version does not know")


async def _survey(pages: int) -> tuple[list[dict[str, Any]], int]:
    from ssmd_cli.environment import quiet_logs
    from ssmd_common.settings import KalshiSettings, load
    from ssmd_kalshi.budget import Budget
    from ssmd_kalshi.rest import KalshiRest
    from ssmd_kalshi.signing import load_signer
    from ssmd_kalshi.survey import survey

    quiet_logs()
    settings = load(KalshiSettings)
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    # Market data needs no key; with one the budget is the key's own.
    signer = load_signer(key.get_secret_value(), path) if key and path else None
    budget = Budget(settings.kalshi_read_budget)
    async with KalshiRest(
        settings.kalshi_base_url.get_secret_value(), budget=budget, signer=signer
    ) as rest:
        findings = await survey(rest, pages)
        return [asdict(finding) for finding in findings], sum(rest.drift.rows.values())
