"""The Kalshi exchange: REST and WebSocket client, read budget, signing, wire format → models.

Nothing is re-exported here; import from the module that owns the name. On one page:

REST (`rest`, `pages`, `wire`, `convert`, `markets`)::

    from ssmd_kalshi.budget import Budget
    from ssmd_kalshi.rest import KalshiRest
    from ssmd_kalshi import convert, markets

    async with KalshiRest(base_url, budget=Budget(200), signer=None, stop=stop_event) as rest:
        page = await rest.series(include_volume=True)            # one reply: Page[WireSeries]
        async for page in rest.events(status="open", with_nested_markets=True): ...
        async for page in rest.markets(series_ticker="KXBTCD", status="open"): ...
        market = await rest.market("KXBTCD-26FEB03-T97500")      # NotFoundError
        async for page in rest.historical_markets(event_ticker=...): ...
        await rest.series_fee_changes()                          # one reply, history included
        async for page in rest.event_fee_changes(): ...
        await rest.historical_cutoff(); await rest.tags_by_categories()
        await rest.filters_by_sport(); await rest.exchange_status()
        await rest.exchange_schedule(); await rest.endpoint_costs()   # the budget learns them

- A `Page` has `items` (wire structs), `rejected_rows` (`ticker`, `reason`, `raw`: rows without a
  readable ticker), `cursor` ("" on the last page), `short`, `complete`. Take absence from a scan
  for deletion only if every page was `complete`. A scan that loops, repeats itself or shows empty
  pages without end raises a `PageError`; resume any scan with `cursor=`.
- While a page is worked on the next one is on its way; closing the iterator
  (`contextlib.aclosing`) cancels it.
- `markets` and `historical_markets` exclude multivariate markets unless asked for them.
- Forbidden combinations of filters raise `ForbiddenFilterError` from the call, before any request.
- Wire rows are verbatim and tolerant. `markets.market(wire, series_ticker, observed_at)`,
  `convert.event(wire)` and `convert.series(wire)` give rows of `ssmd_common.models`, with what
  could not be read in `.rejected` and the columns that a stored row keeps in `.kept`;
  `BadFieldError` means that the row has no readable ticker. A market whose event cannot be read
  has the `event_ticker` and `series_ticker` "", an event whose series cannot be read the
  `series_ticker` "". `convert.readable(items, to_row)` does a page: its rows, and as `RejectedRow`
  those without a readable ticker. `convert.fee_schedule(changes)` gives the steps and, as
  `RejectedRow`, those that cannot be read.
- An event's nested markets are `event.markets` (None when not asked for); they are the event's,
  whatever they say.

Errors (`errors`): `TransientError` (unreachable, 429, 5xx, foreign bodies; the retry policy is
exhausted), `ReplyError` (`NotFoundError`, `BadRequestError`, `NotAuthorizedError`, …),
`ForbiddenFilterError`, `BadFieldError`, `ConfigurationError`, `InterruptedWaitError` (`stop` was
set); all are `KalshiError`. Anything else that escapes is a bug.

Budget and retries (`budget`, `retry`): one `Budget` per process, shared; first come first served;
halves on 429 and recovers. One scan follows one cursor: where a page takes longer than the budget
allows it, scans side by side (of different statuses, say) use what is left. `RetryPolicy` is data.

Keys (`signing`): `load_signer(key_id, path)` checks the file and returns a `Signer` for REST and
WebSocket.

WebSocket (`socket.KalshiSocket`; the events are in `feed`)::

    async with KalshiSocket(ws_url, signer=signer, channels=["market_lifecycle_v2"]) as socket:
        async for event in socket:
            match event:
                case Connected(): ...
                case Disconnected(): ...   # at, reason; at once; reconnecting goes on by itself
                case Subscribed(): ...     # channel, sid, at
                case Gap(): ...            # channel, since, until, reason: reconcile over REST
                case Message(): ...        # type, sid, seq, sent_at, msg, raw, received_at

- A frame that cannot be read is an `Unreadable` (raw, reason, received_at), then the gaps it makes.
- Order: after every (re)connect `Connected`, then per channel `Subscribed` and a `Gap` (since None
  and reason START at the first), then its messages. Sequence gaps, unreadable frames and terminal
  subscription errors (10, 17, 25) also give a `Gap`. The interval of a gap is what may have been
  missed; there is no replay. Waiting for the next event may be cancelled and repeated.
- The consumer's pace is the socket's: frames wait in a bounded buffer, then in TCP.

What the client did not know (`drift`): `rest.drift` counts unknown fields, unknown words and rows
rejected; the same counts are metrics `ssmd_kalshi_*` (`metrics`), rejected fields too.
"""
