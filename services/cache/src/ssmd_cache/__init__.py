"""PostgreSQL snapshot and SECMASTER_CDC to Redis.

A change goes forward: follower/ (what its message does) → projection/ (what its row is in Redis) →
writer/ (one call) → lua/ (in Redis itself). A warm-up: database/ → projection/ → warmup/ → writer/.
"""

import ssmd_common.sparing  # noqa: F401 - before anything imports structlog
