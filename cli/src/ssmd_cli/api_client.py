"""The HTTP API as read verbs use it: SSMD_API_URL with the key SSMD_DATA_API_KEY."""

import asyncio
import os
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode

PAGE: Final = 1000
_TRIES: Final = 4
_LONGEST_WAIT_SECONDS: Final = 60.0

Query = Mapping[str, str | int | list[str] | None]


class NotFound(SsmdError):
    """The API knows no such thing."""

    exit_code = ExitCode.NOT_FOUND


class BadRequest(SsmdError):
    """The API refuses an argument."""

    exit_code = ExitCode.USAGE


class ApiClient:
    """Requests to the API; every error is one sentence with the right exit code."""

    def __init__(self, session: aiohttp.ClientSession, base: URL) -> None:
        self._session = session
        self._base = base

    async def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path under /v1; parts of the path must be encoded by `segment`.

        Raises:
            NotFound, BadRequest, ConfigurationError, UpstreamUnavailable: the answer was not 200.
        """
        return await self._ask("GET", path, query, {})

    async def ask_for(self, path: str) -> Any:
        """The request (`ServiceRequest`) that a POST to a path under /v1 made: once, however often
        it had to be tried.

        Raises:
            NotFound, BadRequest, ConfigurationError, UpstreamUnavailable: the answer was not 202.
        """
        return await self._ask("POST", path, None, {"Idempotency-Key": secrets.token_hex(16)})

    async def stream(self, path: str, query: Query) -> AsyncIterator[bytes]:
        """The bytes of a long reply as they come.

        Raises:
            UpstreamUnavailable: among others, when the reply breaks off before its end.
        """
        url = self._base.with_path(f"{self._base.raw_path.rstrip('/')}/v1/{path}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        try:
            async with self._session.get(url.with_query(_pairs(query)), timeout=timeout) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read(), self._base)
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailable(
                f"the reply of the API at {self._base} broke off: what was printed is not all"
            ) from error

    async def rows(self, path: str, query: Query, most: int | None) -> tuple[list[Any], bool]:
        """Up to `most` rows of a list (None: all), and whether there are more."""
        found: list[Any] = []
        cursor: str | None = None
        while True:
            left = PAGE if most is None else min(PAGE, most - len(found))
            document = await self.get(path, {**query, "limit": left, "cursor": cursor})
            found += document[path]
            cursor = document["cursor"]
            if cursor is None or (most is not None and len(found) >= most):
                return found, cursor is not None

    async def _ask(
        self, method: str, path: str, query: Query | None, headers: Mapping[str, str]
    ) -> Any:
        url = self._base.with_path(f"{self._base.raw_path.rstrip('/')}/v1/{path}", encoded=True)
        url = url.with_query(_pairs(query))
        for attempt in range(1, _TRIES + 1):
            wait = await self._try(method, url, headers, last=attempt == _TRIES)
            if not isinstance(wait, float):
                return wait
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def _try(self, method: str, url: URL, headers: Mapping[str, str], *, last: bool) -> Any:
        """The document, or how many seconds to wait before the next try."""
        try:
            async with self._session.request(method, url, headers=headers) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailable(
                f"the API at {self._base} does not answer ({str(error) or type(error).__name__}): "
                "check SSMD_API_URL and that the API runs (`ssmd up` starts a whole system)"
            ) from error
        if answer.status in (200, 202):
            return _document(body, self._base)
        if answer.status in (429, 503) and not last:
            asked = answer.headers.get("Retry-After", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() else 1.0
            if seconds <= _LONGEST_WAIT_SECONDS:
                return seconds + random.uniform(0, 0.25)  # noqa: S311 - jitter
        raise _refusal(answer.status, body, self._base)


@asynccontextmanager
async def connect() -> AsyncIterator[ApiClient]:
    """A client for SSMD_API_URL.

    Raises:
        ConfigurationError: SSMD_API_URL is no URL, or SSMD_DATA_API_KEY is missing.
    """
    base = URL(os.environ.get("SSMD_API_URL") or "http://localhost:8080")
    if base.scheme not in ("http", "https") or not base.host:
        raise ConfigurationError("SSMD_API_URL: must be a URL such as http://localhost:8080")
    key = os.environ.get("SSMD_DATA_API_KEY")
    if not key:
        raise ConfigurationError(
            "SSMD_DATA_API_KEY: is missing (`ssmd keys create NAME` makes a key; `ssmd up` writes "
            "one to .ssmd/env)"
        )
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=5)
    async with aiohttp.ClientSession(headers={"X-API-Key": key}, timeout=timeout) as session:
        yield ApiClient(session, base)


def segment(text: str) -> str:
    """A ticker as one segment of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def _pairs(query: Query | None) -> list[tuple[str, str]]:
    pairs = []
    for name, value in (query or {}).items():
        if isinstance(value, list):
            pairs += [(name, item) for item in value]
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs


def _document(body: bytes, base: URL) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise UpstreamUnavailable(
            f"what answers at {base} is not the API: check SSMD_API_URL"
        ) from error


def _refusal(status: int, body: bytes, base: URL) -> SsmdError:
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {}
    detail = str(problem.get("detail") or f"HTTP {status}")
    match status:
        case 404 if problem:
            return NotFound(detail)
        case 400:
            return BadRequest(detail)
        case 401 | 403:
            return ConfigurationError(f"SSMD_DATA_API_KEY: {detail}")
        case 404:
            return UpstreamUnavailable(f"what answers at {base} is not the API: check SSMD_API_URL")
        case _:
            return UpstreamUnavailable(f"the API at {base} answers with an error: {detail}")
