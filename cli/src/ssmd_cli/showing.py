"""`ssmd secmaster show`: one market, event or series, and a market's life."""

from datetime import UTC, datetime
from typing import Any

from ssmd_cli import output
from ssmd_cli.output import Format


def show(ticker: str, environment: str | None, as_of: str | None, *, as_json: bool) -> None:
    """Print what a ticker names.

    Raises:
        NotFound: nothing is called so.
    """
    from ssmd_cli.api import connect

    with connect(environment) as api:
        kind, document = _find(api, ticker, as_of)
        is_alive = kind == "markets" and as_of is None and not as_json
        events = _life(api, ticker) if is_alive else []
    if as_json:
        output.document(document)
        return
    output.fields(document)
    match kind:
        case "events":
            from ssmd_cli.secmaster import COLUMNS

            output.rows(document["markets"], COLUMNS[:6], Format.TABLE)
        case "series":
            counts = [{"of": of, **by_status} for of, by_status in document["counts"].items()]
            output.rows(counts, ("of", "open", "active", "closed", "settled"), Format.TABLE)
        case _ if as_of is None:
            from ssmd_cli.life import draw, steps_of

            print()
            steps = steps_of(document, events)
            for line in draw(steps, datetime.now(UTC), output.terminal_width()):
                print(line)
        case _:
            # Its life goes on after that moment.
            pass


def _find(api: Any, ticker: str, as_of: str | None) -> tuple[str, Any]:
    from ssmd_cli.api import NotFound, segment

    for kind in ("markets", "events", "series"):
        try:
            return kind, api.get(f"{kind}/{segment(ticker)}", {"as_of": as_of})
        except NotFound:
            continue
    near = _near(api, ticker)
    meant = f"; did you mean {near}?" if near else ""
    raise NotFound(f"no market, event or series is called {ticker!r}{meant}")


def _near(api: Any, ticker: str) -> str | None:
    from ssmd_cli.nearest import nearest

    found = api.get("search", {"q": ticker, "limit": 20})["results"] if ticker.strip() else []
    return nearest(ticker, [row["ticker"] for row in found])


def _life(api: Any, ticker: str) -> list[Any]:
    from ssmd_cli.api import segment

    found, _ = api.rows(f"markets/{segment(ticker)}/lifecycle", {}, None)
    return list(found)
