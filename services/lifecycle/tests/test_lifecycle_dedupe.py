"""When two messages are one."""

from datetime import UTC, datetime, timedelta

from ssmd_lifecycle.dedupe import clock_key, content_key, dedupe_key

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
LATER = AT + timedelta(seconds=9)


def test_a_message_sent_again_is_the_same_however_it_came() -> None:
    body = {"market_ticker": "KXA", "event_type": "settled", "settled_ts": 5}
    turned = dict(reversed(body.items()))
    first = dedupe_key("market_lifecycle_v2", body, 1763694000123, AT)
    assert len(first) == 64
    assert first == dedupe_key("market_lifecycle_v2", turned, 1763694000123, LATER)


def test_type_body_and_time_of_sending_each_make_another_message() -> None:
    body = {"market_ticker": "KXA", "event_type": "deactivated"}
    keys = {
        dedupe_key("market_lifecycle_v2", body, 1, AT),
        dedupe_key("multivariate_market_lifecycle", body, 1, AT),
        dedupe_key("market_lifecycle_v2", body | {"event_type": "activated"}, 1, AT),
        dedupe_key("market_lifecycle_v2", body, 2, AT),
        dedupe_key("market_lifecycle_v2", body, None, AT),
        dedupe_key("market_lifecycle_v2", body, None, LATER),
    }
    assert len(keys) == 6


def test_the_same_words_have_one_content_key() -> None:
    assert content_key("t", {"a": 1, "b": [2]}) == content_key("t", {"b": [2], "a": 1})


def test_the_clock_turns_a_market_once_for_a_time() -> None:
    assert clock_key("KXA", "opened", AT) == clock_key("KXA", "opened", AT)
    assert (
        len(
            {
                clock_key("KXA", "opened", AT),
                clock_key("KXA", "closed", AT),
                clock_key("KXA", "opened", LATER),
            }
        )
        == 3
    )
