"""Exit codes of every command and service (docs/contracts.md § 5)."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    """Bad arguments or configuration, a password or a right that a server refuses."""
    NOT_FOUND = 3
    UPSTREAM = 4
    """PostgreSQL, NATS, Redis or the exchange could not be reached within the budget."""
    PARTIAL = 5
    """Some of the work was rejected or refused; the report says what."""
    DRIFT = 6
    """Two stores that must agree do not."""
