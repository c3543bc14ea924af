"""What the chart renders of monitoring."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts import alerts
from charts import of_kind, render
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
        notes = {
            key: text
            for key, text in ours["annotations"].items()
            if key not in ("see", "threshold")
        }
        url = f"https://docs.example/alerts.md#{found['alert'].lower()}"
        assert found["annotations"] == {**notes, "runbook_url": url}


def test_thresholds_and_durations_are_the_operators_to_choose() -> None:
    (rule,) = rendered(
        "rules.enabled=true",
        "rules.thresholds.SsmdLag=90",
        "rules.thresholds.SsmdApiErrors=0.1",
        "rules.thresholds.SsmdSlotRetainsWal=50 * 1024^3",
        "rules.thresholds.SsmdArchiverDiskFills=5000000000",
        "rules.thresholds.SsmdSyncStale=5",
        "rules.for.SsmdLag=15m",
        "rules.for.SsmdRestarts=1m",
    )
    found = {r["alert"]: r for r in rule["spec"]["groups"][0]["rules"]}
    assert found["SsmdLag"]["expr"].endswith("} > 90")
    assert "> 0.1 * sum" in found["SsmdApiErrors"]["expr"]
    assert found["SsmdSlotRetainsWal"]["expr"].endswith(" > 50 * 1024^3")
    assert found["SsmdArchiverDiskFills"]["expr"].endswith(" < 5000000000")
    assert "> 5 * max" in found["SsmdSyncStale"]["expr"]
    assert (found["SsmdLag"]["for"], found["SsmdRestarts"]["for"]) == ("15m", "1m")
    changed = {"SsmdLag", "SsmdApiErrors", "SsmdSlotRetainsWal", "SsmdArchiverDiskFills"}
    changed |= {"SsmdSyncStale", "SsmdRestarts"}
    for name in found.keys() - changed:
        ours = alerts()[name]
        assert (found[name]["expr"], found[name].get("for")) == (ours["expr"], ours.get("for"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_prometheus_reads_every_threshold_that_is_replaced(tmp_path: Path) -> None:
    limits = [name for name, rule in alerts().items() if "threshold" in rule["annotations"]]
    (rule,) = rendered("rules.enabled=true", *(f"rules.thresholds.{n}=4 * 1024^3" for n in limits))
    for found in rule["spec"]["groups"][0]["rules"]:
        assert ("4 * 1024^3" in found["expr"]) == (found["alert"] in limits), found
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_knows_every_alert_and_every_threshold() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    rules = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]
    assert rules["disabled"]["items"]["enum"] == list(alerts())
    assert list(rules["for"]["properties"]) == list(alerts())
    limits = {name: rule["annotations"].get("threshold") for name, rule in alerts().items()}
    assert list(rules["thresholds"]["properties"]) == [name for name in limits if limits[name]]
    for name, limit in limits.items():
        # It is replaced where it stands, and stands there once, as a whole.
        found = limit and re.findall(
            rf"{re.escape(limit)}(?![\d.^*]| \* \d)", alerts()[name]["expr"]
        )
        assert limit is None or len(found) == alerts()[name]["expr"].count(limit) == 1, name


@pytest.mark.parametrize("monitored", [True, False])
def test_a_pod_is_scraped_once(monitored: bool) -> None:
    sets = ["--set", f"monitoring.podMonitor.enabled={str(monitored).lower()}"]
    for deployment in of_kind(render(*sets), "Deployment"):
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        assert ("prometheus.io/scrape" in annotations) != monitored
        assert ("prometheus.io/port" in annotations) != monitored


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


@pytest.mark.parametrize(
    "wrong",
    [
        "rules.enable=true",
        "podMonitor.interval=soon",
        "rule=1",
        "rules.disabled={SsmdLags}",
        "rules.thresholds.SsmdLags=1",
        "rules.thresholds.SsmdNoLeader=1",
        "rules.thresholds.SsmdLag=many",
        "rules.for.SsmdLags=1m",
        "rules.for.SsmdLag=soon",
    ],
)
def test_a_typo_is_refused(wrong: str) -> None:
    command = ["helm", "template", "prod", str(CHART), "--set", f"monitoring.{wrong}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "monitoring" in done.stderr
