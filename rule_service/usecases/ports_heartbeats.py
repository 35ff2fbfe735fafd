"""What heartbeats of targets need from outside. Implemented by `rule_service.store.heartbeats`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rule_service.domain.status import TargetStatus


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a target now. seen_at: when it was last heard of, by the database's clock; None: never."""

    status: TargetStatus = TargetStatus.UNKNOWN
    seen_at: datetime | None = None


class Heartbeats(Protocol):
    """Each method is one query, and no transaction with edits."""

    async def record(self, statuses: Mapping[str, TargetStatus | None]) -> set[str]:
        """These targets, by id, were heard of now; None: as they were, and up where nothing was known.

        Those of them that there are.
        """
        ...

    async def heard(self, ids: Collection[str], stale_after: timedelta) -> dict[str, Heard]:
        """What is known of these targets; those never heard of are left out."""
        ...
