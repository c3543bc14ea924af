"""JSON schemas of the trail of API keys: `GET /v1/keys/audit`."""

from typing import Final

from ssmd_api.schemas import Schema, page, ref, thing

_TEXT: Final[Schema] = {"type": "string"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}

KEY_SCHEMAS: Final[dict[str, Schema]] = {
    "KeyAudit": thing(
        id={"type": "integer"},
        at={"type": "string", "format": "date-time"},
        action={"type": "string", "enum": ["made", "revoked"]},
        key_id={"type": "integer"},
        key_prefix=_TEXT,
        key_name=_TEXT,
        actor={**_TEXT, "description": "The name of the key that asked, or the user of ssmd keys."},
        actor_key_id={"type": ["integer", "null"], "description": "The key that asked the API."},
        origin={**_MAYBE_TEXT, "description": "The address, or the machine of ssmd keys."},
        request_id={**_MAYBE_TEXT, "description": "As in the reply and in the log."},
    ),
    "KeyAuditPage": page("audit", ref("KeyAudit")),
}
