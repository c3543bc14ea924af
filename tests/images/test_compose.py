"""compose.yaml, brought up with the images that were built here; a market goes all the way."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import redis.asyncio as aioredis
import server_images
from container_engine import Engine
from container_images import CHOSEN, Images
from newcomer import environment
from observers import eventually

from ssmd_common.parts import SERVICES
from ssmd_stack.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        set(CHOSEN) != set(SERVICES), reason="compose runs every service: name no IMAGES"
    ),
]

PUBLISHED: Final = ("POSTGRES_PORT", "NATS_PORT", "REDIS_PORT", "API_PORT")
MAKE: Final = """
import json, urllib.request
body = json.dumps({"series": "KXIMAGES", "close_in": 3600}).encode()
headers = {"Content-Type": "application/json"}
url = "http://127.0.0.1:8090/control/markets"
print(urllib.request.urlopen(urllib.request.Request(url, body, headers)).read().decode())
"""


@dataclass(frozen=True, slots=True)
class Compose:
    """`compose("up", …)` is the provider's command line; it must end with 0."""

    command: tuple[str, ...]
    directory: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, seconds: float = 420) -> str:
        done = subprocess.run(
            [*self.command, "--project-name", "ssmd-test", *arguments],
            cwd=self.directory,
            env=environment() | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout


def provider() -> tuple[str, ...] | None:
    """docker's own compose, or the older program of its own."""
    plugin = ("docker", "compose")
    if shutil.which("docker"):
        done = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        if done.returncode == 0:
            return plugin
    return ("docker-compose",) if shutil.which("docker-compose") else None


@contextmanager
def podman_as_docker(engine: Engine, directory: Path) -> Iterator[str]:
    """The address of a socket at which podman speaks docker's language.

    Podman leaves it to systemd to look at the containers' health, which not every machine runs.
    """
    socket = directory / "podman.sock"
    address = f"unix://{socket}"
    service = subprocess.Popen(
        [engine.program, "system", "service", "--time=0", address],
        env=environment() | engine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    over = threading.Event()

    def look_at_health() -> None:
        while not over.wait(1):
            for name in engine.try_to("ps", "--quiet", "--filter=name=ssmd-test").stdout.split():
                engine.try_to("healthcheck", "run", name)

    looking = threading.Thread(target=look_at_health)
    looking.start()
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert time.monotonic() < deadline, "podman's service does not listen"
            time.sleep(0.1)
        yield address
    finally:
        over.set()
        looking.join()
        service.terminate()
        service.wait()


@pytest.fixture
def compose(engine: Engine, images: Images, shared: Path) -> Iterator[Compose]:
    command = provider()
    if command is None:
        pytest.skip("there is no docker compose (Debian: apt-get install docker-compose)")
    server_images.provide(engine)
    for part in ("cli", "simulator", *SERVICES):
        images.build(part)
    variables = {name: str(free_port()) for name in PUBLISHED}
    variables |= {"SSMD_TAG": "test", "COMPOSE_HTTP_TIMEOUT": "300"}
    if not engine.is_podman:
        yield Compose(command, images.source, variables | engine.environment)
        return
    with podman_as_docker(engine, shared) as address:
        variables["DOCKER_HOST"] = address
        yield Compose(command, images.source, variables | engine.environment)


async def test_compose_brings_everything_up_and_a_market_to_redis(
    compose: Compose, images: Images
) -> None:
    try:
        began = time.monotonic()
        compose("up", "--detach", "--no-build")
        images.report(f"compose up: {time.monotonic() - began:.0f} s")
        await eventually(lambda: _healthy(compose, images.engine), 180)
        images.report(f"compose, all healthy: {time.monotonic() - began:.0f} s")

        told = compose("exec", "-T", "simulator", "python", "-c", MAKE)
        [market] = json.loads(told)["markets"]
        ticker = market["market_ticker"]
        port = compose.environment["REDIS_PORT"]
        async with aioredis.from_url(f"redis://127.0.0.1:{port}/0", decode_responses=True) as redis:

            async def in_redis() -> None:
                assert await redis.hget("secmaster:markets", ticker), f"{ticker} is not in Redis"

            await eventually(in_redis)
        key = compose("run", "--rm", "-T", "migrate", "keys", "create", "me", "--json")
        await _served(compose.environment["API_PORT"], json.loads(key)["key"], ticker)
        began = time.monotonic()
        compose("stop")
        images.report(f"compose stop: {time.monotonic() - began:.0f} s")
        for service in SERVICES:
            assert _state(compose, images.engine, service)["ExitCode"] == 0, service
    except BaseException:
        print(compose("logs", "--tail=30"))  # noqa: T201 - shown with the failure
        raise
    finally:
        compose("down", "--volumes")


async def _served(port: str, key: str, ticker: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": key}) as http,
        http.get(f"http://127.0.0.1:{port}/v1/markets/{ticker}") as reply,
    ):
        assert reply.status == 200, await reply.text()


async def _healthy(compose: Compose, engine: Engine) -> None:
    for service in SERVICES:
        state: Any = _state(compose, engine, service)
        # Podman's older versions have the other name.
        health = state.get("Health") or state.get("Healthcheck") or {}
        assert health.get("Status") == "healthy", (service, state)


def _state(compose: Compose, engine: Engine, service: str) -> dict[str, Any]:
    [name] = compose("ps", "-q", service).split()
    found: dict[str, Any] = json.loads(engine("inspect", name))[0]["State"]
    return found
