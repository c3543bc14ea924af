"""The secmaster in your own program: a plain `Client`, and `Secmaster`, a live view.

See this library's README for recipes; docs/client.md says what may be relied on.
"""

from ssmd_client.client import Client
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

__all__ = [
    "BadParameter",
    "BrokenOff",
    "Client",
    "Closed",
    "Forbidden",
    "Internal",
    "MarketNotActive",
    "MarketNotFound",
    "Missing",
    "NotFound",
    "NotLoaded",
    "NotTheApi",
    "Overloaded",
    "Problem",
    "RequestTimeout",
    "Retries",
    "SecmasterError",
    "ServerTooOld",
    "StreamGone",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]
