"""The only SQL that writes the published tables, and the rules of which observation wins.

sync and lifecycle write through it, each inside transactions of this one order (`parents`): series
that are missing, then the events in ticker order, then their markets, then the events' status.

- `rules`, `rules.sql`: which observation of a row wins: the table of docs/contracts.md.
- `pages`: rows of REST, staged, judged and written where they differ. `sessions` lends what writes.
- `messages`: what the WebSocket's messages change of events and markets.
- `clock`: what is due by the clock, and its transitions.
- `log`: rows of `market_lifecycle_events`.

What only one service keeps for itself (runs, resume points, gaps) that service writes. It can do so
in the transaction of the rows for which it stands: see `pages.Then`.
"""
