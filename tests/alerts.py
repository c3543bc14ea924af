"""The chart's alerts, and the page that is made from them."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
RULES: Final = ROOT / "deploy/helm/ssmd/monitoring/alerts.yaml"
# Labels that Prometheus adds to those of a metric.
TARGET: Final = {"namespace", "release", "service", "instance", "le"}
HEAD: Final = """# Alerts

What the chart's alerts mean and what to do; `runbook_url` leads to an alert's place here where
`monitoring.rules.runbookUrl` is set. They stand in `deploy/helm/ssmd/monitoring/alerts.yaml`, which
Prometheus reads without Helm too: [maintenance.md](maintenance.md#watching-without-kubernetes) says
how. This page is made from that file by `make docs`.

| alert | severity | for | when |
|---|---|---|---|
"""


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Each alert by its name, as Prometheus reads it."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def alerts_page() -> str:
    """A table of all alerts, and each with its expression and what to do."""
    rows, parts = [], []
    for name, rule in alerts().items():
        notes, severity = rule["annotations"], rule["labels"]["severity"]
        place = notes["see"].partition("#")[0].removesuffix(".md")
        rows.append(
            f"| [{name}](#{name.lower()}) | {severity} | {rule.get('for', 'at once')} "
            f"| {_in_words(notes['summary'])} |"
        )
        parts.append(
            f"\n## {name}\n\n{notes['description']} More: [{place}]({notes['see']}).\n\n"
            f"```promql\n{rule['expr'].strip()}\n```"
        )
        if "threshold" in notes:
            parts.append(
                f"\nThreshold (`monitoring.rules.thresholds.{name}`): `{notes['threshold']}`"
            )
    return HEAD + "\n".join(rows + parts) + "\n"


def _in_words(summary: str) -> str:
    """A summary with what Prometheus puts into it as a word in italics."""
    named = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "*n*", named)
