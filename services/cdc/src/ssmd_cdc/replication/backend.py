"""What cdc's several connections to PostgreSQL have in common: their settings, and one server."""

from typing import Any, Final

import psycopg

from ssmd_cdc.errors import OtherServer
from ssmd_common.connections.session import Session

_SESSION: Final = (
    "SET datestyle = 'ISO'",
    "SET timezone = 'UTC'",
    "SET intervalstyle = 'iso_8601'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET client_encoding = 'UTF8'",
    # A snapshot takes as long as NATS does. Servers before 17 have no transaction_timeout.
    (
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN"
        " ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
    ),
)


async def settle_session(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have values written in the one form that `encode.values` reads, and no time limits."""
    for statement in _SESSION:
        await connection.execute(statement)


def require_same_server(connection: Session, beside: Session) -> None:
    """Raises OtherServer unless both are on one server.

    What is written beside the slot, its memory first of all, is of that server only.
    """
    if connection.server != beside.server:
        raise OtherServer(
            f"DATABASE_URL has led to two servers, {beside.server} and then {connection.server}: "
            "all begins anew on one"
        )
