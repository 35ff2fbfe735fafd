"""What deployers that serve the same should have. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import Group, Scope
from rule_service.domain.serving import serves
from rule_service.stream.snapshot import Snapshot
from rule_service.usecases.ports_delivery import FileVersion
from rulecast.digest import manifest_hash

Serves = tuple[Scope, ...]
"""The namespaces and groups whose files a deployer takes; empty is all."""


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

    def files(self) -> dict[str, FileVersion]:
        """The files that are taken, by name."""
        return {name: file for name, file in self.snapshot.files() if serves(self.serves, file.scope, self.groups)}
