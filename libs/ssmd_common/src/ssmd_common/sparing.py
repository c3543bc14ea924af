"""Imported first by every service: keeps a library from importing what no service uses.

structlog imports rich, where it is installed, for tracebacks in colours: a tenth of a start.
"""

import sys

if not {"rich", "structlog"} & sys.modules.keys():
    # As if it were not installed. Whoever imports it afterwards, as the command line does, gets it.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
