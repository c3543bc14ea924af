"""What is said to who has set nothing, or what is no longer so."""

from pathlib import Path

import pytest

from ssmd_cli.environment import ENV_FILE, advice
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable

HERE = {"NATS_URL": "nats://127.0.0.1:5", "SSMD_DATA_API_KEY": "sk_b"}
AWAY = UpstreamUnavailable("NATS did not answer within 5 s (…): check NATS_URL and that it runs")
WRONG = ConfigurationError("SSMD_DATA_API_KEY: the key is wrong, expired or revoked")
MISSING = ConfigurationError("the configuration has faults: DATABASE_URL: is missing")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell without any of ours, in a folder where nothing runs."""
    monkeypatch.chdir(tmp_path)
    for name in [*HERE, "DATABASE_URL", "REDIS_URL", "SSMD_API_URL"]:
        monkeypatch.delenv(name, raising=False)


def runs_here() -> None:
    ENV_FILE.parent.mkdir()
    ENV_FILE.write_text("".join(f"{name}={value}\n" for name, value in HERE.items()))


def test_who_has_set_nothing_is_told_to_start_a_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "run `make up`, or set NATS_URL." in advice(AWAY)
    assert "run `make up`, or set what is missing." in advice(MISSING)
    assert advice(WRONG) == ""
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    assert advice(AWAY) == "", "somebody chose it"


def test_a_shell_that_an_earlier_start_has_left_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_here()
    assert advice(AWAY) == ""
    for name, error in (("NATS_URL", AWAY), ("SSMD_DATA_API_KEY", WRONG)):
        monkeypatch.setenv(name, HERE[name])
        assert advice(error) == "", "it is that system which does not answer"
        monkeypatch.setenv(name, "other")
        assert f"{name} in this shell is not that of the system that runs here" in advice(error)
        assert "set -a; . .ssmd/env; set +a" in advice(error)
