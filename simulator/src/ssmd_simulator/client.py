"""A plain client for tests: independent of the services' own, and as simple as can be."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from ssmd_simulator.server import Simulator

SIGNED = {
    "KALSHI-ACCESS-KEY": "anyone",
    "KALSHI-ACCESS-SIGNATURE": "c2lnbmVk",
    "KALSHI-ACCESS-TIMESTAMP": "1795230536799",
}


@dataclass
class Client:
    """Asks a simulator and keeps no state but its connections."""

    sim: Simulator
    http: aiohttp.ClientSession

    async def reply(self, path: str, **query: Any) -> tuple[int, Any]:
        """Status and body of a GET."""
        params = {name: str(value) for name, value in query.items()}
        async with self.http.get(self.sim.base_url + path, params=params) as response:
            return response.status, await response.json()

    async def get(self, path: str, **query: Any) -> Any:
        """The body of a GET that must succeed."""
        status, body = await self.reply(path, **query)
        assert status == 200, body
        return body

    async def pages(self, path: str, key: str, **query: Any) -> list[list[Any]]:
        """All pages of a listing."""
        pages, cursor = [], ""
        while True:
            body = await self.get(path, **query, cursor=cursor)
            pages.append(body[key])
            cursor = body["cursor"]
            if not cursor:
                return pages

    async def all(self, path: str, key: str, **query: Any) -> list[Any]:
        """Everything a listing has."""
        return [item for page in await self.pages(path, key, **query) for item in page]

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """A control call that must succeed."""
        async with self.http.request(method, self.sim.control_url + path, json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    def socket(self) -> Any:
        """A WebSocket with signed headers, as a context manager."""
        return self.http.ws_connect(self.sim.ws_url, headers=SIGNED)
