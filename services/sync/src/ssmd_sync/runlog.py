"""`sync_runs` and `sync_watermarks`: what ran, how it ended, where the next one resumes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg

from ssmd_common.models import SeriesFee
from ssmd_common.sql import Queries
from ssmd_store.statements import of_fees
from ssmd_sync.fees import Override, OwnFee
from ssmd_sync.pastrun import PastRun
from ssmd_sync.plan import Known
from ssmd_sync.report import Report
from ssmd_sync.scope import SeriesFacts

QUERIES: Final = Queries("ssmd_sync")

MAX_ERROR = 2000
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Watermark:
    """A resume point, moved in the transaction of the data that it stands for."""

    name: str
    at: datetime


class RunLog:
    """Reads and writes the unpublished tables of sync on the store's own connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def begin(self, report: Report, *, alone: bool) -> int:
        """Record that a run goes on. `alone`: the job's lock is held, so others of it are dead."""
        found = await self._one(
            QUERIES.begin_run,
            {
                "job": report.job,
                "scope": msgspec.json.encode(report.scope).decode(),
                "started_at": report.started_at,
                "alone": alone,
            },
        )
        return int(found[0])

    async def end(self, run_id: int, report: Report) -> None:
        await self._connection.execute(
            QUERIES.end_run,
            {
                "id": run_id,
                "outcome": report.outcome,
                "requests": report.requests,
                "tokens": report.tokens,
                "fetched": sum(report.fetched.values()),
                "inserted": report.total("inserted"),
                "updated": report.total("updated"),
                "unchanged": report.total("unchanged"),
                "deleted": report.total("deleted"),
                "rejected_rows": report.rejected_rows_json(),
                "rejected_fields": report.rejected_fields_json(),
                "unread": report.covered_but_for(),
                "error": (report.sentence or "")[:MAX_ERROR] or None,
            },
        )

    async def rename(self, formerly: str, job: str) -> None:
        """Runs of a job that had another id are runs of that job."""
        await self._connection.execute(QUERIES.rename_runs, {"formerly": formerly, "job": job})

    async def last_runs(self, job: str) -> list[PastRun]:
        """The latest runs of a job, the last one first."""
        rows = await self._all(QUERIES.last_runs, (job,))
        return [PastRun(*row) for row in rows if row[0] is not None]

    async def known(self) -> Known:
        """What a planner needs."""
        _, events, markets, multivariate = await self._one(QUERIES.counts)
        return Known(events, markets, await self.watermarks(), multivariate)

    async def watermarks(self) -> dict[str, datetime]:
        """Every resume point by its name."""
        rows = await self._all(QUERIES.watermarks)
        return {name: watermark for name, watermark in rows if watermark is not None}

    async def move(self, watermarks: Iterable[Watermark]) -> None:
        """Move resume points forward."""
        for mark in watermarks:
            given = {"name": mark.name, "watermark": mark.at}
            await self._connection.execute(QUERIES.move_watermark, given)

    async def series(self) -> list[SeriesFacts]:
        """What is known of every series."""
        return [SeriesFacts(*row) for row in await self._all(QUERIES.known_series)]

    async def series_of_events(self) -> dict[str, str]:
        return dict(await self._all(QUERIES.known_events))

    async def live(self, what: str, began_at: datetime) -> list[tuple[str, str]]:
        """Tickers that a complete scan begun at `began_at` must show, each with its series."""
        query = {
            "series": QUERIES.live_series,
            "events": QUERIES.live_events,
            "markets": QUERIES.live_markets,
        }[what]
        return await self._all(query, {"began_at": began_at})

    async def trading(self, began_at: datetime) -> list[tuple[str, str]]:
        """Tickers that a scan of what trades must show, each with its series."""
        return await self._all(QUERIES.trading_markets, {"began_at": began_at})

    async def own_fees(self) -> dict[str, OwnFee]:
        """What each series says of its fee."""
        return {row[0]: OwnFee(*row) for row in await self._all(QUERIES.own_fees)}

    async def fee_schedules(self) -> dict[str, list[SeriesFee]]:
        """The stored schedule of each series, in order."""
        schedules: dict[str, list[SeriesFee]] = {}
        for row in await self._all(of_fees(QUERIES.fee_schedule)):
            values = dict(zip(SeriesFee.columns(), row, strict=True))
            # A beginning that Python cannot hold: in force for ever so long.
            values["effective_from"] = values["effective_from"] or _LONG_AGO
            step = SeriesFee(**values)
            schedules.setdefault(step.series_ticker, []).append(step)
        return schedules

    async def overrides(self, tickers: list[str]) -> dict[str, Override]:
        """The stored fee overrides of these events."""
        rows = await self._all(QUERIES.overrides, {"tickers": tickers})
        return {ticker: (fee_type, multiplier) for ticker, fee_type, multiplier in rows}

    async def _one(self, query: Any, parameters: Any = None) -> Any:
        return await (await self._connection.execute(query, parameters)).fetchone()

    async def _all(self, query: Any, parameters: Any = None) -> list[Any]:
        return await (await self._connection.execute(query, parameters)).fetchall()
