"""The streams to files that are kept for good."""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
