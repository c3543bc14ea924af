"""The chart's dashboards for Grafana, made from the metrics in the code.

The overview is chosen by hand. A service's own shows every metric that it has: a counter as a rate,
a gauge as it is, a histogram as two quantiles. `$namespace` and `$release` match everything where
targets have no such label.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from documented_metrics import having, metrics
from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableRefresh,
)
from prometheus_client.metrics import MetricWrapperBase

from ssmd_common.parts import SERVICES

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_SCOPE: Final = 'namespace=~"$namespace",release=~"$release"'
_RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture over time. `unit` is a word of Grafana; each query is an expression and a legend.

    `core`: any system that works has something to show in it.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    description: str = ""
    core: bool = False


def _ours(metric: str, *more: str) -> str:
    return f"{metric}{{{','.join((_SCOPE, *more))}}}"


def _quantiles(metric: str, *more: str, labels: tuple[str, ...] = ()) -> dict[str, str]:
    by = ", ".join(("le", *labels))
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return {
        f"histogram_quantile({q}, sum by ({by}) (rate({_ours(f'{metric}_bucket', *more)}{_RATE})))":
        f"{legend} p{q * 100:.0f}".strip()
        for q in (0.5, 0.95)
    }  # fmt: skip


_OF_SERVICES: Final = f'service=~"{"|".join(SERVICES)}"'
_OF_SSMD: Final = 'alertname=~"Ssmd.+"'
OVERVIEW: Final = (
    Panel(
        "Ready",
        {f"max by (service) ({_ours('ssmd_ready')})": "{{service}}"},
        description="1 while a replica is ready.",
        core=True,
    ),
    Panel(
        "Conditions that do not hold",
        {f"min by (service, name) ({_ours('ssmd_condition')}) == 0": "{{service}}: {{name}}"},
        description="Of any replica; `/readyz` has the sentence.",
    ),
    Panel(
        "Alerts",
        {
            f"count by (alertname, service) ({_ours('ALERTS', _OF_SSMD)})":
            "{{alertname}} {{service}}"
        },
        description="Pending and firing; docs/alerts.md says what to do.",
    ),
    Panel(
        "Leaders",
        {f"sum by (service) ({_ours('ssmd_leader')})": "{{service}}"},
        description="Replicas that do the work: 1, but for sync (all) and api (0).",
        core=True,
    ),
    Panel(
        "From the exchange to a subscriber",
        _quantiles("ssmd_exchange_to_subscriber_seconds"),
        unit="s",
        description="From the exchange's own time of a lifecycle message, by two clocks.",
        core=True,
    ),
    Panel(
        "Lag",
        {f"max by (service) ({_ours('ssmd_lag_seconds')})": "{{service}}"},
        unit="s",
        core=True,
    ),
    Panel(
        "Work per second",
        {f"sum by (service) (rate({_ours('ssmd_work_total')}{_RATE}))": "{{service}}"},
        description="Rows written, messages published or applied, requests answered.",
        core=True,
    ),
    Panel(
        "Errors per second",
        {f"sum by (service, kind) (rate({_ours('ssmd_errors_total')}{_RATE}))":
         "{{service}} {{kind}}"},
        description="After which the service went on.",
    ),
    Panel(
        "Changes published per second",
        {f"sum by (table) (rate({_ours('ssmd_cdc_messages_total')}{_RATE}))": "{{table}}"},
        core=True,
    ),
    Panel(
        "WAL that PostgreSQL keeps for cdc",
        {f"max ({_ours('ssmd_cdc_slot_retained_bytes')})": "retained",
         f"min ({_ours('ssmd_cdc_slot_safe_wal_bytes')})": "until the slot is lost"},
        unit="bytes",
        core=True,
    ),
    Panel(
        "Since the last success of sync",
        {f"time() - max by (sync_job) ({_ours('ssmd_sync_last_success_timestamp_seconds')})":
         "{{sync_job}}"},
        unit="s",
        core=True,
    ),
    Panel(
        "Since the exchange's last message",
        {f"max ({_ours('ssmd_lifecycle_last_message_age_seconds')})": "seconds"},
        unit="s",
        core=True,
    ),
    Panel(
        "Rows in Redis",
        {f"max by (kind) ({_ours('ssmd_cache_keys')})": "{{kind}}"},
        core=True,
    ),
    Panel(
        "Requests per second",
        {f"sum by (status) (rate({_ours('ssmd_api_requests_total')}{_RATE}))": "{{status}}"},
    ),
    Panel("Time of a request", _quantiles("ssmd_api_request_seconds", 'route!="/v1/changes"'), "s"),
    Panel(
        "Memory",
        {f"{_ours('process_resident_memory_bytes', _OF_SERVICES)}": "{{service}} {{instance}}"},
        unit="bytes",
        core=True,
    ),
    Panel(
        "Processor",
        {f"rate({_ours('process_cpu_seconds_total', _OF_SERVICES)}{_RATE})":
         "{{service}} {{instance}}"},
        unit="percentunit",
        description="1 is one core.",
        core=True,
    ),
)  # fmt: skip


def of_service(service: str) -> Iterator[Panel]:
    """A panel for each metric of the service: its own first, then what it shares."""
    found = metrics()
    others = [package for package in found if package != service]
    for package in (service, *others):
        if set(having(package)) & {service, "all"}:
            for name, metric in found[package].items():
                yield _shown(name, metric, service)


def _shown(name: str, metric: MetricWrapperBase, service: str) -> Panel:
    [family] = metric.describe()
    one, labels = f'service="{service}"', tuple(metric._labelnames)
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    title = name.removeprefix("ssmd_").removeprefix(f"{service}_").removesuffix("_total")
    unit = "s" if name.endswith("_seconds") else "bytes" if name.endswith("_bytes") else "short"
    if family.type == "histogram":
        queries = _quantiles(name, one, labels=labels)
    elif family.type == "counter":
        by = f" by ({', '.join(labels)})" if labels else ""
        queries = {f"sum{by} (rate({_ours(name, one)}{_RATE}))": legend or "per second"}
    elif name.endswith("_timestamp_seconds"):
        queries = {f"time() - {_ours(name, one)}": legend}
        title = title.replace("_timestamp_seconds", "_age")
    else:
        queries = {_ours(name, one): f"{legend} {{{{instance}}}}".strip()}
    words = title.replace("_", " ").capitalize() + (" per second" * (family.type == "counter"))
    return Panel(words, queries, unit, family.documentation)


def panels() -> dict[str, list[Panel]]:
    """Each dashboard's panels by its name."""
    return {"overview": list(OVERVIEW), **{name: list(of_service(name)) for name in SERVICES}}


def _drawn(name: str) -> str:
    """The dashboard as Grafana reads it."""
    made = (
        dashboard.Dashboard(f"ssmd: {name}")
        .uid(f"ssmd-{name}")
        .tags(["ssmd"])
        .timezone("utc")
        .refresh("30s")
        .time("now-3h", "now")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(_chosen("namespace"))
        .with_variable(_chosen("release"))
        .link(
            dashboard.DashboardLink("ssmd")
            .type("dashboards")
            .tags(["ssmd"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    for panel in panels()[name]:
        picture = (
            timeseries.Panel()
            .title(panel.title)
            .description(panel.description)
            .datasource(_SOURCE)
            .unit(panel.unit)
            .height(8)
            .span(8)
            .fill_opacity(10)
            .legend(
                common.VizLegendOptions()
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
                .show_legend(True)
            )
        )
        for position, (expression, legend) in enumerate(panel.queries.items()):
            query = prometheus.Dataquery().expr(expression).legend_format(legend)
            picture.with_target(query.ref_id(chr(ord("A") + position)).datasource(_SOURCE))
        made.with_panel(picture)
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _chosen(label: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(label)
        .label(label.capitalize())
        .query(f"label_values(ssmd_ready, {label})")
        .datasource(_SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _page(name: str) -> Callable[[], str]:
    return lambda: _drawn(name)


DASHBOARDS: Final[dict[str, Callable[[], str]]] = {
    f"deploy/helm/ssmd/monitoring/dashboards/{name}.json": _page(name) for name in panels()
}
