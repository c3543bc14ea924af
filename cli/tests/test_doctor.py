"""What `ssmd doctor` finds on a machine that is not well."""

from pathlib import Path

import pytest

from ssmd_cli.checkup import machine, running_system, shell
from ssmd_cli.finding import Finding
from ssmd_stack.claim import claim
from ssmd_stack.envfile import write_env
from ssmd_stack.kept_ports import keep_ports


def found(directory: Path, what: str) -> Finding:
    return next(finding for finding in machine(directory) if finding.what == what)


def test_a_machine_that_runs_these_tests_is_well(tmp_path: Path) -> None:
    ill = [finding for finding in machine(tmp_path) if not finding.ok]
    assert ill == []


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("SSMD_STACK", "vm", "stack"),
        ("SSMD_POSTGRES_BIN", "/nonexistent", "PostgreSQL"),
        ("KALSHI_PRIVATE_KEY_PATH", "/nonexistent", "private key"),
    ],
)
def test_each_fault_says_how_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, what: str
) -> None:
    monkeypatch.setenv(variable, value)
    finding = found(tmp_path, what)
    assert not finding.ok
    assert value in finding.detail
    assert finding.mend


def test_a_secret_that_others_can_read_is_found(tmp_path: Path) -> None:
    write_env(tmp_path, {"A": "b"})
    assert found(tmp_path, "permissions of env").ok
    (tmp_path / "env").chmod(0o644)
    finding = found(tmp_path, "permissions of env")
    assert (finding.ok, finding.detail) == (False, "644")
    assert "chmod 600" in finding.mend


async def test_states_of_a_directory(tmp_path: Path) -> None:
    assert [finding.ok for finding in await running_system(tmp_path)] == [True]
    write_env(tmp_path, {"A": "b"})
    (killed,) = await running_system(tmp_path)
    assert not killed.ok
    assert "`ssmd down` clears them" in killed.mend
    with claim(tmp_path):
        (starting,) = await running_system(tmp_path)
    assert "starts or stops" in starting.detail


def test_a_shell_with_addresses_of_an_earlier_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_env(tmp_path, {"NATS_URL": "nats://127.0.0.1:4", "REDIS_URL": "redis://127.0.0.1:6/0"})
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6/0")
    monkeypatch.delenv("NATS_URL", raising=False)
    assert shell(tmp_path) == []
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:5")
    (finding,) = shell(tmp_path)
    assert finding.level == "warn"
    assert finding.detail.startswith("NATS_URL: not of the system that runs")
    assert f"set -a; . {tmp_path}/env; set +a" in finding.mend


def test_a_shell_with_addresses_of_a_system_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NATS_URL", "REDIS_URL", "SSMD_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://ssmd:x@127.0.0.1:20017/ssmd")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:20018")
    assert shell(tmp_path) == []
    keep_ports(tmp_path, {"postgres": 20017, "nats": 20019})
    (finding,) = shell(tmp_path)
    assert finding.level == "warn"
    assert finding.detail == f"DATABASE_URL: of the system in {tmp_path}, which does not run"
    assert finding.mend == "`ssmd up` starts it, with the same addresses"
