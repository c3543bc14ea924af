"""What each service may do at its servers, and nothing more. Pure, and the only home of it.

docs/rights.md is made from here; services check it when they start, `ssmd doctor` whenever it is
asked, and the tests run every service with exactly this.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ssmd_common.streams import (
    DEAD_LETTER_STREAM,
    DEAD_LETTER_SUBJECTS,
    MARKET_DATA_STREAM,
    MARKET_DATA_SUBJECTS,
    STREAM,
    SUBJECTS,
    books_stream,
    books_subjects,
)

PAGE: Final = "docs/rights.md"

_READ: Final = ("SELECT",)
_ADD: Final = ("SELECT", "INSERT")
_KEEP: Final = ("SELECT", "INSERT", "UPDATE")
_ALL: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_STATUS: Final[Mapping[str, Sequence[str]]] = {"service_status": _ALL}
_READ_PUBLISHED: Final[Mapping[str, Sequence[str]]] = dict.fromkeys(
    ("series", "events", "markets", "series_fees", "fees", "market_lifecycle_events"), _READ
)
_READ_HISTORY: Final[Mapping[str, Sequence[str]]] = {
    f"history.{name}": _READ
    for name in (
        *("spans", "commits", "steps"),
        *("series", "events", "markets", "series_fees", "fees"),
        *("series_changes", "events_changes", "markets_changes"),
    )
}


@dataclass(frozen=True, slots=True)
class PostgresRights:
    """Beside these each role needs CONNECT on the database and USAGE on `schemas`.

    Names of another schema than `public` say so. `functions` are those to EXECUTE, with the
    types of their arguments. `replication` is the role's attribute.
    """

    tables: Mapping[str, Sequence[str]]
    sequences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    functions: Sequence[str] = ()
    temporary: bool = False
    replication: bool = False

    @property
    def schemas(self) -> list[str]:
        named = [
            name.partition("(")[0] for name in (*self.tables, *self.sequences, *self.functions)
        ]
        return ["public", *sorted({name.split(".")[0] for name in named if "." in name})]

    @property
    def required(self) -> "PostgresRights":
        """What the service does not start without; that it cannot say how it is costs only that."""
        tables = {name: needed for name, needed in self.tables.items() if name not in _STATUS}
        return replace(self, tables=tables)


@dataclass(frozen=True, slots=True)
class Publish:
    """One subject to publish to, as it is granted.

    `probe` and `headers` make a message that finds out whether it is: a request that JetStream
    refuses for its content. `consumer` stands in a `*` of the pattern. `only` says when it is
    needed, where that is not always.
    """

    pattern: str
    probe: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    only: str = ""

    def subject(self, consumer: str) -> str:
        """A subject that the pattern grants."""
        return self.pattern.replace("*", consumer).replace(">", "ssmd_rights")


@dataclass(frozen=True, slots=True)
class NatsRights:
    """Each also subscribes to the subjects of its replies, `NATS_INBOX_PREFIX.>`.

    Of order books `publish` has the first shard; `of_shard` has any other one.
    """

    publish: Sequence[Publish]

    def publish_of(self, subject: str) -> Publish | None:
        """What grants this subject; its letters' case does not matter, since nats-py loses it."""
        shard = _BOOKS_SUBJECT.search(subject)
        publish = self.of_shard(int(shard[2])) if shard and shard[2] != "0" else self.publish
        return next((each for each in publish if _covers(each.pattern, subject)), None)

    def of_shard(self, number: int) -> list[Publish]:
        """What books of this shard need, beside all that names none."""
        return [
            replace(each, pattern=_BOOKS_SUBJECT.sub(rf"\g<1>{number}", each.pattern))
            for each in self.publish
            if _BOOKS_SUBJECT.search(each.pattern)
        ]

    def with_shards(self, count: int) -> "NatsRights":
        """All, with `count` shards of books."""
        more = (each for number in range(1, count) for each in self.of_shard(number))
        return NatsRights((*self.publish, *more))


@dataclass(frozen=True, slots=True)
class RedisRights:
    """Commands, each with an example of its arguments; `{key}` is a key of ours.

    Run in this order they find a string that expires, on which most refuse to work.
    """

    commands: Mapping[str, str]
    writes: bool

    def keys(self, prefix: str) -> str:
        """The pattern of the keys, as ACL SETUSER takes it."""
        return f"{'~' if self.writes else '%R~'}{prefix}secmaster:*"


@dataclass(frozen=True, slots=True)
class Rights:
    postgres: PostgresRights
    nats: NatsRights | None = None
    redis: RedisRights | None = None


_BOOKS_SUBJECT: Final = re.compile(
    r"(\bMARKET_BOOKS_|^md\.(?:book|books_session|books_unreadable)\.)(\d+)", re.IGNORECASE
)


def _covers(pattern: str, subject: str) -> bool:
    wanted, given = pattern.lower().split("."), subject.lower().split(".")
    if wanted[-1] == ">":
        return len(given) >= len(wanted) and _fit(wanted[:-1], given)
    return len(given) == len(wanted) and _fit(wanted, given)


def _fit(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(want in ("*", have) for want, have in zip(wanted, given, strict=False))


_NOT_OURS: Final = b'{"name":"ssmd_rights","stream_name":"ssmd_rights"}'
"""Of another stream than the subject names. Not `{}`, which JetStream takes for no content."""

_NEVER_STORED: Final = {"Nats-Expected-Stream": "ssmd_rights"}
_MISSING: Final = "the stream is not there yet"
_DIFFERS: Final = "the settings of the stream change"


def _api(what: str, probe: bytes = _NOT_OURS, only: str = "") -> Publish:
    return Publish(f"$JS.API.{what}", probe, only=only)


_INFO: Final = _api(f"STREAM.INFO.{STREAM}", b"")
_GET: Final = _api(f"STREAM.MSG.GET.{STREAM}", b'{"ssmd_rights":1}')
_READER: Final = _api(f"CONSUMER.CREATE.{STREAM}")
_NEXT: Final = _api(f"CONSUMER.MSG.NEXT.{STREAM}.*", b"{ssmd_rights}")

_CDC: Final = NatsRights(
    (
        Publish(SUBJECTS, b"", _NEVER_STORED),
        Publish(DEAD_LETTER_SUBJECTS, b"", _NEVER_STORED),
        _INFO,
        _api(f"STREAM.INFO.{DEAD_LETTER_STREAM}", b""),
        _api(f"STREAM.CREATE.{STREAM}", only=_MISSING),
        _api(f"STREAM.CREATE.{DEAD_LETTER_STREAM}", only=_MISSING),
        _api(f"STREAM.UPDATE.{STREAM}", only=_DIFFERS),
        _api(f"STREAM.UPDATE.{DEAD_LETTER_STREAM}", only=_DIFFERS),
        _GET,
        _READER,
        _NEXT,
    )
)

_CACHE: Final = NatsRights(
    (
        _INFO,
        _GET,
        _api(f"CONSUMER.DURABLE.CREATE.{STREAM}.*"),
        _api(f"CONSUMER.DELETE.{STREAM}.*"),
        _NEXT,
        Publish(f"$JS.ACK.{STREAM}.>", b"+SSMD_RIGHTS"),
    )
)

_READERS: Final = NatsRights((_INFO, _GET, _READER, _api(f"CONSUMER.INFO.{STREAM}.*", b""), _NEXT))

_BOOKS: Final = "order books are chosen; of another shard with its number"


def _published(name: str, subjects: Sequence[str], only: str = "") -> Sequence[Publish]:
    """A stream that connector makes, publishes to and reads the end of."""
    also = f"; {only}" if only else ""
    return (
        *(Publish(each, b"", _NEVER_STORED, only) for each in subjects),
        _api(f"STREAM.INFO.{name}", b"", only),
        _api(f"STREAM.CREATE.{name}", only=_MISSING + also),
        _api(f"STREAM.UPDATE.{name}", only=_DIFFERS + also),
        _api(f"STREAM.MSG.GET.{name}", b'{"ssmd_rights":1}', only),
        _api(f"CONSUMER.CREATE.{name}", only=only),
        _api(f"CONSUMER.MSG.NEXT.{name}.*", b"{ssmd_rights}", only),
    )


_CONNECTOR: Final = NatsRights(
    (
        *_published(MARKET_DATA_STREAM, MARKET_DATA_SUBJECTS),
        *_published(books_stream(0), books_subjects(0), _BOOKS),
        *_READERS.publish,
    )
)


def _reads(stream: str, only: str) -> tuple[Publish, ...]:
    """To read a stream of market data, for as long as its consumer lives."""
    return (
        _api(f"STREAM.INFO.{stream}", b"", only),
        _api(f"STREAM.MSG.GET.{stream}", b'{"ssmd_rights":1}', only),
        _api(f"CONSUMER.CREATE.{stream}", only=only),
        _api(f"CONSUMER.INFO.{stream}.*", b"", only),
        _api(f"CONSUMER.MSG.NEXT.{stream}.*", b"{ssmd_rights}", only),
    )


_ARCHIVER: Final = NatsRights(
    (
        *_READERS.publish,
        *_reads(MARKET_DATA_STREAM, "ARCHIVER_STREAMS has it"),
        *_reads(books_stream(0), "ARCHIVER_STREAMS has books; likewise for each further shard"),
    )
)

_API: Final = NatsRights(
    (
        *_READERS.publish,
        *_reads(MARKET_DATA_STREAM, "trades and quotes are read"),
        *_reads(books_stream(0), "books are read; likewise for each further shard"),
    )
)

_CONNECTING: Final = {"ping": "", "client|setname": "ssmd-rights", "select": "{database}"}

_OF_CACHE: Final = {
    **_CONNECTING,
    "info": "server",
    "time": "",
    "scan": "0 match {key} count 1",
    "type": "{key}",
    "exists": "{key}",
    "get": "{key}",
    "mget": "{key}",
    "mset": "{key} 1",
    "incrby": "{key} 1",
    "set": "{key} 1 px 1000",
    "pexpiretime": "{key}",
    "hget": "{key} 1",
    "hmget": "{key} 1",
    "hset": "{key} 1 1",
    "hdel": "{key} 1",
    "hlen": "{key}",
    "hscan": "{key} 0",
    "sadd": "{key} 1",
    "srem": "{key} 1",
    "scard": "{key}",
    "smembers": "{key}",
    "smismember": "{key} 1",
    "sscan": "{key} 0",
    "zadd": "{key} 1 1",
    "zrem": "{key} 1",
    "zcard": "{key}",
    "zmscore": "{key} 1",
    "zrangebyscore": "{key} 1 1",
    "zscan": "{key} 0",
    "del": "{key}",
    "script|load": "return",
    "eval": "return 0",
    "evalsha": "ffffffffffffffffffffffffffffffffffffffff 0",
    "watch": "{key}",
    "multi": "",
    "exec": "",
}

RIGHTS: Final[Mapping[str, Rights]] = {
    "sync": Rights(
        PostgresRights(
            {
                "series": _KEEP,
                "events": _KEEP,
                "markets": _KEEP,
                "series_fees": _ALL,
                "multivariate_collections": _KEEP,
                "sync_runs": _ALL,
                "sync_watermarks": _KEEP,
                "requests": ("SELECT", "UPDATE", "DELETE"),
                **_STATUS,
            },
            functions=("history.maintain(interval, bigint, interval)",),
            temporary=True,
        )
    ),
    "lifecycle": Rights(
        PostgresRights(
            {
                "series": _KEEP,
                "events": _KEEP,
                "markets": _KEEP,
                "market_lifecycle_events": _ALL,
                "lifecycle_gaps": _KEEP,
                "sync_runs": _READ,
                **_STATUS,
            },
            {"fencing_tokens": ("USAGE",)},
            temporary=True,
        )
    ),
    "cdc": Rights(
        PostgresRights(
            {
                **_READ_PUBLISHED,
                "cdc_state": _KEEP,
                **_STATUS,
            },
            replication=True,
        ),
        _CDC,
    ),
    "cache": Rights(
        PostgresRights(
            {
                "series": _READ,
                "events": _READ,
                "markets": _READ,
                "series_fees": _READ,
                "cdc_state": _READ,
                "sync_runs": _READ,
                "requests": ("SELECT", "UPDATE"),
                **_STATUS,
            },
            {"fencing_tokens": ("USAGE",)},
        ),
        _CACHE,
        RedisRights(_OF_CACHE, writes=True),
    ),
    "archiver": Rights(
        PostgresRights(
            {
                "series": _READ,
                "events": _READ,
                "markets": _READ,
                "series_fees": _READ,
                "fees": _READ,
                "cdc_state": _READ,
                **_STATUS,
            }
        ),
        _ARCHIVER,
    ),
    "connector": Rights(
        PostgresRights(
            {
                "series": _READ,
                "events": _READ,
                "markets": _READ,
                "series_fees": _READ,
                "fees": _READ,
                **_STATUS,
            },
            {"fencing_tokens": ("USAGE",)},
        ),
        _CONNECTOR,
    ),
    "api": Rights(
        PostgresRights(
            {
                **_READ_PUBLISHED,
                "multivariate_collections": _READ,
                "sync_runs": _READ,
                "sync_watermarks": _READ,
                "lifecycle_gaps": _READ,
                "api_keys": _KEEP,
                "api_key_audit": _ADD,
                "requests": _ADD,
                **_READ_HISTORY,
                **_STATUS,
            },
            {"history.counter": _READ},
        ),
        _API,
        RedisRights(
            {
                **_CONNECTING,
                "info": "server",
                "get": "{key}",
                "mget": "{key}",
                "hget": "{key} 1",
                "hmget": "{key} 1",
            },
            writes=False,
        ),
    ),
}
"""By service, in the order of the flow: the one list of all services there are."""

READER: Final = PostgresRights(
    {
        "service_status": _READ,
        "sync_runs": _READ,
        "market_lifecycle_events": _READ,
        "lifecycle_gaps": _READ,
        "_yoyo_migration": _READ,
    }
)
"""Whoever only looks: `ssmd status`, and `ssmd doctor` without a service."""
