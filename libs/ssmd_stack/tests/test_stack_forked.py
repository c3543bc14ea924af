"""A forked service has the variables, the output and the end of a program that was started."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest

from ssmd_stack import forked
from ssmd_stack.ports import free_port


async def test_it_has_the_variables_that_it_was_given_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/ours")
    with tempfile.TemporaryFile() as output:
        service = await forked.start("ssmd_cdc", env={"NATS_URL": "http://nowhere"}, stdout=output)
        assert await service.wait() == service.returncode == 2
        output.seek(0)
        said = output.read().decode()
    assert "DATABASE_URL: is missing" in said
    assert "NATS_URL" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_ends_it_once(number: signal.Signals) -> None:
    nothing = f"127.0.0.1:{free_port()}"
    variables = {"DATABASE_URL": f"postgresql://{nothing}/x", "NATS_URL": f"nats://{nothing}"}
    with tempfile.TemporaryFile() as output:
        environment = {**variables, "OPS_PORT": str(free_port())}
        service = await forked.start("ssmd_cdc", env=environment, stdout=output)
        while b'"warning"' not in os.pread(output.fileno(), 1 << 16, 0):
            assert service.returncode is None
            await asyncio.sleep(0.01)
        service.send_signal(number)
        code = await service.wait()
        # It is gone: there is nobody to send it to.
        service.kill()
    assert code == (0 if number == signal.SIGTERM else -9)


def test_a_command_is_run_to_its_end_where_it_is_told(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    done = forked.run("ssmd_cli", "db", "status", env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "DATABASE_URL: is missing" in done.stderr


def test_a_command_that_does_not_end_is_killed() -> None:
    nothing = f"127.0.0.1:{free_port()}"
    variables = {"DATABASE_URL": f"postgresql://{nothing}/x", "NATS_URL": f"nats://{nothing}"}
    with pytest.raises(TimeoutError):
        forked.run("ssmd_cdc", env={**variables, "OPS_PORT": str(free_port())}, seconds=0.2)
