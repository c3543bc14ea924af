"""Ports that are free, and stay so until whoever asked for one uses it."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from ssmd_stack import ports
from ssmd_stack.kept_ports import keep_ports, ports_to_use

MANY = 600


def test_no_two_processes_are_told_the_same_port() -> None:
    """None of these is in use yet, which is how it is between a call and a server's start."""
    with ProcessPoolExecutor(4, mp_context=get_context("forkserver")) as pool:
        asked = [pool.submit(ports.free_port) for _ in range(MANY)]
        told = {one.result() for one in asked}
    assert len(told) == MANY


@pytest.mark.parametrize("kept", [b"", b"nonsense", b"9" * 30])
def test_whatever_was_kept_of_the_turns_there_is_a_port(
    kept: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "TURNS", tmp_path / "turns")
    ports.TURNS.write_bytes(kept)
    assert ports.free_port() != ports.free_port()


def test_where_no_turns_can_be_kept_there_is_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "TURNS", tmp_path / "none" / "turns")
    assert ports.free_port() != ports.free_port()


def test_the_ports_of_the_last_run_are_used_again(tmp_path: Path) -> None:
    api, nats, given = ports.free_port(), ports.free_port(), ports.free_port()
    said: list[str] = []
    assert ports_to_use(tmp_path, {}, said.append) == {}
    keep_ports(tmp_path, {"api": api, "nats": nats})
    # A given one is stronger, and no other part gets it.
    assert ports_to_use(tmp_path, {"api": given}, said.append) == {"api": given, "nats": nats}
    assert said == []
    assert ports_to_use(tmp_path, {"postgres": nats}, said.append) == {"postgres": nats, "api": api}
    assert said == [f"port {nats}, which nats had last time, is taken: nats gets another one"]
    # A part that does not run this time, as the exchange with --exchange demo, keeps its own.
    keep_ports(tmp_path, {"api": given})
    assert ports_to_use(tmp_path, {}, said.append) == {"api": given, "nats": nats}


@pytest.mark.parametrize(
    "kept", ["", "[1]", '{"api": "x", "nats": 0, "valkey": true, "exchange": 70000, "new": 20001}']
)
def test_what_is_no_port_of_a_part_is_not_used(tmp_path: Path, kept: str) -> None:
    said: list[str] = []
    (tmp_path / "ports.json").write_text(kept)
    assert ports_to_use(tmp_path, {}, said.append) == {}
    assert said == []
