"""Hands memory back to the system: a pass needs much of it, and the hours after it little.

The allocator keeps what was freed for the next pass, in pieces between what lives on.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable


def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(AttributeError, OSError):
        # glibc has it, musl does not.
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return trim
    return None


_TRIM = _trim()


def hand_back() -> None:
    """Costs a few milliseconds; nothing where the C library cannot."""
    if _TRIM is not None:
        _TRIM(0)
