"""The secmaster in your own program: a plain `Client`, and `Secmaster`, a live view.

See this library's README for recipes; docs/client.md says what may be relied on.
"""

from typing import TYPE_CHECKING, Any

from ssmd_client.errors import (
    BadParameter,
    BrokenOff,
    Closed,
    Forbidden,
    Internal,
    MarketNotActive,
    MarketNotFound,
    Missing,
    NotFound,
    NotLoaded,
    NotTheApi,
    Overloaded,
    Problem,
    RequestTimeout,
    SecmasterError,
    ServerTooOld,
    StreamGone,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from ssmd_client.retries import Retries

if TYPE_CHECKING:
    from ssmd_client.client import Client
    from ssmd_client.fees import Order
    from ssmd_client.live.secmaster import Secmaster
    from ssmd_client.replaying import Incomplete, replay

__all__ = [
    "BadParameter",
    "BrokenOff",
    "Client",
    "Closed",
    "Forbidden",
    "Incomplete",
    "Internal",
    "MarketNotActive",
    "MarketNotFound",
    "Missing",
    "NotFound",
    "NotLoaded",
    "NotTheApi",
    "Order",
    "Overloaded",
    "Problem",
    "RequestTimeout",
    "Retries",
    "Secmaster",
    "SecmasterError",
    "ServerTooOld",
    "StreamGone",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "replay",
]


def __getattr__(name: str) -> Any:
    # Each is loaded by those who use it: a script with a plain client starts sooner than one with a
    # live view, and the command line, which needs the transport alone, sooner than both.
    if name == "Client":
        from ssmd_client.client import Client

        return Client
    if name == "Order":
        from ssmd_client.fees import Order

        return Order
    if name == "Secmaster":
        from ssmd_client.live.secmaster import Secmaster

        return Secmaster
    if name in ("Incomplete", "replay"):
        from ssmd_client import replaying

        return getattr(replaying, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
