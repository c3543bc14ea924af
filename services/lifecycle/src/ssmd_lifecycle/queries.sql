-- Every writer here takes its locks in one order (docs/architecture.md, decision 13): series, then
-- events in ticker order, then markets in ticker order; at the end the events' status is recomputed.
-- Rows come as one JSON array and are read by the table's own row type. Where a row is changed, what
-- the JSON does not name stays as it is stored (`jsonb_populate_record` of the stored row).
--
-- Times that Python cannot hold (infinity, before the year 1, after 9999) count as none: a comparison
-- that one of them would decide leaves it out.

-- name: insert_messages
-- Keep messages and the clock's transitions; what is stored already (by dedupe_key) is left alone.
INSERT INTO market_lifecycle_events (
        market_ticker, event_ticker, event_type, open_ts, close_ts, determined_ts, settled_ts,
        result, metadata, sent_at, received_at, dedupe_key)
    SELECT market_ticker, event_ticker, event_type, open_ts, close_ts, determined_ts, settled_ts,
        result, metadata, sent_at, received_at, dedupe_key
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb)
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING dedupe_key

-- name: insert_owed
-- Transitions that only REST told of, where no row of them exists: the clock's by their key, a pause
-- or its end where the last row says otherwise, all others once for a market.
INSERT INTO market_lifecycle_events (
        market_ticker, event_ticker, event_type, open_ts, close_ts, settled_ts, result, metadata,
        received_at, dedupe_key)
    SELECT market_ticker, event_ticker, event_type, open_ts, close_ts, settled_ts, result, metadata,
        received_at, dedupe_key
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb)
        WITH ORDINALITY AS g
    WHERE CASE
        WHEN event_type = 'opened' THEN true
        -- A message that decided a market before its time closed it, too.
        WHEN event_type = 'closed' THEN NOT EXISTS (
            SELECT FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker AND l.event_type = 'determined')
        WHEN event_type IN ('activated', 'deactivated') THEN event_type <> coalesce((
            SELECT l.event_type FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker
            AND l.event_type IN ('activated', 'deactivated')
            ORDER BY coalesce(l.sent_at, l.received_at) DESC LIMIT 1), 'activated')
        ELSE NOT EXISTS (
            SELECT FROM market_lifecycle_events l
            WHERE l.market_ticker = g.market_ticker AND l.event_type = g.event_type) END
    ORDER BY ordinality
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING event_type

-- name: replace_owed
-- Messages that come after all, of transitions that REST has told of already: the row becomes theirs.
UPDATE market_lifecycle_events l SET open_ts = g.open_ts, close_ts = g.close_ts,
        determined_ts = g.determined_ts, settled_ts = g.settled_ts, result = g.result,
        metadata = g.metadata, sent_at = g.sent_at, received_at = g.received_at,
        dedupe_key = g.dedupe_key
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb) g
    CROSS JOIN LATERAL (
        SELECT id FROM market_lifecycle_events o
        WHERE o.market_ticker = g.market_ticker AND o.event_type = g.event_type
        AND o.metadata ->> 'source' = 'rest'
        AND o.received_at >= coalesce(g.sent_at, g.received_at)
        ORDER BY o.received_at LIMIT 1) owed
    WHERE l.id = owed.id
    AND NOT EXISTS (SELECT FROM market_lifecycle_events k WHERE k.dedupe_key = g.dedupe_key)
    RETURNING l.dedupe_key

-- name: last_messages
-- The last message stored for each ticker, the clock's own rows aside.
SELECT t.ticker, l.metadata::text
    FROM unnest(%(tickers)s::text[]) AS t(ticker)
    CROSS JOIN LATERAL (
        SELECT metadata FROM (
            (SELECT id, metadata FROM market_lifecycle_events
                WHERE market_ticker = t.ticker AND NOT metadata ? 'source'
                ORDER BY id DESC LIMIT 1)
            UNION ALL
            (SELECT id, metadata FROM market_lifecycle_events
                WHERE event_ticker = t.ticker AND market_ticker IS NULL
                ORDER BY id DESC LIMIT 1)
        ) both_kinds ORDER BY id DESC LIMIT 1) l

-- name: market_history
-- The messages of each market that the exchange sent at or after a time.
SELECT l.market_ticker, l.metadata::text, l.sent_at, l.received_at, l.dedupe_key
    FROM unnest(%(tickers)s::text[], %(since)s::timestamptz[]) AS t(ticker, since)
    JOIN market_lifecycle_events l ON l.market_ticker = t.ticker
    WHERE t.since IS NULL OR least(l.sent_at, l.received_at) >= t.since

-- name: event_history
-- The event-level messages of each event that the exchange sent at or after a time.
SELECT l.event_ticker, l.metadata::text, l.sent_at, l.received_at, l.dedupe_key
    FROM unnest(%(tickers)s::text[], %(since)s::timestamptz[]) AS t(ticker, since)
    JOIN market_lifecycle_events l ON l.event_ticker = t.ticker AND l.market_ticker IS NULL
    WHERE t.since IS NULL OR least(l.sent_at, l.received_at) >= t.since

-- name: locate_markets
-- The parents of known markets.
SELECT ticker, event_ticker, series_ticker FROM markets WHERE ticker = ANY(%s)

-- name: add_series_stubs
-- Series that only a message or an event mentions; REST completes them.
INSERT INTO series (ticker, is_game)
    SELECT g.ticker, g.is_game
    FROM unnest(%(tickers)s::text[], %(is_game)s::boolean[]) AS g(ticker, is_game)
    LEFT JOIN series s ON s.ticker = g.ticker
    WHERE s.ticker IS NULL
    ORDER BY g.ticker
    ON CONFLICT (ticker) DO NOTHING

-- name: lock_events
-- Events that are there, in ticker order.
SELECT event_ticker, series_ticker, title, sub_title, collateral_return_type, strike_date,
        strike_period, fee_type_override, fee_multiplier_override, exchange_updated_at
    FROM events WHERE event_ticker = ANY(%s) ORDER BY event_ticker FOR NO KEY UPDATE

-- name: insert_events
-- New events; one that another writer was faster with is met at the next try.
INSERT INTO events (event_ticker, series_ticker, title, sub_title, collateral_return_type,
        strike_date, strike_period, fee_type_override, fee_multiplier_override)
    SELECT event_ticker, series_ticker, title, sub_title, collateral_return_type,
        strike_date, strike_period, fee_type_override, fee_multiplier_override
    FROM jsonb_populate_recordset(NULL::events, %(rows)s::jsonb)
    ORDER BY event_ticker
    ON CONFLICT (event_ticker) DO NOTHING
    RETURNING event_ticker

-- name: update_events
-- What messages changed of locked events.
UPDATE events e SET (
        title, sub_title, collateral_return_type, strike_date, strike_period, fee_type_override,
        fee_multiplier_override)
    = (SELECT
        g.title, g.sub_title, g.collateral_return_type, g.strike_date, g.strike_period,
        g.fee_type_override, g.fee_multiplier_override
        FROM jsonb_populate_record(e, d.doc) g),
        updated_at = now()
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    WHERE e.event_ticker = d.doc ->> 'event_ticker'

-- name: lock_markets
-- Markets that are there, in ticker order. A time of deletion that Python cannot hold is a deletion.
SELECT ticker, event_ticker, series_ticker, status, exchange_status, title, open_time, close_time,
        expected_expiration_time, settled_time, result, settlement_value_dollars, yes_sub_title,
        no_sub_title, strike_type, floor_strike, cap_strike, custom_strike, can_close_early,
        rules_primary, price_level_structure, price_ranges, observed_at, observed_via,
        CASE WHEN deleted_at IS NOT NULL
            THEN greatest(least(deleted_at, '9999-12-31Z'), '0001-01-01Z') END AS deleted_at
    FROM markets WHERE ticker = ANY(%s) ORDER BY ticker FOR NO KEY UPDATE

-- name: insert_markets
-- New markets; one that another writer was faster with is met at the next try.
INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status, title, open_time,
        close_time, expected_expiration_time, settled_time, result, settlement_value_dollars,
        yes_sub_title, no_sub_title, strike_type, floor_strike, cap_strike, custom_strike,
        can_close_early, rules_primary, price_level_structure, price_ranges, extra, observed_at,
        observed_via)
    SELECT ticker, event_ticker, series_ticker, status, exchange_status, title, open_time,
        close_time, expected_expiration_time, settled_time, result, settlement_value_dollars,
        yes_sub_title, no_sub_title, strike_type, floor_strike, cap_strike, custom_strike,
        can_close_early, rules_primary, price_level_structure, price_ranges, extra, observed_at,
        observed_via
    FROM jsonb_populate_recordset(NULL::markets, %(rows)s::jsonb)
    ORDER BY ticker
    ON CONFLICT (ticker) DO NOTHING
    RETURNING ticker

-- name: update_markets
-- What messages changed of locked markets.
UPDATE markets m SET (
        status, exchange_status, title, open_time, close_time, expected_expiration_time,
        settled_time, result, settlement_value_dollars, yes_sub_title, no_sub_title, strike_type,
        floor_strike, cap_strike, custom_strike, can_close_early, rules_primary,
        price_level_structure, price_ranges, observed_at, observed_via, deleted_at)
    = (SELECT
        g.status, g.exchange_status, g.title, g.open_time, g.close_time, g.expected_expiration_time,
        g.settled_time, g.result, g.settlement_value_dollars, g.yes_sub_title, g.no_sub_title,
        g.strike_type, g.floor_strike, g.cap_strike, g.custom_strike, g.can_close_early,
        g.rules_primary, g.price_level_structure, g.price_ranges, g.observed_at, g.observed_via,
        g.deleted_at
        FROM jsonb_populate_record(m, d.doc) g),
        updated_at = now()
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    WHERE m.ticker = d.doc ->> 'ticker'

-- name: settle_events
-- The status of locked events, from their markets (docs/contracts.md § 1).
UPDATE events e SET status = c.status, updated_at = now()
    FROM (
        SELECT t.event_ticker, CASE
            WHEN count(m.ticker) = 0 OR bool_or(m.status IN ('open', 'active')) THEN 'open'
            WHEN bool_and(m.status = 'settled') THEN 'settled'
            ELSE 'closed' END AS status
        FROM unnest(%s::text[]) AS t(event_ticker)
        LEFT JOIN markets m ON m.event_ticker = t.event_ticker AND m.deleted_at IS NULL
        GROUP BY t.event_ticker) c
    WHERE e.event_ticker = c.event_ticker AND e.status <> c.status

-- name: due_openings
-- Markets whose open_time has come (`ssmd_lifecycle.clock.due` is the same rule).
SELECT ticker, event_ticker, open_time FROM markets
    WHERE status = 'open' AND open_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
    AND (observed_via IS DISTINCT FROM 'rest' OR observed_at IS NULL
        OR observed_at > %(now)s + interval '30 s' OR observed_at < open_time + interval '10 s')
    ORDER BY open_time LIMIT %(limit)s

-- name: due_closings
-- Markets whose close_time has come.
SELECT ticker, event_ticker, close_time FROM markets
    WHERE status IN ('open', 'active') AND close_time BETWEEN '0001-01-01Z' AND %(now)s
    AND deleted_at IS NULL
    ORDER BY close_time LIMIT %(limit)s

-- name: lock_openings
-- Those of some markets that still are due to open, under their parents' locks.
SELECT ticker, event_ticker, open_time FROM markets
    WHERE ticker = ANY(%(tickers)s) AND status = 'open'
    AND open_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
    ORDER BY ticker FOR NO KEY UPDATE

-- name: lock_closings
-- Those of some markets that still are due to close, under their parents' locks.
SELECT ticker, event_ticker, close_time FROM markets
    WHERE ticker = ANY(%(tickers)s) AND status IN ('open', 'active')
    AND close_time BETWEEN '0001-01-01Z' AND %(now)s AND deleted_at IS NULL
    ORDER BY ticker FOR NO KEY UPDATE

-- name: turn_markets
-- The clock's transition of locked markets.
UPDATE markets SET status = %(status)s, observed_at = %(now)s, observed_via = 'clock',
        updated_at = now()
    WHERE ticker = ANY(%(tickers)s)

-- name: turned_too_early
-- Markets that a clock turned before their time, by ours and the server's: the exchange's word is one
-- of trading, and the time is to come. What the exchange itself closed has another word.
SELECT turn, ticker, event_ticker, at, status, exchange_status, open_time FROM (
    SELECT 'closed' AS turn, ticker, event_ticker, close_time AS at, status, exchange_status,
        CASE WHEN open_time BETWEEN '0001-01-01Z' AND '9999-12-31Z' THEN open_time END AS open_time
        FROM markets
        WHERE status = 'closed' AND deleted_at IS NULL
        AND close_time > greatest(%(after)s, now() + %(margin)s) AND close_time < '10000-01-01Z'
        AND (exchange_status IN ('initialized', 'active', 'inactive')
            OR (exchange_status IS NULL AND observed_via = 'clock'))
    UNION ALL
    SELECT 'opened', ticker, event_ticker, open_time, status, exchange_status, open_time
        FROM markets
        WHERE status = 'active' AND deleted_at IS NULL
        AND open_time > greatest(%(after)s, now() + %(margin)s) AND open_time < '10000-01-01Z'
        AND (exchange_status = 'initialized'
            OR (exchange_status IS NULL AND observed_via = 'clock'))) AS early
    WHERE %(tickers)s::text[] IS NULL OR ticker = ANY(%(tickers)s)
    ORDER BY at DESC LIMIT %(limit)s

-- name: lock_tickers
-- Markets, in ticker order, under their parents' locks.
SELECT ticker FROM markets WHERE ticker = ANY(%s) ORDER BY ticker FOR NO KEY UPDATE

-- name: rename_early
-- The clock's rows of transitions that are taken back: their keys are free for those that are to come.
UPDATE market_lifecycle_events
    SET dedupe_key = encode(sha256(convert_to(dedupe_key || ' ' || id, 'UTF8')), 'hex')
    WHERE dedupe_key = ANY(%s)

-- name: due_at
-- What will be due at one moment, as it stands now.
SELECT 'opened', ticker, event_ticker, open_time FROM markets
    WHERE status = 'open' AND open_time = %(moment)s AND deleted_at IS NULL
    AND (exchange_status = 'initialized' OR exchange_status IS NULL)
UNION ALL
SELECT 'closed', ticker, event_ticker, close_time FROM markets
    WHERE status IN ('open', 'active') AND close_time = %(moment)s AND deleted_at IS NULL

-- name: turned_by_others
-- Which of some expected transitions have come to pass, at the moment that was expected.
SELECT t.turn, t.ticker
    FROM unnest(%(turns)s::text[], %(tickers)s::text[], %(moments)s::timestamptz[])
        AS t(turn, ticker, moment)
    JOIN markets m ON m.ticker = t.ticker AND m.deleted_at IS NULL
    WHERE (t.turn = 'opened' AND m.open_time = t.moment
            AND m.status IN ('active', 'closed', 'settled'))
    OR (t.turn = 'closed' AND m.close_time = t.moment AND m.status IN ('closed', 'settled'))

-- name: next_due
-- When the clock has to act next, after a time; NULL if never.
SELECT least(
    (SELECT min(open_time) FROM markets
        WHERE status = 'open' AND open_time > %(now)s AND open_time < '10000-01-01Z'
        AND deleted_at IS NULL),
    (SELECT min(close_time) FROM markets
        WHERE status = 'open' AND close_time > %(now)s AND close_time < '10000-01-01Z'
        AND deleted_at IS NULL),
    (SELECT min(close_time) FROM markets
        WHERE status = 'active' AND close_time > %(now)s AND close_time < '10000-01-01Z'
        AND deleted_at IS NULL))

-- name: listen
-- Hear of markets that other writers made due soon (migrations/004_lifecycle_due.sql).
LISTEN ssmd_due

-- name: series_of_events
-- The series of known events.
SELECT event_ticker, series_ticker FROM events WHERE event_ticker = ANY(%s)

-- name: complete_already
-- Those of some series that are more than a stub.
SELECT ticker FROM series WHERE ticker = ANY(%s) AND title IS NOT NULL

-- name: complete_series
-- Series that are new or only a stub, as REST tells them. {columns} and the like are filled from
-- ssmd_common.models, so that no column can be forgotten. What of a row could not be read is not in
-- its JSON: a stored row keeps its value there, a new one has NULL.
INSERT INTO series AS m ({columns})
    SELECT {given_columns}
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    LEFT JOIN series s ON s.ticker = d.doc ->> 'ticker'
    CROSS JOIN LATERAL jsonb_populate_record(s, d.doc) g
    ORDER BY g.ticker
    ON CONFLICT (ticker) DO UPDATE SET {excluded}, updated_at = now()
    WHERE m.title IS NULL AND ({stored}) IS DISTINCT FROM ({excluded_columns})

-- name: mirror_events
-- Locked events as REST tells them, where that is newer or completes a stub.
UPDATE events m SET {assignments}, deleted_at = NULL, updated_at = now()
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    JOIN events s ON s.event_ticker = d.doc ->> 'event_ticker'
    CROSS JOIN LATERAL jsonb_populate_record(s, d.doc) g
    WHERE m.event_ticker = s.event_ticker
    AND (m.title IS NULL OR m.exchange_updated_at IS NULL
        OR m.exchange_updated_at >= '10000-01-01Z'
        OR g.exchange_updated_at >= m.exchange_updated_at)
    AND (({stored}) IS DISTINCT FROM ({given}) OR m.deleted_at IS NOT NULL)
    RETURNING m.event_ticker

-- name: add_events
-- Events that REST tells and that are not there.
INSERT INTO events ({columns})
    SELECT {columns} FROM jsonb_populate_recordset(NULL::events, %(rows)s::jsonb) g
    WHERE NOT EXISTS (SELECT FROM events m WHERE m.event_ticker = g.event_ticker)
    ORDER BY g.event_ticker
    ON CONFLICT (event_ticker) DO NOTHING
    RETURNING event_ticker

-- name: lock_statuses
-- Markets that are there, in ticker order.
SELECT ticker, status FROM markets WHERE ticker = ANY(%s) ORDER BY ticker FOR NO KEY UPDATE

-- name: mirror_markets
-- Locked markets as REST tells them, where it was asked after what is stored was observed. An
-- unknown word keeps the status; opening and closing in time are the clock's, and a reply does not
-- undo them; nothing but newer information takes a market back from settled; a reply that comes
-- upon the heels of a message may not know of it. A stamp that is still to come is of a wrong clock.
UPDATE markets m SET {assignments}, deleted_at = NULL, updated_at = now(),
        status = CASE
            WHEN g.status IS NULL THEN m.status
            WHEN m.status = 'closed' AND g.status IN ('open', 'active')
                AND g.close_time BETWEEN '0001-01-01Z' AND g.observed_at THEN 'closed'
            WHEN m.status = 'active' AND g.exchange_status = 'initialized'
                AND g.open_time <= g.observed_at AND g.close_time > g.observed_at THEN 'active'
            ELSE g.status END
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    JOIN markets s ON s.ticker = d.doc ->> 'ticker'
    CROSS JOIN LATERAL jsonb_populate_record(s, d.doc) g
    WHERE m.ticker = s.ticker
    AND (m.observed_at IS NULL OR m.observed_at > now() + interval '30 s'
        OR m.observed_at < g.observed_at
        OR (m.observed_at = g.observed_at AND m.observed_via = 'rest'))
    AND NOT (m.status = 'settled' AND g.status <> 'settled' AND (
        g.exchange_updated_at > (SELECT max(at)
            FROM unnest(ARRAY[m.exchange_updated_at, m.settled_time]) AS at
            WHERE at < '10000-01-01Z')) IS NOT TRUE)
    AND NOT (m.status = 'closed' AND g.status IN ('open', 'active') AND m.observed_via = 'ws'
        AND g.observed_at < m.observed_at + interval '2 s')
    AND (({stored}) IS DISTINCT FROM ({given}) OR m.deleted_at IS NOT NULL)
    RETURNING m.ticker, m.status

-- name: add_markets
-- Markets that REST tells and that are not there.
INSERT INTO markets (status, {columns})
    SELECT coalesce(g.status, 'open'), {given_columns}
    FROM jsonb_populate_recordset(NULL::markets, %(rows)s::jsonb) g
    WHERE NOT EXISTS (SELECT FROM markets m WHERE m.ticker = g.ticker)
    ORDER BY g.ticker
    ON CONFLICT (ticker) DO NOTHING
    RETURNING ticker, status

-- name: last_heard
-- The last moment of which this service can vouch: the last message, else the last sync that read its scope.
SELECT coalesce(
    (SELECT received_at FROM market_lifecycle_events
        WHERE received_at BETWEEN '0001-01-01Z' AND '9999-12-31Z' AND NOT metadata ? 'source'
        ORDER BY received_at DESC LIMIT 1),
    (SELECT max(started_at) FROM sync_runs
        WHERE (outcome = 'ok' OR unread IS NOT NULL)
        AND started_at BETWEEN '0001-01-01Z' AND '9999-12-31Z'))

-- name: open_gap
-- An interval of unknown; `ended_at` is when messages came again.
INSERT INTO lifecycle_gaps (reason, began_at, ended_at) VALUES (%(reason)s, %(began_at)s, %(ended_at)s)
    RETURNING id

-- name: unrepaired_gaps
-- Intervals that a former process left unrepaired.
SELECT id, began_at, reason FROM lifecycle_gaps WHERE repaired_at IS NULL ORDER BY id

-- name: close_gap
-- An interval was repaired over REST.
UPDATE lifecycle_gaps SET repaired_at = %(repaired_at)s, changed = %(changed)s,
        ended_at = coalesce(ended_at, %(repaired_at)s)
    WHERE id = %(id)s

-- name: expire_messages
-- One small batch of rows older than the retention.
DELETE FROM market_lifecycle_events WHERE id IN (
    SELECT id FROM market_lifecycle_events WHERE received_at < %(before)s
    ORDER BY received_at LIMIT %(limit)s)

-- name: categories
-- The series and category of markets, for the filter.
SELECT m.ticker, m.series_ticker, coalesce(e.category, s.category)
    FROM markets m
    JOIN events e ON e.event_ticker = m.event_ticker
    JOIN series s ON s.ticker = m.series_ticker
    WHERE m.ticker = ANY(%s)

-- name: event_categories
-- The series and category of events, for the filter.
SELECT e.event_ticker, e.series_ticker, coalesce(e.category, s.category)
    FROM events e JOIN series s ON s.ticker = e.series_ticker
    WHERE e.event_ticker = ANY(%s)
