"""Commit: from one set of files on disk to the next, so that a crash at any moment ends in the one or the other.

The journal is the record of the set that is begun; a start that finds it finishes it (recover.py).
"""

from collections.abc import Collection, Sequence

import structlog

from deployer_service.pipeline.contents import rule_ids
from deployer_service.pipeline.drift import steps_to
from deployer_service.pipeline.plan import in_order
from deployer_service.pipeline.ports import Journal, RuleDirectory, Step
from deployer_service.state import FileSet, Record, differing
from rulecast.errors import RulecastError

log = structlog.get_logger(__name__)


async def commit(directory: RuleDirectory, journal: Journal, now: Record, target: Record) -> None:
    """Brings the disk from `now.files` to `target.files`; only files that differ between them are touched.

    Raises Unavailable with the disk's reason after going back; where even that failed, the journal stays and says
    which of the two the next `settle` goes to.
    """
    names = differing(now.files, target.files)
    await journal.begin(target)
    try:
        await _move(directory, target, names)
    except RulecastError:
        log.warning("files could not be put in place, going back", generation=target.generation)
        await journal.begin(now)
        await _move(directory, now, names)
        await journal.finish()
        raise
    await journal.finish()
    deleted = len(names - target.files.keys())
    log.info("files committed", generation=target.generation, written=len(names) - deleted, deleted=deleted)


async def settle(directory: RuleDirectory, journal: Journal, begun: Record, before: Record | None) -> Record:
    """Finishes what was begun; or, where its contents are gone, what was before. Returns the record that holds.

    Raises Unavailable if neither can be done now.
    """
    names = differing(before.files, begun.files) if before else frozenset(begun.files)
    try:
        await _move(directory, begun, names)
    except RulecastError:
        if before is None:
            raise
        await journal.begin(before)
        await _move(directory, before, names)
        begun = before
    await journal.finish()
    log.info("unfinished change settled", generation=begun.generation, files=len(names))
    return begun


async def _move(directory: RuleDirectory, target: Record, names: Collection[str]) -> None:
    disk = await directory.scan()
    steps = steps_to(target.files, disk, frozenset(names))
    if steps:
        await directory.move(await _ordered(directory, steps, disk))


async def _ordered(directory: RuleDirectory, steps: Sequence[Step], disk: FileSet) -> list[Step]:
    async def ids(sha256: bytes | None) -> frozenset[bytes]:
        content = await directory.content(sha256) if sha256 is not None else None
        return rule_ids(content) if content is not None else frozenset()

    before = {step.file_name: await ids(disk.get(step.file_name)) for step in steps}
    after = {step.file_name: await ids(step.sha256) for step in steps}
    return in_order(steps, before, after)
