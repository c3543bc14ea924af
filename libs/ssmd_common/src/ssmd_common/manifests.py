"""What a service says of itself: `service.toml` in its package.

Whatever can read it does: `ssmd up`, `ssmd doctor`, the settings page, tests. What cannot is held
to it by tests/integration/test_manifests.py. docs/development.md says how a service is added.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from ssmd_common.settings import PostgresSettings

Need = Literal["postgres", "nats", "redis", "exchange"]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of `service.toml`; the service's name is that of its folder."""

    settings: str
    """The class in `ssmd_<name>.settings` that reads its environment."""
    needs: tuple[Need, ...]
    replicas: int
    """How many the chart starts."""
    second_replica: Literal["works", "waits"]
    port: int | None = None
    """Where it serves users, beside its ops port; `<NAME>_HOST` and `<NAME>_PORT` change it."""
    simulated: Mapping[str, str] = {}
    """Variables that `ssmd up` sets with the simulated exchange, unless its caller did."""
    local: Mapping[str, str] = {}
    """Variables that `ssmd up` sets, unless its caller did; `{directory}` is its own."""


@cache
def manifest(service: str) -> Manifest:
    """The manifest of an installed service; an image has only its own.

    Raises:
        ModuleNotFoundError: the service is not installed.
        FileNotFoundError: it has no `service.toml`.
        msgspec.ValidationError: `service.toml` has a fault.
    """
    package = f"ssmd_{service}"
    # Its place alone: importing the package would prepare this process to be the service.
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    text = (Path(found.submodule_search_locations[0]) / "service.toml").read_bytes()
    return msgspec.toml.decode(text, type=Manifest)


def settings_type(service: str) -> type[PostgresSettings]:
    """The class that reads the service's environment. Imports the service's settings."""
    found: type[PostgresSettings] = getattr(
        import_module(f"ssmd_{service}.settings"), manifest(service).settings
    )
    return found
