"""SECMASTER_CDC's side: every message once, in order, acknowledged."""
