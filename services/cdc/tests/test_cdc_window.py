"""The acknowledgement window as a chain of sequences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cdc.envelope import Outgoing
from ssmd_cdc.window import Refused, Window, stored_sequence


def message(seq: int) -> Outgoing:
    return Outgoing(1, seq, "t", "insert", "t_added", "cdc.t.insert._", b"x" * 10)


def ack(sequence: int) -> bytes:
    return b'{"stream":"SECMASTER_CDC", "seq":%d}' % sequence


def test_each_message_expects_the_one_before_it() -> None:
    window = Window(41, 10, 1000)
    assert [window.add(message(at), 0.0) for at in range(3)] == [(0, 41), (1, 42), (2, 43)]


@given(st.permutations(range(6)))
def test_answers_in_any_order_are_settled_in_ours(order: list[int]) -> None:
    window = Window(0, 10, 1000)
    for at in range(6):
        window.add(message(at), 0.0)
    settled = [entry.message.seq for at in order for entry in window.reply(at, ack(at + 1))]
    assert settled == [0, 1, 2, 3, 4, 5]
    assert window.acknowledged_sequence == 6
    assert window.size == 0


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
    window = Window(0, 10, 1000)
    window.add(message(0), 0.0)
    with pytest.raises(Refused):
        window.reply(0, payload)
    assert window.acknowledged_sequence == 0


def test_it_is_full_by_count_and_by_bytes() -> None:
    window = Window(0, 2, 1000)
    window.add(message(0), 0.0)
    assert not window.full
    window.add(message(1), 0.0)
    assert window.full
    window = Window(0, 100, 10)
    window.add(message(0), 0.0)
    assert window.full


def test_after_a_failure_what_is_stored_is_settled_and_the_rest_chained_anew() -> None:
    window = Window(10, 10, 1000)
    for at in range(4):
        window.add(message(at), 0.0)
    assert [entry.message.seq for entry in window.rechain(12, 2)] == [0, 1]
    assert window.acknowledged_sequence == 12
    assert window.first == 2
    assert [e.message.seq for e in window.reply(2, ack(13))] == [2]
    assert window.add(message(4), 0.0) == (4, 14)


def test_the_sequence_of_an_answer() -> None:
    assert stored_sequence(ack(77)) == 77
    assert stored_sequence(b'{"stream":"SECMASTER_CDC","domain":"hub","seq":78}') == 78


def test_the_answer_to_a_batch_stands_for_all_of_it() -> None:
    window = Window(10, 10, 1000)
    for at in range(5):
        window.add(message(at), 0.0)
    assert [e.message.seq for e in window.reply_to_batch(2, 3, ack(13))] == [0, 1, 2]
    for number, count, sequence in ((4, 2, 14), (4, 1, 15), (5, 3, 16), (1, 1, 12)):
        with pytest.raises(Refused):
            window.reply_to_batch(number, count, ack(sequence))
    assert [e.message.seq for e in window.reply_to_batch(4, 2, ack(15))] == [3, 4]
