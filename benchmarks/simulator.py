"""The simulated exchange's figure: pages of 1,000 markets per second, from one process.

The exchange runs as a process of its own without a read budget; this one only reads the bytes. The
first scan renders every market, later ones find them rendered.

usage: python benchmarks/simulator.py [--size full] [--scans 3]
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import uvloop


@asynccontextmanager
async def exchange(size: str) -> AsyncIterator[tuple[str, int]]:
    """A running simulator: its REST base and its process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_simulator", "--size", size, "--budget", "0",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while raw := await process.stdout.readline():
            line = json.loads(raw)
            if line["event"] == "ready":
                break
        else:
            raise SystemExit("the simulator ended before it was ready")
        yield line["base_url"], process.pid
    finally:
        process.terminate()
        await process.wait()


async def scan(http: aiohttp.ClientSession, base_url: str) -> tuple[int, int]:
    """Read every page of /markets; how many pages and bytes there were."""
    pages = size = 0
    cursor = ""
    while True:
        query = {"limit": "1000", "cursor": cursor}
        async with http.get(f"{base_url}/markets", params=query) as response:
            body = await response.read()
        pages, size = pages + 1, size + len(body)
        cursor = body[body.rindex(b'"cursor":"') + 10 : -2].decode()
        if not cursor:
            return pages, size


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process; None where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


async def run(size: str, scans: int) -> None:
    """Print one JSON line per scan."""
    async with exchange(size) as (base_url, pid), aiohttp.ClientSession() as http:
        for number in range(scans):
            begun = time.perf_counter()
            pages, total = await scan(http, base_url)
            seconds = time.perf_counter() - begun
            figures = {
                "scan": "first" if number == 0 else "again",
                "pages": pages,
                "megabytes": round(total / 2**20, 1),
                "pages_per_second": round(pages / seconds, 1),
                "resident_mb": resident_mb(pid),
            }
            print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--scans", type=int, default=3)
    options = parser.parse_args()
    uvloop.run(run(options.size, options.scans))


if __name__ == "__main__":
    main()
