"""Ports on the loopback interface."""

import random
import socket
from pathlib import Path

_LOWEST = 20_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_handed_out: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, never the same twice in one process.

    It lies below the kernel's ephemeral range: an outgoing connection cannot take it between
    this call and the moment a server binds it, nor while that server is being restarted.
    """
    first_ephemeral = _first_ephemeral_port()
    for _ in range(1000):
        port = random.SystemRandom().randrange(_LOWEST, first_ephemeral)
        if port not in _handed_out and not is_taken(port):
            _handed_out.add(port)
            return port
    raise OSError(f"no free port between {_LOWEST} and {first_ephemeral}: stop something")


def is_taken(port: int) -> bool:
    """Whether binding the port on 127.0.0.1 fails now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set it too: connections in TIME_WAIT do not keep them from the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _first_ephemeral_port() -> int:
    try:
        first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first > _LOWEST + 1000 else 32_768
