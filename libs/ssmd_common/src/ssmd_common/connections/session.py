"""A PostgreSQL session as this project needs it: its settings, and what has to hold of its server.

Settings are made once the connection stands, not by start-up options: poolers refuse those, and
options in DATABASE_URL would replace them all.
"""

import shlex
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from weakref import WeakSet

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from ssmd_common.connections import hosts, pooler
from ssmd_common.connections.server import Facts, Server, facts
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import ConfigurationError

_OURS: Final = {
    # The server's side of noticing a dead peer: without it a lost node keeps its locks and slots
    # for hours.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "12000",
}
"""Options in DATABASE_URL win over these."""

_ENFORCED: Final = {
    # Timestamps read as text are then RFC 3339 but for one space and the zone.
    "DateStyle": "ISO",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    # Connections that listen, watch or hold a lock are quiet for hours.
    "idle_session_timeout": "0",
}
"""What our reading and waiting rely on, whatever the role, the database or the URL say."""

_PATIENCE_SECONDS: Final = 120
"""psycopg's own limit, which goes by the clock: never the first to end an attempt."""

SETTLE_SECONDS: Final = 15.0
"""A pooler takes connections also while its server answers nothing."""

_PROVEN_SECONDS: Final = 60.0
"""How long it is believed that a pooler keeps sessions apart: its mode can be changed."""

_proven: dict[str, float] = {}

_settled: WeakSet["Session"] = WeakSet()


class Session(psycopg.AsyncConnection[Any]):
    """A connection that knows what answered it when it was last looked at.

    `backend` is the process of the server, as of the first look.
    """

    backend: int = 0
    server: Server
    refuses_writes: str | None = None
    """Why the server takes no writes; None if it does."""
    login: "Login"

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's; of several hosts, to the primary."""
        connect = super().connect
        if hosts.several(conninfo_to_dict(conninfo)):
            return await hosts.to_primary(lambda info: connect(info, **options), conninfo)
        return await connect(conninfo, **options)


@dataclass(frozen=True, slots=True)
class Login:
    """How to connect: libpq's connection string, and the settings to make once connected."""

    info: str = field(repr=False)
    settings: dict[str, str] = field(repr=False)
    place: str
    """The hosts and ports of the URL: the same for all connections by it."""

    @classmethod
    def of(cls, url: SecretStr, application: str, **more: Any) -> "Login":
        """With this project's timeouts; values in the URL itself win."""
        given = conninfo_to_dict(url.get_secret_value())
        ours: dict[str, Any] = {
            "application_name": application,
            "connect_timeout": 5,
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 12000,
        }
        info = make_conninfo("", **{**ours, **given, "client_encoding": "UTF8", **more})
        if hosts.several(given):
            info = make_conninfo(info, target_session_attrs=hosts.PRIMARY)
        theirs = {name.lower() for name in _options(given.get("options"))}
        kept = {name: value for name, value in _OURS.items() if name not in theirs}
        return cls(info, {**kept, **_ENFORCED}, hosts.place(given))

    def without_options(self) -> "Login":
        """The same for a pooler that refuses start-up options: those of the URL are made later."""
        given = conninfo_to_dict(self.info)
        theirs = _options(given.pop("options", None))
        return replace(self, info=make_conninfo("", **given), settings={**theirs, **self.settings})

    def at(self, session: Session) -> "Login":
        """The same, to the address that the session has reached."""
        reached = session.info
        info = make_conninfo(
            self.info,
            host=reached.host,
            hostaddr=reached.hostaddr or None,
            port=reached.port,
            target_session_attrs="any",
        )
        return replace(self, info=info)

    @property
    def server(self) -> str:
        """Whose sessions these are: the same for all connections of one service."""
        given = conninfo_to_dict(self.info)
        return make_conninfo("", **{**given, "application_name": ""})

    def statement(self) -> sql.Composed:
        """Makes the settings, as far as the server has them."""
        rows = sql.SQL(", ").join(
            sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value))
            for name, value in self.settings.items()
        )
        return sql.SQL(
            "SELECT set_config(name, value, false) FROM (VALUES {}) AS ours (name, value)"
            " WHERE current_setting(name, true) IS NOT NULL"
        ).format(rows)


async def open_session(login: Login, **options: Any) -> Session:
    """One attempt at an autocommit connection that is settled; `options` are psycopg's.

    Deadlines count the server's silence, not our own lateness.

    Raises:
        psycopg.OperationalError: no connection.
        ConfigurationError: the database or the way to it cannot be used.
    """
    while True:
        try:
            session = await _connect(login.info, options)
        except psycopg.OperationalError as error:
            plain = login.without_options()
            if plain.info == login.info or not refuses_options(error):
                raise
            login = plain
            continue
        try:
            async with answered_within(SETTLE_SECONDS):
                await settle(session, login)
                if await _is_proven(session, login):
                    return session
        except TimeoutError as error:
            await session.close()
            raise psycopg.errors.ConnectionTimeout("the new session is not answered") from error
        except BaseException:
            await session.close()
            raise
        # The proof has used the connection up.


async def _connect(info: str, options: dict[str, Any]) -> Session:
    given = conninfo_to_dict(info)
    seconds = float(given.get("connect_timeout") or 0)
    if seconds <= 0 or hosts.several(given):
        # Of several hosts each has this time.
        return await Session.connect(info, autocommit=True, **options)
    try:
        async with answered_within(seconds):
            patient = make_conninfo(info, connect_timeout=_PATIENCE_SECONDS)
            return await Session.connect(patient, autocommit=True, **options)
    except TimeoutError as error:
        raise psycopg.errors.ConnectionTimeout("connection timeout expired") from error


async def settle(session: Session, login: Login) -> None:
    """Make the settings, and note what the server says of itself.

    Raises:
        ConfigurationError: the database has another encoding than UTF-8.
    """
    alone = session.autocommit
    await session.set_autocommit(True)
    await session.execute(login.statement())
    told = await facts(session)
    session.login, session.backend = login, told.backend
    _note(session, told)
    _settled.add(session)
    await session.set_autocommit(alone)
    if told.encoding != "UTF8":
        raise ConfigurationError(
            f"the database {told.database} is encoded in {told.encoding} and ssmd needs UTF8: make "
            "one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in "
            "DATABASE_URL"
        )


async def look(session: Session) -> None:
    """See whether the session is still ours, and note whether the server takes writes.

    Raises:
        ConfigurationError: another process of the server answers: a pooler shares its sessions.
    """
    told = await facts(session)
    if told.backend != session.backend:
        raise ConfigurationError(pooler.SHARED)
    _note(session, told)


def _note(session: Session, told: Facts) -> None:
    session.server, session.refuses_writes = told.server, told.refuses_writes


def elsewhere(session: Session) -> list[Session]:
    """The open sessions of this process that have the same URL and are on another server."""
    place = session.login.place
    return [
        other
        for other in _settled
        if not other.closed and other.login.place == place and other.server != session.server
    ]


def refuses_options(error: psycopg.OperationalError) -> bool:
    """Whether a pooler refused the start-up options; pgbouncer's words, old and new."""
    text = str(error)
    return "unsupported startup parameter" in text and "options" in text


async def _is_proven(session: Session, login: Login) -> bool:
    """Whether the session is known to be ours alone; if it has to be tried out first, no.

    Raises:
        ConfigurationError: it is not.
    """
    # A walsender is never shared: poolers that know the protocol keep it for its client.
    if session.backend == session.info.backend_pid or "replication" in conninfo_to_dict(login.info):
        return True
    now = time.monotonic()
    if now - _proven.get(login.server, -_PROVEN_SECONDS) < _PROVEN_SECONDS:
        return True
    await pooler.require_session_of_our_own(session, session.backend)
    _proven[login.server] = time.monotonic()
    return False


def _options(text: object) -> dict[str, str]:
    """The settings in libpq's `options`: -c name=value and --name=value."""
    found: dict[str, str] = {}
    words = iter(shlex.split(str(text or "")))
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c").removeprefix("--")
        name, equals, value = setting.partition("=")
        if equals:
            found[name.replace("-", "_")] = value
    return found
