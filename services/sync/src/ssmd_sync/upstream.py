"""What PostgreSQL says when it cannot, in words for an operator."""

from typing import Final

import psycopg

from ssmd_common.connections.retry import first_line

_CLASSES: Final = ("53", "58")
"""SQLSTATE classes: resources that it lacks, a system that fails it."""


def lacks_resources(error: psycopg.Error) -> bool:
    """Whether the server goes on by itself once it has what it lacks, such as room on its disk."""
    return (error.sqlstate or "")[:2] in _CLASSES


def sentence(error: psycopg.Error) -> str:
    """Names PostgreSQL, since a run that ends so has not been failed by the exchange."""
    text = first_line(error)
    if isinstance(error, psycopg.errors.DiskFull):
        return f"PostgreSQL has no room: {text}; make room on its disk, all else goes on by itself"
    if lacks_resources(error):
        return f"PostgreSQL lacks what it needs: {text}; look at its host and its log"
    return f"PostgreSQL: {text}"
