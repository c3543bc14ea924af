"""Ports that are free, and stay so until whoever asked for one uses it."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from ssmd_stack import ports

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
