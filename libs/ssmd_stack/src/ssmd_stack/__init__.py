"""Real PostgreSQL, NATS and Valkey for development: embedded, in containers, or external."""
