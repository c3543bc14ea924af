"""Which stream of an archive is meant, and how its messages are chosen and shown."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from ssmd_archive.layout import MARKET_DATA, OTHER, SECMASTER_CDC, Layout, layout_of
from ssmd_archive.messages import Archived
from ssmd_cli import changes, md_tail, output
from ssmd_cli.changes import Filter
from ssmd_common.errors import ConfigurationError
from ssmd_stream.change import decode
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.market.messages import decoded


def layout(stream: str | None) -> Layout:
    """That of a stream by its name; of changes where none is given.

    Raises:
        ConfigurationError: it is no stream of ours.
    """
    found = SECMASTER_CDC if stream is None else layout_of(stream)
    if found is None:
        raise ConfigurationError(
            f"--stream {stream} is not archived: give {SECMASTER_CDC.stream}, {MARKET_DATA.stream} "
            "or MARKET_BOOKS_0 and so on"
        )
    return found


@dataclass(frozen=True, slots=True)
class Messages:
    """`folder` says which are read, `line` what of a message is shown, None if it is not wanted or
    cannot be read, which is said on stderr.
    """

    folder: Callable[[str], bool]
    line: Callable[[Archived], Text | None]


def messages_of(
    stream: str | None, series: str | None, table: str | None, type_: str | None
) -> Messages:
    """What is asked for of a stream.

    Raises:
        ConfigurationError: no message of the stream can be it.
    """
    of = layout(stream)
    if of is SECMASTER_CDC:
        wanted = Filter(series, table, type_)
        wanted.subjects()
        return Messages(_folders(table), lambda message: _change(message, wanted))
    if type_ is not None:
        raise ConfigurationError(f"--type: messages of {of.stream} have none, see --table")
    if table is not None and table not in of.tables:
        raise ConfigurationError(f"--table {table}: {of.stream} has {', '.join(sorted(of.tables))}")
    market = md_tail.Wanted(series=series)
    return Messages(_folders(table), lambda message: _market_data(message, market))


def _folders(table: str | None) -> Callable[[str], bool]:
    if table is None:
        return lambda _: True
    # What cannot be carried as it is stands with messages of unknown tables.
    return lambda folder: folder in (table, OTHER)


def _change(message: Archived, wanted: Filter) -> Text | None:
    try:
        change = decode(message.line.payload)
    except UnreadableMessage as error:
        _unreadable(message, error)
        return None
    return changes.line(change) if wanted.wants(change) else None


def _market_data(message: Archived, wanted: md_tail.Wanted) -> Text | None:
    try:
        said = decoded(message.line.payload)
    except ValueError as error:
        _unreadable(message, error)
        return None
    if wanted.series is not None and not hasattr(said, "ticker"):
        # Records of the capture are of no series.
        return None
    return md_tail.line(said) if wanted.wants(said) else None


def _unreadable(message: Archived, error: Exception) -> None:
    named = f" ({message.line.subject})" if message.line.subject else ""
    output.note(f"message {message.line.sequence}{named} is passed over as unreadable: {error}")
