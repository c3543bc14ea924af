"""Sequence numbers, with acknowledgements between the messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi.sequences import AckNumbers, Sequence

READINGS = ("used", "next", "last", "none")
steps = st.lists(st.sampled_from(["message", "ack", "lost"]), max_size=60)


def numbered(reading: str, steps: list[str]) -> list[tuple[str, int | None]]:
    """What an exchange of this reading sends: the kind and the number of each frame."""
    seq, sent = 0, []
    for step in steps:
        if step != "ack":
            seq += 1
            sent.append((step, seq))
        elif reading == "used":
            seq += 1
            sent.append(("ack", seq))
        else:
            number = {"next": seq + 1, "last": seq, "none": None}[reading]
            sent.append(("ack", number))
    return sent


def gaps(sequence: Sequence, frames: list[tuple[str, int | None]]) -> list[bool]:
    """For each message that arrives, whether something is told to be missing since the last."""
    found, missing = [], False
    for kind, number in frames:
        if kind == "ack":
            missing |= bool(sequence.acknowledged(number))
        elif kind == "message":
            found.append(bool(sequence.missing(number)) or missing)
            missing = False
    return found


@pytest.mark.parametrize("reading", READINGS)
@given(steps=steps)
def test_no_lost_message_is_passed_over_before_anything_is_learnt(
    reading: str, steps: list[str]
) -> None:
    frames = numbered(reading, steps)
    lost, expected = False, []
    for kind, _ in frames:
        lost |= kind == "lost"
        if kind == "message":
            expected.append(lost)
            lost = False
    first_loss = next((n for n, was in enumerate(expected) if was), None)
    if first_loss is not None:
        assert gaps(Sequence(), frames)[first_loss]


@pytest.mark.parametrize("reading", READINGS)
@given(steps=st.lists(st.sampled_from(["message", "ack"]), max_size=60))
def test_without_losses_there_is_at_most_one_false_alarm(reading: str, steps: list[str]) -> None:
    found = gaps(Sequence(), numbered(reading, steps))
    assert sum(found) <= (1 if reading == "used" else 0)


@pytest.mark.parametrize(("reading", "use_up"), [("used", True), ("next", False), ("last", False)])
@given(steps=steps)
def test_once_the_reading_is_known_gaps_are_exact(
    reading: str, use_up: bool, steps: list[str]
) -> None:
    frames = numbered(reading, steps)
    expected, lost = [], False
    for kind, _ in frames:
        lost |= kind == "lost"
        if kind == "message":
            expected.append(lost)
            lost = False
    acks = AckNumbers(use_up)
    found = gaps(Sequence(acks), frames)
    assert found == expected
    assert acks.use_up == use_up


def test_what_one_subscription_learns_serves_the_next() -> None:
    acks = AckNumbers()
    first, second = Sequence(acks), Sequence(acks)
    assert "not known" in gaps_text(first, [1, "ack 2", 3])
    assert gaps_text(second, [1, "ack 2", 3]) == ""
    # A number that an acknowledgement had cannot be a message's where they are used up.
    assert gaps_text(first, ["ack 4", 4]) == ""
    assert acks.use_up is False
    assert gaps_text(second, ["ack 4", 5]) == "expected 4, which an acknowledgement had, got 5"


def gaps_text(sequence: Sequence, frames: list[Any]) -> str:
    texts = [
        sequence.missing(frame)
        if isinstance(frame, int)
        else sequence.acknowledged(int(frame.removeprefix("ack ")))
        for frame in frames
    ]
    return "; ".join(text for text in texts if text)
