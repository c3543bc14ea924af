"""`ssmd keys create|list|revoke|audit`: in DATABASE_URL, since a first key needs no other."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ssmd_cli import output, verbs
from ssmd_cli.environment import quiet_logs
from ssmd_cli.options import AsCsv, AsJson, Output, use_local_system
from ssmd_common.apikeys import SCOPES, generate
from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    from ssmd_api.keystore import Actor, KeyStore

T = TypeVar("T")

app = verbs.group("Create, list and revoke API keys, and see who did.", use_local_system)

_COLUMNS = (
    "id",
    "name",
    "key_prefix",
    "scopes",
    "rate_limit_per_minute",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
)

_AUDIT_COLUMNS = (
    "at",
    "action",
    "key_id",
    "key_prefix",
    "key_name",
    "actor",
    "actor_key_id",
    "origin",
    "request_id",
)


def exchange_of(base_url: str | None) -> str:
    """Which exchange a system mirrors, by its REST API's address: live, demo or sim, which is any
    that is not the exchange's own; without an address the services read the live one."""
    from urllib.parse import urlsplit

    if not base_url:
        return "live"
    host = urlsplit(base_url).hostname or ""
    if not re.search(r"(^|\.)kalshi\.(com|co)$", host):
        return "sim"
    return "demo" if "demo" in host else "live"


class NoSuchKey(SsmdError):
    """There is no key with that id or prefix."""

    exit_code = ExitCode.NOT_FOUND


@verbs.verb(
    app,
    "create",
    "ssmd keys create dashboards --expires 90d",
    "ssmd keys create operator --scope read --scope admin",
)
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read or admin; repeatable. Default read.")
    ] = None,
    rate_limit: Annotated[int, typer.Option(min=1, help="Requests a minute.")] = 600,
    expires: Annotated[
        str | None, typer.Option(help="A time (ISO 8601), or a duration such as 90d.")
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            help="The key's second part: what system it is for; by default sim, demo or live, as "
            "KALSHI_BASE_URL is.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once and stored only as a hash."""
    from ssmd_api.parameters import moment

    now = datetime.now(UTC)
    scopes = list(dict.fromkeys(scope or ["read"]))
    if not set(scopes) <= set(SCOPES):
        raise typer.BadParameter(f"must be some of {', '.join(SCOPES)}", param_hint="--scope")
    try:
        expires_at = None if expires is None else moment(expires, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expires") from error
    try:
        key = generate(environment or exchange_of(os.environ.get("KALSHI_BASE_URL")))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--env") from error
    if expires_at is not None and expires_at <= now:
        raise typer.BadParameter("must be in the future", param_hint="--expires")
    row = _run(lambda keys: keys.create(key, name, scopes, rate_limit, expires_at, _actor()))
    if as_json:
        output.document({"key": key.text, **row})
        return
    output.note(f"key {row['id']} for {name}, scopes {', '.join(scopes)}; it is not shown again:")
    typer.echo(key.text)


@verbs.verb(app, "list", "ssmd keys list")
def list_keys(wanted: Output = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List every key, without what would let one use it."""
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)

    async def every(keys: "KeyStore") -> list[Any]:
        found: list[Any] = []
        while page := await keys.page(found[-1]["id"] if found else 0, 1000):
            found += page
        return found

    output.rows(_run(every), _COLUMNS, style)


@verbs.verb(app, "revoke", "ssmd keys revoke 7")
def revoke(key: Annotated[str, typer.Argument(help="A key's id or prefix.")]) -> None:
    """Revoke a key for good. API replicas refuse it within seconds."""

    async def by_id_or_prefix(keys: "KeyStore") -> str | None:
        if key.isascii() and key.isdigit() and len(key) <= 18:
            revoked = await keys.revoke(int(key), _actor())
            if revoked:
                return revoked
        stored = await keys.by_prefix(key)
        return await keys.revoke(stored.id, _actor()) if stored else None

    prefix = _run(by_id_or_prefix)
    if prefix is None:
        raise NoSuchKey(f"no key has the id or prefix {key!r}: `ssmd keys list` shows them")
    output.note(f"revoked {prefix}")


@verbs.verb(app, "audit", "ssmd keys audit --json")
def audit(wanted: Output = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show which keys were made and revoked, by whom and from where, the last first."""
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)

    async def every(keys: "KeyStore") -> list[Any]:
        found: list[Any] = []
        while page := await keys.audit(found[-1]["id"] if found else None, 1000):
            found += page
        return found

    output.rows(_run(every), _AUDIT_COLUMNS, style)


def _actor() -> "Actor":
    """The user of this command; in a container often no more than a number."""
    import getpass
    import socket

    from ssmd_api.keystore import Actor

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return Actor(f"ssmd keys, by {user}", origin=socket.gethostname())


def _run(work: "Callable[[KeyStore], Awaitable[T]]") -> T:
    from ssmd_api.database import Database
    from ssmd_api.keystore import KeyStore
    from ssmd_api.rows import configure
    from ssmd_common.connections import postgres
    from ssmd_common.settings import PostgresSettings, load

    settings = load(PostgresSettings)
    quiet_logs()

    async def run() -> T:
        pool = await postgres.open_pool(
            settings.database_url,
            "ssmd-keys",
            budget_seconds=min(settings.startup_budget_seconds, 5.0),
            max_size=1,
            configure=configure,
            autocommit=True,
        )
        async with pool:
            return await work(KeyStore(Database(pool)))

    return asyncio.run(run())
