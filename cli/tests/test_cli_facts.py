"""What a status prints: a pipe gets no padding, and a terminal no more than it has room for."""

import pytest

from ssmd_cli import facts

FACTS = [("slot", "ssmd_cdc, streaming"), ("stream", "9,361 messages, " * 12 + "the end")]


def test_a_pipe_gets_each_fact_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    facts.show(FACTS, ["it is [wrong]"])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "slot    ssmd_cdc, streaming",
        f"stream  {FACTS[1][1]}",
    ]
    assert printed.err == "it is [wrong]\n"


def test_a_terminal_gets_them_below_themselves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmd_cli.output.terminal_width", lambda: 40)
    facts.show(FACTS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0] == "slot    ssmd_cdc, streaming"
    assert all(line.startswith(" " * 8) for line in lines[2:])
    assert " ".join(line[8:] for line in lines[1:]) == FACTS[1][1]
