"""The API over HTTP: paths, keys, retries, errors. Knows nothing of rows.

The command line and whoever wants the API's own JSON use it as it is.
"""

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, Url, parse_url

from ssmd_client.documents import document
from ssmd_client.errors import (
    PROBLEMS,
    BrokenOff,
    Internal,
    NotTheApi,
    Problem,
    ServerTooOld,
    Unreachable,
)
from ssmd_client.retries import STATUSES, Retries, retry_after
from ssmd_client.version import VERSION
from ssmd_common.contract import CONTRACT, HEADER

Value = str | int | bool | Sequence[str] | None
Query = Mapping[str, Value]
"""None is left out; a sequence is given several times."""

_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16
_GOOD: Final = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_MODIFIED)
NEAR: Final = ("localhost", "127.0.0.1", "[::1]")
"""Hosts to which nothing needs to be compressed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: 200, 202 where a service was asked, 304 where an ETag was given.

    `headers` are case-insensitive.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The document, numbers exact; NotTheApi where it is none."""
        return document(self.body)


class Transport:
    """Requests to one API; may be used by several threads at once."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        ca_file: str | None = None,
        connections: int = 4,
    ) -> None:
        """`url` is where the API answers, `https://…` or `http://…`, with a path before `/v1` where
        a proxy puts one. `ca_file` is a file of certificates to trust instead of the system's.

        Raises:
            ValueError: it is no such URL.
        """
        self._base = base_url(url)
        self._retries = retries
        headers = {"X-API-Key": key, "User-Agent": user_agent()}
        if self._base.host not in NEAR:
            # On the way to this machine itself it would only cost time.
            headers["Accept-Encoding"] = "gzip"
        context = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            headers=headers,
            timeout=Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=False,
            ssl_context=context,
        )
        self._is_known = False

    @property
    def url(self) -> str:
        return str(self._base.url)

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        self._pool.clear()

    def get(self, path: str, query: Query | None = None) -> Reply:
        """The reply to a GET of a path under `/v1`; values within the path by `segment`.

        Raises:
            Problem: the API refuses (one class for each kind: `ssmd_client.errors`).
            Unreachable, NotTheApi, ServerTooOld: there is no API, or not one that we know.
        """
        return self._asked("GET", path, query)

    def post(
        self,
        path: str,
        body: Any = None,
        query: Query | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Reply:
        """The reply to a POST of a document as JSON; errors as above. What does more than read
        needs an `idempotency_key`, since it may be sent again."""
        encoded = b"" if body is None else msgspec.json.encode(body)
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._asked("POST", path, query, encoded, headers)

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The bytes of a long reply as they come; errors as above until the first, then:

        Raises:
            BrokenOff: the reply ended before its end.
        """
        answer = self._answered("GET", path, query, None, {}, stream=True)
        try:
            yield from answer.stream(_CHUNK_BYTES)
        except (HTTPError, OSError) as error:
            raise BrokenOff(
                f"the reply of the API at {self.url} broke off: what came is not all"
            ) from error
        finally:
            answer.close()

    def _asked(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Reply:
        answer = self._answered(method, path, query, body or None, headers, stream=False)
        return Reply(answer.status, answer.headers, answer.data)

    def _answered(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        stream: bool,
    ) -> urllib3.BaseHTTPResponse:
        url = f"{self.url}/v1/{path}"
        if pairs := _pairs(query):
            url = f"{url}?{urlencode(pairs)}"
        failures = 0
        while True:
            asked = None
            error: Exception
            try:
                answer = self._pool.request(
                    method,
                    url,
                    body=body,
                    headers={**self._pool.headers, **headers},
                    preload_content=not stream,
                )
                if answer.status in _GOOD:
                    self._know(answer.headers)
                    return answer
                error = problem(answer.status, answer.headers, answer.data, self.url)
                asked = retry_after(answer.headers.get("Retry-After"))
                if answer.status not in STATUSES:
                    raise error
            except (HTTPError, OSError) as cause:
                error = Unreachable(f"the API at {self.url} does not answer ({_reason(cause)})")
                error.__cause__ = cause
            failures += 1
            wait = self._retries.wait_seconds(failures, asked)
            if wait is None:
                raise error
            time.sleep(wait)

    def _know(self, headers: Mapping[str, str]) -> None:
        if not self._is_known:
            check_contract(headers, self.url)
            self._is_known = True


def segment(text: str) -> str:
    """A ticker as one segment of a path."""
    return quote(text, safe="")


def check_contract(headers: Mapping[str, str], url: str) -> None:
    """ServerTooOld unless the server speaks at least this client's contract."""
    told = headers.get(HEADER, "")
    spoken = int(told) if told.isascii() and told.isdigit() else 0
    if spoken < CONTRACT:
        raise ServerTooOld(
            f"the server at {url} is too old for ssmd-client {VERSION}: it speaks contract "
            f"{spoken or '0 (it names none)'}, and {CONTRACT} is needed: upgrade the server, or "
            "install an older ssmd-client"
        )


def problem(status: int, headers: Mapping[str, str], body: bytes, url: str) -> Exception:
    """The exception for an answer that is not 200."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = {}
    kind = str(told.get("type", "")).removeprefix("urn:ssmd:problem:")
    if not kind:
        what = f"HTTP {status}"
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return NotTheApi(f"what answers at {url} is not the secmaster's API ({what})")
        return Internal(f"the API at {url} answers {what}", status=status, kind="internal")
    faults = told.get("errors") or []
    return PROBLEMS.get(kind, Problem)(
        str(told.get("detail") or told.get("title") or f"HTTP {status}"),
        status=status,
        kind=kind,
        request_id=told.get("request_id"),
        errors={str(fault["parameter"]): str(fault["detail"]) for fault in faults},
        retry_after_seconds=retry_after(headers.get("Retry-After")),
    )


def user_agent() -> str:
    """What the server's log knows this library by."""
    return f"ssmd-client/{VERSION}"


def base_url(url: str) -> Url:
    """The parts of an API's URL; ValueError where it is none."""
    try:
        found = parse_url(url.rstrip("/"))
    except LocationParseError as error:
        raise ValueError(f"{url!r} is not a URL such as http://localhost:8080") from error
    if found.scheme not in ("http", "https") or not found.host or found.query or found.fragment:
        raise ValueError(f"{url!r} is not a URL such as http://localhost:8080")
    return found


def _pairs(query: Query | None) -> list[tuple[str, str]]:
    pairs = []
    for name, value in (query or {}).items():
        if value is None:
            continue
        for each in [value] if isinstance(value, (str, int)) else value:
            text = str(each).lower() if isinstance(each, bool) else str(each)
            pairs.append((name, text))
    return pairs


def _reason(error: BaseException) -> str:
    """A library's error in a few words."""
    cause = getattr(error, "reason", None) or error
    text = str(cause).rpartition(": ")[2]
    return text or type(cause).__name__
