"""The WebSocket: the handshake, subscriptions, sequence numbers, heartbeats, no replay."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from ssmd_simulator import maintenance
from ssmd_simulator.client import SIGNED, Client
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_simulator.stepped import Stepped
from ssmd_simulator.websocket import PATH

SUBSCRIBE = {"id": 1, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}}


async def test_a_handshake_without_a_key_is_refused(client: Client) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.http.ws_connect(client.sim.ws_url)
    assert refused.value.status == 401


async def test_a_handshake_needs_no_key_when_told_so(http: aiohttp.ClientSession) -> None:
    async with Simulator("tiny", ws_auth=False) as sim, http.ws_connect(sim.ws_url) as ws:
        await ws.send_json(SUBSCRIBE)
        assert (await ws.receive_json())["type"] == "subscribed"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_signatures_are_verified(
    http: aiohttp.ClientSession, clock: Stepped, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "deep" / "key.pem"
    public = key_at(path, kind)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_at(path, kind) == public, "a key that is there is kept"
    private = serialization.load_pem_private_key(path.read_bytes(), password=None)

    def headers(key_id: str, text: str, stamp: int) -> dict[str, str]:
        raw = f"{stamp}{text}".encode()
        if isinstance(private, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            signature = private.sign(raw, pss, hashes.SHA256())
        else:
            assert isinstance(private, ed25519.Ed25519PrivateKey)
            signature = private.sign(raw)
        return {
            "KALSHI-ACCESS-KEY": key_id,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
            "KALSHI-ACCESS-TIMESTAMP": str(stamp),
        }

    async with Simulator("tiny", clock=clock, keys={"me": public}) as sim:
        now = int(clock() * 1000)
        async with http.ws_connect(sim.ws_url, headers=headers("me", f"GET{PATH}", now)) as ws:
            await ws.send_json(SUBSCRIBE)
            assert (await ws.receive_json())["type"] == "subscribed"
        for wrong in (
            headers("you", f"GET{PATH}", now),
            headers("me", "GET/other", now),
            headers("me", f"GET{PATH}", now - 600_000),
            SIGNED,
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(sim.ws_url, headers=wrong)
            assert refused.value.status == 401


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("not json", 1),
        ("[]", 1),
        ({"id": 5, "cmd": "subscribe"}, 2),
        ({"id": 5, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 5, "cmd": "subscribe", "params": {"channels": []}}, 3),
        ({"id": 5, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 5, "cmd": "dance"}, 5),
        ({"id": 5, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}}, 6),
        ({"id": 5, "cmd": "unsubscribe", "params": {"sids": [99]}}, 7),
        ({"id": 5, "cmd": "subscribe", "params": {"channels": ["gossip"]}}, 8),
        ({"id": 5, "cmd": "update_subscription", "params": {"sids": [1, 2]}}, 12),
        ({"id": 5, "cmd": "update_subscription", "params": {"sid": 1, "action": "x"}}, 13),
        ({"id": 5, "cmd": "update_subscription", "params": {"sid": 1}}, 15),
    ],
)
async def test_error_codes(client: Client, command: Any, code: int) -> None:
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        assert (await ws.receive_json()) == {
            "id": 1,
            "type": "subscribed",
            "msg": {"channel": "market_lifecycle_v2", "sid": 1},
        }
        if isinstance(command, str):
            await ws.send_str(command)
        else:
            await ws.send_json(command)
        frame = await ws.receive_json()
        assert (frame["type"], frame["msg"]["code"]) == ("error", code)
        assert frame.get("id") == (None if isinstance(command, str) else 5)


async def test_seq_is_contiguous_for_each_sid(client: Client) -> None:
    async with client.socket() as one, client.socket() as two:
        for ws in (one, two):
            await ws.send_json(SUBSCRIBE)
            await ws.receive_json()
            await client.control("POST", "/markets", {"count": 3})
        frames = {1: [await one.receive_json() for _ in range(8)],
                  2: [await two.receive_json() for _ in range(4)]}  # fmt: skip
        assert [frame["seq"] for frame in frames[1]] == list(range(1, 9))
        # The second came later and has counted from one: what was before is not replayed.
        assert [frame["seq"] for frame in frames[2]] == [1, 2, 3, 4]
        assert [frame["type"] for frame in frames[2]] == [
            "event_lifecycle",
            *["market_lifecycle_v2"] * 3,
        ]
        assert frames[1][4]["msg"] == frames[2][0]["msg"]


async def test_multivariate_markets_have_their_own_channel(client: Client) -> None:
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        await ws.receive_json()
        combo = {"series": "KXMVETEST", "multivariate": True}
        await client.control("POST", "/markets", combo)
        plain = await client.control("POST", "/markets", {})
        frame = await ws.receive_json()
        assert frame["msg"]["event_ticker"] == plain["event_ticker"]


async def test_a_client_is_pinged_with_heartbeat(http: aiohttp.ClientSession) -> None:
    assert Simulator().settings.ping_seconds == 10
    async with (
        Simulator("tiny", ping_seconds=0.01) as sim,
        http.ws_connect(sim.ws_url, headers=SIGNED, autoping=False) as ws,
        asyncio.timeout(180),
    ):
        ping = await ws.receive()
        assert (ping.type, ping.data) == (aiohttp.WSMsgType.PING, b"heartbeat")


async def test_unsubscribed_means_silence(client: Client) -> None:
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        await ws.send_json({"id": 2, "cmd": "unsubscribe", "params": {"sids": [1]}})
        await ws.receive_json()
        assert await ws.receive_json() == {"id": 2, "sid": 1, "seq": 1, "type": "unsubscribed"}
        await client.control("POST", "/markets", {})
        await ws.send_json({"id": 3, "cmd": "list_subscriptions"})
        assert await ws.receive_json() == {"id": 3, "type": "ok", "msg": []}


async def test_a_disconnect_closes_every_connection(client: Client) -> None:
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        await ws.receive_json()
        assert (await client.control("POST", "/disconnect"))["connections"] >= 1
        async with asyncio.timeout(180):
            assert (await ws.receive()).type == aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 1001


async def test_connections_are_closed_when_the_maintenance_starts(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock) as sim:
        client = Client(sim, http)
        async with client.socket() as ws:
            await ws.send_json(SUBSCRIBE)
            await ws.receive_json()
            clock.now = maintenance.next_start(clock())
            async with asyncio.timeout(180):
                assert (await ws.receive()).type == aiohttp.WSMsgType.CLOSE
        status = await client.get("/exchange/status")
        assert (status["exchange_active"], status["trading_active"]) == (True, False)
        clock.step(7200)
        assert (await client.get("/exchange/status"))["trading_active"] is True
        async with client.socket() as ws:
            await ws.send_json(SUBSCRIBE)
            assert (await ws.receive_json())["msg"]["sid"] == 1
