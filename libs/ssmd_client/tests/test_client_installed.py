"""Wheels, built and installed in an environment of their own: few dependencies, and it works."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
OURS = ("ssmd-common", "ssmd-stream", "ssmd-client")
TRIED = """
import asyncio, importlib.metadata, json, pathlib
import ssmd_client
from ssmd_client import Client, Missing, Retries, Secmaster, Unreachable
assert (pathlib.Path(ssmd_client.__file__).parent / "py.typed").exists()
try:
    Client("http://127.0.0.1:1", "k", retries=Retries(tries=1)).status()
except Unreachable:
    pass


async def live():
    try:
        nothing_is_there = Secmaster.connect("http://127.0.0.1:1", "k", patience_seconds=0)
        async with nothing_is_there:
            return None
    except (Missing, Unreachable) as error:
        return str(error)


print(json.dumps([sorted(d.name for d in importlib.metadata.distributions()), asyncio.run(live())]))
"""


@cache
def interpreters() -> dict[str, str]:
    """Python 3.11, and the newest that is here: uv finds it, or pyenv keeps it."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[int, str] = {}
    for minor in range(11, 20):
        asked = [UV, "python", "find", "--no-python-downloads", f"3.{minor}"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        # PYENV_ROOT may be another user's, which nobody else reads.
        readable = os.access(kept, os.R_OK | os.X_OK)
        also = sorted(map(str, kept.glob(f"3.{minor}.*/bin/python"))) if readable else []
        if told.returncode == 0 or also:
            found[minor] = told.stdout.strip() or also[-1]
    return {"oldest": found[min(found)], "newest": found[max(found)]}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("wheels")
    for name in OURS:
        subprocess.run(
            [UV, "build", "-q", "--wheel", "--offline", "--no-build-isolation"]  # noqa: RUF005
            + ["--package", name, "-o", made],
            cwd=ROOT,
            check=True,
            env={**os.environ, "VIRTUAL_ENV": str(UV.parents[1])},
        )
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("python", ["oldest", "newest"])
@pytest.mark.parametrize("extra", ["", "[live]"])
def test_a_wheel_works_in_a_clean_environment(
    wheels: Path, tmp_path: Path, python: str, extra: str
) -> None:
    place = tmp_path / "clean"
    subprocess.run([UV, "venv", "-q", "--python", interpreters()[python], place], check=True)
    subprocess.run(
        [UV, "pip", "install", "-q", "--find-links", wheels, f"ssmd-client{extra}"]  # noqa: RUF005
        + ["--python", place / "bin/python", "-c", ROOT / "requirements/dev.txt"],
        check=True,
    )
    said = subprocess.run(
        [place / "bin/python", "-W", "error", "-c", TRIED],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    installed, live = json.loads(said.stdout)
    if extra:
        assert live.startswith("not ready within 0 s")
    else:
        assert installed == ["msgspec", "ssmd-client", "ssmd-common", "ssmd-stream", "urllib3"]
        assert live == "aiohttp is not installed: pip install 'ssmd-client[live]'"
