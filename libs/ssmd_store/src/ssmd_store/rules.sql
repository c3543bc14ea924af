-- When a row of a page is older than what is stored: the rules of `ssmd_store.rules` for pages.
-- `s` is the row of the page, `m` what is stored, `k` their times, of which those that Python cannot
-- hold (infinity, before the year 1, after 9999) are NULL: they count as none. NULL is not older.

-- name: known_time
-- One of `k`'s times.
CASE WHEN {time} >= '0001-01-01Z' AND {time} < '10000-01-01Z' THEN {time} END

-- name: known_stamp
-- When a row was observed. A stamp that is still to come is of a clock that was wrong.
CASE WHEN {time} >= '0001-01-01Z' AND {time} <= now() + {stamped_ahead} THEN {time} END

-- name: older_series
k.changed_at < k.stored_changed_at

-- name: older_event
-- A row without a title is a stub: whatever completes it is newer.
m.title IS NOT NULL AND (k.changed_at < k.stored_changed_at OR s.observed_at < k.written_at)

-- name: older_market
s.observed_at < k.stored_observed_at
OR s.observed_at < k.deleted_at
-- What a message or the clock wrote in that very moment is newer than a page.
OR (s.observed_at = k.stored_observed_at AND m.observed_via <> 'rest')
-- A page that comes upon the heels of a message may not know of it.
OR (m.observed_via = 'ws' AND m.status = 'closed' AND s.status IN ('open', 'active')
    AND s.observed_at < k.stored_observed_at + {rest_lag})
-- An older copy of the row, from whatever cache of the exchange.
OR k.changed_at < k.stored_changed_at
    - CASE m.observed_via WHEN 'rest' THEN interval '0' ELSE {stamp_lag} END
-- Only newer information takes a market back from settled.
OR (m.status = 'settled' AND s.status <> 'settled'
    AND (k.changed_at > greatest(k.stored_changed_at, k.settled_time)) IS NOT TRUE)

-- name: market_status
-- What a market's status becomes by a page that is not older. An unknown word keeps it. Opening and
-- closing in time are made by the clock (the exchange is a moment late): a page does not undo them.
CASE
    WHEN s.status IS NULL THEN coalesce(m.status, 'open')
    WHEN m.status = 'closed' AND s.status IN ('open', 'active')
        AND k.close_time <= s.observed_at THEN 'closed'
    WHEN m.status = 'active' AND s.exchange_status = 'initialized'
        AND k.open_time <= s.observed_at AND s.close_time > s.observed_at THEN 'active'
    ELSE s.status
END
