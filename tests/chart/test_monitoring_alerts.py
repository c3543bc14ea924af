"""Each alert fires on bad series and on no other, asked of Prometheus itself by promtool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from alerts import RULES, TARGET, alerts
from documented_metrics import metrics

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian: prometheus)"
)

PROCESS: Final = {"process_start_time_seconds"}
HALF_HOUR: Final = 30
LATER: Final = {
    ("SsmdArchiverDaysOverdue", True): 80,
    ("SsmdArchiverDaysOverdue", False): 80,
    ("SsmdFieldsRejected", False): 80,
    ("SsmdHistoryNotMaintained", False): 400,
    ("SsmdHistoryNotMaintained", True): 400,
}
"""Minutes, where half an hour is too early; of an alert that fires, or does not."""

# promtool does not read NaNx40.
NAN: Final = " ".join(["NaN"] * 41)

# An alert, series of a minute's step on which it fires at the end of half an hour, and others on
# which it does not. `@cdc` stands for the labels of a target.
Case = tuple[dict[str, str], dict[str, str]]
WORKS: Final = {"ssmd_leader@cdc": "1x40"}
CASES: Final[dict[str, Case]] = {
    "SsmdServiceGone": (
        {"ssmd_ready@cdc": "1x10 _x40"},
        {"ssmd_ready@cdc,instance='a'": "1x10 _x40", "ssmd_ready@cdc,instance='b'": "1x40"},
    ),
    "SsmdNotReady": (
        {"ssmd_ready@cdc": "1x10 0x40"},
        {"ssmd_ready@cdc,instance='a'": "0x40", "ssmd_ready@cdc,instance='b'": "1x40"},
    ),
    "SsmdLeaderNotReady": (
        {"ssmd_ready@cdc,instance='a'": "1x10 0x40", "ssmd_leader@cdc,instance='a'": "1x50",
         "ssmd_ready@cdc,instance='b'": "1x50", "ssmd_leader@cdc,instance='b'": "0x50"},
        # A standby that is not ready leaves its leader at work.
        {"ssmd_ready@cdc,instance='a'": "1x50", "ssmd_leader@cdc,instance='a'": "1x50",
         "ssmd_ready@cdc,instance='b'": "0x50", "ssmd_leader@cdc,instance='b'": "0x50"},
    ),
    "SsmdConditionFails": (
        {"ssmd_condition@cdc,name='nats'": "0x40", **WORKS},
        # A standby's conditions are its leader's business.
        {"ssmd_condition@cdc,name='nats'": "0x40", "ssmd_leader@cdc": "0x40",
         "ssmd_leader@cdc,instance='b'": "1x40"},
    ),
    "SsmdDegraded": (
        {"ssmd_degraded@api,name='redis'": "1x40"},
        {"ssmd_degraded@api,name='redis'": "1x20 0x20"},
    ),
    "SsmdClockDiffers": (
        {"ssmd_clock_offset_seconds@sync": "-3x40"},
        {"ssmd_clock_offset_seconds@sync": "1.5x40", "ssmd_clock_offset_seconds@cdc": NAN},
    ),
    "SsmdLag": (
        {"ssmd_lag_seconds@cache": "61x40"},
        # sync's lag is its interval, api has none.
        {"ssmd_lag_seconds@cache": "59x40", "ssmd_lag_seconds@sync": "900x40",
         "ssmd_lag_seconds@api": NAN},
    ),
    "SsmdNoLeader": (
        {"ssmd_leader@lifecycle": "0x40"},
        {"ssmd_leader@lifecycle,instance='a'": "0x40",
         "ssmd_leader@lifecycle,instance='b'": "1x40", "ssmd_leader@api": "0x40"},
    ),
    "SsmdTwoLeaders": (
        {"ssmd_leader@archiver,instance='a'": "1x40", "ssmd_leader@archiver,instance='b'": "1x40"},
        {"ssmd_leader@sync,instance='a'": "1x40", "ssmd_leader@sync,instance='b'": "1x40"},
    ),
    "SsmdRestarts": (
        {"process_start_time_seconds@cdc": "1x20 2 3 4 5 6x40", "ssmd_ready@cdc": "1x40"},
        # Another program of this machine is started again and again.
        {"process_start_time_seconds{job='other'}": "1x20 2 3 4 5 6x40",
         "process_start_time_seconds@cdc": "1x20 2x40", "ssmd_ready@cdc": "1x40"},
    ),
    "SsmdNewsLate": (
        {"ssmd_exchange_to_subscriber_seconds_bucket@cache,le='10'": "0x40",
         "ssmd_exchange_to_subscriber_seconds_bucket@cache,le='30'": "0+60x40",
         "ssmd_exchange_to_subscriber_seconds_bucket@cache,le='+Inf'": "0+60x40"},
        {"ssmd_exchange_to_subscriber_seconds_bucket@cache,le='10'": "0+59x40",
         "ssmd_exchange_to_subscriber_seconds_bucket@cache,le='+Inf'": "0+60x40"},
    ),
    "SsmdSlotRetainsWal": (
        {"ssmd_cdc_slot_retained_bytes@cdc": "11000000000x40"},
        {"ssmd_cdc_slot_retained_bytes@cdc": "10000000000x40"},
    ),
    "SsmdSlotNearlyLost": (
        {"ssmd_cdc_slot_safe_wal_bytes@cdc": "1000000000x40"},
        {"ssmd_cdc_slot_safe_wal_bytes@cdc": NAN},
    ),
    "SsmdNatsDoesNotStore": (
        {"ssmd_cdc_not_storing@cdc": "1x40"},
        {"ssmd_cdc_not_storing@cdc": "0x40"},
    ),
    "SsmdDeadLetters": (
        {"ssmd_cdc_dead_letters_total@cdc": "0x20 1x20"},
        {"ssmd_cdc_dead_letters_total@cdc": "5x40"},
    ),
    "SsmdEpochBegun": (
        {"ssmd_cdc_epochs_total@cdc,cause='slot_lost'": "_x20 1x20"},
        {"ssmd_cdc_epochs_total@cdc,cause='first_start'": "_x20 1x20",
         "ssmd_cdc_epochs_total@cdc,cause='slot_lost'": "1x40"},
    ),
    "SsmdCacheDrift": (
        {"ssmd_cache_drift@cache": "2x40"},
        {"ssmd_cache_drift@cache": "0x40"},
    ),
    "SsmdCacheNotWhole": (
        {"ssmd_condition@cache,name='warm'": "0x40", "ssmd_leader@cache": "1x40"},
        {"ssmd_condition@cache,name='warm'": "1x25 0x15", "ssmd_leader@cache": "1x40"},
    ),
    "SsmdLifecycleSilent": (
        {"ssmd_lifecycle_silent@lifecycle": "1x40"},
        {"ssmd_lifecycle_silent@lifecycle": "0x40"},
    ),
    "SsmdLifecycleGap": (
        {"ssmd_condition@lifecycle,name='gap'": "0x40", "ssmd_leader@lifecycle": "1x40"},
        {"ssmd_condition@lifecycle,name='gap'": "1x27 0x13", "ssmd_leader@lifecycle": "1x40"},
    ),
    "SsmdLifecycleGapsOften": (
        {"ssmd_lifecycle_gaps_total@lifecycle,reason='closed'": "0+1x40"},
        {"ssmd_lifecycle_gaps_total@lifecycle,reason='closed'": "0x20 1x20"},
    ),
    "SsmdSyncStale": (
        {"ssmd_sync_last_success_timestamp_seconds@sync,sync_job='active'": "0x40",
         "ssmd_sync_interval_seconds@sync,sync_job='active'": "300x40"},
        # Another replica has had the job since.
        {"ssmd_sync_last_success_timestamp_seconds@sync,sync_job='active'": "0x40",
         "ssmd_sync_last_success_timestamp_seconds@sync,sync_job='active',instance='b'":
         "0+60x40",
         "ssmd_sync_interval_seconds@sync,sync_job='active'": "300x40"},
    ),
    "SsmdSyncDeletionsRefused": (
        {"ssmd_sync_deletions_refused_total@sync,table='markets'": "_x20 1x20"},
        {"ssmd_sync_deletions_refused_total@sync,table='markets'": "1x40"},
    ),
    "SsmdHistoryNotMaintained": (
        {"ssmd_sync_history_maintained_timestamp_seconds@sync": "1x400"},
        # One that stands by has 0.
        {"ssmd_sync_history_maintained_timestamp_seconds@sync": "1x60 3600x340",
         "ssmd_sync_history_maintained_timestamp_seconds@sync,instance='b'": "0x400"},
    ),
    "SsmdFieldsRejected": (
        {"ssmd_kalshi_rejected_fields_total@sync,entity='market',field='title'": "_x20 1x20"},
        {"ssmd_kalshi_rejected_fields_total@sync,entity='market',field='title'": "1x100"},
    ),
    "SsmdStatusNotWritten": (
        {"ssmd_status_write_failures_total@sync,kind='OSError'": "0+1x40"},
        {"ssmd_status_write_failures_total@sync,kind='OSError'": "0x20 1x20"},
    ),
    "SsmdArchiverLags": (
        {"ssmd_lag_seconds@archiver": "301x40"},
        {"ssmd_lag_seconds@archiver": "0x20 301x5 0x20"},
    ),
    "SsmdArchiverDiskFills": (
        {"ssmd_archiver_free_bytes@archiver": "2000000000x40"},
        {"ssmd_archiver_free_bytes@archiver": "3000000000x40"},
    ),
    "SsmdArchiverHoles": (
        {"ssmd_archiver_missing_messages_total@archiver,stream='S',why='hole'": "_x20 7x20"},
        {"ssmd_archiver_missing_messages_total@archiver,stream='S',why='hole'": "7x40"},
    ),
    "SsmdArchiveUploadBacklog": (
        {"ssmd_archiver_upload_oldest_seconds@archiver,stream='S'": "3601+60x40"},
        # A bucket that was away for a while.
        {"ssmd_archiver_upload_oldest_seconds@archiver,stream='S'": "0x10 3601+60x5 0x20"},
    ),
    "SsmdArchiverDaysOverdue": (
        {"ssmd_archiver_overdue_days@archiver,stream='S'": "3x100"},
        {"ssmd_archiver_overdue_days@archiver,stream='S'": "2x100"},
    ),
    "SsmdConnectorDrops": (
        {"ssmd_connector_dropped_total@connector,type='ticker'": "_x20 7x20"},
        {"ssmd_connector_dropped_total@connector,type='ticker'": "7x40"},
    ),
    "SsmdConnectorDoesNotStore": (
        {"ssmd_connector_not_storing@connector": "1x40"},
        {"ssmd_connector_not_storing@connector": "0x40"},
    ),
    "SsmdApiErrors": (
        {"ssmd_api_requests_total@api,status='200'": "0+60x40",
         "ssmd_api_requests_total@api,status='503'": "0+60x40"},
        {"ssmd_api_requests_total@api,status='200'": "0+60x40",
         "ssmd_api_requests_total@api,status='500'": "0+1x40"},
    ),
}  # fmt: skip


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(alerts())


@needs_promtool
def test_each_fires_on_bad_series_alone_and_is_quiet_on_good_ones(tmp_path: Path) -> None:
    tests = []
    for name, (bad, good) in CASES.items():
        tests += [_told(name, bad, fires={name}), _told(name, good, fires=set())]
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    done = _promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def _told(name: str, series: dict[str, str], fires: set[str]) -> dict[str, Any]:
    minutes = LATER.get((name, bool(fires)), HALF_HOUR)
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [
            {"series": _labelled(text), "values": values} for text, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fires
                ],
            }
        ],
    }


def _labelled(text: str) -> str:
    """`ssmd_ready@cdc,name='x'` with the labels that the PodMonitor gives the target."""
    metric, _, rest = text.partition("@")
    if rest:
        service, _, more = rest.partition(",")
        labels = {"namespace": "n", "release": "r", "service": service, "instance": "a"}
        labels |= dict(re.findall(r"(\w+)='([^']*)'", more))
        metric += "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    return metric.replace("'", '"')


@needs_promtool
def test_what_is_told_has_the_labels_and_the_value(tmp_path: Path) -> None:
    series = _labelled("ssmd_cdc_slot_safe_wal_bytes@cdc")
    notes = dict(alerts()["SsmdSlotNearlyLost"]["annotations"])
    notes["summary"] = "PostgreSQL gives cdc's slot up after 1kiB more of WAL"
    labels = {"namespace": "n", "release": "r", "service": "cdc", "instance": "a"}
    told = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": "1024x5"}],
                "alert_rule_test": [
                    {
                        "eval_time": "3m",
                        "alertname": "SsmdSlotNearlyLost",
                        "exp_alerts": [
                            {
                                "exp_labels": {**labels, "severity": "critical"},
                                "exp_annotations": notes,
                            }
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(told))
    done = _promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_no_fault() -> None:
    done = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_every_metric_and_label_of_an_alert_exists(name: str) -> None:
    known = {
        exposed: set(metric._labelnames) for own in metrics().values()
        for exposed, metric in own.items()
    }  # fmt: skip
    expression = alerts()[name]["expr"]
    found = re.findall(r"\b((?:ssmd|process)_\w+)(?:\{([^}]*)\})?", expression)
    assert found
    for metric, selector in found:
        if metric in PROCESS:
            continue
        labels = known[metric if metric in known else metric.removesuffix("_bucket")]
        assert set(re.findall(r"(\w+)[=!]", selector)) <= labels | TARGET, metric


def test_no_label_of_ours_is_one_that_targets_have() -> None:
    """Prometheus would rename it `exported_…`."""
    targets = {"job", "instance", "service", "release", "namespace", "pod", "container", "node"}
    for own in metrics().values():
        for name, metric in own.items():
            assert not targets & set(metric._labelnames), name


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert len(rule["annotations"]["description"].split()) > 10
    # That the place exists, test_links_lead_somewhere sees on the page that is made from this.
    assert re.fullmatch(r"\w+\.md(#[\w-]+)?", rule["annotations"]["see"])
    for metric in re.findall(r"`(ssmd_\w+)", rule["annotations"]["description"]):
        assert any(metric in own for own in metrics().values()), metric


def _promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
