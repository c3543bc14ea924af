"""Pages that are made from the code: `make docs` writes them, tests hold them."""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from alerts import alerts_page
from dashboards import DASHBOARDS
from documented_metrics import cell, metrics_page
from documented_parquet import parquet_page
from documented_rights import PAGE as RIGHTS_PAGE
from documented_rights import with_rights
from documented_values import values_page
from pydantic.fields import FieldInfo

from ssmd_common.manifests import Manifest, Need, manifest, settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.settings import default_text, variables

ROOT: Final = Path(__file__).parents[1]
SETTINGS_HEAD: Final = """# Settings

Every service reads its settings from the environment. It reports every fault that these show at
once and exits 2, before it opens anything; what only a server or a file of credentials can show is
reported when it is first used. This page is made from the code by `make docs`.
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
        parts.append(f"| `{name}` | {_default(field)} | {by} | {cell(field.description)} |")
    for service, fields in found.items():
        parts.append(
            f"\n## {service}\n\n{_described(manifest(service))}\n\n"
            "| variable | default | meaning |\n|---|---|---|"
        )
        parts += [
            f"| `{name}` | {_default(field)} | {cell(field.description)} |"
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
    if field.is_required():
        return "required"
    value = default_text(field)
    return value and f"`{value}`"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/settings.md": settings_page,
    "docs/metrics.md": metrics_page,
    "docs/alerts.md": alerts_page,
    **DASHBOARDS,
    "docs/chart-values.md": values_page,
    "docs/parquet.md": parquet_page,
    "docs/rights.md": lambda: with_rights(RIGHTS_PAGE.read_text()),
}


if __name__ == "__main__":
    for path, page in PAGES.items():
        (ROOT / path).write_text(page())
    sys.stdout.write(f"written: {', '.join(PAGES)}\n")
