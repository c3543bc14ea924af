"""The health of a process that archives several streams: each says what one alone would."""

from __future__ import annotations

from typing import Final

from ssmd_common.health import Health

_UNPREFIXED: Final = "SECMASTER_CDC"
"""Its conditions have no prefix: they are as they were when it was the only one."""


class StreamsHealth:
    """What the streams' loops say, as the service's health."""

    def __init__(self, health: Health) -> None:
        self.health = health
        self.lags: dict[str, float] = {}
        self.positions: dict[str, dict[str, object]] = {}
        self._streams: set[str] = set()
        self._went_round: set[str] = set()

    def of(self, stream: str) -> StreamHealth:
        """For the loop of a stream; the service is live while all of them go round."""
        self._streams.add(stream)
        return StreamHealth(self, stream)

    def went_round(self, stream: str) -> None:
        self._went_round.add(stream)
        if self._went_round >= self._streams:
            self._went_round.clear()
            self.health.progress()

    def tell_lag(self) -> None:
        self.health.lag_seconds = max(self.lags.values(), default=None)

    def tell_positions(self) -> None:
        whole: dict[str, object] = dict(self.positions.get(_UNPREFIXED, {}))
        whole |= {name: found for name, found in self.positions.items() if name != _UNPREFIXED}
        self.health.position = whole


class StreamHealth:
    """As `ssmd_common.health.Health`, of one stream."""

    def __init__(self, streams: StreamsHealth, stream: str) -> None:
        self._streams = streams
        self._stream = stream
        self._is_plain = stream == _UNPREFIXED

    def set(self, name: str, reason: str | None) -> None:
        """Record a condition: fine when `reason` is None."""
        self._streams.health.set(self._named(name), self._told(reason))

    def degrade(self, name: str, reason: str | None) -> None:
        """Record what is not as it should be and keeps nothing from working; None clears it."""
        self._streams.health.degrade(self._named(name), self._told(reason))

    def failed(self, kind: str, error: BaseException | str) -> None:
        """Count a survived error by kind."""
        self._streams.health.failed(kind, error)

    def progress(self) -> None:
        """The loop of the stream went round once more."""
        self._streams.went_round(self._stream)

    @property
    def lag_seconds(self) -> float | None:
        """The largest of all streams."""
        return self._streams.health.lag_seconds

    @lag_seconds.setter
    def lag_seconds(self, behind: float | None) -> None:
        if behind is None:
            self._streams.lags.pop(self._stream, None)
        else:
            self._streams.lags[self._stream] = behind
        self._streams.tell_lag()

    def tell_position(self, **position: object) -> None:
        """How far it is; what is not the change stream has an object of its own."""
        self._streams.positions[self._stream] = position
        self._streams.tell_positions()

    def _named(self, name: str) -> str:
        return name if self._is_plain else f"{name}_{self._stream}"

    def _told(self, reason: str | None) -> str | None:
        return reason if reason is None or self._is_plain else f"{self._stream}: {reason}"
