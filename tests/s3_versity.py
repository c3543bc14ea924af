"""A second real S3 server for tests: versitygw, which serves a directory as buckets.

It has IAM's users, and the rights that docs/archive.md names as the bucket's policy.
"""

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from s3_server import BUCKET, ROOT, SECRET, S3Server, status_of

from ssmd_stack.process import Process

_ROOT: Final = "root"
_OBJECTS: Final = f"arn:aws:s3:::{BUCKET}/*"
_ALL: Final = f"arn:aws:s3:::{BUCKET}"
_POLICY: Final = {
    "writer": {_OBJECTS: ["s3:PutObject", "s3:GetObject"], _ALL: ["s3:ListBucket"]},
    "reader": {_OBJECTS: ["s3:GetObject"], _ALL: ["s3:ListBucket"]},
    "blind": {_OBJECTS: ["s3:PutObject"]},
    "owner": {_OBJECTS: ["s3:PutObject", "s3:GetObject"], _ALL: ["s3:ListBucket"]},
}
"""What each key may."""


class Versitygw(S3Server):
    """A server with an empty bucket."""

    name = "versitygw"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        places = f"{ROOT / '.ci' / 'versitygw'}:{os.environ['PATH']}"
        if (found := shutil.which("versitygw", path=places)) is None:
            pytest.skip("versitygw is not installed: `make bucket-server-versitygw` does")
        self._binary = found
        self._has_bucket = False

    def _launch(self) -> Process:
        data, iam = self.home / "data", self.home / "iam"
        data.mkdir(exist_ok=True)
        iam.mkdir(exist_ok=True)
        users = {name: {"access": name, "secret": SECRET, "role": "user"} for name in _POLICY}
        (iam / "users.json").write_text(json.dumps({"accessAccounts": users}))
        return Process(
            [self._binary, "--port", f"127.0.0.1:{self.port}", "--iam-dir", iam, "posix", data],
            log=self.log,
            cwd=self.directory,
            pid_file=self._pid_file,
            env={"ROOT_ACCESS_KEY": _ROOT, "ROOT_SECRET_KEY": SECRET},
        )

    async def _is_ready(self) -> bool:
        return await asyncio.to_thread(self._serves)

    def _serves(self) -> bool:
        if not self._has_bucket:
            statements = [
                {"Effect": "Allow", "Principal": {"AWS": [key]}, "Action": actions,
                 "Resource": [resource]}
                for key, rights in _POLICY.items() for resource, actions in rights.items()
            ]  # fmt: skip
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
            if self._put("", b"") not in (200, 409):
                return False
            self._has_bucket = self._put("policy=", policy) in (200, 204)
        return self._has_bucket and self._put("", b"") == 409

    def _put(self, query: str, body: bytes) -> int:
        """What is answered to the owner, signed as AWS wants it (version 4); 0 where nothing is."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest, names = hashlib.sha256(body).hexdigest(), "host;x-amz-content-sha256;x-amz-date"
        headers = {"x-amz-content-sha256": digest, "x-amz-date": now}
        told = [
            f"host:127.0.0.1:{self.port}",
            *(f"{name}:{text}" for name, text in headers.items()),
        ]
        asked = "\n".join(["PUT", f"/{BUCKET}", query, *told, "", names, digest])
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = "\n".join(
            ["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(asked.encode()).hexdigest()]
        )
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={_ROOT}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        request = urllib.request.Request(
            f"{self.url}/{BUCKET}?{query}", data=body, method="PUT", headers=headers
        )
        return status_of(request)
