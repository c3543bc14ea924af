"""Routes that will go: what their replies say of it (docs/api.md has the policy)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from multidict import CIMultiDict


@dataclass(frozen=True, slots=True)
class Deprecated:
    """Since when a route should not be used any more, when it will be gone (None: not said yet),
    and the path of what does the same."""

    since: datetime
    sunset: datetime | None = None
    successor: str | None = None

    def add_headers(self, headers: CIMultiDict[str]) -> None:
        """`Deprecation` (RFC 9745), `Sunset` (RFC 8594) and a `Link` to the successor."""
        headers["Deprecation"] = f"@{int(self.since.timestamp())}"
        if self.sunset is not None:
            headers["Sunset"] = format_datetime(self.sunset.astimezone(UTC), usegmt=True)
        if self.successor is not None:
            headers.add("Link", f'<{self.successor}>; rel="successor-version"')


Marked = Mapping[str, Deprecated]
"""By the path as the router has it, with its parts in braces."""

DEPRECATED: Final[Marked] = {
    # The next version has it on OPS_PORT alone.
    "/metrics": Deprecated(datetime(2026, 12, 1, tzinfo=UTC)),
}
