"""The project's images, built for tests."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from container_engine import Engine
from newcomer import environment

from ssmd_common.parts import SERVICES

CHOSEN = os.environ.get("SSMD_IMAGES", " ".join(SERVICES)).split()
"""The services whose images are looked at one by one; the way through all is always run."""


@dataclass(slots=True)
class Images:
    """Builds what is asked for, once."""

    engine: Engine
    source: Path
    report: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def build(self, part: str, tag: str = "test", *options: str) -> str:
        name = f"localhost/ssmd-{part}:{tag}"
        if name in self.seconds:
            return name
        began = time.monotonic()
        done = subprocess.run(
            # The host's network: a package index may be nowhere else.
            [self.source / "deploy/build-image", part, name, "--network=host", *options],
            env=environment() | self.engine.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{part}: {done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        self.seconds[name] = time.monotonic() - began
        return name
