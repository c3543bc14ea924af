"""The acknowledgement window as a chain of sequences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_stream import subjects
from ssmd_stream.publish.outgoing import Outgoing
from ssmd_stream.publish.window import Refused, Window, stored_sequence


def message(number: int) -> Outgoing:
    return Outgoing(str(number), "cdc.t.insert._", "t_added", b"x" * 10)


def window_of(last_sequence: int, messages: int, size: int) -> Window[Outgoing]:
    return Window(subjects.STREAM, last_sequence, messages, size)


def ack(sequence: int) -> bytes:
    return b'{"stream":"SECMASTER_CDC", "seq":%d}' % sequence


def test_messages_are_numbered_and_their_sequences_known() -> None:
    window = window_of(41, 10, 1000)
    assert [window.add(message(at), 0.0) for at in range(3)] == [0, 1, 2]
    assert window.acknowledged_sequence == 41


def settle(
    window: Window[Outgoing], *answers: tuple[int, bytes], **batches: int
) -> tuple[list[int], str | None]:
    done, reason = window.replies(list(answers), {int(k[1:]): v for k, v in batches.items()})
    return [int(entry.message.id) for entry in done], reason


@given(st.lists(st.integers(1, 4), max_size=6))
def test_answers_that_come_together_or_apart_settle_in_order(sizes: list[int]) -> None:
    window = window_of(0, 100, 1000)
    for at in range(sum(sizes)):
        window.add(message(at), 0.0)
    number = 0
    for size in sizes:
        come = [(at, ack(at + 1)) for at in range(number, number + size)]
        assert settle(window, *come) == (list(range(number, number + size)), None)
        number += size
        assert window.acknowledged_sequence == number
    assert window.size == 0


def test_what_was_answered_before_a_refusal_is_settled() -> None:
    window = window_of(0, 10, 1000)
    for at in range(4):
        window.add(message(at), 0.0)
    done, reason = settle(window, (0, ack(1)), (1, ack(2)), (2, ack(9)), (3, ack(4)))
    assert done == [0, 1]
    assert reason is not None
    assert window.acknowledged_sequence == 2


@pytest.mark.parametrize(
    "payload",
    [
        b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}',
        b'{"stream":"SECMASTER_CDC","seq":1,"duplicate":true}',
        b'{"stream":"SECMASTER_CDC","seq":2}',
        b'{"stream":"SECMASTER_CDC","seq":}',
        b"",
        b"not json",
        b"[]",
        b"{}",
    ],
)
def test_any_other_answer_is_a_refusal(payload: bytes) -> None:
    window = window_of(0, 10, 1000)
    window.add(message(0), 0.0)
    done, reason = settle(window, (0, payload))
    assert done == []
    assert reason
    assert window.acknowledged_sequence == 0


def test_it_is_full_by_count_and_by_bytes() -> None:
    window = window_of(0, 2, 1000)
    window.add(message(0), 0.0)
    assert not window.full
    window.add(message(1), 0.0)
    assert window.full
    window = window_of(0, 100, 10)
    window.add(message(0), 0.0)
    assert window.full


def test_after_a_failure_what_is_stored_is_settled_and_the_rest_chained_anew() -> None:
    window = window_of(10, 10, 1000)
    for at in range(4):
        window.add(message(at), 0.0)
    assert [int(entry.message.id) for entry in window.rechain(12, 2)] == [0, 1]
    assert window.acknowledged_sequence == 12
    assert window.first == 2
    assert settle(window, (2, ack(13))) == ([2], None)
    assert window.add(message(4), 0.0) == 4


def test_the_sequence_of_an_answer() -> None:
    assert stored_sequence(ack(77)) == 77
    assert stored_sequence(b'{"stream":"SECMASTER_CDC","domain":"hub","seq":78}') == 78


def test_an_answer_out_of_turn_is_a_refusal() -> None:
    window = window_of(10, 10, 1000)
    for at in range(3):
        window.add(message(at), 0.0)
    assert settle(window, (0, ack(11))) == ([0], None)
    for number, sequence in ((0, 11), (2, 13), (3, 14)):
        done, reason = settle(window, (number, ack(sequence)))
        assert done == []
        assert "turn" in str(reason)


def test_the_answer_to_a_batch_stands_for_all_of_it() -> None:
    window = window_of(10, 10, 1000)
    for at in range(5):
        window.add(message(at), 0.0)
    assert settle(window, (2, ack(13)), _2=3) == ([0, 1, 2], None)
    for number, count, sequence in ((4, 2, 14), (4, 1, 15), (5, 3, 16), (1, 1, 12)):
        done, reason = settle(window, (number, ack(sequence)), **{f"_{number}": count})
        assert done == []
        assert reason
    assert settle(window, (4, ack(15)), _4=2) == ([3, 4], None)
    with pytest.raises(Refused):
        stored_sequence(b"[]")
