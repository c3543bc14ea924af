"""A container engine for tests: docker or podman, with the images' base and the chart's context."""

import os
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from newcomer import ROOT, environment

BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
USER: Final = "10001:10001"
_PULL_SECONDS: Final = 180


class EngineFailed(AssertionError):
    """A command of the engine ended with another code than 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that was started; it is removed with the engine."""

    engine: "Engine"
    name: str

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.engine("inspect", self.name))[0]
        return found

    def logs(self) -> str:
        done = self.engine.try_to("logs", self.name)
        return done.stdout + done.stderr

    def stop(self, grace_seconds: int) -> int:
        """Send SIGTERM, kill it after `grace_seconds`, and return its exit code."""
        self.engine("stop", "--time", str(grace_seconds), self.name)
        return int(self.inspect()["State"]["ExitCode"])

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return self.engine.try_to("exec", self.name, *command)


@dataclass(slots=True)
class Engine:
    """`engine("run", …)` is the engine's command line; it must end with 0."""

    program: str
    environment: dict[str, str] = field(default_factory=dict)
    containers: list[Container] = field(default_factory=list)

    @property
    def is_podman(self) -> bool:
        return Path(self.program).name == "podman"

    def __call__(self, *arguments: str, seconds: float = 120) -> str:
        done = self.try_to(*arguments, seconds=seconds)
        if done.returncode != 0:
            raise EngineFailed(
                f"{self.program} {' '.join(arguments)} ended with {done.returncode}\n"
                f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
            )
        return done.stdout

    def try_to(self, *arguments: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.program, *arguments],
            env=environment() | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def has(self, image: str) -> bool:
        return self.try_to("image", "inspect", image).returncode == 0

    def pulled(self, image: str) -> bool:
        """Whether the image is here, or a registry gave it."""
        if self.has(image):
            return True
        try:
            return self.try_to("pull", "-q", image, seconds=_PULL_SECONDS).returncode == 0
        except subprocess.TimeoutExpired:
            # A registry that cannot be reached may not even refuse.
            return False

    def start(self, name: str, *arguments: str) -> Container:
        """`run --detach`, with what the arguments say."""
        container = Container(engine=self, name=name)
        self.try_to("rm", "--force", name)
        self.containers.append(container)
        self("run", "--detach", "--name", name, *arguments)
        return container

    def remove_containers(self) -> None:
        for container in reversed(self.containers):
            self.try_to("rm", "--force", "--volumes", container.name)
        self.containers.clear()

    @property
    def locked_down(self) -> list[str]:
        """What the chart says of every pod, for `run`; with nothing that can be written to."""
        values = yaml.safe_load((ROOT / "deploy/helm/ssmd/values.yaml").read_text())
        pod, container = values["podSecurityContext"], values["securityContext"]
        assert container["readOnlyRootFilesystem"]
        assert not container["allowPrivilegeEscalation"]
        return [
            "--user", f"{pod['runAsUser']}:{pod['runAsGroup']}",
            "--read-only", *(["--read-only-tmpfs=false"] if self.is_podman else []),
            *(f"--cap-drop={name}" for name in container["capabilities"]["drop"]),
            "--security-opt", "no-new-privileges",
        ]  # fmt: skip


def find_engine(directory: Path) -> Engine | str:
    """An engine that runs containers here, with the base; else why there is none."""
    found = subprocess.run([ROOT / "deploy/engine"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return found.stderr.strip()
    engine = Engine(found.stdout.strip())
    # What deploy/build-image uses is what was found here.
    engine.environment["SSMD_ENGINE"] = engine.program
    why = _no_base(engine)
    if why is None and not _runs(engine):
        if not engine.is_podman:
            return f"{engine.program} runs no container: {_said(engine)}"
        # Without CAP_SYS_RESOURCE podman's limits cannot be set; crun wants one version of cgroups.
        engine.environment["CONTAINERS_CONF"] = str(_modest(directory / "containers.conf"))
        if not _runs(engine):
            return f"podman runs no container: {_said(engine)}"
    return why or engine


def _no_base(engine: Engine) -> str | None:
    if engine.pulled(BASE):
        return None
    done = subprocess.run(
        [ROOT / "deploy/base-image", BASE],
        env=environment() | engine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode == 0:
        return None
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"no registry gives {BASE}, and it cannot be made: {said}"


def _run(engine: Engine) -> "subprocess.CompletedProcess[str]":
    return engine.try_to("run", "--rm", "--network=host", BASE, "true")


def _runs(engine: Engine) -> bool:
    return _run(engine).returncode == 0


def _said(engine: Engine) -> str:
    return (_run(engine).stderr.strip().splitlines() or ["it said nothing"])[-1]


def _modest(path: Path) -> Path:
    # Podman takes no more processes than the kernel's pid_max, and few systems have less than this.
    most = 32768
    limits = [
        resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    ]
    files, processes = (
        most if limit == resource.RLIM_INFINITY else min(limit, most) for limit in limits
    )
    has_runc = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin")
    runtime = 'runtime = "runc"' if has_runc else ""
    path.write_text(
        f"""[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
{runtime}
"""
    )
    return path


def public_directory() -> Path:
    """A directory that containers' user can reach: those that pytest makes are private."""
    made = Path(tempfile.mkdtemp(prefix="ssmd-images-"))
    made.chmod(0o755)
    return made
