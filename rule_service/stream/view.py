"""What deployers that serve the same should have. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import Group, Scope
from rule_service.domain.serving import serves
from rule_service.stream.snapshot import Removed, Snapshot
from rule_service.usecases.ports_delivery import FileVersion
from rulecast.digest import manifest_hash

Serves = tuple[Scope, ...]
"""The namespaces and groups whose files a deployer takes; empty is all."""


class Wanted(NamedTuple):
    """One version of one file. sha256: 32 raw bytes."""

    name: str
    sha256: bytes
    revision: int


class Changed(NamedTuple):
    """Files that are to be had, and those that are to be deleted; the oldest change first."""

    puts: tuple[Wanted, ...]
    deletes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot as deployers see it that serve `serves`.

    groups: those of the files and of `serves`, with their ancestors; only needed where `serves` is not empty.
    grouping: another number where groups have moved, so that other files may be taken though none has changed.
    manifest_hash: over the files that are taken.
    """

    snapshot: Snapshot
    serves: Serves
    groups: Mapping[str, Group]
    grouping: int
    manifest_hash: bytes
    _changed: dict[int, Changed | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, snapshot: Snapshot, served: Serves, groups: Mapping[str, Group], grouping: int) -> "View":
        hashes = {name: file.sha256 for name, file in snapshot.files() if serves(served, file.scope, groups)}
        return cls(snapshot, served, groups, grouping, manifest_hash(hashes))

    @property
    def revision(self) -> int:
        return self.snapshot.revision

    def takes(self, file_name: str) -> bool:
        """Whether the file of this name is taken, if there is one. False for a name that no file of ours has."""
        scope = parse_file_name(file_name)
        return scope is not None and serves(self.serves, scope, self.groups)

    def changed_since(self, revision: int) -> Changed | None:
        """What changed after this revision; None where not all of it is known any more."""
        if revision not in self._changed:
            # the last answer alone: a thousand streams ask for the same, one after the other
            self._changed.clear()
            self._changed[revision] = self._taken_since(revision)
        return self._changed[revision]

    def files(self) -> dict[str, FileVersion]:
        """The files that are taken, by name."""
        return {name: file for name, file in self.snapshot.files() if serves(self.serves, file.scope, self.groups)}

    def _taken_since(self, revision: int) -> Changed | None:
        changed = self.snapshot.since(revision)
        if changed is None:
            return None
        taken = [(name, entry) for name, entry in changed if self.takes(name)]
        files = ((name, entry) for name, entry in taken if not isinstance(entry, Removed))
        return Changed(
            tuple(Wanted(name, file.sha256, file.revision) for name, file in files),
            tuple(name for name, entry in taken if isinstance(entry, Removed)),
        )
