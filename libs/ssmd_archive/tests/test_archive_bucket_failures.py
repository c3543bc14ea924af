"""What a bucket refuses, or cannot do now, in sentences that say what mends it."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from pydantic import SecretStr
from s3_server import S3Server

from ssmd_archive.bucket import Bucket
from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.errors import BucketRefused, BucketUnreachable
from ssmd_common.exitcodes import ExitCode
from ssmd_stack.ports import free_port

GRANTS = (
    "the access key lacks s3:PutObject for a (AccessDenied): grant it s3:PutObject and "
    "s3:GetObject on arn:aws:s3:::archive/ssmd/prod/*, and s3:ListBucket on arn:aws:s3:::archive"
)


@pytest.mark.parametrize(
    ("key", "changed", "said"),
    [
        ("nobody", {}, "does not know the access key (InvalidAccessKeyId): set ARCHIVER_BUCKET_"),
        (
            "writer", {"archiver_bucket_secret_access_key": "wrong"},
            "refuses the secret of the access key (SignatureDoesNotMatch): set ARCHIVER_BUCKET_",
        ),
        (
            "reader", {},
            GRANTS,
        ),
        (
            "owner", {"archiver_bucket": "other"},
            "there is no bucket other at http://127.0.0.1:",
        ),
    ],
)  # fmt: skip
async def test_what_is_refused_is_said_in_a_sentence(
    s3: S3Server, key: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(BucketRefused) as refused:
        await Bucket(s3.settings(key, **changed)).put("a", b"x")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code is ExitCode.USAGE


async def test_a_key_that_may_not_read_or_a_store_that_is_away(s3: S3Server) -> None:
    for asking in ("get", "sizes"):
        with pytest.raises(BucketRefused, match=r"lacks s3:(GetObject|ListBucket)"):
            await getattr(Bucket(s3.settings("blind")), asking)("a")
    away = Bucket(s3.settings(archiver_bucket_endpoint="http://127.0.0.1:1"))
    with pytest.raises(BucketUnreachable, match=r"s3://archive/ssmd/prod at http://127.0.0.1:1"):
        await away.get("a")


async def test_what_keeps_a_store_from_being_reached_is_told_apart(
    s3: S3Server, tmp_path: Path
) -> None:
    async def said(**changed: Any) -> str:
        with pytest.raises(BucketUnreachable) as found:
            await Bucket(s3.settings(**changed)).get("a")
        assert "\n" not in str(found.value)
        return str(found.value)

    at = "archiver_bucket_endpoint"
    assert "no TLS is spoken there" in await said(**{at: s3.url.replace("http:", "https:")})
    assert "nobody listens there" in await said(**{at: f"http://127.0.0.1:{free_port()}"})
    assert "its name cannot be resolved" in await said(**{at: "http://nowhere.invalid:9000"})
    certificate = Authority().issue(tmp_path, "store")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = await said(**{at: f"https://127.0.0.1:{port}"})
    assert "its certificate is refused (UnknownIssuer)" in told
    assert "SSL_CERT_FILE" in told


async def test_a_clock_that_is_wrong_is_named(s3: S3Server) -> None:
    if (faketime := shutil.which("faketime")) is None:
        pytest.skip("libfaketime is not installed")
    program = (
        "import asyncio, sys\nfrom ssmd_archive.bucket import Bucket\n"
        "from ssmd_archive.bucket_settings import BucketSettings\n"
        "asyncio.run(Bucket(BucketSettings()).put('a', b'x'))"
    )
    place = {name.upper(): str(value) for name, value in s3.environment().items()}
    done = await asyncio.to_thread(
        subprocess.run, [faketime, "-f", "+1h", sys.executable, "-c", program],
        env={**os.environ, **place}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "says that the clock here is wrong (RequestTimeTooSkewed): set it by NTP" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"),
    [("507 Insufficient Storage", ""), ("403 Forbidden", "QuotaExceeded"),
     ("507 Insufficient Storage", "XMinioStorageFull")],
)  # fmt: skip
async def test_a_full_store_is_no_missing_right(status: str, code: str) -> None:
    """In the words of stores that tests cannot have."""
    body = f"<Error><Code>{code}</Code></Error>"
    reply = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = BucketSettings(
            archiver_bucket="a", archiver_bucket_endpoint=SecretStr(f"http://127.0.0.1:{port}"),
            archiver_bucket_access_key_id=SecretStr("x"),
            archiver_bucket_secret_access_key=SecretStr("y"),
        )  # fmt: skip
        with pytest.raises(BucketUnreachable, match="is full"):
            await Bucket(settings).put("a", b"x")
