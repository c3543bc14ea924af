"""Sizes and SHA-256 of files, several at once where there is enough to read."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_THREADS: Final = min(4, os.cpu_count() or 1)
_WORTH_THREADS_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 20


def hash_file(path: Path) -> tuple[int, str]:
    """Its size and SHA-256.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


@contextmanager
def mapping(total_bytes: int) -> Iterator[Any]:
    """`map` over threads where there is enough to do."""
    if total_bytes < _WORTH_THREADS_BYTES:
        yield map
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            yield pool.map
