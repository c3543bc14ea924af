"""What two servers, or a server and what unpacks for it, could read in two ways: refused.

Beside test_api_http.py, which has what is no request at all.
"""

import asyncio
import gzip
import json
import re
import tracemalloc
import zlib

from api_testbed import Client
from test_api_http import connect

from ssmd_api import codings

BODY = b'{"tickers":[]}'
HIDDEN = b"GET /v1/keys HTTP/1.1\r\nHost: x\r\nX-API-Key: KEY\r\n\r\n"


def post(*headers: bytes, body: bytes = BODY) -> bytes:
    head = b"POST /v1/markets/lookup HTTP/1.1\r\nHost: x\r\nX-API-Key: KEY\r\n"
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def get(*headers: bytes) -> bytes:
    return post(*headers, body=b"").replace(b"POST /v1/markets/lookup", b"GET /v1/series")


CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 14"
SMUGGLED = {
    "CL.TE": post(LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "TE.CL": post(CHUNKED, b"Content-Length: 4", body=b"e\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "CL twice": post(LENGTH, b"Content-Length: 1"),
    "CL twice the same": post(LENGTH, LENGTH),
    "CL as a list": post(b"Content-Length: 14, 14"),
    "CL with a sign": post(b"Content-Length: +14"),
    "CL below zero": post(b"Content-Length: -1"),
    "CL as Python writes numbers": post(b"Content-Length: 1_4"),
    "CL before a space": post(b"Content-Length : 14"),
    "CL too long": post(b"Content-Length: " + b"9" * 30),
    "TE unknown": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "TE twice": post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "TE chunked twice": post(CHUNKED + b", chunked", body=b"0\r\n\r\n"),
    "TE chunked not last": post(CHUNKED + b", gzip", body=b"0\r\n\r\n"),
    "TE behind a control": post(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"),
    "TE folded": post(LENGTH, b"Transfer-Encoding:\r\n chunked"),
    "folded": get(b"A: b\r\n c"),
    "folded at once": get(b"A:\r\n\tb"),
    "line ends with LF": get(b"A: b\nB: c"),
    "all lines end with LF": get().replace(b"\r\n", b"\n"),
    "line ends with CR": get(b"A: b\rB: c"),
    "NUL in a header": get(b"A: b\0c"),
    "NUL in a name": get(b"A\0: b"),
    "two hosts": get(b"Host: y"),
    "chunk below zero": post(CHUNKED, body=b"-1\r\n\r\n"),
    "chunk with 0x": post(CHUNKED, body=b"0xe\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk with _": post(CHUNKED, body=b"0_e\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk before a space": post(CHUNKED, body=b"e \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk too large": post(CHUNKED, body=b"f" * 18 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk longer than it says": post(CHUNKED, body=b"e\r\n" + BODY + b"xx\r\n0\r\n\r\n"),
    "chunk lines end with LF": post(CHUNKED, body=b"e\n" + BODY + b"\n0\n\n"),
    "LF in a chunk's extension": post(CHUNKED, body=b"e;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": get().replace(b"HTTP/1.1", b"HTTP/9.9"),
    "a thousand headers": get(*[b"A: b"] * 1000),
    "a name too long": get(b"A" * 9000 + b": b"),
    "a head of a megabyte": get(*[b"A: " + b"b" * 8000] * 130),
}


async def test_what_two_servers_could_read_in_two_ways_is_refused_and_nothing_behind_it_read(
    api: Client,
) -> None:
    for name, attack in SMUGGLED.items():
        reader, writer = await connect(api)
        writer.write((attack + HIDDEN).replace(b"KEY", api.key.encode()))
        said = b""
        async with asyncio.timeout(180):
            try:
                while more := await reader.read(1 << 16):
                    said += more
            except ConnectionResetError:
                if not said:
                    continue  # It did not read all of it, and what it said went with the rest.
            finally:
                writer.close()
        head, _, body = said.partition(b"\r\n\r\n")
        assert re.findall(rb"HTTP/1\.\d (\d+)", said) == [b"400"], name
        assert b"content-type: application/problem+json" in head.lower(), name
        assert json.loads(body)["status"] == 400, name
        assert b"AAAA" not in body, "it repeats what was sent"


async def test_a_body_where_none_belongs_is_no_request(api: Client) -> None:
    hidden = HIDDEN.replace(b"KEY", api.key.encode())
    request = get(b"Content-Length: %d" % len(hidden)).replace(b"KEY", api.key.encode()) + hidden
    reader, writer = await connect(api)
    writer.write(request + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    assert re.findall(rb"HTTP/1\.\d (\d+)", said) == [b"200", b"200"]
    assert b'"keys"' not in said


# Bombs


async def test_a_bomb_is_not_unpacked(api: Client) -> None:
    unpacked = bytes(100_000_000)
    bombs = {"gzip": gzip.compress(unpacked, 1), "deflate": zlib.compress(unpacked, 1)}
    bombs["zstd"] = codings.compressed(unpacked, "zstd")
    for path in ("/v1/markets/lookup", "/v1/keys"):
        for coding, packed in bombs.items():
            assert len(packed) < 1 << 20
            tracemalloc.start()
            try:
                headers = {"Content-Encoding": coding}
                reply = await api.ask("POST", path, data=packed, headers=headers)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert reply.status == 413, reply
            assert peak < 30_000_000


async def test_codings_on_codings_are_refused(api: Client) -> None:
    twice = gzip.compress(gzip.compress(BODY))
    for coding in ("gzip, gzip", "zstd", "br", "x"):
        reply = await api.ask(
            "POST", "/v1/markets/lookup", data=twice, headers={"Content-Encoding": coding}
        )
        assert reply.status == 400, coding
