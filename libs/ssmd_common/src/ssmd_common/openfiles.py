"""How many files and connections a process may have open."""

import contextlib
import resource
from typing import Final

_ENOUGH: Final = 1 << 16
"""Beyond this nobody needs more; some containers allow a billion."""


def allow_many() -> None:
    """Go up to what the system allows: the soft limit, of 1,024 on many, is for programs that use
    `select`. Where even that is refused, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
