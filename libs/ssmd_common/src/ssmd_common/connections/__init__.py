"""Connections to the servers: each with the timeouts, names and retries that ours all share."""
