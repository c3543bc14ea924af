"""What the chart renders of monitoring."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts import alerts
from dashboards import DASHBOARDS

CHART = Path(__file__).parents[2] / "deploy/helm/ssmd"
KINDS = {"PodMonitor", "PrometheusRule", "ConfigMap"}

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def rendered(*values: str, release: str = "prod") -> list[dict[str, Any]]:
    """The objects of monitoring alone."""
    sets = [word for value in values for word in ("--set", f"monitoring.{value}")]
    command = ["helm", "template", release, str(CHART), *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [document for document in yaml.safe_load_all(done.stdout) if document]
    component = "app.kubernetes.io/component"
    return [d for d in found if d["metadata"].get("labels", {}).get(component) == "monitoring"]


def test_nothing_of_it_is_there_by_default() -> None:
    assert rendered() == []


def test_rules_are_those_of_the_file() -> None:
    (rule,) = rendered(
        "rules.enabled=true",
        "rules.runbookUrl=https://docs.example/alerts.md",
        "rules.labels.release=kube",
        "rules.alertLabels.team=data",
        "rules.disabled={SsmdDegraded}",
    )
    assert rule["metadata"]["labels"]["release"] == "kube"
    [group] = rule["spec"]["groups"]
    assert {r["alert"] for r in group["rules"]} == set(alerts()) - {"SsmdDegraded"}
    for found in group["rules"]:
        ours = alerts()[found["alert"]]
        assert (found["expr"], found.get("for")) == (ours["expr"], ours.get("for"))
        assert found["labels"] == {**ours["labels"], "team": "data"}
        notes = {key: text for key, text in ours["annotations"].items() if key != "see"}
        url = f"https://docs.example/alerts.md#{found['alert'].lower()}"
        assert found["annotations"] == {**notes, "runbook_url": url}


def test_without_a_place_to_read_there_is_no_runbook_url() -> None:
    (rule,) = rendered("rules.enabled=true")
    assert not any("runbook_url" in r["annotations"] for r in rule["spec"]["groups"][0]["rules"])


def test_the_pod_monitor_finds_the_pods_and_names_them() -> None:
    (monitor,) = rendered("podMonitor.enabled=true", "podMonitor.interval=15s")
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "ssmd", "app.kubernetes.io/instance": "prod"}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["interval"]) == ("ops", "15s")
    assert {r.get("targetLabel") for r in endpoint["relabelings"]} == {"service", "release", None}


def test_each_dashboard_is_a_config_map_that_grafana_finds() -> None:
    maps = rendered("dashboards.enabled=true", release="a" * 30)
    texts = {name: text for found in maps for name, text in found["data"].items()}
    made = {f"ssmd-{Path(path).name}": (CHART.parents[2] / path).read_text() for path in DASHBOARDS}
    assert texts == made
    assert all(found["metadata"]["labels"]["grafana_dashboard"] == "1" for found in maps)
    assert all(len(found["metadata"]["name"]) <= 63 for found in maps)


@pytest.mark.parametrize("wrong", ["rules.enable=true", "podMonitor.interval=soon", "rule=1"])
def test_a_typo_is_refused(wrong: str) -> None:
    command = ["helm", "template", "prod", str(CHART), "--set", f"monitoring.{wrong}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "monitoring" in done.stderr
