"""JSON schemas of `GET /v1/status`."""

from typing import Any, Final

from ssmd_api.schemas import Schema, list_of, ref, thing

_FLAG: Final[Schema] = {"type": "boolean"}
_TEXT: Final[Schema] = {"type": "string"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_NUMBER: Final[Schema] = {"type": "number"}


def _maybe(schema: Schema, description: str = "") -> Schema:
    found: dict[str, Any] = {**schema, "type": [schema["type"], "null"]}
    return {**found, "description": description} if description else found


def _by_name(values: Schema, description: str) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": description}


_POSITION: Final = _by_name({}, "How far it is, by names of its own.")

STATUS_SCHEMAS: Final[dict[str, Schema]] = {
    "Status": thing(
        now={**_TIME, "description": "By the database's clock, as all times here."},
        ready={**_FLAG, "description": "Every service works."},
        sentence={**_TEXT, "description": "Current as of when, complete since when."},
        current_as_of=_maybe(_TIME, "The earliest of the legs' moments; null: not known."),
        complete_since=_maybe(_TIME, "Since when there has been no gap; null: there is one."),
        incomplete_since=_maybe(_TIME, "What happened since then may be missing."),
        incomplete_why=_maybe(_TEXT),
        legs=thing(**dict.fromkeys(("exchange", "commit", "stream", "redis"), ref("StatusLeg"))),
        problems={**list_of(_TEXT), "description": "What does not work or is degraded."},
        services=_by_name(ref("ServiceStatus"), "Each service, also one that never started."),
    ),
    "StatusLeg": thing(
        as_of=_maybe(_TIME, "Up to then it is known to have everything."),
        why=_maybe(_TEXT, "What is not as it should be."),
        position=_POSITION,
    ),
    "ServiceStatus": thing(
        service=_TEXT,
        instance=_maybe(_TEXT, "The process that speaks for the service: the one that works."),
        host=_maybe(_TEXT),
        pid=_maybe({"type": "integer"}),
        state={
            **_TEXT,
            "description": "Its own word (leading, standby, …); `no word`: it has been silent for "
            "more than 15 s; `unknown`: it never said anything.",
        },
        ready=_FLAG,
        note=_maybe(_TEXT, "Why it is not ready, else what is degraded."),
        reasons=_by_name(_TEXT, "Why it is not ready, by name."),
        degraded=_by_name(_TEXT, "What to look at although it works, by name."),
        position=_POSITION,
        lag_seconds=_maybe(_NUMBER, "How far it is behind its source."),
        work=_maybe(_NUMBER, "What it has done since its start."),
        work_per_second=_maybe(_NUMBER, "During the last ten seconds."),
        errors=_maybe(_NUMBER, "Errors that it survived since its start."),
        memory_bytes=_maybe({"type": "integer"}),
        last_error=_maybe(_TEXT),
        last_error_at=_maybe(_TIME),
        version=_maybe(_TEXT),
        system_identifier=_maybe(_TEXT, "Of the PostgreSQL server it speaks to."),
        timeline=_maybe({"type": "integer"}),
        started_at=_maybe(_TIME),
        updated_at=_maybe(_TIME),
        age_seconds=_maybe(_NUMBER, "How old its last word is."),
        starts_last_hour={"type": "integer", "minimum": 0},
        processes=list_of(ref("ServiceProcess")),
    ),
    "ServiceProcess": thing(
        instance=_TEXT,
        state=_TEXT,
        ready=_FLAG,
        version=_TEXT,
        started_at=_TIME,
        age_seconds=_NUMBER,
        memory_bytes=_maybe({"type": "integer"}),
    ),
}
