"""Every metric in the code, and the page that lists them."""

import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from ssmd_common.parts import SERVICES

ROOT: Final = Path(__file__).parents[1]
METRICS_HEAD: Final = """# Metrics

Each service serves its metrics for Prometheus at `/metrics` on `OPS_PORT`, api until the next
version on `API_PORT` as well. Beside those below stand `process_…` and `python_…`, which the client
library adds. Labels come from small sets, never from tickers. A counter counts since the process
started; a histogram's series are `…_bucket`, `…_sum` and `…_count`. What to alert on is in
[alerts.md](alerts.md). This page is made from the code by `make docs`.
"""


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
        services = ", ".join(having(package))
        for name, metric in own.items():
            [family] = metric.describe()
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            parts.append(
                f"| `{name}` | {family.type} | {labels} | {services} "
                f"| {cell(family.documentation)} |"
            )
        parts.append("")
    return "\n".join(parts)


_OF_LIBRARIES: Final = {"common": "Every service", "kalshi": "The exchange's client"}


def having(package: str) -> list[str]:
    if package == "common":
        return ["all"]
    if package in SERVICES:
        return [package]
    return [service for service in SERVICES if f"ssmd-{package}" in _needs(service)]


def _needs(service: str) -> list[str]:
    project = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text())
    needs: list[str] = project["project"]["dependencies"]
    return needs


def cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
