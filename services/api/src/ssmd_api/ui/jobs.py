"""The jobs of sync with their last runs. Pure."""

from collections.abc import Mapping
from typing import Any


def last_runs(runs: Mapping[str, Any], status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each job with `last_run`, None where it never ran, and `every_seconds`, None where no process
    of sync says that it has it."""
    scheduled: dict[str, Any] = {}
    if sync := status["services"].get("sync"):
        scheduled = (sync["position"] or {}).get("jobs") or {}
    known = {name: {"last_run": None, "last_success_at": None} for name in scheduled}
    return [
        {"name": name, "every_seconds": (scheduled.get(name) or {}).get("every_seconds"), **job}
        for name, job in sorted({**known, **runs["jobs"]}.items())
    ]
