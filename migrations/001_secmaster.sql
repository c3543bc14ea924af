-- The security master: what the exchange lists, as tables.
-- Column names and types are a contract with users' notebooks (docs/contracts.md).

CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE series (
    ticker               varchar(128) PRIMARY KEY,
    title                text,
    category             varchar(128),
    tags                 text[],
    is_game              boolean NOT NULL DEFAULT false,
    active               boolean NOT NULL DEFAULT true,
    volume               bigint,
    frequency            text,
    fee_type             text,
    fee_multiplier       numeric,
    settlement_sources   jsonb,
    contract_url         text,
    exchange_updated_at  timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE events (
    event_ticker             varchar(128) PRIMARY KEY,
    title                    text,
    category                 varchar(128),
    series_ticker            varchar(128) NOT NULL REFERENCES series (ticker) ON UPDATE CASCADE,
    strike_date              timestamptz,
    status                   varchar(16) NOT NULL DEFAULT 'open'
                             CHECK (status IN ('open', 'closed', 'settled')),
    mutually_exclusive       boolean,
    deleted_at               timestamptz,
    sub_title                text,
    strike_period            text,
    collateral_return_type   text,
    fee_type_override        text,
    fee_multiplier_override  numeric,
    exchange_updated_at      timestamptz,
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now(),
    UNIQUE (event_ticker, series_ticker)
);

-- Hierarchy comes from data, never from ticker text: a market carries its event and its series.
CREATE TABLE markets (
    ticker                    varchar(128) PRIMARY KEY,
    event_ticker              varchar(128) NOT NULL,
    title                     text,
    status                    varchar(16) NOT NULL DEFAULT 'open'
                              CHECK (status IN ('open', 'active', 'closed', 'settled')),
    close_time                timestamptz,
    yes_bid                   integer,
    yes_ask                   integer,
    no_bid                    integer,
    no_ask                    integer,
    last_price                integer,
    volume                    bigint,
    volume_24h                bigint,
    open_interest             bigint,
    deleted_at                timestamptz,
    series_ticker             varchar(128) NOT NULL,
    exchange_status           varchar(16),
    yes_bid_dollars           numeric(10,6),
    yes_ask_dollars           numeric(10,6),
    no_bid_dollars            numeric(10,6),
    no_ask_dollars            numeric(10,6),
    last_price_dollars        numeric(10,6),
    volume_fp                 numeric(20,2),
    volume_24h_fp             numeric(20,2),
    open_interest_fp          numeric(20,2),
    open_time                 timestamptz,
    expected_expiration_time  timestamptz,
    latest_expiration_time    timestamptz,
    settled_time              timestamptz,
    result                    text,
    settlement_value_dollars  numeric(10,6),
    expiration_value          text,
    yes_sub_title             text,
    no_sub_title              text,
    market_type               text,
    strike_type               text,
    floor_strike              numeric,
    cap_strike                numeric,
    custom_strike             jsonb,
    can_close_early           boolean,
    rules_primary             text,
    price_level_structure     text,
    price_ranges              jsonb,
    mve_collection_ticker     text,
    is_provisional            boolean,
    extra                     jsonb,
    exchange_updated_at       timestamptz,
    observed_at               timestamptz,
    observed_via              varchar(8) CHECK (observed_via IN ('rest', 'ws', 'clock')),
    created_at                timestamptz NOT NULL DEFAULT now(),
    updated_at                timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (event_ticker, series_ticker) REFERENCES events (event_ticker, series_ticker)
        ON UPDATE CASCADE
) WITH (fillfactor = 85);

CREATE TABLE series_fees (
    series_ticker   varchar(128) NOT NULL REFERENCES series (ticker) ON UPDATE CASCADE,
    fee_type        text NOT NULL,
    fee_multiplier  numeric(8,4) NOT NULL,
    effective_from  timestamptz NOT NULL,
    effective_to    timestamptz,
    source_id       text,
    PRIMARY KEY (series_ticker, effective_from),
    CHECK (effective_to IS NULL OR effective_to > effective_from),
    CONSTRAINT series_fees_no_overlap
        EXCLUDE USING gist (series_ticker WITH =, tstzrange(effective_from, effective_to) WITH &&)
        DEFERRABLE INITIALLY IMMEDIATE
);

-- The coefficients of the exchange's quadratic formula, in dollars a contract at multiplier 1.
CREATE TABLE fees (
    tier       text PRIMARY KEY,
    maker_fee  numeric(8,6) NOT NULL,
    taker_fee  numeric(8,6) NOT NULL
);

INSERT INTO fees (tier, maker_fee, taker_fee) VALUES ('default', 0.0175, 0.07);

-- No foreign keys: every message is kept, also of a market that is not known yet.
CREATE TABLE market_lifecycle_events (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_ticker  varchar(128),
    event_ticker   varchar(128),
    event_type     varchar(32) NOT NULL,
    open_ts        timestamptz,
    close_ts       timestamptz,
    determined_ts  timestamptz,
    settled_ts     timestamptz,
    result         text,
    metadata       jsonb NOT NULL,
    sent_at        timestamptz,
    received_at    timestamptz NOT NULL DEFAULT now(),
    dedupe_key     text NOT NULL UNIQUE
);

CREATE TABLE api_keys (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                   text NOT NULL,
    key_prefix             text NOT NULL UNIQUE,
    key_hash               bytea NOT NULL,
    scopes                 text[] NOT NULL,
    rate_limit_per_minute  integer NOT NULL CHECK (rate_limit_per_minute > 0),
    created_at             timestamptz NOT NULL DEFAULT now(),
    last_used_at           timestamptz,
    expires_at             timestamptz,
    revoked_at             timestamptz
);

CREATE TABLE sync_runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job          text NOT NULL,
    scope        jsonb NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    outcome      text NOT NULL DEFAULT 'running'
                 CHECK (outcome IN ('running', 'ok', 'partial', 'refused', 'failed')),
    requests     bigint NOT NULL DEFAULT 0,
    tokens       bigint NOT NULL DEFAULT 0,
    fetched      bigint NOT NULL DEFAULT 0,
    inserted     bigint NOT NULL DEFAULT 0,
    updated      bigint NOT NULL DEFAULT 0,
    unchanged    bigint NOT NULL DEFAULT 0,
    deleted      bigint NOT NULL DEFAULT 0,
    set_aside    jsonb NOT NULL DEFAULT '[]',
    error        text
);

CREATE TABLE sync_watermarks (
    name        text PRIMARY KEY,
    watermark   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- What the publisher remembers beyond the stream's tail (docs/architecture.md, decision 3).
CREATE TABLE cdc_state (
    slot               text PRIMARY KEY,
    epoch              bigint NOT NULL,
    system_identifier  text NOT NULL,
    timeline           integer NOT NULL,
    stream_created     text NOT NULL,
    stream_sequence    bigint NOT NULL,
    lsn                pg_lsn NOT NULL,
    seq                bigint NOT NULL,
    updated_at         timestamptz NOT NULL DEFAULT now()
);

-- Intervals in which lifecycle messages may have been missed, and their repair.
CREATE TABLE lifecycle_gaps (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason       text NOT NULL,
    began_at     timestamptz NOT NULL,
    ended_at     timestamptz,
    repaired_at  timestamptz,
    changed      bigint
);

-- Fencing tokens of elected leaders: a later leader has a larger one.
CREATE SEQUENCE fencing_tokens;
