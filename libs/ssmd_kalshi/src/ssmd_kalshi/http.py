"""One GET that succeeds if it can: budget, deadline, signature, retries, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec
import structlog
from yarl import URL

from ssmd_kalshi import metrics
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.endpoints import Endpoint
from ssmd_kalshi.errors import (
    AttemptTimeoutError,
    BadRequestError,
    BrokenReplyError,
    ConfigurationError,
    KalshiError,
    NotAuthorizedError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    ReplyError,
    ServerFaultError,
    UnreachableError,
    excerpt,
)
from ssmd_kalshi.retry import RetryPolicy, with_retries
from ssmd_kalshi.signing import Signer

T = TypeVar("T")

MAX_BODY_BYTES = 256 * 1024 * 1024
"""The whole list of series is about 15 MB; anything of this size is not a reply of ours."""

CONNECTIONS = 16

log = structlog.get_logger(__name__)


class HttpClient:
    """An async context manager around one connection pool. Safe to use from many tasks."""

    def __init__(
        self,
        base_url: str,
        *,
        budget: Budget,
        signer: Signer | None = None,
        policy: RetryPolicy | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._base = _checked(base_url)
        self._budget = budget
        self._signer = signer
        self._policy = policy or RetryPolicy()
        self._stop = stop
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ttl_dns_cache=60),
            # The retry policy owns the deadlines; the session must not add its own five minutes.
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": f"ssmd/{version('ssmd-kalshi')}"},
            raise_for_status=False,
        )
        # The session would repeat a GET whose connection broke by itself, past budget and policy.
        self._session._retry_connection = False  # noqa: SLF001 - there is no public switch
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(
        self,
        endpoint: Endpoint,
        read: Callable[[bytes], T],
        *,
        path: str | None = None,
        params: Mapping[str, str | int] | None = None,
        also_read: frozenset[int] = frozenset(),
    ) -> T:
        """What `read` makes of the body of a 200 (or of a status in `also_read`).

        `read` raises BrokenReplyError for a body that is not a reply of this endpoint; that, 5xx,
        timeouts, resets and 429 are retried within the policy, everything else is raised at once.
        """
        path = path or endpoint.template

        async def attempt() -> T:
            return await self._attempt(endpoint, path, params or {}, read, also_read)

        def on_retry(error: KalshiError, delay: float) -> None:
            metrics.RETRIES.labels(endpoint.name, type(error).__name__).inc()
            log.info(
                "request is retried",
                endpoint=endpoint.name,
                delay_seconds=round(delay, 3),
                error=str(error),
            )

        return await with_retries(attempt, self._policy, stop=self._stop, on_retry=on_retry)

    async def _attempt(
        self,
        endpoint: Endpoint,
        path: str,
        params: Mapping[str, str | int],
        read: Callable[[bytes], T],
        also_read: frozenset[int],
    ) -> T:
        cost = await self._budget.acquire(endpoint, self._stop)
        code = "cancelled"
        try:
            status, body, retry_after = await self._exchange(endpoint, path, params)
            code = str(status)
            if status == 200 or status in also_read:
                try:
                    return read(body)
                except BrokenReplyError as error:
                    if status == 200:
                        code = "broken"
                        raise BrokenReplyError(f"{endpoint.name}: {error}") from error
            if status == 429:
                self._budget.throttled()
            raise reply_error(endpoint.name, status, body, retry_after)
        except (AttemptTimeoutError, UnreachableError) as error:
            code = "timeout" if isinstance(error, AttemptTimeoutError) else "unreachable"
            raise
        except BrokenReplyError:
            code = "broken"
            raise
        finally:
            self._budget.spent(cost)
            metrics.REQUESTS.labels(endpoint.name, code).inc()

    async def _exchange(
        self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]
    ) -> tuple[int, bytes, float | None]:
        """Send and read to the end; on any failure the connection is closed."""
        assert self._session is not None, "the client is used outside its context"
        url = URL(f"{self._base}{path}", encoded=True).with_query(
            {k: str(v) for k, v in params.items()}
        )
        headers = self._signer.headers("GET", url.raw_path) if self._signer else {}
        seconds = self._policy.attempt_seconds
        answered = False
        try:
            with metrics.REQUEST_SECONDS.labels(endpoint.name).time():
                async with (
                    asyncio.timeout(seconds),
                    self._session.get(url, headers=headers, allow_redirects=False) as reply,
                ):
                    answered = True
                    body = await _body(reply)
                    return reply.status, body, _seconds(reply.headers.get("Retry-After"))
        except TimeoutError as error:
            raise AttemptTimeoutError(
                f"{endpoint.name}: no complete reply within {seconds:g} s"
            ) from error
        except aiohttp.ClientError as error:
            if answered:
                raise BrokenReplyError(
                    f"{endpoint.name}: the reply ended before its end ({type(error).__name__})"
                ) from error
            raise UnreachableError(
                f"{endpoint.name}: {self._base.host} cannot be reached ({_reason(error)}): "
                "check KALSHI_BASE_URL and the network"
            ) from error
        except (OSError, ValueError) as error:
            raise UnreachableError(
                f"{endpoint.name}: {self._base.host} cannot be reached ({_reason(error)}): "
                "check KALSHI_BASE_URL and the network"
            ) from error


def reply_error(
    endpoint: str, status: int, body: bytes, retry_after_seconds: float | None = None
) -> ReplyError:
    """The typed error of a reply that is not a success. Pure."""
    said = error_text(body)
    match status:
        case 400:
            return BadRequestError(endpoint, status, said, "a parameter is wrong, nothing was read")
        case 401 | 403:
            return NotAuthorizedError(
                endpoint, status, said, "check the API key, its file and this machine's clock"
            )
        case 404:
            return NotFoundError(
                endpoint, status, said, "it does not know this ticker, or KALSHI_BASE_URL is wrong"
            )
        case 429:
            return RateLimitedError(
                endpoint,
                status,
                said,
                "lower KALSHI_READ_BUDGET to the rate of your tier, or stop other users of the key",
                retry_after_seconds,
            )
        case _ if status >= 500:
            return ServerFaultError(endpoint, status, said, "the fault is on its side, try later")
        case _:
            return RefusedError(endpoint, status, said, "check KALSHI_BASE_URL")


def error_text(body: bytes) -> str:
    """The exchange's own words from any of its three shapes of error body; "" without any."""
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return excerpt(body, 120).strip()
    if isinstance(reply, dict):
        inner = reply.get("error", reply)
        if isinstance(inner, str):
            return excerpt(inner)
        if isinstance(inner, dict):
            parts = [inner.get(name) for name in ("code", "message", "details")]
            return excerpt(": ".join(part for part in parts if isinstance(part, str) and part))
    return ""


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in reply.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            reply.close()
            raise BrokenReplyError(f"the reply is longer than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _checked(base_url: str) -> URL:
    try:
        url = URL(base_url.rstrip("/"), encoded=True)
    except ValueError as error:
        raise ConfigurationError(f"KALSHI_BASE_URL is not a URL: {excerpt(base_url)}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query_string:
        raise ConfigurationError(
            f"KALSHI_BASE_URL is {excerpt(base_url)}: it must be http(s)://host/trade-api/v2"
        )
    return url


def _seconds(value: str | None) -> float | None:
    """Retry-After as seconds; its date form is not worth trusting another machine's clock for."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def _reason(error: BaseException) -> str:
    return excerpt(str(error) or type(error).__name__, 120)
