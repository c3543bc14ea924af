"""The commands of docs/maintenance.md, run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssmd_stack import binaries

PAGE: Final = Path(__file__).parents[1] / "docs/maintenance.md"
BLOCKS: Final[Mapping[str, str]] = dict(
    re.findall(
        r"<!-- (?:run|file): ([\w.-]+) -->\n```(?:bash|yaml)\n(.*?)```",
        PAGE.read_text(),
        re.DOTALL,
    )
)


def run(name: str, folder: Path, **environment: str) -> str:
    """What the block of that name prints; where one of its commands fails, so does the test."""
    path = [Path(sys.executable).parent, binaries.postgres_bin_dir(), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", BLOCKS[name]],
        cwd=folder,
        env={"PATH": os.pathsep.join(map(str, path)), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
