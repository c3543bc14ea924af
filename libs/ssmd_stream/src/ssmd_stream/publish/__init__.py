"""Publishing to a stream of ours: every message once, in order, acknowledged."""
