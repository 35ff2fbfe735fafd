"""Report: what became of each file, kept in the record, and told to whoever waits for news."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from deployer_service.state import (
    Active,
    Deferred,
    FileReport,
    Files,
    Outcome,
    Record,
    Rejected,
    RolledBack,
    Unchanged,
)
from rulecast.reasons import Reason

TROUBLES = (Rejected, RolledBack, Deferred)


def reports_of(fates: Mapping[str, Outcome], hashes: Mapping[str, bytes], time: datetime) -> dict[str, FileReport]:
    """hashes: of the versions that this is about; no entry for a deletion."""
    return {name: FileReport(name, hashes.get(name, b""), fate, time) for name, fate in fates.items()}


def with_troubles(record: Record, reports: Iterable[FileReport]) -> Record:
    """The record with the newest report of each file that is not active."""
    troubles = dict(record.troubles)
    for report in reports:
        if isinstance(report.outcome, TROUBLES):
            troubles[report.file_name] = report
        else:
            troubles.pop(report.file_name, None)
    return replace(record, troubles=troubles)


def with_proven(record: Record, names: Collection[str], time: datetime) -> Record:
    """The record after Prometheus was seen to run these files as they are on disk, and not to run the deleted ones."""
    kept = {name: version for name, version in record.good.items() if name not in names}
    proven = {name: record.files[name] for name in names if name in record.files}
    return replace(record, good={**kept, **proven}, verified_at=time)


def with_files(record: Record, files: Files, pending: Mapping[str, FileReport]) -> Record:
    """The next generation: these files. pending: what to say of the changed ones until Prometheus was asked."""
    return replace(
        record,
        files=files,
        generation=record.generation + 1,
        troubles={**record.troubles, **pending},
        reported=record.reported.without(pending),
    )


def news_in(record: Record, reports: Iterable[FileReport]) -> tuple[FileReport, ...]:
    """The reports that say something new: a file is in another trouble than recorded, or in none any more."""

    def is_new(report: FileReport) -> bool:
        before = record.troubles.get(report.file_name)
        match report.outcome:
            case Active() | Unchanged():
                return before is not None
            case _:
                return before is None or _told(before) != _told(report)

    return tuple(report for report in reports if is_new(report))


def _told(report: FileReport) -> tuple[bytes, type[Outcome], Reason | None]:
    """What makes a report another one: not its words, which may hold a port or a time."""
    match report.outcome:
        case Rejected(why) | RolledBack(why) | Deferred(why):
            return report.sha256, type(report.outcome), why.reason
        case _:
            return report.sha256, type(report.outcome), None


class News:
    """Reports that nobody asked for; the newest one of each file waits until it is fetched."""

    def __init__(self) -> None:
        self._waiting: dict[str, FileReport] = {}
        self._some = asyncio.Event()

    def put(self, reports: Iterable[FileReport]) -> None:
        self._waiting.update({report.file_name: report for report in reports})
        if self._waiting:
            self._some.set()

    async def get(self) -> tuple[FileReport, ...]:
        await self._some.wait()
        self._some.clear()
        reports = tuple(self._waiting.values())
        self._waiting.clear()
        return reports
