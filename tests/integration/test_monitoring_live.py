"""A real Prometheus scrapes a running system, evaluates every alert and every dashboard's query."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from alerts import RULES, alerts
from dashboards import panels
from topology import Service, Topology

from ssmd_stack.database import Database
from ssmd_stack.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not here"),
]
PATIENCE_SECONDS = 120.0


class Prometheus:
    """Its HTTP API."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def get(self, path: str, **parameters: str) -> Any:
        async with self._http.get(f"{self._url}/api/v1/{path}", params=parameters) as reply:
            said = await reply.json()
            assert said["status"] == "success", (said, parameters)
            return said["data"]

    async def shows(self, query: str) -> bool:
        """Whether anything comes back, as Grafana asks with everything chosen."""
        for variable, value in (
            ("$__rate_interval", "10s"),
            ("$namespace", ".*"),
            ("$release", ".*"),
        ):
            query = query.replace(variable, value)
        assert "$" not in query
        return bool((await self.get("query", query=query))["result"])


@asynccontextmanager
async def prometheus(folder: Path, services: list[Service]) -> AsyncIterator[Prometheus]:
    """One that scrapes the services each second, with the labels that the PodMonitor gives."""
    jobs = [
        {"targets": [f"127.0.0.1:{service.port}"], "labels": {"service": service.name}}
        for service in services
    ]
    told = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "ssmd", "static_configs": jobs}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as http:
            await _until_it_answers(http, f"http://{address}/-/ready")
            yield Prometheus(http, f"http://{address}")
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with http.get(url) as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def test_a_working_system_fills_the_dashboards_and_fires_no_alert(
    services: Topology, database: Database, tmp_path: Path
) -> None:
    services.fork = False
    running = await services.start_all(database.url)
    for service in running:
        await service.ready()
    async with prometheus(tmp_path, running) as server:
        core = {
            query
            for panel in panels()["overview"] if panel.core
            for query in panel.queries
            # Without max_slot_wal_keep_size the slot has no limit: NaN, yet a sample.
        }  # fmt: skip
        empty = set(core)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while empty:
                    empty = {query for query in empty if not await server.shows(query)}
                    await asyncio.sleep(0.5)
        except TimeoutError:
            pytest.fail(f"nothing is shown by {empty}")
        shown = {
            query: await server.shows(query)
            for own in panels().values() for panel in own for query in panel.queries
        }  # fmt: skip
        assert sum(shown.values()) > len(shown) / 2, [q for q, any_ in shown.items() if not any_]
        [group] = (await server.get("rules"))["groups"]
        assert {rule["name"] for rule in group["rules"]} == set(alerts())
        assert {rule["health"] for rule in group["rules"]} == {"ok"}, group
        firing = [alert for alert in (await server.get("alerts"))["alerts"]
                  if alert["state"] == "firing"]  # fmt: skip
        assert firing == []
        targets = (await server.get("targets"))["activeTargets"]
        assert {target["health"] for target in targets} == {"up"}
