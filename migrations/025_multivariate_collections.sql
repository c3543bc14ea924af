-- What multivariate markets are made of: which events can be combined, and how. Unpublished: the rows that are
-- traded say themselves to which collection they belong. No foreign keys: a collection may name events that we
-- do not have, and comes before its series.

CREATE TABLE multivariate_collections (
    collection_ticker           varchar(128) PRIMARY KEY,
    series_ticker               varchar(128) NOT NULL,
    title                       text,
    description                 text,
    functional_description      text,
    open_date                   timestamptz,
    close_date                  timestamptz,
    associated_events           jsonb,
    is_ordered                  boolean,
    is_single_market_per_event  boolean,
    is_all_yes                  boolean,
    size_min                    bigint,
    size_max                    bigint,
    price_level_structure       text,
    price_ranges                jsonb,
    extra                       jsonb,
    created_at                  timestamptz NOT NULL DEFAULT now(),
    updated_at                  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX multivariate_collections_series ON multivariate_collections (series_ticker, collection_ticker);
CREATE INDEX multivariate_collections_events ON multivariate_collections USING gin (associated_events jsonb_path_ops);
