"""Pages that are made from the code: `make docs` writes them, tests hold them."""

import sys
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

from documented_rights import PAGE as RIGHTS_PAGE
from documented_rights import with_rights
from documented_values import values_page
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ssmd_common.manifests import Manifest, Need, manifest, settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.settings import variables

ROOT: Final = Path(__file__).parents[1]
SETTINGS_HEAD: Final = """# Settings

Every service reads its settings from the environment. It reports every fault that these show at
once and exits 2, before it opens anything; what only a server or a file of credentials can show is
reported when it is first used. This page is made from the code by `make docs`.
"""
METRICS_HEAD: Final = """# Metrics

Each service serves its metrics for Prometheus at `/metrics` on `OPS_PORT`, api until the next
version on `API_PORT` as well. Beside those below stand `process_…` and `python_…`, which the client
library adds. Labels come from small sets, never from tickers. A counter counts since the process
started; a histogram's series are `…_bucket`, `…_sum` and `…_count`. What to alert on is in
[operations.md](operations.md#what-to-alert-on). This page is made from the code by `make docs`.
"""


@cache
def settings() -> dict[str, dict[str, FieldInfo]]:
    """Each service's variables, described."""
    return {service: variables(settings_type(service)) for service in SERVICES}


def settings_page() -> str:
    """What all services share first, then what each has of its own."""
    found = settings()
    shared: dict[str, FieldInfo] = {}
    readers: dict[str, list[str]] = {}
    for service, fields in found.items():
        for name, field in fields.items():
            if not name.startswith(f"{service.upper()}_"):
                shared[name] = field
                readers.setdefault(name, []).append(service)
    parts = [
        SETTINGS_HEAD,
        "## Shared\n\n| variable | default | read by | meaning |\n|---|---|---|---|",
    ]
    for name, field in shared.items():
        by = "all" if len(readers[name]) == len(SERVICES) else ", ".join(readers[name])
        parts.append(f"| `{name}` | {_default(field)} | {by} | {_cell(field.description)} |")
    for service, fields in found.items():
        parts.append(
            f"\n## {service}\n\n{_described(manifest(service))}\n\n"
            "| variable | default | meaning |\n|---|---|---|"
        )
        parts += [
            f"| `{name}` | {_default(field)} | {_cell(field.description)} |"
            for name, field in fields.items()
            if name not in shared
        ]
    return "\n".join(parts) + "\n"


_NAMES: Final[Mapping[Need, str]] = {
    "postgres": "PostgreSQL",
    "nats": "NATS",
    "redis": "Redis",
    "exchange": "the exchange",
}
_SECOND: Final = {
    "works": "a second replica works, too",
    "waits": "a second replica waits until the first is gone",
}


def _described(found: Manifest) -> str:
    needs = ", ".join(_NAMES[need] for need in found.needs)
    return (
        f"Needs: {needs}. Replicas in the chart: {found.replicas}; {_SECOND[found.second_replica]}."
    )


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value is None or value == "" else f"`{value}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


@cache
def metrics() -> dict[str, dict[str, MetricWrapperBase]]:
    """Each package's own metrics by the name that Prometheus has; a counter's ends in `_total`."""
    found: dict[str, dict[str, MetricWrapperBase]] = {}
    known: set[str] = set()
    for package in ("common", "kalshi", *SERVICES):
        own = {
            _exposed(value): value
            for value in vars(import_module(f"ssmd_{package}.metrics")).values()
            if isinstance(value, MetricWrapperBase) and _exposed(value) not in known
        }
        found[package] = own
        known |= own.keys()
    return found


def _exposed(metric: MetricWrapperBase) -> str:
    [family] = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def metrics_page() -> str:
    """Every metric with its type, its labels, the services that have it, and its help."""
    parts = [METRICS_HEAD]
    for package, own in metrics().items():
        parts.append(
            f"## {_OF_LIBRARIES.get(package, package)}\n\n"
            "| metric | type | labels | service | meaning |\n|---|---|---|---|---|"
        )
        services = ", ".join(_having(package))
        for name, metric in own.items():
            [family] = metric.describe()
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            parts.append(
                f"| `{name}` | {family.type} | {labels} | {services} "
                f"| {_cell(family.documentation)} |"
            )
        parts.append("")
    return "\n".join(parts)


_OF_LIBRARIES: Final = {"common": "Every service", "kalshi": "The exchange's client"}


def _having(package: str) -> list[str]:
    if package == "common":
        return ["all"]
    if package in SERVICES:
        return [package]
    return [service for service in SERVICES if f"ssmd-{package}" in _needs(service)]


def _needs(service: str) -> list[str]:
    project = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text())
    needs: list[str] = project["project"]["dependencies"]
    return needs


PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/settings.md": settings_page,
    "docs/metrics.md": metrics_page,
    "docs/chart-values.md": values_page,
    "docs/rights.md": lambda: with_rights(RIGHTS_PAGE.read_text()),
}


if __name__ == "__main__":
    for path, page in PAGES.items():
        (ROOT / path).write_text(page())
    sys.stdout.write(f"written: {', '.join(PAGES)}\n")
