"""What to do when something is wrong: a sentence for whoever sees it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple


class Trouble(NamedTuple):
    what: str
    todo: str


_LOOK: Final = "Look at its log, and run `ssmd doctor`."
_OF_STATE: Final = {
    "unknown": "Start it, or see why it cannot write to PostgreSQL: `ssmd doctor`.",
    "no word": "See whether its process still runs, and whether it reaches PostgreSQL.",
    "stopped": "Start it again if nobody stopped it on purpose.",
    "failed": "Its log's last lines say why; its supervisor starts it again.",
}


def troubles(status: Mapping[str, Any], *, redis: bool) -> Iterator[Trouble]:
    """Of the document of `/v1/status`: each service that does not work, and what is incomplete.

    `redis`: whether this API reaches Redis.
    """
    for name, service in status["services"].items():
        if service["note"]:
            todo = _OF_STATE.get(service["state"], _LOOK)
            yield Trouble(f"{name} ({service['state']}): {service['note']}", todo)
    if why := status["incomplete_why"]:
        yield Trouble(
            f"The universe is incomplete: {why}",
            "It mends itself once sync has read what was missed; the jobs below tell of its runs.",
        )
    if not redis:
        yield Trouble(
            "This API does not reach Redis",
            "Single markets are read from PostgreSQL meanwhile, which is slower and as right.",
        )


def of_gap(gap: Mapping[str, Any]) -> str | None:
    """What to do about an interval in which messages may have been missed."""
    if gap["repaired_at"] is not None:
        return None
    if gap["ended_at"] is None:
        return "It lasts: lifecycle does not hear the exchange. Its state and its log say why."
    return (
        "Wait: lifecycle reads what was missed over REST. Where that takes more than some minutes, "
        "its log says why."
    )


class Epoch(NamedTuple):
    """What a service that follows the stream says of its place in it."""

    service: str
    epoch: int | None
    sequence: int | None
    lsn: str | None
    todo: str | None


def epochs(status: Mapping[str, Any]) -> list[Epoch]:
    """Of each service that tells of one, the publisher's first."""
    found = []
    publishers: int | None = None
    for name in ("cdc", "cache"):
        position = (status["services"].get(name) or {}).get("position") or {}
        if (epoch := position.get("epoch")) is None:
            continue
        todo = None
        if name == "cdc":
            publishers = epoch
        elif publishers is not None and epoch != publishers:
            todo = "Wait: it takes the new epoch's state. Where it stays behind, look at its log."
        sequence = position.get("stream_sequence", position.get("sequence"))
        found.append(Epoch(name, epoch, sequence, position.get("lsn"), todo))
    return found
