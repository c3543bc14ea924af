"""Making a stream what it has to be: created, or updated, and read back.

A publisher calls `ensure` before it publishes, each time it begins: what an operator changed at the
server meanwhile is put right then. Servers ignore settings that they do not know, in silence: so
what counts is what they say that they keep.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from nats.aio.client import Client

from ssmd_stream.errors import ApiError, StreamMissing, StreamRefused
from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

OLDEST_SERVER: Final = (2, 10)
OLDEST_ATOMIC: Final = (2, 12)
_NO_STORAGE: Final = 10047
SECOND_NS: Final = 1_000_000_000
"""JetStream's times are in nanoseconds."""


def require_server(client: Client, service: str, *, durable_setting: str | None = None) -> None:
    """See whether the server can hold our streams; with `durable_setting` also atomic batches.

    Raises:
        StreamRefused: it is too old.
    """
    version = client.connected_server_version
    number = f"{version.major}.{version.minor}"
    if (version.major, version.minor) < OLDEST_SERVER:
        raise StreamRefused(
            f"the NATS server is version {number}: {service} needs 2.10 or newer, since older ones "
            "ignore settings of the stream in silence"
        )
    if durable_setting is not None and (version.major, version.minor) < OLDEST_ATOMIC:
        raise StreamRefused(
            f"the NATS server is version {number}, which has no atomic batches: set "
            f"{durable_setting} to false, or update it to 2.12 or newer"
        )


def configuration(
    name: str,
    description: str,
    subjects: str | Sequence[str],
    *,
    max_age_seconds: int,
    max_bytes: int,
    replicas: int,
    **more: Any,
) -> dict[str, Any]:
    """What a stream of ours must be: in files, of which the oldest messages leave first.

    An age of 0 is for ever. `more` are settings by the names of JetStream's JSON.
    """
    return {
        "name": name,
        "description": description,
        "subjects": [subjects] if isinstance(subjects, str) else list(subjects),
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "max_age": max_age_seconds * SECOND_NS,
        "max_bytes": max_bytes,
        "num_replicas": replicas,
        **more,
    }


PUBLISHED: Final[Mapping[str, Any]] = {
    "compression": "s2",
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    # The expected sequence keeps a message from being stored twice; this is only a second lock, and
    # the server pays for every message in it.
    "duplicate_window": SECOND_NS,
    "deny_delete": False,
    "republish": None,
}
"""What is added to it for a stream that a `Publisher` writes."""


async def ensure(stream: Stream, wanted: Mapping[str, Any], *, service: str, size: str) -> None:
    """Create the stream, or update it to what is wanted, and read it back.

    `service` is whose settings these are, and `size` the one of them that limits the bytes.

    Raises:
        StreamRefused: the server cannot hold it, or keeps another configuration than it was given.
        StreamUnavailable: NATS does not answer, or our user lacks a right (MayNot).
    """
    name = stream.name
    try:
        found = (await stream.info()).configuration
    except StreamMissing:
        await _change(stream, "CREATE", wanted, service, size)
        log.info("stream created", stream=name)
    else:
        if not (differing := differences(found, wanted)):
            return
        await _change(stream, "UPDATE", {**found, **wanted}, service, size)
        log.info("stream updated", stream=name, settings=sorted(differing))
    kept = (await stream.info()).configuration
    if left := differences(kept, wanted):
        raise StreamRefused(
            f"NATS keeps other settings of the stream {name} than it was given "
            f"({', '.join(sorted(left))}): update the server, or change the settings of {service}"
        )


async def _change(
    stream: Stream, verb: str, wanted: Mapping[str, Any], service: str, size: str
) -> None:
    try:
        await stream.request(f"STREAM.{verb}", wanted)
    except ApiError as error:
        # 500 is also said of a change that can never be made, such as another kind of storage.
        if error.code == _NO_STORAGE:
            raise StreamRefused(
                f"NATS has no room for {wanted['max_bytes']} bytes of the stream {stream.name} "
                f"({error.description}): lower {size}, or give JetStream a larger disk, "
                "max_file_store or account limit"
            ) from error
        raise StreamRefused(
            f"NATS refuses the stream {stream.name} ({error.description}): change the settings of "
            f"{service} or of the server"
        ) from error


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[str]:
    """The settings that are not as wanted; what we do not ask for is the server's to choose."""
    return {name for name, value in wanted.items() if not _same(found.get(name), value)}


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return not differences(found, wanted)
    return (found or None) == (wanted or None)
