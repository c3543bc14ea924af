"""Texts for `service_status`: whatever a service says of itself, PostgreSQL can hold. Pure."""

from typing import Any, Final

import msgspec

_LONGEST: Final = 500
"""Characters; more of it nobody reads."""


def document(said: dict[str, Any]) -> str:
    """As JSON for a jsonb column."""
    return msgspec.json.encode(_clean(said), enc_hook=str).decode()


def plain(text: str) -> str:
    """As text, which holds no NUL and no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")[:_LONGEST]


def _clean(value: Any) -> Any:
    match value:
        case str():
            return plain(value)
        case dict():
            return {_clean(name): _clean(part) for name, part in value.items()}
        case list() | tuple():
            return [_clean(part) for part in value]
        case _:
            return value
