"""An S3-compatible bucket: what is asked of it, and its errors in our words."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.errors import BucketRefused, BucketUnreachable

T = TypeVar("T")

_PART_BYTES: Final = 8 << 20
"""Of an object that is uploaded in parts; two of them are in memory."""
_PARTS_AT_ONCE: Final = 2
_OBJECTS_AT_ONCE: Final = 8
_CHUNK_BYTES: Final = 1 << 20
_CLIENT: Final[Any] = {"timeout": "120s", "connect_timeout": "10s"}
_RETRIES: Final[Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CAUSES: Final = {
    "http://169.254.": "no access key is set, and AWS gives this machine none: set "
    "ARCHIVER_BUCKET_ACCESS_KEY_ID and ARCHIVER_BUCKET_SECRET_ACCESS_KEY, or give the pod's "
    "service account a role",
    "InvalidContentType": "no TLS is spoken there: is its ARCHIVER_BUCKET_ENDPOINT http://?",
    "dns error": "its name cannot be resolved: is ARCHIVER_BUCKET_ENDPOINT right?",
    "ConnectionRefused": "nobody listens there: is the store up, and ARCHIVER_BUCKET_ENDPOINT "
    "right?",
    "TimedOut": "it does not answer in time: is the store up, and does the network (a "
    "NetworkPolicy) let through to it?",
}
"""What stands in the long form of an error, by its sign."""
_CAUSE: Final = re.compile(
    r"Server returned non-2xx status code: (\d{3} [A-Za-z ]+)|HTTP error: ([^\n]+)"
)

_PUT, _GET, _LIST = "s3:PutObject", "s3:GetObject", "s3:ListBucket"
_UNKNOWN_KEYS: Final = frozenset(("InvalidAccessKeyId", "InvalidToken", "ExpiredToken"))
_REFUSALS: Final = _UNKNOWN_KEYS | {
    "AccessDenied", "NoSuchBucket", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
}  # fmt: skip
"""Listing says the same as something general."""


_FULL: Final = frozenset(
    ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
)
"""Some come with the status of a right that is missing."""


class Bucket:
    """Objects by their keys, below the prefix. Any number of tasks may ask at once.

    Raises everywhere:
        BucketRefused: the store says no, and will until somebody changes something.
        BucketUnreachable: it may work later.
    """

    def __init__(self, settings: BucketSettings) -> None:
        assert settings.archiver_bucket is not None
        self.name = settings.archiver_bucket
        self.prefix = settings.archiver_bucket_prefix.strip("/")
        endpoint, key, secret = (
            None if one is None else one.get_secret_value()
            for one in (
                settings.archiver_bucket_endpoint,
                settings.archiver_bucket_access_key_id,
                settings.archiver_bucket_secret_access_key,
            )
        )
        options: dict[str, Any] = {"region": settings.archiver_bucket_region}
        if endpoint is not None:
            options["endpoint"] = endpoint.rstrip("/")
        if key is not None:
            options |= {"access_key_id": key, "secret_access_key": secret}
        # Their copy of the checksum is compared with ours before they say that they have it.
        options["checksum_algorithm"] = "SHA256"
        is_plain = endpoint is not None and endpoint.startswith("http://")
        self._store = S3Store(
            self.name,
            prefix=self.prefix or None,
            client_options=_CLIENT | {"allow_http": is_plain},
            retry_config=_RETRIES,
            **options,
        )
        self._at = endpoint or "AWS"

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    async def put(self, key: str, content: bytes | Path) -> None:
        """Store an object, all of it or nothing, in the place of any other."""
        await self._asked(
            _PUT,
            key,
            obstore.put_async(
                self._store, key, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            ),
        )

    async def get(self, key: str) -> bytes | None:
        """A small object; None where it is not there."""
        parts = [part async for part in self.read(key)]
        return None if parts == [None] else b"".join(part for part in parts if part is not None)

    async def get_all(self, keys: list[str]) -> list[bytes | None]:
        """Small objects, a few asked for at once."""
        free = asyncio.Semaphore(_OBJECTS_AT_ONCE)

        async def one(key: str) -> bytes | None:
            async with free:
                return await self.get(key)

        return await asyncio.gather(*map(one, keys))

    async def read(self, key: str) -> AsyncIterator[bytes | None]:
        """An object in pieces; one None where it is not there."""
        found = await self._asked(_GET, key, obstore.get_async(self._store, key))
        if found is None:
            yield None
            return
        pieces = found.stream(min_chunk_size=_CHUNK_BYTES).__aiter__()
        while (piece := await self._asked(_GET, key, _next(pieces))) is not None:
            yield bytes(piece)

    async def digest(self, key: str) -> tuple[int, str] | None:
        """Its size and the SHA-256 of what reading it gives; None where it is not there."""
        digest, size = hashlib.sha256(), 0
        async for piece in self.read(key):
            if piece is None:
                return None
            digest.update(piece)
            size += len(piece)
        return size, digest.hexdigest()

    async def sizes(self, under: str) -> dict[str, int]:
        """The sizes of all objects below a folder, by their keys."""
        found: dict[str, int] = {}
        pages = obstore.list(self._store, prefix=under or None).__aiter__()
        while (page := await self._asked(_LIST, under, _next(pages))) is not None:
            found |= {one["path"]: one["size"] for one in page}
        return found

    async def folders(self, under: str = "") -> list[str]:
        """The names of the folders in a folder."""
        found = await self._asked(
            _LIST, under, obstore.list_with_delimiter_async(self._store, prefix=under or None)
        )
        return (
            []
            if found is None
            else sorted(one.rstrip("/").rpartition("/")[2] for one in found["common_prefixes"])
        )

    async def copy(self, old: str, new: str) -> None:
        """A second object of what one has."""
        await self._asked(_PUT, new, obstore.copy_async(self._store, old, new))

    async def _asked(self, right: str, key: str, asking: Awaitable[T]) -> T | None:
        """The answer; None where the object is not there."""
        try:
            return await asking
        except Exception as error:
            if isinstance(error, OSError) and error.filename:
                # Of a file of ours that is to be uploaded.
                raise
            code = _code(error)
            if code in _FULL or "507 Insufficient" in str(error):
                raise BucketUnreachable(
                    f"{self} at {self._at} is full ({code or 507}): make room there, or raise its "
                    "quota"
                ) from None
            if code in _REFUSALS or isinstance(error, PermissionDeniedError | UnauthenticatedError):
                raise BucketRefused(self._refusal(right, key, code)) from None
            if isinstance(error, FileNotFoundError) and right == _GET:
                return None
            raise BucketUnreachable(f"{self} at {self._at}: {_cause(error)}") from None

    def _refusal(self, right: str, key: str, code: str) -> str:
        """What is denied, and how to grant it."""
        if code == "NoSuchBucket":
            return (
                f"there is no bucket {self.name} at {self._at}: make it, or name another one in "
                "ARCHIVER_BUCKET"
            )
        if code == "SignatureDoesNotMatch":
            return (
                f"{self._at} refuses the secret of the access key ({code}): set "
                "ARCHIVER_BUCKET_SECRET_ACCESS_KEY to that key's secret"
            )
        if code == "RequestTimeTooSkewed":
            return f"{self._at} says that the clock here is wrong ({code}): set it by NTP"
        if code in _UNKNOWN_KEYS:
            return (
                f"{self._at} does not know the access key ({code}): set "
                "ARCHIVER_BUCKET_ACCESS_KEY_ID and ARCHIVER_BUCKET_SECRET_ACCESS_KEY to a key of it"
            )
        where = f"arn:aws:s3:::{self.name}"
        under = f"{self.prefix}/" if self.prefix else ""
        return (
            f"the access key lacks {right} for {key or self} ({code or 'AccessDenied'}): grant it "
            f"{_PUT} and {_GET} on {where}/{under}*, and {_LIST} on {where}"
        )


async def _next(pieces: Any) -> Any:
    return await anext(pieces, None)


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _cause(error: Exception) -> str:
    """What matters of an error, whose text has paragraphs, and what mends it."""
    text = str(error)
    if code := _code(error):
        return code
    if found := _CERTIFICATE.search(text):
        return (
            f"its certificate is refused ({found[1]}): the endpoint's name has to be in it, and "
            "its authority known here; SSL_CERT_FILE names a file of authorities"
        )
    for sign, cause in _CAUSES.items():
        if sign in text:
            return cause
    found = _CAUSE.search(text)
    return (found[1] or found[2]) if found else text.partition("\n")[0][:200]
