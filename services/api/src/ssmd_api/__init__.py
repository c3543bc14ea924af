"""HTTP over Redis and PostgreSQL."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
