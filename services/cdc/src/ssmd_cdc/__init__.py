"""PostgreSQL WAL to the JetStream stream SECMASTER_CDC."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
