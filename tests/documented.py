"""docs/settings.md, made from the settings themselves: `make docs` writes it, a test holds it."""

import sys
from importlib import import_module

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ssmd_common.settings import variables

SERVICES = {
    "sync": "SyncSettings",
    "lifecycle": "LifecycleSettings",
    "cdc": "CdcSettings",
    "cache": "CacheSettings",
    "api": "ApiSettings",
}
HEAD = """# Settings

Every service reads its settings from the environment, reports every fault at once, and opens
nothing before all of them are right. This page is made from the code by `make docs`.
"""


def settings_page() -> str:
    """The page: what all services share first, then what each has of its own."""
    found = {
        service: variables(getattr(import_module(f"ssmd_{service}.settings"), name))
        for service, name in SERVICES.items()
    }
    shared: dict[str, FieldInfo] = {}
    readers: dict[str, list[str]] = {}
    for service, fields in found.items():
        for name, field in fields.items():
            if not name.startswith(f"{service.upper()}_"):
                shared[name] = field
                readers.setdefault(name, []).append(service)
    parts = [HEAD, "## Shared\n\n| variable | default | read by | meaning |\n|---|---|---|---|"]
    for name, field in shared.items():
        by = "all" if len(readers[name]) == len(SERVICES) else ", ".join(readers[name])
        parts.append(f"| `{name}` | {_default(field)} | {by} | {_meaning(field)} |")
    for service, fields in found.items():
        parts.append(f"\n## {service}\n\n| variable | default | meaning |\n|---|---|---|")
        parts += [
            f"| `{name}` | {_default(field)} | {_meaning(field)} |"
            for name, field in fields.items()
            if name not in shared
        ]
    return "\n".join(parts) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value is None or value == "" else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(settings_page())
