"""PostgreSQL snapshot and SECMASTER_CDC to Redis."""
