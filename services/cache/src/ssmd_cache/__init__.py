"""PostgreSQL snapshot and SECMASTER_CDC to Redis."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
