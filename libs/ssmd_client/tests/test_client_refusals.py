"""What the plain client does when the server does not answer, refuses, breaks off or is another."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ssmd_client
from ssmd_client import Client, Retries, errors
from ssmd_client.live.overhttp import HttpSource
from ssmd_client.live.scope import Scope
from ssmd_client.live.source import Interrupted
from ssmd_client.retries import NEVER
from ssmd_common.contract import CONTRACT, HEADER
from ssmd_stack.ports import free_port

OURS = {HEADER: str(CONTRACT)}
EMPTY = b'{"markets":[],"cursor":null}'


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[float]]]:
    """A server that gives these answers in turn, the last one for ever; when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(time.monotonic())
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(kind: str) -> bytes:
    return b'{"type":"urn:ssmd:problem:%b","detail":"so","request_id":"r1"}' % kind.encode()


@pytest.mark.parametrize("kind", errors.PROBLEMS)
def test_each_problem_is_an_exception_of_its_own(kind: str) -> None:
    with answering((418, {}, refusal(kind))) as (url, _), Client(url, "k") as client:
        with pytest.raises(errors.PROBLEMS[kind], match="so") as told:
            client.markets().all()
        assert (told.value.kind, told.value.status, told.value.request_id) == (kind, 418, "r1")


def test_a_problem_of_a_later_server_is_still_one() -> None:
    with (
        answering((418, {}, refusal("teapot"))) as (url, _),
        Client(url, "k") as client,
        pytest.raises(ssmd_client.Problem, match="so"),
    ):
        client.status()


def test_retry_after_is_honoured() -> None:
    busy = (429, {"Retry-After": "1"}, refusal("too-many-requests"))
    with answering(busy, (200, OURS, EMPTY)) as (url, asked):
        retries = Retries(first_seconds=0.0)
        with Client(url, "k", retries=retries) as client:
            assert client.markets().all() == []
        assert asked[1] - asked[0] >= 1.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {"Retry-After": "0"}, refusal("unavailable")), ssmd_client.Unavailable),
        ((502, {}, b"<html>bad gateway"), ssmd_client.Internal),
    ],
)
def test_tries_end(answer: Any, error: type[Exception]) -> None:
    with answering(answer) as (url, asked):
        retries = Retries(tries=3, first_seconds=0.001)
        with Client(url, "k", retries=retries) as client, pytest.raises(error):
            client.status()
        assert len(asked) == 3


def test_a_wait_that_is_too_long_is_told_at_once() -> None:
    busy = (429, {"Retry-After": "3600"}, refusal("too-many-requests"))
    with answering(busy) as (url, asked), Client(url, "k") as client:
        with pytest.raises(ssmd_client.TooManyRequests) as told:
            client.status()
        assert told.value.retry_after_seconds == 3600
        assert len(asked) == 1


def test_waits_grow_and_are_bounded() -> None:
    retries = Retries(tries=9, first_seconds=1.0, longest_seconds=5.0, jitter=0.0)
    assert [retries.wait_seconds(n) for n in range(1, 10)] == [1, 2, 4, 5, 5, 5, 5, 5, None]
    # After a day of failures, too.
    assert Retries(tries=10_000, longest_seconds=5, jitter=0).wait_seconds(5_000) == 5


def test_nothing_answers() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", "k", retries=NEVER)
    with client, pytest.raises(ssmd_client.Unreachable, match="does not answer"):
        client.status()


@pytest.mark.parametrize(
    "answer", [(200, OURS, b"<html>hello"), (404, {}, b"<html>none"), (200, OURS, b"[1]")]
)
def test_something_else_answers(answer: Any) -> None:
    with (
        answering(answer) as (url, _),
        Client(url, "k") as client,
        pytest.raises(ssmd_client.NotTheApi),
    ):
        client.markets().all()


@pytest.mark.parametrize("headers", [{}, {HEADER: str(CONTRACT - 1)}, {HEADER: "x"}])
def test_a_server_that_is_too_old_is_told(headers: dict[str, str]) -> None:
    with (
        answering((200, headers, EMPTY)) as (url, _),
        Client(url, "k") as client,
        pytest.raises(ssmd_client.ServerTooOld, match="too old for ssmd-client"),
    ):
        client.markets().all()


@pytest.mark.parametrize(
    "page", [(404, {}, b"<html>none"), (200, {}, b"<html>soon"), (429, {}, b"slower")]
)
async def test_what_a_proxy_says_for_the_api_ends_no_view(page: Any) -> None:
    """While the API is rolled out, say. Where it never answered, the address is wrong."""
    market = (200, OURS, b'{"ticker":"M"}')
    with answering(page, market, page, market) as (url, _):
        source = HttpSource(url, "k", Scope())
        try:
            with pytest.raises((errors.NotTheApi, errors.ServerTooOld)):
                await source.row("markets", {"ticker": "M"})
            assert await source.row("markets", {"ticker": "M"}) == market[2]
            with pytest.raises(Interrupted):
                await source.row("markets", {"ticker": "M"})
            assert await source.row("markets", {"ticker": "M"}) == market[2]
        finally:
            await source.close()


def test_a_later_server_is_taken() -> None:
    later = {HEADER: str(CONTRACT + 1)}
    with answering((200, later, EMPTY)) as (url, _), Client(url, "k") as client:
        assert client.markets().all() == []


def test_a_reply_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    short = (200, {**OURS, "Content-Length": "1000"}, b"{}\n")
    with (
        answering(short) as (url, _),
        Client(url, "k") as client,
        pytest.raises(ssmd_client.BrokenOff),
    ):
        client.export(tmp_path / "markets.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x?y=1"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        Client(url, "k")
