-- a session's tables
CREATE TEMP TABLE IF NOT EXISTS staged_series ON COMMIT DELETE ROWS AS
    SELECT ticker, title, category, tags, is_game, active, volume, frequency, fee_type, fee_multiplier,
        settlement_sources, contract_url, exchange_updated_at, extra, NULL::text[] AS kept FROM series WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_events ON COMMIT DELETE ROWS AS
    SELECT event_ticker, title, category, series_ticker, strike_date, mutually_exclusive, sub_title, strike_period,
        collateral_return_type, fee_type_override, fee_multiplier_override, exchange_updated_at, extra,
        mve_collection_ticker, NULL::timestamptz AS observed_at, NULL::text[] AS kept
    FROM events WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS staged_markets ON COMMIT DELETE ROWS AS
    SELECT ticker, event_ticker, title, status, close_time, yes_bid, yes_ask, no_bid, no_ask, last_price, volume,
        volume_24h, open_interest, series_ticker, exchange_status, yes_bid_dollars, yes_ask_dollars, no_bid_dollars,
        no_ask_dollars, last_price_dollars, volume_fp, volume_24h_fp, open_interest_fp, open_time,
        expected_expiration_time, latest_expiration_time, settled_time, result, settlement_value_dollars,
        expiration_value, yes_sub_title, no_sub_title, market_type, strike_type, floor_strike, cap_strike,
        custom_strike, can_close_early, rules_primary, price_level_structure, price_ranges, mve_collection_ticker,
        is_provisional, extra, exchange_updated_at, observed_at, observed_via, mve_selected_legs, NULL::text[] AS kept
        FROM markets WITH NO DATA;
CREATE TEMP TABLE IF NOT EXISTS changed_series (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_events (ticker varchar(128), verdict text)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS changed_markets
    (ticker varchar(128), verdict text, parent varchar(128), former_parent varchar(128))
    ON COMMIT DELETE ROWS;

-- series: copy
COPY staged_series (ticker, title, category, tags, is_game, active, volume, frequency, fee_type, fee_multiplier,
    settlement_sources, contract_url, exchange_updated_at, extra) FROM STDIN

-- series: mark what is new or changed
INSERT INTO changed_series
    SELECT j.ticker, j.verdict FROM
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT s.ticker AS ticker, s.title AS title, s.category AS category, s.tags AS tags, s.is_game AS is_game,
            s.active AS active, (coalesce(s.volume, m.volume)) AS volume, s.frequency AS frequency, s.fee_type AS
            fee_type, s.fee_multiplier AS fee_multiplier, s.settlement_sources AS settlement_sources, s.contract_url AS
            contract_url, s.exchange_updated_at AS exchange_updated_at, s.extra AS extra, false AS orphan, false AS
            returned,
            m.ticker AS stored,
            (k.changed_at < k.stored_changed_at) IS TRUE AS older,
            (s.ticker, s.title, s.category, s.tags, s.is_game, s.active, (coalesce(s.volume, m.volume)), s.frequency,
                s.fee_type, s.fee_multiplier, s.settlement_sources, s.contract_url, s.exchange_updated_at, s.extra) IS
                DISTINCT FROM (m.ticker, m.title, m.category, m.tags, m.is_game, m.active, m.volume, m.frequency,
                m.fee_type, m.fee_multiplier, m.settlement_sources, m.contract_url, m.exchange_updated_at, m.extra) AS
                differs
        FROM staged_series s LEFT JOIN series m ON m.ticker = s.ticker
        CROSS JOIN LATERAL (SELECT
CASE WHEN s.exchange_updated_at >= '0001-01-01Z' AND s.exchange_updated_at < '10000-01-01Z' THEN s.exchange_updated_at
    END AS changed_at,
CASE WHEN m.exchange_updated_at >= '0001-01-01Z' AND m.exchange_updated_at < '10000-01-01Z' THEN m.exchange_updated_at
    END AS stored_changed_at) AS k
    ) j) j WHERE j.verdict IN ('new', 'changed')

-- series: insert
INSERT INTO series (ticker, title, category, tags, is_game, active, volume, frequency, fee_type, fee_multiplier,
    settlement_sources, contract_url, exchange_updated_at, extra)
    SELECT j.ticker, j.title, j.category, j.tags, j.is_game, j.active, j.volume, j.frequency, j.fee_type,
        j.fee_multiplier, j.settlement_sources, j.contract_url, j.exchange_updated_at, j.extra FROM changed_series c
        JOIN
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT s.ticker AS ticker, s.title AS title, s.category AS category, s.tags AS tags, s.is_game AS is_game,
            s.active AS active, (coalesce(s.volume, m.volume)) AS volume, s.frequency AS frequency, s.fee_type AS
            fee_type, s.fee_multiplier AS fee_multiplier, s.settlement_sources AS settlement_sources, s.contract_url AS
            contract_url, s.exchange_updated_at AS exchange_updated_at, s.extra AS extra, false AS orphan, false AS
            returned,
            m.ticker AS stored,
            (k.changed_at < k.stored_changed_at) IS TRUE AS older,
            (s.ticker, s.title, s.category, s.tags, s.is_game, s.active, (coalesce(s.volume, m.volume)), s.frequency,
                s.fee_type, s.fee_multiplier, s.settlement_sources, s.contract_url, s.exchange_updated_at, s.extra) IS
                DISTINCT FROM (m.ticker, m.title, m.category, m.tags, m.is_game, m.active, m.volume, m.frequency,
                m.fee_type, m.fee_multiplier, m.settlement_sources, m.contract_url, m.exchange_updated_at, m.extra) AS
                differs
        FROM staged_series s LEFT JOIN series m ON m.ticker = s.ticker
        CROSS JOIN LATERAL (SELECT
CASE WHEN s.exchange_updated_at >= '0001-01-01Z' AND s.exchange_updated_at < '10000-01-01Z' THEN s.exchange_updated_at
    END AS changed_at,
CASE WHEN m.exchange_updated_at >= '0001-01-01Z' AND m.exchange_updated_at < '10000-01-01Z' THEN m.exchange_updated_at
    END AS stored_changed_at) AS k
    ) j) j ON j.ticker = c.ticker
    WHERE c.verdict = 'new' AND j.verdict = 'new'
    ORDER BY j.ticker
    ON CONFLICT (ticker) DO NOTHING

-- series: update
WITH written AS (
    UPDATE series m SET ticker = j.ticker, title = j.title, category = j.category, tags = j.tags, is_game = j.is_game,
        active = j.active, volume = j.volume, frequency = j.frequency, fee_type = j.fee_type, fee_multiplier =
        j.fee_multiplier, settlement_sources = j.settlement_sources, contract_url = j.contract_url, exchange_updated_at
        = j.exchange_updated_at, extra = j.extra, updated_at = now()
        FROM changed_series c JOIN
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT s.ticker AS ticker, s.title AS title, s.category AS category, s.tags AS tags, s.is_game AS is_game,
            s.active AS active, (coalesce(s.volume, m.volume)) AS volume, s.frequency AS frequency, s.fee_type AS
            fee_type, s.fee_multiplier AS fee_multiplier, s.settlement_sources AS settlement_sources, s.contract_url AS
            contract_url, s.exchange_updated_at AS exchange_updated_at, s.extra AS extra, false AS orphan, false AS
            returned,
            m.ticker AS stored,
            (k.changed_at < k.stored_changed_at) IS TRUE AS older,
            (s.ticker, s.title, s.category, s.tags, s.is_game, s.active, (coalesce(s.volume, m.volume)), s.frequency,
                s.fee_type, s.fee_multiplier, s.settlement_sources, s.contract_url, s.exchange_updated_at, s.extra) IS
                DISTINCT FROM (m.ticker, m.title, m.category, m.tags, m.is_game, m.active, m.volume, m.frequency,
                m.fee_type, m.fee_multiplier, m.settlement_sources, m.contract_url, m.exchange_updated_at, m.extra) AS
                differs
        FROM staged_series s LEFT JOIN series m ON m.ticker = s.ticker
        CROSS JOIN LATERAL (SELECT
CASE WHEN s.exchange_updated_at >= '0001-01-01Z' AND s.exchange_updated_at < '10000-01-01Z' THEN s.exchange_updated_at
    END AS changed_at,
CASE WHEN m.exchange_updated_at >= '0001-01-01Z' AND m.exchange_updated_at < '10000-01-01Z' THEN m.exchange_updated_at
    END AS stored_changed_at) AS k
    ) j) j ON j.ticker = c.ticker
        WHERE m.ticker = c.ticker AND j.verdict = 'changed'
        RETURNING NULL::text AS became)
SELECT became, count(*) FROM written GROUP BY became

-- series of which some fields were unreadable: copy
COPY staged_series (ticker, title, category, tags, is_game, active, volume, frequency, fee_type, fee_multiplier,
    settlement_sources, contract_url, exchange_updated_at, extra, kept) FROM STDIN

-- series of which some fields were unreadable: mark
INSERT INTO changed_series
    SELECT j.ticker, j.verdict FROM
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT s.ticker AS ticker, s.title AS title, s.category AS category, s.tags AS tags, s.is_game AS is_game,
            s.active AS active, (coalesce(s.volume, m.volume)) AS volume, s.frequency AS frequency, s.fee_type AS
            fee_type, s.fee_multiplier AS fee_multiplier, s.settlement_sources AS settlement_sources, s.contract_url AS
            contract_url, s.exchange_updated_at AS exchange_updated_at, s.extra AS extra, false AS orphan, false AS
            returned,
            m.ticker AS stored,
            (k.changed_at < k.stored_changed_at) IS TRUE AS older,
            (s.ticker, s.title, s.category, s.tags, s.is_game, s.active, (coalesce(s.volume, m.volume)), s.frequency,
                s.fee_type, s.fee_multiplier, s.settlement_sources, s.contract_url, s.exchange_updated_at, s.extra) IS
                DISTINCT FROM (m.ticker, m.title, m.category, m.tags, m.is_game, m.active, m.volume, m.frequency,
                m.fee_type, m.fee_multiplier, m.settlement_sources, m.contract_url, m.exchange_updated_at, m.extra) AS
                differs
        FROM
(SELECT s.ticker, CASE WHEN 'title' = ANY(s.kept) THEN m.title ELSE s.title END AS title, CASE WHEN 'category' =
    ANY(s.kept) THEN m.category ELSE s.category END AS category, CASE WHEN 'tags' = ANY(s.kept) THEN m.tags ELSE s.tags
    END AS tags, CASE WHEN 'is_game' = ANY(s.kept) THEN m.is_game ELSE s.is_game END AS is_game, CASE WHEN 'active' =
    ANY(s.kept) THEN m.active ELSE s.active END AS active, CASE WHEN 'volume' = ANY(s.kept) THEN m.volume ELSE s.volume
    END AS volume, CASE WHEN 'frequency' = ANY(s.kept) THEN m.frequency ELSE s.frequency END AS frequency, CASE WHEN
    'fee_type' = ANY(s.kept) THEN m.fee_type ELSE s.fee_type END AS fee_type, CASE WHEN 'fee_multiplier' = ANY(s.kept)
    THEN m.fee_multiplier ELSE s.fee_multiplier END AS fee_multiplier, CASE WHEN 'settlement_sources' = ANY(s.kept) THEN
    m.settlement_sources ELSE s.settlement_sources END AS settlement_sources, CASE WHEN 'contract_url' = ANY(s.kept)
    THEN m.contract_url ELSE s.contract_url END AS contract_url, CASE WHEN 'exchange_updated_at' = ANY(s.kept) THEN
    m.exchange_updated_at ELSE s.exchange_updated_at END AS exchange_updated_at, CASE WHEN 'extra' = ANY(s.kept) THEN
    m.extra ELSE s.extra END AS extra FROM staged_series s LEFT JOIN series m ON m.ticker = s.ticker) s LEFT JOIN series
    m ON m.ticker = s.ticker
        CROSS JOIN LATERAL (SELECT
CASE WHEN s.exchange_updated_at >= '0001-01-01Z' AND s.exchange_updated_at < '10000-01-01Z' THEN s.exchange_updated_at
    END AS changed_at,
CASE WHEN m.exchange_updated_at >= '0001-01-01Z' AND m.exchange_updated_at < '10000-01-01Z' THEN m.exchange_updated_at
    END AS stored_changed_at) AS k
    ) j) j WHERE j.verdict IN ('new', 'changed')

-- markets: mark
INSERT INTO changed_markets
    SELECT j.ticker, j.verdict, j.parent, j.former_parent FROM
(SELECT j.*, CASE
        WHEN j.orphan THEN 'orphan'
        WHEN j.stored IS NULL THEN 'new'
        WHEN NOT (j.differs OR j.returned) THEN 'same'
        WHEN j.older THEN 'older'
        ELSE 'changed' END AS verdict
    FROM (
        SELECT s.ticker AS ticker, s.event_ticker AS event_ticker, s.title AS title, (
CASE
    WHEN s.status IS NULL THEN coalesce(m.status, 'open')
    WHEN m.status = 'closed' AND s.status IN ('open', 'active')
        AND k.close_time <= s.observed_at THEN 'closed'
    WHEN m.status = 'active' AND s.exchange_status = 'initialized'
        AND k.open_time <= s.observed_at AND s.close_time > s.observed_at THEN 'active'
    ELSE s.status
END) AS status, s.close_time AS close_time, s.yes_bid AS yes_bid, s.yes_ask AS yes_ask, s.no_bid AS no_bid, s.no_ask AS
    no_ask, s.last_price AS last_price, s.volume AS volume, s.volume_24h AS volume_24h, s.open_interest AS
    open_interest, (p.series_ticker) AS series_ticker, s.exchange_status AS exchange_status, s.yes_bid_dollars AS
    yes_bid_dollars, s.yes_ask_dollars AS yes_ask_dollars, s.no_bid_dollars AS no_bid_dollars, s.no_ask_dollars AS
    no_ask_dollars, s.last_price_dollars AS last_price_dollars, s.volume_fp AS volume_fp, s.volume_24h_fp AS
    volume_24h_fp, s.open_interest_fp AS open_interest_fp, s.open_time AS open_time, s.expected_expiration_time AS
    expected_expiration_time, s.latest_expiration_time AS latest_expiration_time, s.settled_time AS settled_time,
    s.result AS result, s.settlement_value_dollars AS settlement_value_dollars, s.expiration_value AS expiration_value,
    s.yes_sub_title AS yes_sub_title, s.no_sub_title AS no_sub_title, s.market_type AS market_type, s.strike_type AS
    strike_type, s.floor_strike AS floor_strike, s.cap_strike AS cap_strike, s.custom_strike AS custom_strike,
    s.can_close_early AS can_close_early, s.rules_primary AS rules_primary, s.price_level_structure AS
    price_level_structure, s.price_ranges AS price_ranges, s.mve_collection_ticker AS mve_collection_ticker,
    s.is_provisional AS is_provisional, s.extra AS extra, s.exchange_updated_at AS exchange_updated_at, s.observed_at AS
    observed_at, s.observed_via AS observed_via, s.mve_selected_legs AS mve_selected_legs, p.event_ticker IS NULL AS
    orphan, p.event_ticker AS parent, m.event_ticker AS former_parent,
m.status AS former_status, m.deleted_at IS NOT NULL AS returned,
            m.ticker AS stored,
            (s.observed_at < k.stored_observed_at
OR s.observed_at < k.deleted_at
OR (s.observed_at = k.stored_observed_at AND m.observed_via <> 'rest')
OR (m.observed_via = 'ws' AND m.status = 'closed' AND s.status IN ('open', 'active')
    AND s.observed_at < k.stored_observed_at + '0:00:02'::interval)
OR k.changed_at < k.stored_changed_at
    - CASE m.observed_via WHEN 'rest' THEN interval '0' ELSE '0:00:10'::interval END
OR (m.status = 'settled' AND s.status <> 'settled'
    AND (k.changed_at > greatest(k.stored_changed_at, k.settled_time)) IS NOT TRUE)) IS TRUE AS older,
            (s.ticker, s.event_ticker, s.title, (
CASE
    WHEN s.status IS NULL THEN coalesce(m.status, 'open')
    WHEN m.status = 'closed' AND s.status IN ('open', 'active')
        AND k.close_time <= s.observed_at THEN 'closed'
    WHEN m.status = 'active' AND s.exchange_status = 'initialized'
        AND k.open_time <= s.observed_at AND s.close_time > s.observed_at THEN 'active'
    ELSE s.status
END), s.close_time, s.yes_bid, s.yes_ask, s.no_bid, s.no_ask, s.last_price, s.volume, s.volume_24h, s.open_interest,
    (p.series_ticker), s.exchange_status, s.yes_bid_dollars, s.yes_ask_dollars, s.no_bid_dollars, s.no_ask_dollars,
    s.last_price_dollars, s.volume_fp, s.volume_24h_fp, s.open_interest_fp, s.open_time, s.expected_expiration_time,
    s.latest_expiration_time, s.settled_time, s.result, s.settlement_value_dollars, s.expiration_value, s.yes_sub_title,
    s.no_sub_title, s.market_type, s.strike_type, s.floor_strike, s.cap_strike, s.custom_strike, s.can_close_early,
    s.rules_primary, s.price_level_structure, s.price_ranges, s.mve_collection_ticker, s.is_provisional, s.extra,
    s.exchange_updated_at, s.mve_selected_legs) IS DISTINCT FROM (m.ticker, m.event_ticker, m.title, m.status,
    m.close_time, m.yes_bid, m.yes_ask, m.no_bid, m.no_ask, m.last_price, m.volume, m.volume_24h, m.open_interest,
    m.series_ticker, m.exchange_status, m.yes_bid_dollars, m.yes_ask_dollars, m.no_bid_dollars, m.no_ask_dollars,
    m.last_price_dollars, m.volume_fp, m.volume_24h_fp, m.open_interest_fp, m.open_time, m.expected_expiration_time,
    m.latest_expiration_time, m.settled_time, m.result, m.settlement_value_dollars, m.expiration_value, m.yes_sub_title,
    m.no_sub_title, m.market_type, m.strike_type, m.floor_strike, m.cap_strike, m.custom_strike, m.can_close_early,
    m.rules_primary, m.price_level_structure, m.price_ranges, m.mve_collection_ticker, m.is_provisional, m.extra,
    m.exchange_updated_at, m.mve_selected_legs) AS differs
        FROM staged_markets s LEFT JOIN markets m ON m.ticker = s.ticker LEFT JOIN events p ON p.event_ticker =
            s.event_ticker
        CROSS JOIN LATERAL (SELECT
CASE WHEN s.exchange_updated_at >= '0001-01-01Z' AND s.exchange_updated_at < '10000-01-01Z' THEN s.exchange_updated_at
    END AS changed_at,
CASE WHEN m.exchange_updated_at >= '0001-01-01Z' AND m.exchange_updated_at < '10000-01-01Z' THEN m.exchange_updated_at
    END AS stored_changed_at,
CASE WHEN m.observed_at >= '0001-01-01Z' AND m.observed_at <= now() + '0:00:30'::interval THEN m.observed_at END AS
    stored_observed_at,
CASE WHEN m.deleted_at >= '0001-01-01Z' AND m.deleted_at < '10000-01-01Z' THEN m.deleted_at END AS deleted_at,
CASE WHEN m.settled_time >= '0001-01-01Z' AND m.settled_time < '10000-01-01Z' THEN m.settled_time END AS settled_time,
CASE WHEN s.open_time >= '0001-01-01Z' AND s.open_time < '10000-01-01Z' THEN s.open_time END AS open_time,
CASE WHEN s.close_time >= '0001-01-01Z' AND s.close_time < '10000-01-01Z' THEN s.close_time END AS close_time) AS k
    ) j) j
    WHERE j.verdict IN ('new', 'changed', 'orphan')

-- fees: update
UPDATE series_fees f SET (fee_type, fee_multiplier, effective_to, source_id) = ROW(s.fee_type, s.fee_multiplier,
    s.effective_to, s.source_id)
    FROM jsonb_populate_recordset(NULL::series_fees, %(rows)s::jsonb) s
    WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from
    AND (f.fee_type, f.fee_multiplier, f.effective_to, f.source_id) IS DISTINCT FROM (s.fee_type, s.fee_multiplier,
        s.effective_to, s.source_id)

-- fees: insert
INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from, effective_to, source_id)
    SELECT series_ticker, fee_type, fee_multiplier, effective_from, effective_to, source_id FROM
        jsonb_populate_recordset(NULL::series_fees, %(rows)s::jsonb) s
    WHERE EXISTS (SELECT FROM series m WHERE m.ticker = s.series_ticker)
    AND NOT EXISTS (
        SELECT FROM series_fees f
        WHERE f.series_ticker = s.series_ticker AND f.effective_from = s.effective_from)

-- events, by messages: lock
SELECT event_ticker, series_ticker, title, sub_title, collateral_return_type, strike_date, strike_period,
    fee_type_override, fee_multiplier_override, exchange_updated_at FROM events WHERE event_ticker = ANY(%(tickers)s)
    ORDER BY event_ticker FOR NO KEY UPDATE

-- events, by messages: insert
INSERT INTO events (event_ticker, series_ticker, title, sub_title, collateral_return_type, strike_date, strike_period,
    fee_type_override, fee_multiplier_override, extra, exchange_updated_at)
    SELECT event_ticker, series_ticker, title, sub_title, collateral_return_type, strike_date, strike_period,
        fee_type_override, fee_multiplier_override, extra, exchange_updated_at FROM
        jsonb_populate_recordset(NULL::events, %(rows)s::jsonb)
    ORDER BY event_ticker
    ON CONFLICT (event_ticker) DO NOTHING

-- events, by messages: update
UPDATE events m
    SET (title, sub_title, collateral_return_type, strike_date, strike_period, fee_type_override,
        fee_multiplier_override, exchange_updated_at) = (SELECT g.title, g.sub_title, g.collateral_return_type,
        g.strike_date, g.strike_period, g.fee_type_override, g.fee_multiplier_override, g.exchange_updated_at FROM
        jsonb_populate_record(m, d.doc) g), updated_at = now()
    FROM jsonb_array_elements(%(rows)s::jsonb) AS d(doc)
    WHERE m.event_ticker = d.doc ->> 'event_ticker'

-- log: insert
INSERT INTO market_lifecycle_events (market_ticker, event_ticker, event_type, open_ts, close_ts, determined_ts,
    settled_ts, result, metadata, sent_at, received_at, dedupe_key)
    SELECT market_ticker, event_ticker, event_type, open_ts, close_ts, determined_ts, settled_ts, result, metadata,
        sent_at, received_at, dedupe_key
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb)
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING dedupe_key

-- log: replace what was backfilled
UPDATE market_lifecycle_events l SET (open_ts, close_ts, determined_ts, settled_ts, result, metadata, sent_at,
    received_at, dedupe_key) = ROW(g.open_ts, g.close_ts, g.determined_ts, g.settled_ts, g.result, g.metadata,
    g.sent_at, g.received_at, g.dedupe_key)
    FROM jsonb_populate_recordset(NULL::market_lifecycle_events, %(rows)s::jsonb) g
    CROSS JOIN LATERAL (
        SELECT id FROM market_lifecycle_events b
        WHERE b.market_ticker = g.market_ticker AND b.event_type = g.event_type
        AND b.metadata ->> 'source' = 'rest'
        AND b.received_at >= coalesce(g.sent_at, g.received_at)
        ORDER BY b.received_at LIMIT 1) backfilled
    WHERE l.id = backfilled.id
    AND NOT EXISTS (SELECT FROM market_lifecycle_events k WHERE k.dedupe_key = g.dedupe_key)
    RETURNING l.dedupe_key
