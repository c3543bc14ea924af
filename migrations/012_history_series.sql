SELECT history.watch('series', key => '{ticker}', volatile => '{volume, exchange_updated_at, updated_at}',
    filters => '{category}');
