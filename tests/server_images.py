"""Images of PostgreSQL, NATS and Valkey: a registry's, or made of the servers that tests run."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from container_engine import Engine, find_engine
from newcomer import ROOT

from ssmd_stack import binaries

SOURCE: Final = ROOT / "tests/images/servers"
STANDINS: Final = {
    "docker.io/library/postgres:18": "postgres",
    "docker.io/library/postgres:18-alpine": "postgres",
    "docker.io/library/nats:2.12-alpine": "nats",
    "docker.io/valkey/valkey:9-alpine": "valkey",
    "docker.io/library/busybox:1.37": "busybox",
}
"""The stage of the Dockerfile for each image that compose.yaml and `ssmd_stack.containers` name."""


def provide(engine: Engine) -> None:
    """See that every image is there."""
    missing = [image for image in STANDINS if not engine.pulled(image)]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory)
        _gather(context)
        for image in missing:
            engine(
                "build", "-q", f"--target={STANDINS[image]}", "-t", image, directory, seconds=300
            )


def _gather(context: Path) -> None:
    shutil.copytree(SOURCE, context, dirs_exist_ok=True)
    shutil.copy(binaries.nats_server(), context / "nats-server")
    shutil.copy(binaries.valkey_server(), context / "valkey-server")
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing (Debian: apt-get install busybox-static)"
    shutil.copy(busybox, context / "busybox")
    # With the libraries beside it, which its binaries find by their place.
    package = binaries.postgres_bin_dir().parents[1]
    for part in package.parent.glob(f"{package.name}*"):
        if not part.name.endswith(".dist-info"):
            shutil.copytree(
                part, context / "postgres" / part.name, symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", "include"),
            )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Print the environment in which the engine runs, once the images are there."""
    [directory] = arguments
    Path(directory).mkdir(parents=True, exist_ok=True)
    engine = find_engine(Path(directory))
    if isinstance(engine, str):
        sys.stderr.write(f"{engine}\n")
        return 1
    provide(engine)
    for name, text in engine.environment.items():
        sys.stdout.write(f"{name}={text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
