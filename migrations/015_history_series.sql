-- Each table has a migration, and so a transaction, of its own: whoever waits for one lock holds no other.

SELECT history.watch('series', key => '{ticker}', volatile => '{volume, exchange_updated_at, updated_at}',
    filters => '{category}');
