"""The ports of a directory's last run: addresses in shells and bookmarks stay good."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ssmd_stack.plan import PORTS
from ssmd_stack.ports import take

_NAME = "ports.json"


def ports_to_use(
    directory: Path, given: Mapping[str, int], say: Callable[[str], None]
) -> dict[str, int]:
    """Of each part the given port, else that of the last run if it is free.

    `say` is told of each port that is not free any more; that part gets another one.
    """
    kept = {name: port for name, port in kept_ports(directory).items() if name not in given}
    chosen = dict(given)
    for name, port in kept.items():
        if port not in chosen.values() and take(port):
            chosen[name] = port
        else:
            say(f"port {port}, which {name} had last time, is taken: {name} gets another one")
    return chosen


def keep_ports(directory: Path, ports: Mapping[str, int]) -> None:
    """Remember them for the next run; of a part that has none now, what it had."""
    path = directory / _NAME
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps({**kept_ports(directory), **ports}, indent=1) + "\n")
    beside.replace(path)


def kept_ports(directory: Path) -> dict[str, int]:
    """The port of each part at the last run, empty where nothing ran before.

    What else is there, whoever wrote it, does not count.
    """
    try:
        found = json.loads((directory / _NAME).read_text())
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {
        name: port
        for name, port in pairs
        if name in PORTS and type(port) is int and 0 < port < 65536
    }
