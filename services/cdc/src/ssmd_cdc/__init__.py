"""PostgreSQL WAL to the JetStream stream SECMASTER_CDC."""
