"""Drift: what somebody else did to our files, and how it is put right."""

from dataclasses import dataclass

import structlog

from deployer_service.pipeline.ports import RuleDirectory, Step
from deployer_service.state import Files, FileSet

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Drift:
    """edited: has other bytes. missing: is gone. unexpected: has a name of ours, but was not put there by us."""

    edited: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted((*self.edited, *self.missing, *self.unexpected)))

    @property
    def present(self) -> tuple[str, ...]:
        """Those whose content somebody may miss."""
        return (*self.edited, *self.unexpected)


def find_drift(disk: FileSet, files: Files) -> Drift:
    return Drift(
        edited=tuple(sorted(name for name in disk.keys() & files.keys() if disk[name] != files[name].sha256)),
        missing=tuple(sorted(files.keys() - disk.keys())),
        unexpected=tuple(sorted(disk.keys() - files.keys())),
    )


def steps_to(files: Files, disk: FileSet, names: frozenset[str]) -> list[Step]:
    """The steps that bring these files from what is on disk to `files`."""
    wanted = {name: files[name].sha256 if name in files else None for name in sorted(names)}
    return [Step(name, sha256) for name, sha256 in wanted.items() if disk.get(name) != sha256]


async def put_right(directory: RuleDirectory, drift: Drift, files: Files, disk: FileSet) -> frozenset[str]:
    """Brings the drifted files back to `files`, keeping a copy of what somebody may miss.

    Returns the names of those that are lost, since their content is gone from the store too. Raises Unavailable with
    the disk's reason.
    """
    stored = {name: await directory.content(files[name].sha256) for name in (*drift.edited, *drift.missing)}
    lost = frozenset(name for name, content in stored.items() if content is None)
    for name in drift.present:
        copy = await directory.set_aside(name)
        log.warning("rule file was changed by somebody else", file=name, kept_as=str(copy) if copy else None)
    for name in drift.missing:
        log.warning("rule file was removed by somebody else", file=name)
    await directory.move(steps_to(files, disk, frozenset(drift.names) - lost))
    return lost
