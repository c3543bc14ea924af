"""The scope file: read at the start and whenever it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from ssmd_common.errors import ConfigurationError
from ssmd_common.health import Health
from ssmd_connector.scope import Scope, scope_of

LOOK_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class ScopeFile:
    """A path, or none: then everything is published, and no book."""

    def __init__(self, path: Path | None, health: Health) -> None:
        self._path = path
        self._health = health
        self._text: bytes | None = None
        self.scope = Scope()

    def load(self) -> None:
        """Read it for the first time.

        Raises:
            ConfigurationError: it cannot be read.
        """
        if self._path is None:
            return
        try:
            self._text = self._path.read_bytes()
            self.scope = parsed(self._text)
        except (OSError, ValueError) as error:
            raise ConfigurationError(_sentence(self._path, error)) from error

    async def follow(self, changed: Callable[[], None]) -> None:
        """Look again and again; `changed` is called after each change. A file that cannot be read
        leaves the scope as it was."""
        while self._path is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                text = await asyncio.to_thread(self._path.read_bytes)
                if text == self._text:
                    continue
                # It may be half written; then the rest is another change.
                self._text, self.scope = text, parsed(text)
            except (OSError, ValueError) as error:
                self._health.degrade("scope_file", f"{_sentence(self._path, error)}; the old holds")
                continue
            self._health.degrade("scope_file", None)
            log.info("the scope has changed", file=str(self._path))
            changed()


def parsed(text: bytes) -> Scope:
    """The scope of a file's text. ValueError where it cannot be read."""
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no YAML: {' '.join(str(error).split())}") from error
    return scope_of(document)


def _sentence(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"the scope file {path} cannot be used: {why}"
