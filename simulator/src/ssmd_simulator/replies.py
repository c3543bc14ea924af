"""What a handler answers with, and the past that a fault may have it show."""

from dataclasses import dataclass

import msgspec
from aiohttp import web

PREFIX = "/trade-api/v2"
_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class View:
    """A past that a fault shows to a request: the moment, and markets shown as seconds ago."""

    at: float
    flipped: dict[str, float]


VIEW = web.RequestKey("view", View)


class NotFound(Exception):
    """There is nothing of that name."""


def reply(body: bytes, status: int = 200) -> web.Response:
    """A JSON reply."""
    return web.Response(body=body, status=status, content_type="application/json")


def encoded(value: object, status: int = 200) -> web.Response:
    """A JSON reply from plain data."""
    return reply(_json.encode(value), status)
