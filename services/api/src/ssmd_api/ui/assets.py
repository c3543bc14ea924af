"""The files that pages need: served by the API, with nothing from another host."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from ssmd_common.httpserver import Handler

PATH: Final = "/ui/static/"
_MEDIA: Final = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    name: str
    media: str
    body: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def read() -> dict[str, Asset]:
    """Every file, by its name."""
    return {
        file.name: Asset(file.name, _MEDIA[file.name.rpartition(".")[2]], file.read_bytes())
        for file in files("ssmd_api.ui").joinpath("static").iterdir()
    }


def url(asset: Asset) -> str:
    """With a digest, so that a browser may keep what it has."""
    return f"{PATH}{asset.name}?v={asset.digest[:12]}"


def routes(assets: dict[str, Asset]) -> Iterator[tuple[str, Handler]]:
    for asset in assets.values():
        yield PATH + asset.name, _answer(asset)


def _answer(asset: Asset) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        kept = request.query.get("v") == asset.digest[:12]
        response = web.Response(
            body=asset.body,
            content_type=asset.media,
            charset="utf-8",
            headers={
                "Cache-Control": _FOR_EVER if kept else "no-cache",
                "Vary": "Accept-Encoding",
            },
        )
        response.enable_compression()
        return response

    return answer
