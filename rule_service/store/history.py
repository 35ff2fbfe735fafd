"""The revision counter, the history of edits, and the change log of files."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from rule_service.domain.model import Resource
from rule_service.store.encode import dump, resource_json
from rule_service.store.pool import Session
from rule_service.usecases.ports_changes import Answered, LoggedChange, Request, ResourceChange
from rulecast.tracing import traceparent

CHANGES = "rulecast_changes"
"""The channel that is notified of every revision. Its payload is the revision."""
TRACES = "rulecast_traces"
"""The channel that is told in which trace a revision was made: `<revision> <traceparent>`. Silent without tracing."""


class Counter(NamedTuple):
    """The counter as it is under the commit lock. at: the database's clock once the lock was held."""

    revision: int
    commit_id: UUID
    at: datetime


async def revision(session: Session) -> int:
    """The newest revision."""
    return int(await session.value("SELECT revision FROM revision_counter"))


async def raise_revision(session: Session) -> Counter:
    """Takes the commit lock and the next revision."""
    row = await session.row(
        """
        UPDATE revision_counter SET revision = revision + 1, commit_id = gen_random_uuid()
        RETURNING revision, commit_id, clock_timestamp() AS at
        """
    )
    assert row is not None, "the migrations make the row"
    return Counter(row["revision"], row["commit_id"], row["at"])


async def begin_anew(session: Session) -> str:
    """Makes the history another one, for a database that was restored; its id. Every deployer then compares all files.

    The replicas that run are woken.
    """
    history_id = await session.value(
        "UPDATE revision_counter SET history_id = gen_random_uuid() RETURNING history_id::text"
    )
    await session.run("SELECT pg_notify($1, revision::text) FROM revision_counter", CHANGES)
    return str(history_id)


async def lock_revision(session: Session) -> datetime:
    """Takes the commit lock alone. The database's clock."""
    await session.run("SELECT FROM revision_counter FOR UPDATE")
    at: datetime = await session.value("SELECT clock_timestamp()")
    return at


async def append(
    session: Session,
    counter: Counter,
    author: str,
    method: str,
    resources: Sequence[ResourceChange],
    files: Sequence[LoggedChange],
    reason: str,
    request: Request | None,
) -> None:
    """Writes down who changed what, and which files came of it; wakes the replicas at the commit."""
    if parent := traceparent():
        # before the revision is: whoever is woken by that knows the trace
        await session.run("SELECT pg_notify($1, $2)", TRACES, f"{counter.revision} {parent}")
    # one statement: the commit lock is held
    await session.run(
        """
        WITH revisions AS (
            INSERT INTO history (revision, commit_id, at, author, method, reason, request_id, request_digest)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ),
        resources AS (
            INSERT INTO history_resources (revision, position, kind, resource_id, before, after)
            SELECT $1, position, kind, id, before::jsonb, after::jsonb
            FROM unnest($9::text[], $10::text[], $11::text[], $12::text[])
                WITH ORDINALITY AS changed (kind, id, before, after, position)
        ),
        files AS (
            INSERT INTO change_log (revision, file_name, sha256)
            SELECT $1, name, sha256 FROM unnest($13::text[], $14::bytea[]) AS changed (name, sha256)
        )
        SELECT pg_notify($15, $1::bigint::text)
        """,
        *counter,
        author,
        method,
        reason,
        request.id if request else None,
        request.digest if request else None,
        [change.kind for change in resources],
        [change.id for change in resources],
        [_json(change.before) for change in resources],
        [_json(change.after) for change in resources],
        [change.file_name for change in files],
        [change.sha256 for change in files],
        CHANGES,
    )


async def answered(session: Session, request_id: str) -> Answered | None:
    """What a request of this id has done already."""
    row = await session.row(
        """
        SELECT revision, method, request_digest, resource_id
        FROM history JOIN history_resources USING (revision) WHERE request_id = $1 ORDER BY position LIMIT 1
        """,
        request_id,
    )
    return Answered(row["revision"], row["method"], row["request_digest"], row["resource_id"]) if row else None


async def changed_files(session: Session, revision: int) -> tuple[LoggedChange, ...]:
    """The files that this revision changed, by name."""
    rows = await session.rows(
        "SELECT file_name, sha256 FROM change_log WHERE revision = $1 ORDER BY file_name", revision
    )
    return tuple(LoggedChange(row["file_name"], row["sha256"]) for row in rows)


def _json(value: Resource | None) -> str | None:
    return None if value is None else dump(resource_json(value))
