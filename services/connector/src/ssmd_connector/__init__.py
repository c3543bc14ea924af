"""Connector: every trade and quote of the exchange to MARKET_DATA, every hole marked."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
