"""What our user may not do at Redis, told with the rule of ACL SETUSER that helps."""

import re
from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio as aioredis
import redis.exceptions

from ssmd_common.connections.retry import first_line
from ssmd_common.keys import Keys
from ssmd_common.rights import PAGE, RedisRights

# Said to whoever connects from another machine.
_PROTECTED: Final = "DENIED Running in protected mode"
# From inside of a script, and of a transaction that cannot end, only the text tells.
_WORDS: Final = ("ACL failure in script", "NOPERM", _PROTECTED)
_COMMAND: Final = re.compile(r"permissions to run the '([^']+)' command")
_USER: Final = re.compile(r"User (\S+) has no permissions")


def is_denial(error: Exception) -> bool:
    """Whether Redis refused for want of a right."""
    return isinstance(error, redis.exceptions.NoPermissionError) or any(
        words in str(error) for words in _WORDS
    )


def denial(error: Exception, rights: RedisRights | None = None, prefix: str = "") -> str:
    """The sentence for a reply for which `is_denial` holds."""
    text = first_line(error)
    if _PROTECTED in text:
        return (
            "Redis runs in protected mode and denies every connection from another machine: give "
            "its default user a password (requirepass) and name it in REDIS_URL, or start it with "
            "--protected-mode no where only machines that you trust reach it"
        )
    command, user = _COMMAND.search(text), _USER.search(text)
    who = user[1] if user else None
    if command is not None:
        return may_not([command[1]], who)
    if "channel" in text:
        return f"{_user(who)} may not use a channel, and ssmd uses none ({text}): {PAGE} has all"
    keys = rights.keys(prefix) if rights is not None else f"~{prefix}secmaster:*"
    return may_not([], who, keys)


def may_not(commands: Sequence[str], user: str | None, keys: str | None = None) -> str:
    """All that is missing in one sentence; `keys` as ACL SETUSER takes them."""
    parts = [f"run {', '.join(commands)}"] if commands else []
    if keys is not None:
        parts.append(f"use the keys {keys.partition('~')[2]}")
    rules = " ".join([*([keys] if keys else []), *(f"+{command}" for command in commands)])
    return (
        f"{_user(user)} may not {' nor '.join(parts)}: ACL SETUSER {user or '<user>'} {rules}; "
        f"{PAGE} has all that it needs"
    )


def _user(user: str | None) -> str:
    return f"the Redis user {user}" if user else "the Redis user of REDIS_URL"


def user_of(client: aioredis.Redis) -> str:
    """Whom Redis takes us for."""
    return str(client.connection_pool.connection_kwargs.get("username") or "default")


async def lacking(
    client: aioredis.Redis, rights: RedisRights, prefix: str
) -> tuple[list[str], bool]:
    """Which of the commands the user may not run, and whether it may not use our keys.

    Each is tried, on a key of ours that is gone a second later: asking beforehand (ACL DRYRUN)
    would itself be a right.

    Raises:
        redis.exceptions.RedisError: the server does not answer.
    """
    key = Keys(prefix).own("rights")
    pool = client.connection_pool
    database = pool.connection_kwargs.get("db") or 0
    commands = [
        [*name.upper().split("|"), *example.format(key=key, database=database).split()]
        for name, example in rights.commands.items()
    ]
    # A string that is gone soon, on which most of the others then refuse to work.
    before = [["SET", key, "1", "PX", "1000"]] if rights.writes else []
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        # Not a pipeline, which keeps WATCH, MULTI and EXEC to itself.
        await connection.send_packed_command(connection.pack_commands([*before, *commands]))
        replies = [await _reply(connection) for _ in (*before, *commands)][len(before) :]
    finally:
        # Whatever state it is in.
        await connection.disconnect()
        await pool.release(connection)
    denials = {
        name: str(reply)
        for name, reply in zip(rights.commands, replies, strict=True)
        if isinstance(reply, Exception) and is_denial(reply)
    }
    refused = [name for name, text in denials.items() if _COMMAND.search(text)]
    return refused, len(refused) < len(denials)


async def missing(client: aioredis.Redis, rights: RedisRights, prefix: str) -> str | None:
    """The sentence for all that `lacking` finds; None where the user lacks nothing.

    Raises:
        redis.exceptions.RedisError: the server does not answer.
    """
    commands, keys = await lacking(client, rights, prefix)
    if not commands and not keys:
        return None
    return may_not(commands, user_of(client), rights.keys(prefix) if keys else None)


async def _reply(connection: Any) -> object:
    try:
        return await connection.read_response()
    except redis.exceptions.ResponseError as error:
        return error
