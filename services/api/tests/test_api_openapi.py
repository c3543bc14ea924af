"""The OpenAPI document is valid, complete, and true of what the API answers."""

import re
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from api_testbed import Client
from api_universe import NOW, insert
from openapi_spec_validator import validate

from ssmd_api import openapi
from ssmd_api.app import ROUTES
from ssmd_stack.database import Database

SCOPES = {(method, path): scope for method, path, scope, _ in ROUTES}
DOCUMENT = openapi.document(SCOPES, "1")
TICKER = "KXBTCD-26FEB03-T97500.99"


def test_it_is_valid_and_has_every_route() -> None:
    validate(DOCUMENT)
    assert set(openapi.OPERATIONS) == set(SCOPES)


@pytest.mark.usefixtures("universe")
async def test_it_has_exactly_the_parameters_that_are_known(api: Client) -> None:
    """An unknown parameter is refused with the list of known ones."""
    for (method, path), operation in openapi.OPERATIONS.items():
        concrete = (
            path.replace("{ticker}", TICKER if "markets" in path else "KXBTCD")
            .replace("{event_ticker}", "KXBTCD-26FEB03")
            .replace("{series}", "KXBTCD")
            .replace("{id}", "1")
        )
        reply = await api.ask(method, f"{concrete}?bogus=1")
        assert reply.status == 400, path
        known = re.search(r"bogus: is unknown here \(known: (.*?)\)", reply.json["detail"])
        assert known
        documented = sorted(parameter.name for parameter in operation.parameters)
        assert (", ".join(documented) or "none") == known[1]


def assert_described(method: str, path: str, status: int, document: Any) -> None:
    """A reply is what the document says of it, with no property more or less."""
    replies = DOCUMENT["paths"][path][method.lower()]["responses"]
    described = replies[str(status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][str(status)]
    (content,) = described["content"].values()
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(document)


ASKED = (
    ("/v1/series", "/v1/series"),
    ("/v1/series/{ticker}", "/v1/series/KXBTCD"),
    ("/v1/series/{ticker}", "/v1/series/KXOLD"),
    ("/v1/events", "/v1/events"),
    ("/v1/events/{event_ticker}", "/v1/events/KXBTCD-26FEB03"),
    ("/v1/markets", "/v1/markets"),
    ("/v1/markets", "/v1/markets?limit=1"),
    ("/v1/markets/{ticker}", f"/v1/markets/{TICKER}"),
    ("/v1/markets/{ticker}/lifecycle", f"/v1/markets/{TICKER}/lifecycle"),
    ("/v1/fees", "/v1/fees"),
    ("/v1/fees/{series}", "/v1/fees/KXBTCD?price=0.5&as_of=24h"),
    ("/v1/fees/{series}", "/v1/fees/KXOLD?price=0.5"),
    ("/v1/search", "/v1/search?q=win"),
    ("/v1/status", "/v1/status"),
    ("/v1/stats/series", "/v1/stats/series"),
    ("/v1/stats/markets", "/v1/stats/markets"),
    ("/v1/stats/sync", "/v1/stats/sync"),
    ("/v1/keys", "/v1/keys"),
    ("/v1/keys/audit", "/v1/keys/audit"),
    ("/v1/markets", "/v1/markets?limit=0"),
    ("/v1/series/{ticker}", "/v1/series/NONE"),
)


@pytest.mark.usefixtures("universe")
async def test_replies_are_as_described(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await insert(
            connection,
            "market_lifecycle_events",
            market_ticker=TICKER,
            event_type="created",
            metadata={"a": 1},
            dedupe_key="x",
            sent_at=NOW,
        )
        await insert(connection, "sync_runs", job="j", scope={}, outcome="ok", finished_at=NOW)
        await insert(connection, "sync_watermarks", name="all", watermark=NOW)
        await insert(
            connection,
            "series_fees",
            series_ticker="KXBTCD",
            fee_type="quadratic",
            fee_multiplier="1",
            effective_from=NOW - timedelta(days=1),
        )
    for path, concrete in ASKED:
        reply = await api.get(concrete)
        assert_described("GET", path, reply.status, reply.json)


@pytest.mark.usefixtures("universe")
async def test_replies_to_posts_are_as_described(api: Client) -> None:
    found = await api.ask("POST", "/v1/markets/lookup", json={"tickers": [TICKER, "NONE"]})
    assert_described("POST", "/v1/markets/lookup", 200, found.json)
    made = await api.ask("POST", "/v1/keys", json={"name": "x"})
    assert_described("POST", "/v1/keys", 201, made.json)


def test_examples_are_as_described() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            for status, reply in described["responses"].items():
                content = reply.get("content", {})
                assert all("example" in each for each in content.values()), path
                if "application/json" in content:
                    example = content["application/json"]["example"]
                    assert_described(method, path, int(status), example)
            if "requestBody" in described:
                body = described["requestBody"]["content"]["application/json"]
                schema = {**body["schema"], "components": DOCUMENT["components"]}
                jsonschema.Draft202012Validator(schema).validate(body["example"])
            for parameter in described["parameters"]:
                if "example" in parameter:
                    jsonschema.validate(parameter["example"], parameter["schema"])


async def test_documentation_needs_no_key_and_no_other_host(api: Client) -> None:
    async with api.http.get(f"{api.base}/openapi.json") as reply:
        assert reply.status == 200
        assert set((await reply.json())["paths"]) == {path for _, path in SCOPES}
    async with api.http.get(f"{api.base}/docs") as reply:
        assert reply.status == 200
        page = await reply.text()
    assert not re.findall(r"(?:src|href|url|import)\s*[=(]\s*[\"']?(?:https?:)?//", page)
