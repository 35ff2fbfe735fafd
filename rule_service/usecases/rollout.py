"""How far a revision has come at every deployer: computed from what they reported, and waited for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import assert_never

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import Group, GroupScope, Scope
from rule_service.domain.serving import serves
from rule_service.usecases.ports import Reads
from rule_service.usecases.ports_fates import DeployerFacts, FateState, FileFate

WORST_FIRST = (
    FateState.REJECTED,
    FateState.ROLLED_BACK,
    FateState.UNREACHABLE,
    FateState.DEFERRED,
    FateState.PENDING,
    FateState.ACTIVE,
)


FINAL = frozenset((FateState.ACTIVE, FateState.REJECTED, FateState.ROLLED_BACK))
"""The states that do not change by themselves."""


class Until(Enum):
    """How far a rollout is waited for."""

    KNOWN = auto()
    """Every deployer's fate is known. DEFERRED and UNREACHABLE are known: who asked is told."""
    FINAL = auto()
    """Every deployer runs the revision or has refused it."""


@dataclass(frozen=True, slots=True)
class DeployerRollout:
    """fates: the files of the revision that are not ACTIVE. seen_at: when the deployer was last heard."""

    deployer_id: str
    state: FateState
    revision: int
    fates: tuple[FileFate, ...]
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Rollout:
    revision: int
    deployers: tuple[DeployerRollout, ...]

    @property
    def state(self) -> FateState:
        """The worst of any deployer; ACTIVE where there is none."""
        return worst(each.state for each in self.deployers)

    def has_come(self, until: Until) -> bool:
        """Whether it has come so far."""
        match until:
            case Until.KNOWN:
                return all(each.state is not FateState.PENDING for each in self.deployers)
            case Until.FINAL:
                return all(each.state in FINAL for each in self.deployers)
            case _:
                assert_never(until)


def worst(states: Iterable[FateState]) -> FateState:
    """The worst of these states; ACTIVE of none."""
    present = set(states)
    return next((state for state in WORST_FIRST if state in present), FateState.ACTIVE)


def rollout_of(
    revision: int, file_names: Sequence[str], deployers: Sequence[DeployerFacts], groups: Mapping[str, Group]
) -> Rollout:
    """The rollout of a revision that changed these files. A deployer that takes none of them has no part in it."""
    scopes = {name: scope for name in file_names if (scope := parse_file_name(name)) is not None}
    parts = (
        _part(revision, taken, deployer)
        for deployer in deployers
        if (taken := {name for name, scope in scopes.items() if serves(deployer.serves, scope, groups)})
    )
    return Rollout(revision, tuple(parts))


def _part(revision: int, taken: Collection[str], deployer: DeployerFacts) -> DeployerRollout:
    fates = tuple(fate for fate in deployer.fates if fate.file_name in taken and fate.state is not FateState.ACTIVE)
    return DeployerRollout(deployer.id, _state(revision, fates, deployer), deployer.revision, fates, deployer.seen_at)


def state_now(deployer: DeployerFacts, newest: int) -> FateState:
    """The state of a deployer against the newest revision, over all its files."""
    return _state(newest, deployer.fates, deployer)


def _state(revision: int, fates: Sequence[FileFate], deployer: DeployerFacts) -> FateState:
    if deployer.revision < revision:
        return FateState.PENDING if deployer.connected else FateState.UNREACHABLE
    state = worst(fate.state for fate in fates)
    if state in (FateState.DEFERRED, FateState.PENDING) and not deployer.connected:
        return FateState.UNREACHABLE
    return state


async def read_rollout(reads: Reads, revision: int) -> Rollout:
    """The rollout of a revision as it is now."""
    names = [change.file_name for change in await reads.changed_files(revision)]
    return await rollout_among(reads, revision, names, await reads.deployers())


async def rollout_among(
    reads: Reads, revision: int, names: Sequence[str], deployers: Sequence[DeployerFacts]
) -> Rollout:
    """The rollout of a revision that changed the files of these names, at these deployers."""
    scopes: list[Scope] = [scope for name in names if (scope := parse_file_name(name)) is not None]
    scopes += [scope for deployer in deployers for scope in deployer.serves]
    groups: dict[str, Group] = {}
    if any(deployer.serves for deployer in deployers):
        ids = {scope.group_id for scope in scopes if isinstance(scope, GroupScope)}
        groups = await reads.group_with_ancestors(ids)
    return rollout_of(revision, names, deployers, groups)
