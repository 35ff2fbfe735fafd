"""Manual control of delivery: render anew, look at files, wait for rollouts, command deployers."""

import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import GroupScope
from rule_service.domain.wording import shown
from rule_service.usecases.change import Change, WriteOptions
from rule_service.usecases.expect import the_group
from rule_service.usecases.ports import Page, Store
from rule_service.usecases.ports_delivery import Commands, Deployers
from rule_service.usecases.ports_fates import DeployerFacts
from rule_service.usecases.ports_rendered import FileFacts, StoredFile
from rule_service.usecases.publish import Publisher
from rule_service.usecases.regenerate import render_anew
from rule_service.usecases.rollout import Rollout, Until, read_rollout
from rule_service.usecases.waiting import RolloutWaiter
from rulecast.errors import FailedPrecondition, NotFound
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Regenerated:
    """groups: how many of the files are a group's. files: how many files were rendered. seconds: how long it took.

    errors: what does not render any more; the files of these rules stay as they were.
    """

    groups: int
    files: int
    errors: tuple[str, ...]
    seconds: float
    change: Change


class Delivery:
    """clock: seconds, monotonic."""

    def __init__(
        self,
        store: Store,
        deployers: Deployers,
        publisher: Publisher,
        waiter: RolloutWaiter,
        commands: Commands,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._deployers = deployers
        self._publisher = publisher
        self._waiter = waiter
        self._commands = commands
        self._clock = clock

    async def regenerate_all(self, options: WriteOptions) -> Regenerated:
        """Renders every alert anew, and has the deployers compare all they have."""
        return await self._regenerate(None, options)

    async def regenerate_group(self, group_id: str, options: WriteOptions) -> Regenerated:
        """The same for the alerts that have a rule at the group, above or below it. Raises NotFound."""
        async with self._store.transaction(rollback=True) as transaction:
            await the_group(transaction, group_id, "group_id")
            keys = await transaction.keys_around_groups([group_id])
        return await self._regenerate(keys, options)

    async def _regenerate(self, keys: Collection[str] | None, options: WriteOptions) -> Regenerated:
        """keys: None is all."""
        started = self._clock()
        placements = await self._store.placements(keys)
        rendered = await render_anew(self._publisher, placements, options)
        files = await self._store.files_of_keys({key for placement in placements for key in placement.keys})
        if not options.validate_only:
            await self._commands.resync(None)
        groups = sum(isinstance(parse_file_name(name), GroupScope) for name in files)
        return Regenerated(groups, len(files), rendered.errors, self._clock() - started, rendered.change)

    async def file(self, name: str) -> StoredFile:
        """A rendered file. Raises NotFound."""
        file = await self._store.file(name)
        if file is None:
            raise NotFound.of(
                "file_name",
                Reason.FILE_NOT_FOUND,
                f"there is no rule file {shown(name)}: a scope has one while it has an enabled rule; ListRuleFiles "
                "names them all",
            )
        return file

    async def deployed_files(self, deployer_id: str, after: str, limit: int) -> Page[FileFacts]:
        """The files that a deployer has, as it last said, by name. Raises NotFound, FailedPrecondition."""
        await self._deployer(deployer_id)
        files = await self._deployers.effective_files(deployer_id)
        if files is None:
            raise FailedPrecondition.of(
                "deployer_id",
                Reason.DEPLOYER_NOT_CONNECTED,
                f"deployer {shown(deployer_id)} has not said yet what it has: ask again in a second, or see with "
                "ListDeployers whether it is connected",
            )
        rest = [file for file in files if file.name > after]
        return Page(tuple(rest[:limit]), rest[limit - 1].name if len(rest) > limit else None)

    async def reload(self, deployer_id: str) -> tuple[str, ...]:
        """Has the connected deployers, or one, reload Prometheus. Raises NotFound, FailedPrecondition."""
        await self._check_connected(deployer_id)
        return await self._commands.reload(deployer_id or None)

    async def resync(self, deployer_id: str, mass_deletion_allowed: bool) -> tuple[str, ...]:
        """Has the connected deployers, or one, compare all they have. Raises NotFound, FailedPrecondition."""
        await self._check_connected(deployer_id)
        return await self._commands.resync(deployer_id or None, mass_deletion_allowed=mass_deletion_allowed)

    async def _check_connected(self, deployer_id: str) -> None:
        """Of one that is named."""
        if not deployer_id:
            return
        deployers = {deployer.id: deployer for deployer in await self._store.deployers()}
        if deployer_id not in deployers:
            raise NotFound.of(
                "deployer_id", Reason.DEPLOYER_NOT_FOUND, f"there is no deployer {shown(deployer_id)}", id=deployer_id
            )
        if not deployers[deployer_id].connected:
            raise FailedPrecondition.of(
                "deployer_id", Reason.DEPLOYER_NOT_CONNECTED, f"deployer {shown(deployer_id)} has no stream now"
            )

    async def rollout(self, revision: int) -> Rollout:
        """How far a revision has come. Raises NotFound for one that was never made."""
        await self._check_revision(revision)
        return await read_rollout(self._store, revision)

    async def wait(self, revision: int, timeout: float, until: Until) -> Rollout:
        """The rollout once it has come so far, or as it is after `timeout` seconds. Raises NotFound."""
        await self._check_revision(revision)
        return await self._waiter.wait_at_most(revision, timeout, until)

    async def watch(self, revision: int) -> AsyncIterator[Rollout]:
        """The rollout now and whenever it changes, until no deployer is pending. Raises NotFound."""
        await self._check_revision(revision)
        async for rollout in self._waiter.follow(revision, Until.KNOWN):
            yield rollout

    async def _deployer(self, id: str) -> DeployerFacts:
        for deployer in await self._store.deployers():
            if deployer.id == id:
                return deployer
        raise NotFound.of(
            "deployer_id",
            Reason.DEPLOYER_NOT_FOUND,
            f"no deployer {shown(id)} has ever connected; ListDeployers names them all",
            id=id,
        )

    async def _check_revision(self, revision: int) -> None:
        newest = await self._store.revision()
        if not 1 <= revision <= newest:
            raise NotFound.of(
                "revision",
                Reason.REVISION_NOT_FOUND,
                f"there is no revision {revision}: the newest is {newest}",
                newest_revision=str(newest),
            )
