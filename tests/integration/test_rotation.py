"""docs/maintenance.md, "Rotate credentials": its commands, while services run on real servers."""

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import Authority
from maintained import run
from nats_security import security
from observers import eventually
from topology import Service, Topology, topology

from ssmd_common.connections import nats
from ssmd_common.errors import SsmdError
from ssmd_common.settings import NatsSettings
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.valkey import ValkeyServer

pytestmark = pytest.mark.timeout(900)


async def leads(service: Service) -> None:
    """It holds the lock, and its servers answer it."""
    await service.until(
        lambda status, said: status == 200 and said["state"] == "leading", "leading"
    )


@asynccontextmanager
async def nats_with(folder: Path, valkey: ValkeyServer, **options: Any) -> AsyncIterator[Any]:
    """A server with those options, and services on it."""
    async with (
        NatsServer(folder / "nats", options=options) as server,
        topology(server, valkey, folder) as services,
    ):
        yield server, services


def change(server: NatsServer, **options: Any) -> None:
    """Edit the configuration file as an operator does, and have the server read it."""
    file = server.directory / "nats.conf"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))
    run("nats-reload", server.directory, NATS_CONFIG=str(file), NATS_PID=str(server.pid))


def users(*names: str) -> dict[str, Any]:
    return {"users": [{"user": name, "password": f"of {name}"} for name in names]}


async def is_let_in(url: str, **settings: str) -> bool:
    told = NatsSettings.model_validate({"nats_url": url, **settings})
    try:
        client = await nats.connect(told, "test", budget_seconds=5)
    except SsmdError:
        return False
    await nats.close(client)
    return True


@pytest.mark.slow
async def test_a_user_of_nats_is_replaced_while_the_server_runs(
    database: Database, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    async with nats_with(tmp_path, valkey_server, authorization=users("old")) as (server, services):

        async def lets_in(name: str, wanted: bool) -> None:
            found = await is_let_in(server.url, nats_user=name, nats_password=f"of {name}")
            assert found is wanted, name

        def of(name: str) -> dict[str, str]:
            return {"NATS_USER": name, "NATS_PASSWORD": f"of {name}"}

        cdc = await services.start("cdc", database.url, **of("old"))
        await leads(cdc)
        change(server, authorization=users("old", "new"))
        await eventually(lambda: lets_in("new", True))
        # A rollout: the new one is there before the old one goes.
        successor = await services.start("cdc", database.url, **of("new"))
        await successor.until(lambda status, said: said.get("state") == "standby", "standing by")
        assert (await cdc.readiness())[0] == 200
        await cdc.close()
        await leads(successor)
        change(server, authorization=users("new"))
        await eventually(lambda: lets_in("old", False))
        await leads(successor)


@pytest.mark.slow
async def test_a_creds_file_is_replaced_without_a_restart(
    database: Database, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    asked = security("creds", tmp_path)
    monitor = free_port()
    options = {**asked.options, "http": f"127.0.0.1:{monitor}"}
    async with nats_with(tmp_path, valkey_server, **options) as (server, services):
        file = Path(asked.right["nats_creds_path"])
        cdc = await services.start("cdc", database.url, NATS_CREDS_PATH=str(file))
        await leads(cdc)
        before = await _users(monitor)
        assert len(before) == 1
        run("replace-file", tmp_path, NEW_FILE=str(tmp_path / "second.creds"), FILE=str(file))
        # As a revocation does: connections end.
        await server.kill()
        await server.start()
        await leads(cdc)

        async def is_the_second() -> None:
            found = await _users(monitor)
            assert len(found) == 1
            assert not found & before

        await eventually(is_the_second)
        assert cdc.codes == []


async def _users(monitor: int) -> set[str]:
    """Who is connected, as the server tells."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{monitor}/connz?auth=1") as reply,
    ):
        return {each["authorized_user"] for each in (await reply.json())["connections"]}


@pytest.mark.slow
async def test_a_certificate_of_nats_and_its_authority_are_replaced(
    database: Database, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    old, new = Authority("old"), Authority("new")
    for name, authority in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        authority.file(tmp_path / name)
        authority.issue(tmp_path / name, "server")
    cert, key, trusted = tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem"

    def install(name: str) -> None:
        for file in (cert, key):
            told = {"NEW_FILE": str(tmp_path / name / file.name), "FILE": str(file)}
            run("replace-file", tmp_path, **told)

    def authority(name: str) -> Path:
        return tmp_path / name / "authority.pem"

    async def shows(name: str) -> None:
        assert await is_let_in(server.url, nats_ca_path=str(authority(name))), name

    install("old")
    shutil.copy(authority("old"), trusted)
    tls = {"cert_file": str(cert), "key_file": str(key)}
    async with nats_with(tmp_path, valkey_server, tls=tls) as (server, services):
        told = {"NATS_CA_PATH": str(trusted)}
        first = await services.start("cdc", database.url, **told)
        await leads(first)
        both = {"OLD_CA": str(authority("old")), "NEW_CA": str(authority("new"))}
        run("trust-both", tmp_path, **both, CA_FILE=str(trusted))
        await first.close()
        cdc = await services.start("cdc", database.url, **told)
        await leads(cdc)
        await shows("old")
        install("new")
        change(server)
        await eventually(lambda: shows("new"))
        # It connects again, to what the new authority has signed.
        await server.kill()
        await server.start()
        await leads(cdc)
        run("replace-file", tmp_path, NEW_FILE=str(authority("new")), FILE=str(trusted))
        await cdc.close()
        await leads(await services.start("cdc", database.url, **told))


@pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("redis-cli")),
    reason="a Redis with TLS is not here",
)
async def test_a_certificate_of_redis_is_replaced_while_it_runs(tmp_path: Path) -> None:
    authority, port = Authority(), free_port()
    trusted = authority.file(tmp_path)
    (cert, key), (second, its_key) = (authority.issue(tmp_path, n) for n in ("first", "second"))
    process = await asyncio.create_subprocess_exec(
        "redis-server", "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(cert),
        "--tls-key-file", str(key), "--tls-ca-cert-file", str(trusted), "--tls-auth-clients", "no",
        "--save", "", "--bind", "127.0.0.1", "--requirepass", "s3cret", cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    async def shows(file: Path) -> None:
        try:
            found = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        except OSError as error:
            raise AssertionError("Redis does not answer") from error
        assert found.split() == (await asyncio.to_thread(file.read_text)).split()

    try:
        await eventually(lambda: shows(cert))
        run(
            "redis-certificates", tmp_path, CA_FILE=str(trusted), CERT_FILE=str(second),
            KEY_FILE=str(its_key), REDIS_ADMIN_URL=f"rediss://default:s3cret@127.0.0.1:{port}/0",
        )  # fmt: skip
        await shows(second)
    finally:
        process.terminate()
        await process.wait()


async def test_postgresql_reads_its_files_again(private_postgres: Any, tmp_path: Path) -> None:
    """What it does with certificates is PostgreSQL's: the server of the tests has no TLS."""
    run("postgres-certificates", tmp_path, ADMIN_URL=private_postgres.admin_url)


@pytest.mark.slow
async def test_a_key_of_the_exchange_is_replaced(
    database: Database, nats_server: NatsServer, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("old", "new")}
    keys = {name: key_at(file, "ed25519") for name, file in files.items()}
    async with Simulator("small", keys=keys) as exchange:
        services = Topology(nats_server, valkey_server, exchange, tmp_path)

        def of(name: str) -> dict[str, str]:
            return {"KALSHI_API_KEY": name, "KALSHI_PRIVATE_KEY_PATH": str(files[name])}

        try:
            lifecycle = await services.start("lifecycle", database.url, **of("old"))
            await leads(lifecycle)
            told = {"DATABASE_URL": database.url, "NEW_KEY": "new"}
            run("exchange-key", tmp_path, **told, NEW_KEY_FILE=str(files["new"]))
            await lifecycle.close()
            lifecycle = await services.start("lifecycle", database.url, **of("new"))
            await leads(lifecycle)
            # The first one is deleted at the exchange: nobody used it any more.
            del exchange.keys.keys["old"]
            await lifecycle.close()
            refused = await services.start("lifecycle", database.url, **of("old"))
            code, said = await refused.ended()
            assert code != 0
            assert "401: check KALSHI_API_KEY" in said
            await leads(await services.start("lifecycle", database.url, **of("new")))
        finally:
            await services.close()
