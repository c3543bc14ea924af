SELECT history.watch('events', key => '{event_ticker}', volatile => '{exchange_updated_at, updated_at}',
    filters => '{series_ticker, category, status, strike_date, deleted_at}');
