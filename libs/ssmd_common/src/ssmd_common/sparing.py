"""Imported first by every service: what a start need not do, and what memory is not needed longer.

structlog imports rich, where it is installed, for tracebacks in colours: a tenth of a start.
Looking for garbage among what is imported, where there is none, is another.
"""

import gc
import sys
from contextlib import suppress
from typing import Final

_USUAL: Final = gc.get_threshold()
_WHILE_IMPORTING: Final = 200_000


def imports_done() -> None:
    """From here on garbage is looked for as Python does it."""
    gc.set_threshold(*_USUAL)


def give_back_memory() -> None:
    """Give the system what is free: for after much was let go of at once.

    Python and glibc keep it, for as long as the process lives, where something small at the end of
    it is still used. Takes some tens of milliseconds.
    """
    import ctypes  # Not needed by a start.

    gc.collect()
    # Another C library has no such function, and keeps less.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


gc.set_threshold(_WHILE_IMPORTING)

if not {"rich", "structlog"} & sys.modules.keys():
    # As if it were not installed. Whoever imports it afterwards, as the command line does, gets it.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
