"""Real PostgreSQL, NATS and Valkey for development and tests: embedded, in containers, or external."""
