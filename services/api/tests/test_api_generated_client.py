"""A client generated from the OpenAPI document works: openapi-python-client (`make openapi`)."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import pytest
from api_strangers import TOOLS, run, whole_api
from api_testbed import Serve
from made_market_data import make_streams
from nats.js.client import JetStreamContext
from test_api_openapi import DOCUMENT, TICKER

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

WALK = Path(__file__).with_name("generated_walk.py")
# Lines of JSON have no place in such clients but as text; docs/api.md says so.
CONFIG = "content_type_overrides:\n  application/x-ndjson: text/plain\n"
AS_ASKED = {
    "series.get_v1_series": "/v1/series?limit=2&sort=-volume",
    "series.get_v1_series_ticker": "/v1/series/KXBTCD",
    "series.get_v1_series_ticker_history": "/v1/series/KXBTCD/history",
    "events.get_v1_events": "/v1/events?status=open",
    "events.get_v1_events_event_ticker": "/v1/events/KXBTCD-26FEB03",
    "events.get_v1_events_event_ticker_history": "/v1/events/KXBTCD-26FEB03/history?limit=2",
    "markets.get_v1_markets": (
        "/v1/markets?series=KXBTCD&status=active&status=closed&closing_before=24h"
    ),
    "markets.get_v1_markets_ticker": f"/v1/markets/{TICKER}",
    "markets.get_v1_markets_ticker_lifecycle": f"/v1/markets/{TICKER}/lifecycle",
    "markets.get_v1_markets_ticker_history": f"/v1/markets/{TICKER}/history",
    "markets.get_v1_markets_ticker_trades": f"/v1/markets/{TICKER}/trades?limit=2",
    "collections.get_v1_collections": "/v1/collections?limit=2",
    "collections.get_v1_collections_collection_ticker": "/v1/collections/KXMVEBTC-R",
    "fees.get_v1_fees": "/v1/fees?tier=default",
    "fees.get_v1_fees_series": "/v1/fees/KXBTCD?price=0.55&count=100",
    "search.get_v1_search": "/v1/search?q=bitcoin&kind=series",
    "stats.get_v1_stats_series": "/v1/stats/series",
    "stats.get_v1_stats_markets": "/v1/stats/markets?limit=3",
    "stats.get_v1_stats_sync": "/v1/stats/sync",
}
"""What the walk calls, as a request."""


def plain(value: Any) -> Any:
    """A document without the spelling of its times, and without when it was counted."""
    match value:
        case dict():
            # Counts are made anew after some seconds.
            return {name: plain(inner) for name, inner in value.items() if name != "counted_at"}
        case list():
            return [plain(inner) for inner in value]
        case str() if value[:2] == "20" and "T" in value:
            return datetime.fromisoformat(value)
    return value


@pytest.mark.slow
async def test_every_operation_is_called_and_its_reply_parsed(
    serve: Serve,
    database: Database,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    js: JetStreamContext,
    tmp_path: Path,
) -> None:
    if not (TOOLS / "openapi-python-client").exists():
        pytest.skip("openapi-python-client is not installed: make openapi")
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await connection.execute("UPDATE markets SET title = 'new' WHERE ticker = %s", (TICKER,))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    client = await nats.connect(nats_server.url)
    await make_streams(client, shards=1)
    await client.close()
    async with whole_api(serve, database, nats_server, valkey_server) as api:
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(await api.ok("/openapi.json")))
        await run(
            "openapi-python-client", "generate", "--path", document, "--config", config,
            "--meta", "none", "--output-path", tmp_path / "ssmd_generated", "--fail-on-warning",
            home=tmp_path,
        )  # fmt: skip
        walked = await run(
            TOOLS / "python", WALK, api.base, TICKER,
            home=tmp_path,
            PYTHONPATH=str(tmp_path),
            SSMD_DATA_API_KEY=api.key,
        )  # fmt: skip
        found = json.loads(walked)
        for name, asked in AS_ASKED.items():
            assert plain(found[name]["document"]) == plain(await api.ok(asked)), name
    operations = {
        f"{described['tags'][0]}.{described['operationId']}": described
        for methods in DOCUMENT["paths"].values()
        for described in methods.values()
    }
    # A stream of changes has no end that a client which reads replies whole could wait for.
    assert found.keys() - {"missing", "bad", "wrong key"} == (
        operations.keys() - {"changes.get_v1_changes"}
    )
    for name, described in operations.items():
        if name in found:
            assert str(found[name]["status"]) in described["responses"]
            assert found[name]["status"] < 300, found[name]
    assert found["markets.post_v1_markets_lookup"]["document"]["missing"] == ["NONE"]
    assert found["keys.post_v1_keys"]["type"] == "NewKey"
    assert found["status.get_v1_status"]["type"] == "Status"
    assert found["snapshot.get_v1_snapshot"]["document"].splitlines()[-1].startswith('{"end":true')
    for name, status in (("missing", 404), ("bad", 400), ("wrong key", 401)):
        assert (found[name]["status"], found[name]["type"]) == (status, "Problem")
        assert found[name]["document"]["request_id"]
