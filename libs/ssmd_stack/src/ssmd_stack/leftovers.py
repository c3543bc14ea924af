"""What a killed system may have left: addresses, and processes if its kernel did not end them."""

from pathlib import Path

from ssmd_stack.claim import claim
from ssmd_stack.envfile import remove_env
from ssmd_stack.process import end_leftover

_SERVERS = ("postgres", "nats", "valkey")


def end_leftovers(directory: Path) -> list[str]:
    """End every process that the pid files tell of and forget its addresses; returns their names.

    Raises:
        DirectoryInUse: the system still runs.
    """
    if not directory.is_dir():
        return []
    with claim(directory):
        ended = end_processes(directory)
        remove_env(directory)
        (directory / "system.json").unlink(missing_ok=True)
    return ended


def end_processes(directory: Path) -> list[str]:
    """End every process that the pid files tell of, for who has the claim; returns their names."""
    files = [directory / name / "server.pid" for name in _SERVERS]
    files += sorted((directory / "run").glob("*.pid"))
    names = [file.parent.name if file.stem == "server" else file.stem for file in files]
    return [name for name, file in zip(names, files, strict=True) if end_leftover(file)]
