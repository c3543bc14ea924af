"""Giving a bucket a file: it has it when it gave back what it was given."""

import asyncio
from pathlib import Path

from ssmd_archive.bucket import Bucket
from ssmd_archive.errors import ArchiveDamaged, BucketUnreachable
from ssmd_archive.hashing import hash_file


async def send(bucket: Bucket, key: str, path: Path, said: tuple[int, str]) -> bool:
    """Make the bucket have a file that has this size and SHA-256; false where it has it already.

    Raises:
        ArchiveDamaged: the file has others.
        BucketRefused, BucketUnreachable: the bucket takes it not, or not now.
    """
    if await bucket.digest(key) == said:
        return False
    if not await asyncio.to_thread(_is, path, said):
        raise ArchiveDamaged(f"{path} is not as it was sealed, and is not in the bucket")
    await bucket.put(key, path)
    if (given_back := await bucket.digest(key)) != said:
        raise BucketUnreachable(f"{bucket} gave back {given_back} of {key}, not what it was given")
    return True


async def send_text(bucket: Bucket, key: str, content: bytes) -> None:
    """Make the bucket have a small object, in the place of any other.

    Raises:
        BucketRefused, BucketUnreachable: the bucket takes it not, or not now.
    """
    await bucket.put(key, content)
    if await bucket.get(key) != content:
        raise BucketUnreachable(f"{bucket} does not give back {key} as it was given")


def _is(path: Path, said: tuple[int, str]) -> bool:
    try:
        return hash_file(path) == said
    except FileNotFoundError:
        return False
