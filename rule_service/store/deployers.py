"""Deployers: leases by the database's clock, reports under the fence of an epoch, and what is known of each."""

import math
from collections.abc import Collection, Sequence
from datetime import datetime

from rule_service.domain.layout import parse_file_name
from rule_service.store.encode import scopes_json, scopes_of
from rule_service.store.outcomes import OUTCOMES, OutcomeRecords, Report
from rule_service.store.pool import Database, Row, Session
from rule_service.usecases.ports_delivery import Claim, EffectiveFacts, HelloFacts
from rule_service.usecases.ports_fates import DeployerFacts, FateState, FileFate
from rule_service.usecases.ports_rendered import FileFacts
from rulecast.errors import Conflict, FailedPrecondition, NotFound
from rulecast.reasons import Reason


async def every(session: Session) -> tuple[DeployerFacts, ...]:
    """All deployers by id, each with its files that are not ACTIVE."""
    # one statement: read apart, a revision could be seen as taken up before the files that it was refused for
    rows = await session.rows(
        """
        SELECT id, lease_until > clock_timestamp() AS connected, epoch, revision, manifest_hash, software_version,
            prometheus_version, prometheus_url, prometheus_up, drifted_files, serves, seen_at, warnings,
            last_reload_at, last_reload_ok,
            file_name, sha256, state, reason, message, group_name, rule_name, at
        FROM deployers LEFT JOIN deployer_files ON deployer_id = id
        ORDER BY id, file_name
        """
    )
    of_deployer: dict[str, list[Row]] = {}
    for row in rows:
        of_deployer.setdefault(row["id"], []).append(row)
    return tuple(_facts(with_files) for with_files in of_deployer.values())


class PostgresDeployers:
    """Implements `Deployers` and `DeployerLeases`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outcomes = OutcomeRecords(database)

    async def claim(self, hello: HelloFacts, replica: str, lease_seconds: float) -> Claim:
        async with self._database.transaction() as session:
            await _begin_history_anew(session, hello)
            # epoch: above the deployer's own too: a restored database may have forgotten epochs that it has not.
            # revision: not above what was recorded: its outcomes may have been lost, and would be taken for ACTIVE
            row = await session.row(
                """
                INSERT INTO deployers AS held (
                    id, epoch, process_id, lease_until, replica, seen_at, software_version, prometheus_version,
                    prometheus_url, serves, revision, manifest_hash
                )
                SELECT $1, $8 + 1, $2, clock_timestamp() + $3 * interval '1 second', $4, clock_timestamp(), $5, $6, $7,
                    $9, CASE WHEN history_id::text = $10 THEN least($11, counter.revision) ELSE 0 END, $12
                FROM revision_counter AS counter
                ON CONFLICT (id) DO UPDATE SET
                    epoch = greatest(held.epoch + 1, excluded.epoch), process_id = excluded.process_id,
                    lease_until = excluded.lease_until, replica = excluded.replica, seen_at = excluded.seen_at,
                    software_version = excluded.software_version, prometheus_version = excluded.prometheus_version,
                    prometheus_url = excluded.prometheus_url, serves = excluded.serves,
                    revision = least(held.revision, excluded.revision),
                    manifest_hash = excluded.manifest_hash
                WHERE held.process_id = excluded.process_id OR held.lease_until <= clock_timestamp()
                RETURNING epoch, revision
                """,
                hello.id,
                hello.process_id,
                lease_seconds,
                replica,
                hello.software_version,
                hello.prometheus_version,
                hello.prometheus_url,
                hello.epoch,
                scopes_json(hello.serves),
                hello.history_id,
                hello.revision,
                hello.manifest_hash,
            )
            if row is None:
                raise _duplicate(hello.id, await _remaining(session, hello.id))
            await _wake(session)
        return Claim(row["epoch"], row["revision"])

    async def renew(self, id: str, epoch: int, lease_seconds: float, manifest_hash: bytes) -> None:
        async with self._database.session() as session:
            renewed = await session.run(
                """
                UPDATE deployers
                SET lease_until = clock_timestamp() + $3 * interval '1 second', seen_at = clock_timestamp(),
                    manifest_hash = $4
                WHERE id = $1 AND epoch = $2
                """,
                id,
                epoch,
                lease_seconds,
                manifest_hash,
            )
        _check_fence(renewed, id, epoch)

    async def release(self, id: str, epoch: int) -> None:
        async with self._database.transaction() as session:
            released = await session.run(
                "UPDATE deployers SET lease_until = clock_timestamp() WHERE id = $1 AND epoch = $2", id, epoch
            )
            if released:
                await _wake(session)

    async def record_outcomes(
        self, id: str, epoch: int, revision: int, manifest_hash: bytes, fates: Sequence[FileFate]
    ) -> None:
        recorded = await self._outcomes.record(Report(id, epoch, revision, manifest_hash, fates))
        _check_fence(recorded, id, epoch)

    async def record_effective(self, id: str, epoch: int, facts: EffectiveFacts) -> None:
        async with self._database.session() as session:
            recorded = await session.run(
                """
                UPDATE deployers
                SET manifest_hash = $3, effective_files = $4, prometheus_up = $5,
                    prometheus_version = CASE WHEN $6 = '' THEN prometheus_version ELSE $6 END,
                    last_reload_at = $7, last_reload_ok = $8, drifted_files = $9, warnings = $10,
                    seen_at = clock_timestamp()
                WHERE id = $1 AND epoch = $2
                """,
                id,
                epoch,
                facts.manifest_hash,
                {
                    name: {
                        "sha256": file.sha256.hex(),
                        "revision": file.revision,
                        "rule_count": file.rule_count,
                        "size": file.size,
                    }
                    for name, file in facts.files.items()
                },
                facts.prometheus_up,
                facts.prometheus_version,
                facts.last_reload_at,
                facts.last_reload_ok,
                list(facts.drifted_files),
                [list(warning) for warning in facts.warnings],
            )
        _check_fence(recorded, id, epoch)

    async def refused(self, id: str) -> set[tuple[str, bytes]]:
        async with self._database.session() as session:
            rows = await session.rows(
                "SELECT file_name, sha256 FROM deployer_files WHERE deployer_id = $1 AND state = ANY ($2::text[])",
                id,
                [FateState.REJECTED.value, FateState.ROLLED_BACK.value],
            )
        return {(row["file_name"], row["sha256"]) for row in rows}

    async def effective_files(self, id: str) -> tuple[FileFacts, ...] | None:
        async with self._database.session() as session:
            row = await session.row("SELECT effective_files FROM deployers WHERE id = $1", id)
            if row is None:
                raise _no_deployer(id)
            files = row["effective_files"]
            if files is None:
                return None
            made_at = await _times(session, {file["revision"] for file in files.values() if file["revision"]})
        found = ((name, parse_file_name(name), files[name]) for name in sorted(files))
        return tuple(
            FileFacts(
                name,
                scope,
                bytes.fromhex(file["sha256"]),
                file["revision"],
                file["rule_count"],
                file["size"],
                made_at.get(file["revision"]),
            )
            for name, scope, file in found
            if scope is not None
        )

    async def delete_deployer(self, id: str) -> None:
        async with self._database.transaction() as session:
            connected = await session.value(
                "SELECT lease_until > clock_timestamp() FROM deployers WHERE id = $1 FOR UPDATE", id
            )
            if connected is None:
                raise _no_deployer(id)
            if connected:
                raise FailedPrecondition.of(
                    "id",
                    Reason.DEPLOYER_CONNECTED,
                    f"deployer '{id}' is connected: stop it first, or wait until its lease has run out",
                )
            await session.run("DELETE FROM deployers WHERE id = $1", id)
            await _wake(session)


async def _begin_history_anew(session: Session, hello: HelloFacts) -> None:
    """Where a deployer has seen more of this history than there is, or another commit of its revision.

    A backup was restored, or a failover lost commits, and perhaps the database was edited past the revision since. What
    this database does not know was then not deleted in it, and a revision that is used again is another one.
    """
    await session.run(
        """
        UPDATE revision_counter AS counter SET history_id = gen_random_uuid()
        WHERE history_id::text = $1 AND (
            counter.revision < $2
            OR $3 <> '' AND EXISTS (SELECT FROM history WHERE history.revision = $2 AND commit_id::text <> $3)
        )
        """,
        hello.history_id,
        hello.revision,
        hello.commit_id,
    )


async def _wake(session: Session) -> None:
    await session.run("SELECT pg_notify($1, '')", OUTCOMES)


async def _times(session: Session, revisions: Collection[int]) -> dict[int, datetime]:
    """When these revisions were made, of those that are still known."""
    rows = await session.rows("SELECT revision, at FROM history WHERE revision = ANY ($1::bigint[])", list(revisions))
    return {row["revision"]: row["at"] for row in rows}


async def _remaining(session: Session, id: str) -> float:
    """Seconds for which the lease still runs."""
    seconds = await session.value(
        "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM deployers WHERE id = $1", id
    )
    return max(0.0, float(seconds or 0))


def _check_fence(touched: int, id: str, epoch: int) -> None:
    if not touched:
        raise Conflict.of(
            "",
            Reason.STALE_EPOCH,
            f"epoch {epoch} of deployer '{id}' is over: it has connected again since, or was deleted; connect anew",
        )


def _duplicate(id: str, remaining: float) -> FailedPrecondition:
    return FailedPrecondition.of(
        "hello.deployer_id",
        Reason.DUPLICATE_DEPLOYER,
        f"another process is connected as deployer '{id}': give each deployer a name of its own, or stop the other one "
        f"(its lease runs for {remaining:.0f} s)",
        lease_seconds=str(math.ceil(remaining)),
    )


def _no_deployer(id: str) -> NotFound:
    return NotFound.of("id", Reason.DEPLOYER_NOT_FOUND, f"there is no deployer '{id}'", id=id)


def _facts(rows: Sequence[Row]) -> DeployerFacts:
    row = rows[0]
    return DeployerFacts(
        id=row["id"],
        connected=row["connected"],
        epoch=row["epoch"],
        revision=row["revision"],
        manifest_hash=row["manifest_hash"],
        fates=tuple(_fate(each) for each in rows if each["file_name"] is not None),
        software_version=row["software_version"],
        prometheus_version=row["prometheus_version"],
        prometheus_url=row["prometheus_url"],
        prometheus_up=row["prometheus_up"],
        drifted_files=tuple(row["drifted_files"]),
        serves=scopes_of(row["serves"]),
        seen_at=row["seen_at"],
        warnings=tuple((code, message) for code, message in row["warnings"]),
        last_reload_at=row["last_reload_at"],
        last_reload_ok=bool(row["last_reload_ok"]),
    )


def _fate(row: Row) -> FileFate:
    return FileFate(
        file_name=row["file_name"],
        sha256=row["sha256"],
        state=FateState(row["state"]),
        reason=row["reason"],
        message=row["message"],
        group=row["group_name"],
        rule=row["rule_name"],
        at=row["at"],
    )
