"""PostgreSQL's side: the slot and its session, the snapshot, how far both are."""
