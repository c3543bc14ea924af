"""Pages of docs/ that are made from the code: `make docs` writes them, a test holds them."""

import sys
from importlib import import_module
from importlib.util import find_spec

from prometheus_client.metrics import MetricWrapperBase
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


METRICS_HEAD = """# Metrics

Every service answers `/metrics` on `OPS_PORT`. What to alert on is in
[operations.md](operations.md#what-to-alert-on). A counter is shown with `_total` behind its name, a
histogram with `_bucket`, `_sum` and `_count`. This page is made from the code by `make docs`.
"""


def metrics() -> dict[str, list[MetricWrapperBase]]:
    """Each metric of ours once, by the package that has it."""
    found: dict[str, list[MetricWrapperBase]] = {}
    for package in ("common", "kalshi", *SERVICES):
        if find_spec(f"ssmd_{package}.metrics"):
            for each in vars(import_module(f"ssmd_{package}.metrics")).values():
                if isinstance(each, MetricWrapperBase) and not any(
                    each in of for of in found.values()
                ):
                    found.setdefault(package, []).append(each)
    return found


def metrics_page() -> str:
    """The page: what all services have first, what the exchange's client counts, each service."""
    titles = {"common": "Every service", "kalshi": "sync and lifecycle, of the exchange"}
    parts = [METRICS_HEAD]
    for package, of in metrics().items():
        parts.append(f"## {titles.get(package, package)}\n")
        parts.append("| metric | kind | labels | meaning |\n|---|---|---|---|")
        for each in of:
            total = "_total" if each._type == "counter" else ""
            labels = ", ".join(f"`{name}`" for name in each._labelnames)
            meaning = each._documentation.replace("|", "\\|")
            parts.append(f"| `{each._name}{total}` | {each._type} | {labels} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


PAGES = {"settings": settings_page, "metrics": metrics_page}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
