SELECT history.watch('markets', key => '{ticker}', volatile => '{yes_bid, yes_ask, no_bid, no_ask, last_price,
    yes_bid_dollars, yes_ask_dollars, no_bid_dollars, no_ask_dollars, last_price_dollars,
    volume, volume_24h, open_interest, volume_fp, volume_24h_fp, open_interest_fp,
    exchange_updated_at, observed_at, observed_via, updated_at}',
    filters => '{event_ticker, series_ticker, status, close_time, deleted_at}');
