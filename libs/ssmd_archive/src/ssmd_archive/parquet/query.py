"""Questions in SQL over compacted days, and nothing but these: no other file, no network.

Views stand for the tables, each over the files of all days. Once they are there, DuckDB is locked:
it opens these files alone, loads no extension, and takes no setting. Only a statement that reads is
run.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import pyarrow as pa

from ssmd_archive.errors import ArchiveDamaged, NotArchived
from ssmd_archive.layout import layout_of
from ssmd_archive.parquet import record
from ssmd_archive.parquet.schemas import OTHERS, tables
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode

_MEMORY: Final = "1GiB"
_AT_ONCE: Final = 10_000
_NOT_ASKED: Final = (duckdb.OperationalError, duckdb.InternalError)
"""What DuckDB raises for want of memory, for a disk, or for a fault of its own."""
_UNREAD: Final = "Failed to read file"
"""Of Parquet that is damaged; it is of a kind with wrong arguments."""
_READS: Final = frozenset({duckdb.StatementType.SELECT})


class QueryRefused(SsmdError):
    """The text is no question that may be asked, or has no answer: DuckDB says why."""

    exit_code = ExitCode.USAGE


class QueryFailed(SsmdError):
    """A question that is right cannot be answered: a file, or room, is missing."""


def files(root: Path, days: Collection[str] = ()) -> dict[str, dict[str, list[Path]]]:
    """Of each table the files of each stream, as the records of the days list them: of all days
    where none is named.

    Raises:
        ArchiveDamaged: a record cannot be read.
        NotArchived: no day is compacted, or none of these.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for stream in _streams(root):
        for day in record.compacted_days(root, stream):
            if days and day not in days:
                continue
            known = record.read_record(root, stream, day)
            assert known is not None, "it was there a moment ago"
            for made in known.tables:
                path = record.folder_of(root, stream, day) / made.path
                found.setdefault(made.table, {}).setdefault(stream, []).append(path.resolve())
    if not found:
        which = f" ({', '.join(days)})" if days else ""
        raise NotArchived(
            f"{root} has no compacted day{which}: `ssmd archive compact` makes them "
            "(--partial: today)"
        )
    return found


def _streams(root: Path) -> Iterator[str]:
    folder = root / record.FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if layout_of(path.name) is not None:
            yield path.name


@contextmanager
def opened(
    root: Path, days: Collection[str] = (), only: Collection[str] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the views alone. What a sort needs on the disk goes to a scratch directory.

    Views of tables that are not among `only` have their columns, and no rows: nothing of theirs is
    read.

    Raises:
        NotArchived, ArchiveDamaged: as `files`.
    """
    found = files(root, days)
    with TemporaryDirectory(prefix="ssmd-query-") as scratch:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": scratch,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
            "python_scan_all_frames": False,
        }
        with duckdb.connect(config=settings) as database:
            # Times are shown as they are stored, wherever this machine is.
            database.execute("SET TimeZone = 'UTC'")
            read = {table: of for table, of in found.items() if only is None or table in only}
            for table, of in found.items():
                if table in read:
                    _view(database, table, of)
                else:
                    database.execute(f'CREATE VIEW "{table}" AS {_nothing(database, table, of)}')
            every = [str(path) for of in read.values() for paths in of.values() for path in paths]
            database.execute("SET allowed_paths = $paths", {"paths": every})
            database.execute("SET enable_external_access = false")
            database.execute("SET lock_configuration = true")
            yield database


def _view(database: duckdb.DuckDBPyConnection, table: str, of: dict[str, list[Path]]) -> None:
    """One over all streams that have the table; `_stream` and `day` say where a row is from."""
    known = {OTHERS.name} | {name for of_stream in of for name in _tables(of_stream)}
    assert table in known, f"{table} is no table of ours"
    parts = []
    for stream, paths in of.items():
        listed = ", ".join(f"'{_quoted(str(path))}'" for path in paths)
        parts.append(
            f"SELECT *, '{stream}' AS _stream FROM read_parquet([{listed}], "  # noqa: S608
            "hive_partitioning = true, hive_types = {'day': 'DATE'}, union_by_name = true)"
        )
    try:
        database.execute(f'CREATE VIEW "{table}" AS {" UNION ALL BY NAME ".join(parts)}')
    except duckdb.Error as error:
        raise ArchiveDamaged(
            f"Parquet of {table} cannot be read ({first_line(error)}): `ssmd archive verify` says "
            "which day's, `ssmd archive compact --again --date DAY` makes it anew"
        ) from error


def tables_of(root: Path, text: str, days: Collection[str] = ()) -> set[str]:
    """The tables that a question is about; none where it cannot be told.

    Raises:
        NotArchived, ArchiveDamaged: as `files`.
    """
    found = files(root, days)
    with duckdb.connect() as database:
        for table, of in found.items():
            database.execute(f'CREATE TABLE "{table}" AS {_nothing(database, table, of)}')
        try:
            return database.get_table_names(text) & found.keys()
        except duckdb.Error:
            return set()


def _nothing(database: duckdb.DuckDBPyConnection, table: str, of: dict[str, list[Path]]) -> str:
    """A SELECT that has a table's columns, and no row."""
    parts = []
    for stream in of:
        layout = layout_of(stream)
        known = tables(layout).get(table, OTHERS) if layout else OTHERS
        typed = database.from_arrow(known.schema.empty_table())
        pairs = zip(typed.columns, typed.types, strict=True)
        columns = [f'NULL::{kind} AS "{name}"' for name, kind in pairs]
        columns += ["NULL::DATE AS day", "NULL::VARCHAR AS _stream"]
        parts.append(f"SELECT {', '.join(columns)} WHERE false")
    return " UNION ALL BY NAME ".join(parts)


def _tables(stream: str) -> list[str]:
    layout = layout_of(stream)
    return list(tables(layout)) if layout else []


def _quoted(text: str) -> str:
    return text.replace("'", "''")


class Answer:
    """Rows, which are made as they are read: once. Of columns with the same name (of a join) the
    later ones are `<name>_1` and so on."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self._names = _distinct(reader.schema.names)
        fields = zip(reader.schema, self._names, strict=True)
        self.schema: pa.Schema = pa.schema([field.with_name(name) for field, name in fields])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of them.

        Raises:
            QueryRefused, QueryFailed: DuckDB cannot go on.
        """
        try:
            for batch in self._reader:
                yield batch.rename_columns(self._names)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _refused(error) from error


def _distinct(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        others = (f"{name}_{number}" for number in count(1))
        found.append(name if name not in found else next(o for o in others if o not in names))
    return found


def ask(database: duckdb.DuckDBPyConnection, text: str) -> Answer:
    """The rows of one SELECT.

    Raises:
        QueryRefused: it is no statement that only reads, or DuckDB refuses it.
        QueryFailed: DuckDB cannot answer it.
    """
    try:
        statements = database.extract_statements(text)
        if len(statements) != 1:
            raise QueryRefused(f"give one statement; there are {len(statements)}")
        if statements[0].type not in _READS:
            raise QueryRefused(
                f"{statements[0].type.name} is refused: an archive is only read, by SELECT (or "
                "FROM, WITH, VALUES, DESCRIBE, SHOW TABLES)"
            )
        return Answer(database.sql(text).to_arrow_reader(_AT_ONCE))
    except (duckdb.Error, pa.ArrowException) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> SsmdError:
    """Whose fault it is, in DuckDB's own words."""
    is_asked_wrong = isinstance(error, duckdb.DatabaseError) and not isinstance(error, _NOT_ASKED)
    if is_asked_wrong and _UNREAD not in str(error):
        return QueryRefused(str(error))
    return QueryFailed(str(error))
