"""The OpenAPI 3.1 document of the API: `/openapi.json`."""

from typing import Any, Final

from ssmd_api import (
    answers,
    examples,
)
from ssmd_api.deprecation import DEPRECATED, Marked
from ssmd_api.filters import (
    PAST,
    TEXT,
    WHOLE,
    Parameter,
)
from ssmd_api.keyschemas import KEY_SCHEMAS
from ssmd_api.marketschemas import MARKET_DATA_SCHEMAS
from ssmd_api.operations import AS_OF, CURSOR, IDEMPOTENCY_KEY, OPERATIONS, TAGS, Operation
from ssmd_api.quoteschemas import QUOTE_SCHEMAS
from ssmd_api.requestschemas import REQUEST_SCHEMAS
from ssmd_api.schemas import SCHEMAS, Schema, ref
from ssmd_api.sparseschemas import sparse
from ssmd_api.statusschemas import STATUS_SCHEMAS

_ALL_SCHEMAS: Final[dict[str, Schema]] = {
    **SCHEMAS,
    **STATUS_SCHEMAS,
    **KEY_SCHEMAS,
    **QUOTE_SCHEMAS,
    **REQUEST_SCHEMAS,
    **MARKET_DATA_SCHEMAS,
    "Problem": {**SCHEMAS["Problem"], "example": examples.example(ref("Problem"), SCHEMAS)},
}


for _each in OPERATIONS.values():
    if _each.reply and _each.has_fields:
        _ALL_SCHEMAS.update(sparse(_each.reply))


def document(
    scopes: dict[tuple[str, str], str], version: str, deprecated: Marked = DEPRECATED
) -> dict[str, Any]:
    """The whole document; `scopes` says for each route which scope a key needs, `deprecated` which
    will go."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        described = _operation(method, path, operation, scopes[method, path])
        if mark := deprecated.get(path):
            described["deprecated"] = True
            described["responses"][str(operation.status)]["headers"] |= answers.going(mark)
        paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ssmd secmaster",
            "version": version,
            "description": "A security master for Kalshi prediction markets: series, events, "
            "markets, fees and lifecycle, as the exchange lists them. Integers are integers, exact "
            "decimals are strings, times are RFC 3339 in UTC. HEAD is answered wherever GET is, "
            "and OPTIONS everywhere, without a key; another method is 405, with `Allow`.",
            "contact": {"name": "whoever runs this API"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "security": [{"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": _ALL_SCHEMAS,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            **answers.components(going=not deprecated.keys().isdisjoint(paths)),
        },
    }


def _operation(method: str, path: str, operation: Operation, scope: str) -> dict[str, Any]:
    in_path = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{path.replace('/', '_').translate(_PLAIN)}",
        "tags": [path.split("/")[2]],
        "summary": operation.summary,
        "description": f"Needs a key with scope `{scope}`.",
        "x-scope": scope,
        "parameters": [
            *(_in_path(name, path) for name in in_path),
            *(_parameter(parameter, "query") for parameter in operation.parameters),
            *(_parameter(header, "header") for header in operation.headers),
        ],
        "responses": {
            str(operation.status): _reply(operation),
            **({"304": answers.unchanged()} if method == "GET" and operation.kept else {}),
            **answers.errors(
                body=operation.body is not None,
                missing=bool(in_path) or operation.missing,
                reused=IDEMPOTENCY_KEY in operation.headers,
                gone="text/event-stream" in operation.streams,
                formed=operation.has_forms,
            ),
        },
    }
    if operation.body:
        body = ref(operation.body)
        content = {
            "application/json": {"schema": body, "example": examples.example(body, _ALL_SCHEMAS)}
        }
        described["requestBody"] = {
            "required": True,
            "description": "JSON, whatever the Content-Type says; gzip and deflate are unpacked.",
            "content": content,
        }
    return described


_PLAIN = str.maketrans("", "", "{}")
_ID: Final[Schema] = {**WHOLE, "minimum": 1}


def _in_path(name: str, path: str) -> dict[str, Any]:
    of_series = path.startswith("/v1/series/")
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": _ID if name == "id" else TEXT,
        "example": examples.SERIES if of_series else examples.PARAMETERS[name],
    }


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.required:
        described["required"] = True
    if parameter.with_commas:
        described |= {"style": "form", "explode": False}
    shown = parameter.example
    if shown is None:
        shown = examples.PARAMETERS.get(parameter.name)
    if shown is None:
        shown = examples.of_parameter(parameter.name, parameter.schema)
    is_bare = parameter.schema.get("type") == "array" and not isinstance(shown, list)
    described["example"] = [shown] if is_bare else shown
    return described


def _reply(operation: Operation) -> dict[str, Any]:
    if operation.streams:
        return answers.stream(
            operation.summary, operation.streams, past=AS_OF in operation.parameters
        )
    if operation.reply is None:
        return answers.nothing(operation.summary)
    whole = ref(operation.reply)
    schema = whole
    if operation.has_fields:
        # The whole is described first: of that a reply is by default.
        schema = {"anyOf": [whole, ref(f"Sparse{operation.reply}")]}
    return answers.document(
        operation.summary,
        schema,
        examples.example(whole, _ALL_SCHEMAS),
        kept=operation.kept,
        paged=CURSOR in operation.parameters,
        past=any(parameter.schema is PAST for parameter in operation.parameters),
        elsewhere=operation.status == 202,
        rows=_rows(operation) if operation.has_forms else None,
    )


def _rows(operation: Operation) -> Schema:
    """The rows of a page, which may be sparse."""
    assert operation.reply is not None
    whole = _list_in(operation.reply)
    return (
        {"anyOf": [whole, _list_in(f"Sparse{operation.reply}")]} if operation.has_fields else whole
    )


def _list_in(name: str) -> Schema:
    properties = _ALL_SCHEMAS[name]["properties"].values()
    [found] = [each for each in properties if each.get("type") == "array"]
    return dict(found)
