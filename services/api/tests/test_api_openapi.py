"""The OpenAPI document is valid, complete, and true of what the API answers."""

import asyncio
import re
from io import BytesIO
from typing import Any, cast

import jsonschema
import pytest
from api_testbed import Client
from api_universe import fill_more, insert_request
from openapi_spec_validator import validate

from ssmd_api import openapi, shapes
from ssmd_api.app import ROUTES
from ssmd_api.filters import FILTERS
from ssmd_api.operations import OPERATIONS
from ssmd_stack.database import Database

SCOPES = {(method, path): scope for method, path, scope, _ in ROUTES}
DOCUMENT = openapi.document(SCOPES, "1")
TICKER = "KXBTCD-26FEB03-T97500.99"


def concrete(path: str) -> str:
    """A path with what there is."""
    named = path.replace("{event_ticker}", "KXBTCD-26FEB03").replace("{series}", "KXBTCD")
    named = named.replace("{collection_ticker}", "KXMVEBTC-R")
    named = named.replace("{job}", "everything")
    return named.replace("{ticker}", TICKER if "markets" in path else "KXBTCD").replace("{id}", "1")


def test_it_is_valid_and_has_every_route() -> None:
    validate(DOCUMENT)
    assert set(OPERATIONS) == set(SCOPES)


@pytest.mark.usefixtures("universe")
async def test_it_has_exactly_the_parameters_that_are_known(api: Client) -> None:
    """An unknown parameter is refused with the list of known ones."""
    for (method, path), operation in OPERATIONS.items():
        # The list that is exported decides its filters.
        lists = FILTERS if path == "/v1/export" else [""]
        known: set[str] = set()
        for entity in lists:
            asked = f"{concrete(path)}?bogus=1{entity and f'&entity={entity}'}"
            reply = await api.ask(method, asked)
            assert reply.status == 400, path
            found = re.search(r"bogus: is unknown here.*? \(known: (.*?)\)", reply.json["detail"])
            assert found
            for name in found[1].split(", "):
                column, _, operators = name.rstrip("}").partition(".{")
                ranges = [f"{column}.{operator}" for operator in operators.split("|")]
                known.update(ranges if operators else [name])
        documented = {parameter.name for parameter in operation.parameters}
        assert (documented or {"none"}) == known, path


SAMPLES = (
    *("", " ", "  ", "x", "xy", "a b", "a\0b", "a\x85b", "a\nb", "x" * 128, "x" * 129),
    *("0", "1", "-1", "01", "1001", "9223372036854775807", "9223372036854775808", "1.0"),
    *("0.5", "1.01", "1.000000", "0.1234567", "999999999999.999999", "1000000000000"),
    *("24h", "1000000d", "100000w", "2026-02-03", "2026-02-30", "2026-02-03T22:05+01:00"),
    *("true", "TRUE", "open", "active", "series", "market", "markets", "-ticker", "csv"),
    *("-24h", "-0s", "-2026-02-03", "24h-", "--1h"),
    *("series,fees", "series,", "ticker,title", "ticker,", "title,series.title", "ticker,bogus"),
    *("WyJ4Il0", "WyJ4Il0="),
)
OF_OTHERS = re.compile(
    "is unknown here|contradicts|no table (?:can|has)|no cursor|is not a cursor|belongs"
    "|is of CSV alone|is left out by|comes with include|has no past"
    "|in the future|is not known|is not recorded|leaves nothing|bounds the same side|needs few"
    "|multivariate (?:markets|ones)"
)
"""What a schema of one parameter has no words for."""


def takes(parameter: dict[str, Any], text: str) -> bool:
    schema, value = parameter["schema"], cast(Any, text)
    match schema["type"]:
        case "array":
            value = [text] if parameter.get("explode", True) else text.split(",")
        case "integer" if re.fullmatch("-?[0-9]+", text):
            value = int(text)
        case "boolean" if text in ("true", "false"):
            value = text == "true"
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.usefixtures("universe")
async def test_what_a_parameters_schema_takes_the_code_takes_and_no_more(api: Client) -> None:
    """Each text for all parameters at once: those that refuse it are named."""
    few = asyncio.Semaphore(5)

    async def ask(path: str, parameters: list[dict[str, Any]], text: str) -> None:
        async with few:
            reply = await api.get(path, params={each["name"]: text for each in parameters})
        # A snapshot is not given without NATS.
        assert reply.status in (200, 400, 404, 503), (path, text, reply)
        errors = (reply.json if reply.status == 400 else {}).get("errors", [])
        named = {each["parameter"] for each in errors if not OF_OTHERS.search(each["detail"])}
        expected = {each["name"] for each in parameters if not takes(each, text)}
        refused_otherwise = {each["parameter"] for each in errors}
        assert named <= expected <= refused_otherwise, (path, text, errors)

    await asyncio.gather(
        *(
            ask(concrete(path), parameters, text)
            for path, methods in DOCUMENT["paths"].items()
            if "get" in methods
            for parameters in [[p for p in methods["get"]["parameters"] if p["in"] == "query"]]
            if parameters
            for text in SAMPLES
        )
    )


def assert_described(method: str, path: str, status: int, document: Any) -> None:
    """A reply is what the document says of it, with no property more or less."""
    replies = DOCUMENT["paths"][path][method.lower()]["responses"]
    described = replies[str(status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][str(status)]
    content = described["content"]
    content = content.get("application/json") or content["application/problem+json"]
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(document)


ASKED = (
    ("/v1/series", "/v1/series"),
    ("/v1/series/{ticker}", "/v1/series/KXBTCD"),
    ("/v1/series/{ticker}", "/v1/series/KXOLD"),
    ("/v1/events", "/v1/events"),
    ("/v1/events/{event_ticker}", "/v1/events/KXBTCD-26FEB03"),
    ("/v1/collections", "/v1/collections"),
    ("/v1/collections/{collection_ticker}", "/v1/collections/KXMVEBTC-R"),
    ("/v1/markets", "/v1/markets"),
    ("/v1/markets", "/v1/markets?limit=1"),
    ("/v1/markets/{ticker}", f"/v1/markets/{TICKER}"),
    ("/v1/markets/{ticker}/lifecycle", f"/v1/markets/{TICKER}/lifecycle"),
    ("/v1/series/{ticker}/history", "/v1/series/KXBTCD/history"),
    ("/v1/events/{event_ticker}/history", "/v1/events/KXBTCD-26FEB03/history"),
    ("/v1/markets/{ticker}/history", f"/v1/markets/{TICKER}/history?limit=1"),
    *(
        (path.partition("?")[0], f"{path}as_of=-0s")
        for path in ("/v1/series?", "/v1/markets?limit=1&")
    ),
    ("/v1/markets/{ticker}", f"/v1/markets/{TICKER}?as_of=-0s"),
    ("/v1/fees", "/v1/fees"),
    ("/v1/fees/{series}", "/v1/fees/KXBTCD?price=0.5&as_of=24h"),
    ("/v1/fees/{series}", "/v1/fees/KXOLD?price=0.5"),
    ("/v1/search", "/v1/search?q=win"),
    ("/v1/status", "/v1/status"),
    ("/v1/stats/series", "/v1/stats/series"),
    ("/v1/stats/markets", "/v1/stats/markets"),
    ("/v1/stats/sync", "/v1/stats/sync"),
    ("/v1/keys", "/v1/keys"),
    ("/v1/requests", "/v1/requests"),
    ("/v1/requests/{id}", "/v1/requests/1"),
    ("/v1/requests/{id}", "/v1/requests/2"),
    ("/v1/keys/audit", "/v1/keys/audit"),
    ("/v1/markets", "/v1/markets?limit=0"),
    ("/v1/series/{ticker}", "/v1/series/NONE"),
)


@pytest.mark.usefixtures("universe")
async def test_replies_are_as_described(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        # A change of a row that was there before the record, and one of one that was not.
        await connection.execute("UPDATE markets SET title = title || '!'")
        await fill_more(connection, TICKER)
        await insert_request(connection)
    for path, concrete in ASKED:
        reply = await api.get(concrete)
        assert_described("GET", path, reply.status, reply.json)


def included(method: str, path: str) -> list[str]:
    """What can be included."""
    parameters = DOCUMENT["paths"][path][method]["parameters"]
    of_include = [each for each in parameters if each["name"] == "include"]
    return [name for each in of_include for name in each["schema"]["items"]["enum"]]


def with_fields() -> dict[tuple[str, str], list[str]]:
    """The names that each operation's `fields` takes."""
    return {
        (method, path): parameter["schema"]["items"]["enum"]
        for path, methods in DOCUMENT["paths"].items()
        for method, described in methods.items()
        for parameter in described["parameters"]
        if parameter["name"] == "fields"
    }


@pytest.mark.usefixtures("universe")
async def test_rows_with_any_of_the_described_fields_are_as_described(
    api: Client, database: Database
) -> None:
    """And nothing but such rows is: neither what no row has nor less than a reply always has."""
    async with database.connect() as connection:
        await fill_more(connection, TICKER)
    body = {"json": {"tickers": [TICKER]}}
    for (method, path), names in with_fields().items():
        if path in ("/v1/export", "/v1/snapshot", "/v1/changes"):
            continue
        for name in names:
            asked = f"{concrete(path)}?fields={name}&fields={names[0]},{name}"
            if (member := name.partition(".")[0]) in included(method, path):
                asked += f"&include={member}"
            reply = await api.ask(method, asked, **(body if method == "post" else {}))
            assert reply.status == 200, (asked, reply)
            assert_described(method, path, 200, reply.json)
        for untrue in ({**reply.json, "bogus": 1}, {"bogus": 1}):
            with pytest.raises(jsonschema.ValidationError):
                assert_described(method, path, 200, untrue)
        described = DOCUMENT["paths"][path][method]["responses"]["200"]["content"]
        for each in described["application/json"]["schema"]["anyOf"]:
            if "$ref" not in each:
                # Rows without an envelope.
                continue
            schema = DOCUMENT["components"]["schemas"][each["$ref"].rpartition("/")[2]]
            if "cursor" in schema["properties"]:
                assert "cursor" in schema["required"], each


@pytest.mark.usefixtures("universe")
async def test_each_field_of_an_export_is_one_of_some_list(api: Client) -> None:
    known: set[str] = set()
    for entity, shape in shapes.LISTS.items():
        names = shape.including(shape.includes).names
        asked = f"fields={','.join(names)}&include={','.join(shape.includes)}"
        reply = await api.get(f"/v1/export?entity={entity}&{asked}")
        assert reply.status == 200, entity
        known.update(names)
    assert known == set(with_fields()["get", "/v1/export"])


@pytest.mark.usefixtures("universe")
async def test_fields_may_be_many_but_not_endless(api: Client) -> None:
    names = with_fields()["get", "/v1/markets"]
    most = (names * 4)[:200]
    path = f"/v1/markets?include={','.join(shapes.MARKETS.includes)}"
    assert (await api.get(f"{path}&fields={','.join(most)}")).status == 200
    repeated = "&".join(f"fields={name}" for name in names)
    assert (await api.get(f"{path}&{repeated}")).status == 200
    short = ",".join(["title"] * 201)
    assert (await api.get(f"/v1/markets?fields={short}")).status == 400


@pytest.mark.usefixtures("universe")
async def test_replies_to_posts_are_as_described(api: Client) -> None:
    found = await api.ask("POST", "/v1/markets/lookup", json={"tickers": [TICKER, "NONE"]})
    assert_described("POST", "/v1/markets/lookup", 200, found.json)
    large = await api.ask("POST", "/v1/markets/lookup", data=BytesIO(b"x" * (1 << 21)))
    assert_described("POST", "/v1/markets/lookup", 413, large.json)
    asked = {"ticker": TICKER, "side": "no", "price": "0.4"}
    body = {"quotes": [asked, {**asked, "ticker": "NONE", "at": None}, {**asked, "count": "0"}]}
    quoted = await api.ask("POST", "/v1/fees/quote", json=body)
    assert_described("POST", "/v1/fees/quote", 200, quoted.json)
    for key, path, status in (
        ("a", "/v1/cache/verify", 202),
        ("b c", "/v1/cache/verify", 400),
        ("a", "/v1/sync/{job}", 404),
    ):
        headers = {"Idempotency-Key": key}
        asked_for = await api.ask("POST", concrete(path), headers=headers)
        assert_described("POST", path, status, asked_for.json)
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
