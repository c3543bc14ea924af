"""Ports on the loopback interface."""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_LOWEST = 20_000
TURNS = Path(tempfile.gettempdir()) / f"ssmd-ports-{os.getuid()}"
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_handed_out: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, never the same twice in one process, nor soon in two.

    Between this call and the moment a server binds it, and while that server is being restarted,
    nobody else takes it: processes of one user take turns through all ports, and it lies below the
    kernel's ephemeral range, where outgoing connections are.
    """
    first_ephemeral = _first_ephemeral_port()
    for _ in range(1000):
        port = _LOWEST + _turn() % (first_ephemeral - _LOWEST)
        if port not in _handed_out and not is_taken(port):
            _handed_out.add(port)
            return port
    raise OSError(f"no free port between {_LOWEST} and {first_ephemeral}: stop something")


def take(port: int) -> bool:
    """Whether nobody listens on the port; then `free_port` hands it out to nobody else here."""
    if is_taken(port):
        return False
    _handed_out.add(port)
    return True


def _turn() -> int:
    """One more than whoever of this user asked last had; any number where that cannot be kept."""
    turn = random.SystemRandom().randrange(1 << 20)
    with suppress(OSError):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(TURNS, flags, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(ValueError):
                turn = int(file.read()) + 1
            file.seek(0)
            file.truncate()
            file.write(b"%d" % turn)
    return turn


def is_taken(port: int) -> bool:
    """Whether binding the port on 127.0.0.1 fails now."""
    return refusal(port) is not None


def refusal(port: int) -> str | None:
    """What keeps the port on 127.0.0.1 from being bound now; None if nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set it too: connections in TIME_WAIT do not keep them from the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return "is not for this user"
        except OSError:
            return "is taken by another process"
    return None


def _first_ephemeral_port() -> int:
    try:
        first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first > _LOWEST + 1000 else 32_768
