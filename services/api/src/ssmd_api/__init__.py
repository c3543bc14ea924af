"""HTTP over Redis and PostgreSQL."""
