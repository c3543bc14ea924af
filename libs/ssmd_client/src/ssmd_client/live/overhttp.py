"""The live view's source over HTTP: `/v1/snapshot`, then `/v1/changes`. Nothing else is needed."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import msgspec

from ssmd_client.documents import document
from ssmd_client.errors import (
    BadParameter,
    Forbidden,
    Missing,
    NotFound,
    NotTheApi,
    ServerTooOld,
    StreamGone,
    Unauthorized,
)
from ssmd_client.live.compact import LEFT_OUT, TABLES
from ssmd_client.live.messages import Message
from ssmd_client.live.scope import Scope
from ssmd_client.live.source import Batch, Gone, Interrupted, RawRow, Start
from ssmd_client.retries import retry_after
from ssmd_client.transport import NEAR, base_url, check_contract, problem, segment, user_agent
from ssmd_common.contract import HEADER
from ssmd_stream.visibility import Snapshot

try:
    import aiohttp
    from yarl import URL
except ImportError as error:
    raise Missing("aiohttp is not installed: pip install 'ssmd-client[live]'") from error

FATAL: Final = (BadParameter, Forbidden, NotTheApi, ServerTooOld, Unauthorized)
"""Trying again does not help."""

_SILENT_SECONDS: Final = 45.0
"""Three signs of life that did not come."""
_CONNECT_SECONDS: Final = 5.0


class _Line(msgspec.Struct, frozen=True, gc=False):
    """A line of a snapshot: the head, a row, or the end."""

    table: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    end: bool = False
    rows: int = 0
    snapshot: str | None = None
    sequence: int = 0


class _Unreadable(msgspec.Struct, frozen=True):
    sequence: int
    subject: str


_line: Final = msgspec.json.Decoder(_Line)
_unreadable: Final = msgspec.json.Decoder(_Unreadable)


class HttpSource:
    """One API with one key."""

    def __init__(self, url: str, key: str, scope: Scope, *, ca_file: str | None = None) -> None:
        """ValueError where `url` is none."""
        base = base_url(url)
        self._base = str(base.url)
        self._scope = scope
        self._near = base.host in NEAR
        self._key = key
        self._context = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self._opened: aiohttp.ClientSession | None = None
        self._after = 0
        self._last_id: str | None = None
        self._has_answered = False
        """Whether it is known to be the API: what another says there later, a proxy says for it."""

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def snapshot(self) -> AsyncIterator[Start | list[RawRow]]:
        tables = list(TABLES)
        query = {"tables": ",".join(tables), "exclude": ",".join(LEFT_OUT[:3]), **self._kinds}
        if self._scope.one_series is not None:
            query["series"] = self._scope.one_series
        count, ended, rest = 0, False, b""
        async with self._asking("snapshot", query) as answer:
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                rows = []
                for line in map(_line.decode, lines):
                    if line.table is not None:
                        rows.append(RawRow(line.table, line.data))
                    elif line.snapshot is not None:
                        yield Start(Snapshot.parse(line.snapshot), line.sequence)
                        self._after, self._last_id = line.sequence, None
                    else:
                        ended = line.end and line.rows == count + len(rows)
                count += len(rows)
                yield rows
        if not ended:
            raise Interrupted("the snapshot broke off")
        if self._scope.one_series is not None:
            yield await self._tiers()

    @property
    def _kinds(self) -> dict[str, str]:
        return {"multivariate": "include"} if self._scope.multivariate else {}

    async def follow(self) -> AsyncIterator[Batch]:
        query = {"exclude": ",".join(LEFT_OUT), **self._kinds}
        headers = {}
        if self._scope.one_series is not None:
            query["series"] = self._scope.one_series
        if self._last_id is None:
            query["after"] = str(self._after)
        else:
            headers["Last-Event-ID"] = self._last_id
        async with self._asking("changes", query, headers) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *blocks, rest = (rest + chunk).split(b"\n\n")
                messages = []
                is_current = False
                for block in blocks:
                    message, is_current = self._event(block)
                    if message is not None:
                        messages.append(message)
                yield Batch(messages, self._after, is_current)
        raise Interrupted("the stream of changes ended", 0.0)

    async def row(
        self,
        table: str,
        key: dict[str, Any],
        *,
        whole: bool = False,  # noqa: ARG002 - a row that is read alone is whole
    ) -> bytes | None:
        try:
            match table:
                case "markets" | "series":
                    return await self._body(f"{table}/{segment(key['ticker'])}")
                case "events":
                    return await self._body(f"events/{segment(key['event_ticker'])}")
                case "series_fees":
                    found = document(await self._body(f"fees/{segment(key['series_ticker'])}"))
                    steps = found["schedule"]
                case _:
                    steps = document(await self._body("fees"))["fees"]
        except NotFound:
            return None
        for each in steps:
            if all(each[name] == value for name, value in key.items()):
                return msgspec.json.encode(each)
        return None

    def _event(self, block: bytes) -> tuple[Message | None, bool]:
        """The message of a server-sent event, and whether it says that there is no more now."""
        kind, data = b"", None
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            if name == b"id":
                self._last_id = value.decode()
                self._after = int(value.partition(b"@")[0])
            elif name == b"event":
                kind = value
            elif name == b"data":
                data = value
        if data is None:
            return None, block.startswith(b"id:") or b"\nid:" in block
        if kind == b"gone":
            raise Gone("the stream does not hold what comes next")
        if kind == b"unreadable":
            lost = _unreadable.decode(data)
            return Message(lost.sequence, lost.subject, b""), False
        return Message(self._after, "", data), False

    async def _tiers(self) -> list[RawRow]:
        """Filtered by a series the snapshot leaves out what has none."""
        found = document(await self._body("fees"))
        return [RawRow("fees", msgspec.json.encode(tier)) for tier in found["fees"]]

    async def _body(self, path: str) -> bytes:
        async with self._asking(path, {}) as answer:
            return await answer.read()

    @asynccontextmanager
    async def _asking(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        url = URL(f"{self._base}/v1/{path}", encoded=True).with_query(dict(query))
        try:
            async with self._session().get(url, headers=headers) as answer:
                if answer.status != HTTPStatus.OK:
                    self._refuse(answer, await answer.read())
                if self._has_answered and HEADER not in answer.headers:
                    raise Interrupted(f"something else answers at {self._base}")
                check_contract(answer.headers, self._base)
                self._has_answered = True
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            raise Interrupted(
                f"the API at {self._base} does not answer ({str(error) or type(error).__name__})"
            ) from error

    def _refuse(self, answer: "aiohttp.ClientResponse", body: bytes) -> None:
        error = problem(answer.status, answer.headers, body, self._base)
        if isinstance(error, StreamGone):
            raise Gone(str(error)) from error
        is_passing = isinstance(error, NotTheApi) and self._has_answered
        if isinstance(error, (*FATAL, NotFound)) and not is_passing:
            raise error
        raise Interrupted(str(error), retry_after(answer.headers.get("Retry-After"))) from error

    def _session(self) -> "aiohttp.ClientSession":
        if self._opened is None or self._opened.closed:
            headers = {"X-API-Key": self._key, "User-Agent": user_agent()}
            headers["Accept-Encoding"] = "identity" if self._near else "gzip"
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
            )
            connector = aiohttp.TCPConnector(ssl=self._context) if self._context else None
            self._opened = aiohttp.ClientSession(
                headers=headers, timeout=timeout, connector=connector, read_bufsize=1 << 18
            )
        return self._opened
