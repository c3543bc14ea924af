"""One scheme of settings for NATS, and real servers that ask for each kind of credentials."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from nats_security import KINDS, security

from ssmd_common.connections import nats
from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings, load
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy

PATIENCE_SECONDS = 180.0


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(**values: Any) -> NatsSettings:
        for name, value in values.items():
            monkeypatch.setenv(name.upper(), str(value))
        return load(NatsSettings)

    return give


@pytest.mark.parametrize("kind", KINDS)
async def test_the_right_credentials_open(kind: str, tmp_path: Path) -> None:
    asked = security(kind, tmp_path)
    async with NatsServer(tmp_path / "nats", options=dict(asked.options)) as server:
        settings = NatsSettings.model_validate({"nats_url": server.url, **asked.right})
        client = await nats.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
        waiting = await client.subscribe("ping")
        await client.publish("ping", b"x")
        if kind == "inbox":
            # No other subject may be subscribed to, but replies come.
            assert (await client.jetstream(timeout=60).account_info()).streams == 0
        else:
            assert (await waiting.next_msg(PATIENCE_SECONDS)).data == b"x"
        await nats.close(client)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"inbox"}))
async def test_the_wrong_ones_are_refused_at_once_and_in_words(kind: str, tmp_path: Path) -> None:
    asked = security(kind, tmp_path)
    async with NatsServer(tmp_path / "nats", options=dict(asked.options)) as server:
        settings = NatsSettings.model_validate({"nats_url": server.url, **asked.wrong})
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(
                ConfigurationError,
                match=r"NATS refuses the connection.* check ",
            ):
                await nats.connect(settings, "test", budget_seconds=600)


async def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    """And nothing hangs in closing what never opened."""
    authority = Authority()
    pem, key = authority.issue(tmp_path, "server")
    options = {"tls": {"cert_file": str(pem), "key_file": str(key)}}
    async with NatsServer(tmp_path / "nats", options=options) as server:
        settings = NatsSettings.model_validate({"nats_url": server.url})
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(ConfigurationError, match=r"certificate .* NATS_CA_PATH"):
                await nats.connect(settings, "test", budget_seconds=600)


async def test_a_server_without_tls_is_not_taken_for_one_with(nats_server: Any) -> None:
    settings = NatsSettings.model_validate({"nats_url": nats_server.url.replace("nats:", "tls:")})
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ConfigurationError, match="does not speak TLS"):
            await nats.connect(settings, "test", budget_seconds=600)


async def test_a_dead_node_of_several_is_passed_over(nats_server: Any) -> None:
    url = f"nats://127.0.0.1:1,{nats_server.url}"
    settings = NatsSettings.model_validate({"nats_url": url})
    client = await nats.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
    assert nats.nodes(client, NatsAccess.of(settings))[0].url == nats_server.url
    await nats.close(client)


def test_credentials_of_one_url_serve_for_every_node(environment: Any) -> None:
    access = NatsAccess.of(environment(nats_url="nats://u:p%2Fq@a:1, tls://b"))
    assert [server.url for server in access.servers] == ["nats://a:1", "tls://b:4222"]
    assert access.connect_fields(None) == {"user": "u", "pass": "p/q"}
    assert access.options()["user"] == "u"


def test_what_the_cluster_tells_is_the_node_that_was_configured(environment: Any) -> None:
    access = NatsAccess.of(environment(nats_url="tls://nats.example:4222"))
    assert access.node("nats.example", 4222) is access.servers[0]
    # Its certificate cannot be expected to name an address.
    assert access.node("10.0.0.7", 4222).tls_name == "nats.example"
    assert access.node("n2.nats.example", 4222).tls_name == "n2.nats.example"


def test_every_fault_is_told_at_once(environment: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as told:
        environment(
            nats_url="nats://a,http://b",
            nats_user="u",
            nats_token="t",
            nats_creds_path=tmp_path / "none",
            nats_key_path=__file__,
            nats_inbox_prefix="a.>",
        )
    text = str(told.value)
    for name in ("URL", "TOKEN", "CREDS_PATH", "KEY_PATH", "INBOX_PREFIX"):
        assert f"NATS_{name}:" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nats_creds_path", "-----BEGIN NATS USER JWT-----\nx\n"),
        ("nats_nkey_path", "SUnoseed"),
        ("nats_ca_path", "no certificate"),
        ("nats_cert_path", "no certificate"),
    ],
)
def test_a_file_of_another_kind_is_named(
    environment: Any, tmp_path: Path, name: str, content: str
) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=name.upper()):
        NatsAccess.of(environment(**{name: file})).options()


async def test_a_connection_that_answers_no_more_is_not_closed_in_order(tmp_path: Path) -> None:
    """With TLS the other side would have half a minute to take part in the end."""
    asked = security("certificate", tmp_path)
    async with (
        NatsServer(tmp_path / "nats", options=dict(asked.options)) as server,
        TcpProxy(server.url) as proxy,
    ):
        settings = NatsSettings.model_validate({"nats_url": proxy.url, **asked.right})
        client = await nats.connect(
            settings, "test", budget_seconds=PATIENCE_SECONDS, ping_interval=0.2
        )
        try:
            proxy.lose()
        except PermissionError:
            pytest.skip("this kernel lets only root drop what comes to a socket")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while client.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # Only new connections pass.
        proxy.thaw()
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            while not client.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await nats.close(client)


async def test_a_cancellation_that_is_lost_while_it_connects_is_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`wait_for` of Python 3.11 prefers an error that comes in the same turn; the client would try
    again for ever."""
    tries = 0

    async def refused(*_: Any, **__: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            connecting.cancel()
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(asyncio, "open_connection", refused)
    settings = NatsSettings.model_validate({"nats_url": "nats://127.0.0.1:1"})
    connecting = asyncio.create_task(nats.connect(settings, "test", budget_seconds=60))
    await asyncio.wait([connecting], timeout=PATIENCE_SECONDS)
    assert connecting.cancelled(), "it was not told so, and went on"
    assert tries == 1
