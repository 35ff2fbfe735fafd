"""Forgets old history, and the change log with it, what was deleted long ago, and tokens that ended as long ago.

In batches that are short.
"""

import asyncio
from datetime import timedelta

import structlog

from rule_service.store import history
from rule_service.store.pool import Database
from rulecast.errors import Unavailable

LOCK = 0x5072756E65  # "Prune"
BATCH = 500  # revisions
EVERY = timedelta(hours=1)

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_PRUNE = """
    WITH oldest AS (
        SELECT revision, bool_and(at < now() - $1::interval) OVER (ORDER BY revision) AS old
        FROM (SELECT revision, at FROM history ORDER BY revision LIMIT $2) AS first
    ),
    cut AS (
        SELECT max(revision) AS revision FROM oldest
        WHERE old AND revision < (SELECT counter.revision FROM revision_counter AS counter)
    ),
    of_log AS (DELETE FROM change_log WHERE revision <= (SELECT revision FROM cut)),
    of_resources AS (DELETE FROM history_resources WHERE revision <= (SELECT revision FROM cut)),
    of_history AS (DELETE FROM history WHERE revision <= (SELECT revision FROM cut) RETURNING revision)
    SELECT count(*) FROM of_history
"""


_PURGE_RULES = """
    WITH gone AS (
        DELETE FROM rules WHERE deleted_at IS NOT NULL AND id IN (
            SELECT id FROM rules WHERE deleted_at < now() - $1::interval ORDER BY deleted_at LIMIT $2
        )
        RETURNING id
    )
    SELECT count(*) FROM gone
"""
_PURGE_RESOURCES = """
    WITH gone AS (
        DELETE FROM deleted_resources WHERE (kind, resource_id) IN (
            SELECT kind, resource_id FROM deleted_resources
            WHERE deleted_at < now() - $1::interval ORDER BY deleted_at LIMIT $2
        )
        RETURNING kind, resource_id
    ),
    unheard AS (DELETE FROM target_heartbeats USING gone WHERE kind = 'target' AND target_id = resource_id)
    SELECT count(*) FROM gone
"""
# least() passes over NULL: a token ends by what comes first
_FORGET_TOKENS = """
    WITH ended AS (
        DELETE FROM tokens WHERE id IN (
            SELECT id FROM tokens WHERE least(expires_at, revoked_at) < now() - $1::interval LIMIT $2
        )
        RETURNING id
    )
    SELECT count(*) FROM ended
"""


class Pruner:
    """keep: how long history is kept, the newest revision in any case, and a token that has expired or was revoked.

    keep_deleted: how long what was deleted.
    """

    def __init__(self, database: Database, keep: timedelta, keep_deleted: timedelta, *, batch: int = BATCH) -> None:
        self._database = database
        self._keep = keep
        self._keep_deleted = keep_deleted
        self._batch = batch

    async def run(self) -> None:
        """Prunes now and every hour, until it is cancelled."""
        while True:
            try:
                await self.prune()
                await self.purge()
                await self.forget_tokens()
            except Unavailable as error:
                log.warning("not pruned", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())

    async def prune(self) -> int:
        """Forgets all that is older; how many revisions these were. Nothing where another replica is at it."""
        revisions = 0
        while pruned := await self._prune_batch():
            revisions += pruned
        if revisions:
            log.info("history pruned", revisions=revisions, older_than=str(self._keep))
        return revisions

    async def purge(self) -> int:
        """Removes for good what was deleted too long ago; how many that was."""
        purged = 0
        # what others refer to was deleted after them, so it goes after them too
        for sql in (_PURGE_RULES, _PURGE_RESOURCES):
            while gone := await self._purge_batch(sql):
                purged += gone
        if purged:
            log.info("deleted resources purged", count=purged, older_than=str(self._keep_deleted))
        return purged

    async def forget_tokens(self) -> int:
        """Removes tokens that ended too long ago; how many. What was done with them keeps their names."""
        tokens = 0
        while ended := await self._forget_tokens_batch():
            tokens += ended
        if tokens:
            log.info("ended tokens forgotten", count=tokens, older_than=str(self._keep))
        return tokens

    async def _forget_tokens_batch(self) -> int:
        async with self._database.transaction() as session:
            return int(await session.value(_FORGET_TOKENS, self._keep, self._batch))

    async def _purge_batch(self, sql: str) -> int:
        async with self._database.transaction() as session:
            if not await session.value("SELECT pg_try_advisory_xact_lock($1)", LOCK):
                return 0
            await history.lock_revision(session)
            return int(await session.value(sql, self._keep_deleted, self._batch))

    async def _prune_batch(self) -> int:
        async with self._database.transaction() as session:
            # batches must be deleted in order: a revision that is left vouches for the log after it
            if not await session.value("SELECT pg_try_advisory_xact_lock($1)", LOCK):
                return 0
            return int(await session.value(_PRUNE, self._keep, self._batch))
