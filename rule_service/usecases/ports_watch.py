"""What is watched from outside: how edits end, and how the whole stands.

Implemented by `rule_service.metrics` and `rule_service.store.overview`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rule_service.usecases.ports_fates import FateState


class EditOutcome(StrEnum):
    """refused: the request is at fault. failed: we are, or a part that we need."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    DRY_RUN = "dry_run"
    REFUSED = "refused"
    FAILED = "failed"


class EditWatch(Protocol):
    """Is told how every edit ended."""

    def edited(self, method: str, outcome: EditOutcome) -> None:
        """method: the RPC."""
        ...


class Unwatched:
    """Nobody is told."""

    def edited(self, method: str, outcome: EditOutcome) -> None:
        return


@dataclass(frozen=True, slots=True)
class DeployerLag:
    """How a deployer stands to the newest revision.

    lag_revisions: those that it has not taken up. lag_seconds: the age of the oldest of them.
    troubles: how many of its files are in each state other than ACTIVE.
    """

    id: str
    connected: bool
    lag_revisions: int
    lag_seconds: float
    drifted_files: int
    troubles: Mapping[FateState, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is at a revision. rendered_rules: in the files."""

    revision: int
    files: int
    rendered_rules: int
    enabled_rules: int
    disabled_rules: int


@dataclass(frozen=True, slots=True)
class Overview:
    totals: Totals
    deployers: tuple[DeployerLag, ...]


class Overviews(Protocol):
    """How the whole stands, from the database."""

    async def totals(self, known: Totals | None) -> Totals:
        """known: is answered as it is while its revision is the newest: counting costs more than asking for that.

        Raises Unavailable.
        """
        ...

    async def lags(self) -> tuple[DeployerLag, ...]:
        """Of every deployer, by id. Raises Unavailable."""
        ...
