"""`--help` of everything that an image can start."""

import re
import subprocess
import sys

import pytest

from ssmd_common.manifests import settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.settings import variables
from ssmd_stack import forked


def run(part: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Without any setting, as `docker run --rm IMAGE --help` starts it."""
    return subprocess.run(
        [sys.executable, "-m", f"ssmd_{part}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={},
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_asked_for_help_names_all_its_settings(service: str) -> None:
    # That each starts from nothing, test_starting.py shows.
    done = forked.run(f"ssmd_{service}", "--help", env={})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"usage: ssmd-{service}")
    assert "DATABASE_URL (required)" in done.stdout
    named = set(re.findall(r"^  ([A-Z_]+)", done.stdout, re.MULTILINE))
    assert named == set(variables(settings_type(service)))


@pytest.mark.parametrize("part", ["cli", "simulator"])
def test_what_is_no_service_has_help_too(part: str) -> None:
    done = run(part, "--help")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.lower().lstrip().startswith("usage:")


@pytest.mark.parametrize("service", SERVICES)
def test_an_argument_that_a_service_does_not_know_is_refused(service: str) -> None:
    done = forked.run(f"ssmd_{service}", "--replicas=2", env={})
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "does not know '--replicas=2'" in said
    assert f"usage: ssmd-{service}" in said
