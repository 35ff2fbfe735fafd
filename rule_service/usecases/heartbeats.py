"""Heartbeats: who is up, without a revision and without history, since no rule depends on it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rule_service.domain.model import Target
from rule_service.domain.status import TargetStatus
from rule_service.usecases.filters import StatusFilter
from rule_service.usecases.ports import Record
from rule_service.usecases.ports_heartbeats import Heard, Heartbeats


@dataclass(frozen=True, slots=True)
class ShownTarget:
    """A target, and what was last heard of it."""

    record: Record[Target]
    heard: Heard


class TargetHeartbeats:
    """stale_after: a target that nobody has heard of for so long is stale."""

    def __init__(self, heartbeats: Heartbeats, stale_after: timedelta) -> None:
        self._heartbeats = heartbeats
        self._stale_after = stale_after

    async def report(self, beats: Sequence[tuple[str, TargetStatus | None]]) -> tuple[str, ...]:
        """Targets by id with their status; of two for one the last counts. The ids that no target has, in order."""
        statuses = dict(beats)
        known = await self._heartbeats.record(statuses)
        return tuple(id for id in statuses if id not in known)

    async def shown(self, records: Sequence[Record[Target]]) -> tuple[ShownTarget, ...]:
        """The records with what was last heard of them, in the same order."""
        heard = await self._heartbeats.heard([record.value.id for record in records], self._stale_after)
        return tuple(ShownTarget(record, heard.get(record.value.id, Heard())) for record in records)

    def filter(self, statuses: Collection[TargetStatus]) -> StatusFilter | None:
        """Only targets with one of these statuses; any, where there are none."""
        return StatusFilter(frozenset(statuses), self._stale_after) if statuses else None
