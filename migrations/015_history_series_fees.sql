SELECT history.watch('series_fees', key => '{series_ticker, effective_from}');
