"""What became of the files at each deployer, recorded for many deployers at once.

A thousand deployers answer one change within moments. Who answers while a statement is under way comes along with the
next one: a statement for each would keep everything else from the database. It is only a way to save statements: each
report stands under the fence of its own epoch, and whatever goes wrong with a common statement, its reports are then
recorded one by one, so that a deployer can neither fail nor delay the others.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from rule_service.store.pool import Database
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast.errors import RulecastError

OUTCOMES: Final = "rulecast_outcomes"
"""The channel that is notified when what is known of deployers has changed. There is no payload, so that one
notification does for all that is recorded by one statement."""
AT_ONCE: Final = 64
"""Reports of one statement: few enough that what follows from them, all at once, does not keep others waiting."""
FEW: Final = 16
"""Fates of a report that is recorded together with others."""


@dataclass(frozen=True, slots=True)
class Report:
    """See `DeployerLeases.record_outcomes`."""

    deployer_id: str
    epoch: int
    revision: int
    manifest_hash: bytes
    fates: Collection[FileFate]


# `held`: those whose epoch it is; LOCKING says whether one whose row is in use is waited for, or left out.
# `stale`: at the newest revision, a version whose file is no more; no deployer will ever report on that again.
_RECORD: Final = """
    WITH reports AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
            AS report (deployer_id, epoch, revision, manifest_hash)
    ),
    held AS (
        SELECT reports.* FROM deployers JOIN reports ON deployer_id = id AND deployers.epoch = reports.epoch
        FOR NO KEY UPDATE OF deployers LOCKING
    ),
    fenced AS (
        UPDATE deployers
        SET revision = held.revision, manifest_hash = held.manifest_hash, seen_at = clock_timestamp()
        FROM held WHERE id = deployer_id AND deployers.epoch = held.epoch
        RETURNING id, deployers.revision >= (SELECT counter.revision FROM revision_counter AS counter) AS reached
    ),
    told AS (
        SELECT new.*,
            sha256 <> '' AND reached AND NOT EXISTS (SELECT FROM rendered_files WHERE name = file_name) AS stale
        FROM fenced JOIN unnest(
            $7::text[], $8::text[], $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
            $15::timestamptz[]
        ) AS new (deployer_id, file_name, sha256, state, reason, message, group_name, rule_name, at)
            ON new.deployer_id = id
    ),
    forgotten AS (
        DELETE FROM deployer_files AS known USING fenced
        WHERE known.deployer_id = id
            AND NOT EXISTS (
                SELECT FROM told
                WHERE told.deployer_id = id AND told.file_name = known.file_name AND NOT stale
            )
            AND (
                EXISTS (
                    SELECT FROM unnest($5::text[], $6::text[]) AS active (deployer_id, file_name)
                    WHERE active.deployer_id = id AND active.file_name = known.file_name
                )
                OR EXISTS (SELECT FROM told WHERE told.deployer_id = id AND told.file_name = known.file_name)
                OR known.sha256 <> '' AND reached
                    AND NOT EXISTS (SELECT FROM rendered_files WHERE name = known.file_name)
            )
    ),
    remembered AS (
        INSERT INTO deployer_files (
            deployer_id, file_name, sha256, state, reason, message, group_name, rule_name, at
        )
        SELECT deployer_id, file_name, sha256, state, reason, message, group_name, rule_name,
            coalesce(at, clock_timestamp())
        FROM told WHERE NOT stale
        ON CONFLICT (deployer_id, file_name) DO UPDATE SET
            sha256 = excluded.sha256, state = excluded.state, reason = excluded.reason, message = excluded.message,
            group_name = excluded.group_name, rule_name = excluded.rule_name, at = excluded.at
    )
    SELECT id, pg_notify($16, '') FROM fenced
"""
_RECORD_WAITING: Final = _RECORD.replace("LOCKING", "")
_RECORD_FREE: Final = _RECORD.replace("LOCKING", "SKIP LOCKED")


class _Group:
    """Reports that are recorded by one statement. recorded: of whom they were, once that is `done`."""

    def __init__(self) -> None:
        self.reports: dict[str, Report] = {}
        self.recorded: Collection[str] = ()
        self.done = asyncio.Event()

    def takes(self, report: Report) -> bool:
        """One of a deployer: a statement can not write a row twice."""
        return len(self.reports) < AT_ONCE and report.deployer_id not in self.reports


class OutcomeRecords:
    """One for the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recording = asyncio.Lock()
        self._gathered: _Group | None = None

    async def record(self, report: Report) -> bool:
        """False where the epoch is over, and nothing was recorded. Raises Unavailable."""
        return (len(report.fates) <= FEW and await self._together(report)) or await self._alone(report)

    async def _together(self, report: Report) -> bool:
        """False where it was not recorded for whatever reason."""
        group = self._gathered
        if group is not None and group.takes(report):
            group.reports[report.deployer_id] = report
            await group.done.wait()
        else:
            group = self._gathered = _Group()
            group.reports[report.deployer_id] = report
            await self._run_for(group)
        return report.deployer_id in group.recorded

    async def _run_for(self, group: _Group) -> None:
        try:
            async with self._recording:
                self._close(group)
                group.recorded = await self._run(_RECORD_FREE, group.reports.values())
        except RulecastError:
            return  # each learns by itself what is wrong
        finally:
            self._close(group)
            group.done.set()

    def _close(self, group: _Group) -> None:
        if self._gathered is group:
            self._gathered = None

    async def _alone(self, report: Report) -> bool:
        return bool(await self._run(_RECORD_WAITING, [report]))

    async def _run(self, sql: str, reports: Collection[Report]) -> Collection[str]:
        """Of whom something was recorded."""
        active = [
            (report.deployer_id, fate.file_name)
            for report in reports
            for fate in report.fates
            if fate.state is FateState.ACTIVE
        ]
        others = [(report.deployer_id, fate) for report in reports for fate in _others(report.fates)]
        async with self._database.session() as session:
            rows = await session.rows(
                sql,
                [report.deployer_id for report in reports],
                [report.epoch for report in reports],
                [report.revision for report in reports],
                [report.manifest_hash for report in reports],
                [id for id, _ in active],
                [name for _, name in active],
                [id for id, _ in others],
                [fate.file_name for _, fate in others],
                [fate.sha256 for _, fate in others],
                [fate.state.value for _, fate in others],
                [fate.reason for _, fate in others],
                [fate.message for _, fate in others],
                [fate.group for _, fate in others],
                [fate.rule for _, fate in others],
                [fate.at for _, fate in others],
                OUTCOMES,
            )
        return {row["id"] for row in rows}


def _others(fates: Collection[FileFate]) -> Collection[FileFate]:
    """Those that are not ACTIVE; the last word on a file counts: one statement can not write a row twice."""
    return {fate.file_name: fate for fate in fates if fate.state is not FateState.ACTIVE}.values()
