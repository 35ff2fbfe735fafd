"""Recover: what the last process left is brought to one of the two sets of files that it was between."""

import structlog

from deployer_service.pipeline.commit import settle
from deployer_service.pipeline.contents import Unreadable, version_of
from deployer_service.pipeline.ports import Journal, RuleDirectory
from deployer_service.state import Files, FileVersion, Record
from rulecast.errors import RulecastError

log = structlog.get_logger(__name__)


async def recover(directory: RuleDirectory, journal: Journal) -> Record:
    """The record that holds now. Raises Unavailable when the disk does not allow it."""
    record = await journal.load()
    begun = await journal.unfinished()
    if begun is not None:
        try:
            return await settle(directory, journal, begun, record)
        except RulecastError as error:
            if record is not None:
                raise
            log.warning("unfinished change can not be settled", error=str(error))
    if record is None:
        # never seen before, or the record is lost: the rule service will compare what is there
        files = await adopt(directory, tuple(await directory.scan()))
        kept = await journal.generations()
        record = Record(generation=kept[-1].number + 1 if kept else 0, files=files, good=files)
        await journal.begin(record)
        await journal.finish()
        log.info("files on disk adopted", files=len(files))
    return record


async def adopt(directory: RuleDirectory, names: tuple[str, ...]) -> Files:
    """The files as they are on disk, of unknown revision. Contents that can not be read count as holding no rule."""
    versions: dict[str, FileVersion] = {}
    for name, sha256 in (await directory.adopt(names)).items():
        content = await directory.content(sha256) or b""
        try:
            versions[name] = version_of(content, sha256, 0)
        except Unreadable:
            versions[name] = FileVersion(sha256, size=len(content))
    return versions
