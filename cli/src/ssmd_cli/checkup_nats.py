"""NATS as one service finds it: the server, the user's rights, the streams."""

from collections.abc import Mapping
from typing import Any, Final

import nats.errors

from ssmd_cli.finding import Finding, Unreached
from ssmd_common.connections import nats as connections
from ssmd_common.connections.nats_rights import NatsClient
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import SsmdError
from ssmd_common.rights import NatsRights
from ssmd_common.settings import NatsSettings
from ssmd_stream import subjects
from ssmd_stream.administration import OLDEST_SERVER, differences
from ssmd_stream.errors import ApiError, StreamMissing, StreamUnavailable
from ssmd_stream.stream import Stream

BUDGET_SECONDS: Final = 3.0


async def examine(service: str, settings: NatsSettings, rights: NatsRights) -> list[Finding]:
    """Everything.

    Raises:
        Unreached: no connection was made.
    """
    # Who has a consumer of its own may need the right to that alone.
    consumer = getattr(settings, "consumer", "ssmd_rights")
    rights = rights.with_shards(getattr(settings, "shards", 1))
    try:
        client = await connections.connect(
            settings, "ssmd-doctor", budget_seconds=BUDGET_SECONDS, consumer=consumer
        )
    except SsmdError as error:
        raise Unreached(Finding.failed("NATS", error, "check NATS_URL")) from error
    try:
        found = [_server(client), *await _rights(service, client, rights)]
        if found[0].ok:
            found.append(await _stream(client, subjects.STREAM, settings, service))
        if service == "cdc" and found[0].ok:
            found.append(await _stream(client, subjects.DEAD_LETTER_STREAM, settings, service))
        return found
    except (nats.errors.Error, OSError) as error:
        return [Finding("NATS", False, f"it went away ({first_line(error)})", "look at its log")]
    finally:
        await connections.close(client)


def _server(client: NatsClient) -> Finding:
    version, told = client.connected_server_version, client._server_info  # noqa: SLF001
    number = f"{version.major}.{version.minor}.{version.patch}"
    if not told.get("jetstream"):
        return Finding(
            "NATS", False, f"{number} without JetStream",
            "turn it on (`jetstream {}`); if it was on, look at the disk of its store_dir",
        )  # fmt: skip
    return Finding.of(
        "NATS", (version.major, version.minor) >= OLDEST_SERVER,
        f"{number} with JetStream, max_payload {client.max_payload}",
        "use NATS 2.10 or newer",
    )  # fmt: skip


async def _rights(service: str, client: NatsClient, rights: NatsRights) -> list[Finding]:
    what = f"{service} rights at NATS"
    refused, no_inbox = await client.lacking(rights.publish)
    always = [each for each in refused if not each.only]
    found = []
    if always or no_inbox:
        # Together: they stand in one place of the server's configuration.
        sentence = client.may_not(always, subscribe=no_inbox)
        found.append(Finding.failed(what, sentence))
    for each in refused:
        if each.only:
            detail = f"needed when {each.only}: {client.may_not([each], subscribe=False)}"
            found.append(Finding.warning(what, detail, f"publish, allow: {each.pattern}"))
    return found or [Finding(what, True, f"{len(rights.publish)} subjects, and replies")]


async def _stream(client: NatsClient, name: str, settings: NatsSettings, service: str) -> Finding:
    what = f"stream {name}"
    try:
        info = await Stream(client, name, answer_seconds=BUDGET_SECONDS).info()
    except StreamMissing:
        return Finding.warning(what, "it is not there yet", "start cdc, which makes it")
    except ApiError as error:
        return Finding(what, False, error.description, "look at NATS' log")
    except StreamUnavailable as error:
        return Finding(what, False, f"not known ({first_line(error)})", "look at NATS' log")
    config = info.configuration
    detail = (
        f"{info.messages} messages, {info.bytes} of {config['max_bytes']} bytes, "
        f"{config.get('num_replicas', 1)} replica(s)"
    )
    if name == subjects.DEAD_LETTER_STREAM and info.messages:
        return Finding.warning(what, detail, "some changes are there: docs/operations.md")
    if service == "cdc" and (differing := _differences(name, config, settings)):
        return Finding.warning(
            what, f"{detail}; has other settings: {', '.join(sorted(differing))}",
            "cdc changes them when it starts",
        )  # fmt: skip
    return Finding(what, True, detail)


def _differences(name: str, config: Mapping[str, Any], settings: Any) -> set[str]:
    from ssmd_cdc.publish.stream import dead_letter_configuration, stream_configuration

    wanted = stream_configuration if name == subjects.STREAM else dead_letter_configuration
    return differences(config, wanted(settings))
