"""Imported first by every service: what a start need not do.

structlog imports rich, where it is installed, for tracebacks in colours: a tenth of a start.
Looking for garbage among what is imported, where there is none, is another.
"""

import gc
import sys
from typing import Final

_USUAL: Final = gc.get_threshold()
_WHILE_IMPORTING: Final = 200_000


def imports_done() -> None:
    """From here on garbage is looked for as Python does it."""
    gc.set_threshold(*_USUAL)


gc.set_threshold(_WHILE_IMPORTING)

if not {"rich", "structlog"} & sys.modules.keys():
    # As if it were not installed. Whoever imports it afterwards, as the command line does, gets it.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
