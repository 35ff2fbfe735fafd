"""All files at one position, in the order of their changes. Pure; never changed once made."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from rule_service.usecases.ports_delivery import FileChanges, FileVersion, Manifest, Position

MAX_REMOVED = 10_000
"""So many deletions are remembered, lest a name that is never used again stays for ever."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that is gone. revision: at which it was, at the latest."""

    revision: int


Entry = FileVersion | Removed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """entries: files and deletions by name, the oldest change first.

    complete_since: every change after this revision is among the entries.
    """

    position: Position
    entries: dict[str, Entry]
    complete_since: int

    @classmethod
    def of(cls, manifest: Manifest) -> "Snapshot":
        """From the whole manifest; what was deleted before is not known."""
        files: list[tuple[str, Entry]] = sorted(manifest.files.items(), key=lambda item: (item[1].revision, item[0]))
        return cls(manifest.position, dict(files), manifest.position.revision)

    @property
    def revision(self) -> int:
        return self.position.revision

    def with_changes(self, changes: FileChanges) -> "Snapshot":
        """The snapshot at the position of these changes, which are all there were since this one."""
        changed: list[tuple[str, Entry]] = [
            (name, Removed(changes.position.revision) if version is None else version)
            for name, version in changes.files.items()
        ]
        changed.sort(key=lambda item: (item[1].revision, item[0]))
        entries = self.entries.copy()
        for name, entry in changed:
            # to the end: the order is that of the changes
            entries.pop(name, None)
            entries[name] = entry
        return _trimmed(Snapshot(changes.position, entries, self.complete_since))

    def files(self) -> Iterator[tuple[str, FileVersion]]:
        """The files that there are."""
        return ((name, entry) for name, entry in self.entries.items() if isinstance(entry, FileVersion))

    def since(self, revision: int) -> list[tuple[str, Entry]] | None:
        """What changed after this revision, the oldest change first. None where not all of it is known any more."""
        if revision < self.complete_since:
            return None
        newest_first = takewhile(lambda item: item[1].revision > revision, reversed(self.entries.items()))
        return list(newest_first)[::-1]

    def same_files(self, manifest: Manifest) -> bool:
        return {name: file.sha256 for name, file in self.files()} == {
            name: file.sha256 for name, file in manifest.files.items()
        }


def _trimmed(snapshot: Snapshot) -> Snapshot:
    if len(snapshot.entries) <= MAX_REMOVED:
        return snapshot
    removed = [(name, entry) for name, entry in snapshot.entries.items() if isinstance(entry, Removed)]
    if len(removed) <= MAX_REMOVED:
        return snapshot
    forgotten = dict(removed[: len(removed) - MAX_REMOVED // 2])
    kept = {name: entry for name, entry in snapshot.entries.items() if name not in forgotten}
    since = max(snapshot.complete_since, *(entry.revision for entry in forgotten.values()))
    return Snapshot(snapshot.position, kept, since)
