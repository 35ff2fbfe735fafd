"""How the whole stands: how much there is, and how far each deployer is behind."""

from collections import Counter
from collections.abc import Sequence

from rule_service.store import history
from rule_service.store.pool import Database, Row, Session
from rule_service.usecases.ports_fates import FateState
from rule_service.usecases.ports_watch import DeployerLag, Totals


class PostgresOverviews:
    """Implements `Overviews`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self, known: Totals | None) -> Totals:
        async with self._database.snapshot() as session:
            revision = await history.revision(session)
            if known is not None and known.revision == revision:
                return known
            return await _counted(session, revision)

    async def lags(self) -> tuple[DeployerLag, ...]:
        async with self._database.session() as session:
            rows = await session.rows(
                """
                SELECT id, lease_until > clock_timestamp() AS connected, jsonb_array_length(drifted_files) AS drifted,
                    newest.revision - deployers.revision AS behind,
                    -- what is older than the history that is kept has at least the age of its beginning
                    extract(epoch FROM clock_timestamp() - (
                        SELECT at FROM history WHERE history.revision > deployers.revision
                        ORDER BY history.revision LIMIT 1
                    ))::float AS seconds,
                    ARRAY(SELECT state FROM deployer_files WHERE deployer_id = id) AS states
                FROM deployers CROSS JOIN revision_counter AS newest
                ORDER BY id
                """
            )
        return tuple(_lag(row) for row in rows)


async def _counted(session: Session, revision: int) -> Totals:
    files = await session.row("SELECT count(*) AS files, coalesce(sum(rule_count), 0) AS rules FROM rendered_files")
    rules = await session.row(
        """
        SELECT count(*) FILTER (WHERE enabled) AS enabled, count(*) FILTER (WHERE NOT enabled) AS disabled
        FROM rules WHERE deleted_at IS NULL
        """
    )
    assert files is not None, "an aggregate has one row"
    assert rules is not None, "an aggregate has one row"
    return Totals(revision, files["files"], files["rules"], rules["enabled"], rules["disabled"])


def _lag(row: Row) -> DeployerLag:
    return DeployerLag(
        id=row["id"],
        connected=row["connected"],
        lag_revisions=max(0, row["behind"]),
        lag_seconds=max(0.0, row["seconds"] or 0.0),
        drifted_files=row["drifted"],
        troubles=_tally(row["states"]),
    )


def _tally(states: Sequence[str]) -> dict[FateState, int]:
    return dict(Counter(FateState(state) for state in states))
