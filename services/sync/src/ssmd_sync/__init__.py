"""Kalshi REST to PostgreSQL."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
