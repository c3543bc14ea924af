"""Dashboards: what they ask for exists, and Prometheus understands how they ask."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts import TARGET
from dashboards import DASHBOARDS, of_service, panels
from documented_metrics import having, metrics
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from ssmd_common.parts import SERVICES

ROOT = Path(__file__).parents[2]
# What Prometheus and its client library add.
ADDED = {
    "ALERTS": {"alertname"},
    "process_resident_memory_bytes": set[str](),
    "process_cpu_seconds_total": set[str](),
}


def queries() -> list[tuple[str, str]]:
    return [(name, query) for name, own in panels().items() for panel in own
            for query in panel.queries]  # fmt: skip


@pytest.mark.parametrize("path", DASHBOARDS)
def test_a_dashboard_is_what_the_code_makes(path: str) -> None:
    assert (ROOT / path).read_text() == DASHBOARDS[path](), "run `make docs`"


@pytest.mark.parametrize("path", DASHBOARDS)
def test_grafanas_own_model_reads_a_dashboard_whole(path: str) -> None:
    read: Any = json.loads((ROOT / path).read_text())
    again = json.loads(json.dumps(Dashboard.from_json(read), cls=JSONEncoder))
    assert again == read
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in read["panels"]]
    assert len({(x, y) for x, y, _, _ in places}) == len(places)
    assert all(x + w <= 24 for x, _, w, _ in places)


def test_every_query_names_a_metric_that_exists() -> None:
    known = {exposed: set(metric._labelnames) for own in metrics().values()
             for exposed, metric in own.items()} | ADDED  # fmt: skip
    for name, query in queries():
        selectors = re.findall(r"(\w+)\{([^}]*)\}", query)
        assert selectors, (name, query)
        for metric, selector in selectors:
            labels = known.get(metric) or known[metric.removesuffix("_bucket")] or set()
            assert set(re.findall(r"(\w+)=", selector.replace("!=", "="))) <= labels | TARGET, query


def test_a_services_dashboard_has_all_that_the_service_has() -> None:
    for service in SERVICES:
        shown = "\n".join(query for panel in of_service(service) for query in panel.queries)
        for package, own in metrics().items():
            if set(having(package)) & {service, "all"}:
                for metric in own:
                    assert re.search(rf"\b{metric}(_bucket)?\{{", shown), (service, metric)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here (prometheus)")
def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, (_, query) in enumerate(queries())
    ]
    assert len(rules) > 100
    (tmp_path / "q.yaml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", tmp_path / "q.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
