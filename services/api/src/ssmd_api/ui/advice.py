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
