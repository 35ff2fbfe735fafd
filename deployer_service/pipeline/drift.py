"""What somebody else did to our files. Pure."""

from dataclasses import dataclass

from deployer_service.pipeline.ports import Step
from deployer_service.state import Files, FileSet


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
