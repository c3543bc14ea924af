"""From a gap to rows: `repairer` reads over REST what changed, `rest_upserter` writes it, and
`backfill` adds the rows of `steps` that no message announced."""
