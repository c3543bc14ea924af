"""Structured logs: JSON on stdout in a container, colours on a terminal.

Messages are constant and lower-case, values are fields; no payloads and no secrets.
"""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

_SECRET_WORDS: Final = (
    "password",
    "secret",
    "private_key",
    "api_key",
    "authorization",
    "token_hash",
)


_HELD_SECONDS: Final = 0.05
"""How long a line may wait for others: writing is dearer than making it."""

_Write = Callable[[str, dict[str, Any]], None]
_write: _Write | None = None
"""Writes a line of level info as JSON, the shortest way; None where lines are written otherwise."""


def often(log: Any, event: str, fields: dict[str, Any]) -> None:
    """A line of level info that is written so often that its making is felt.

    It is as `log.info` has it, but for what is bound: a tenth of the work. It is called within a
    loop of asyncio, and out in a twentieth of a second; `fields` become the line.
    """
    if _write is None:
        log.info(event, **fields)
    else:
        _write(event, fields)


def _writer(service: str, stream: TextIO) -> _Write:
    encode = msgspec.json.Encoder().encode
    flushed_at = 0.0
    later: asyncio.TimerHandle | None = None

    def flush() -> None:
        nonlocal flushed_at, later
        stream.flush()
        flushed_at, later = time.monotonic(), None

    def write(event: str, fields: dict[str, Any]) -> None:
        nonlocal later
        fields["event"] = event
        fields["level"] = "info"
        fields["timestamp"] = datetime.now(UTC)
        fields["service"] = service
        stream.write(encode(fields).decode() + "\n")
        # Lines that come close together go out together; those of others take them along.
        if time.monotonic() - flushed_at > _HELD_SECONDS:
            flush()
        elif later is None:
            later = asyncio.get_running_loop().call_later(_HELD_SECONDS, flush)

    return write


def configure(service: str, level: str = "INFO", style: str = "json") -> None:
    """Set up structlog and route the standard library's loggers (of dependencies) through it."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
        _hide_secrets,
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=False,
    )
    if isinstance(sys.__stdout__, io.TextIOWrapper):
        # With PYTHONUNBUFFERED, as in the image, each line of `often` would go out by itself.
        sys.__stdout__.reconfigure(write_through=False)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    global _write  # noqa: PLW0603 - structlog's configuration is one for the process, too
    told = logging.getLevelName(level) <= logging.INFO
    _write = _writer(service, sys.stdout) if style == "json" and told else None
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Its access log would be a line for each probe.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    return add


def _hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "[hidden]"
    return event
