"""JSON schemas of what is asked of services."""

from typing import Final

from ssmd_api.schemas import Schema, page, ref, thing

_TEXT: Final[Schema] = {"type": "string"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_MAYBE_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}

REQUEST_SCHEMAS: Final[dict[str, Schema]] = {
    "ServiceRequest": thing(
        id={"type": "integer"},
        service={"type": "string", "enum": ["sync", "cache"]},
        task={**_TEXT, "description": "A job of sync, or `verify` of cache."},
        state={"type": "string", "enum": ["waiting", "running", "done", "failed"]},
        asked_at={"type": "string", "format": "date-time"},
        asked_by={**_TEXT, "description": "The name of the key."},
        worker={**_MAYBE_TEXT, "description": "The host and process that began it last."},
        attempts={"type": "integer", "minimum": 0, "description": "How often it was begun."},
        started_at=_MAYBE_TIME,
        finished_at=_MAYBE_TIME,
        result={
            "type": ["object", "null"],
            "description": "Of a job: `outcome`, `message` and counts, as in `sync_runs`. Of a "
            "comparison: `drift` with the first `differences`, `unreadable` with the first "
            "`unreadable_rows`, and how many `rows` and `entries` were compared.",
        },
        error={**_MAYBE_TEXT, "description": "Why it `failed`."},
    ),
    "ServiceRequestPage": page("requests", ref("ServiceRequest")),
}
