"""The exchange's official Python SDK reads our replies without an error, in both its forms."""

import asyncio
import json
from pathlib import Path

import pytest

from ssmd_simulator.client import Client

SDK = Path(__file__).parents[2] / ".ci" / "sdk" / "bin" / "python"


@pytest.mark.parametrize("form", ["sync", "async"])
async def test_the_official_sdk_reads_everything(client: Client, form: str) -> None:
    if not SDK.exists():
        pytest.skip("the exchange's SDK is not installed: make sdk (it needs Python 3.13)")
    process = await asyncio.create_subprocess_exec(
        SDK, Path(__file__).with_name("sdk_walk.py"), form, client.sim.base_url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, failure = await process.communicate()
    assert process.returncode == 0, failure.decode()[-4000:]
    counts = json.loads(said)
    opened = await client.all("/events", "events", status="open", with_nested_markets="true")
    assert counts["series"] == len(client.sim.universe.series)
    assert counts["markets"] == len(await client.all("/markets", "markets", limit=1000))
    assert counts["events"] == len(opened)
    assert counts["nested"] == sum(len(event["markets"]) for event in opened)
    assert counts["historical"] == 200
