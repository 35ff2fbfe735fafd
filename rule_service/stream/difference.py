"""What leads a deployer from what it has to what it should have. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.domain.layout import parse_file_name
from rule_service.stream.view import Changed, View, Wanted

NO_FILE = b""
"""Stands for the version of a file that is deleted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The content of an Update; see distribution.proto. Equal ones are serialised once."""

    from_revision: int
    to_revision: int
    puts: tuple[Wanted, ...]
    deletes: tuple[str, ...]
    manifest_hash: bytes
    mass_deletion_allowed: bool
    commit_id: str = ""

    def __hash__(self) -> int:
        """Not over the files: every stream asks for it, and these tell differences apart as well."""
        return hash((self.from_revision, self.to_revision, self.manifest_hash, len(self.puts), len(self.deletes)))

    @property
    def empty(self) -> bool:
        return not (self.puts or self.deletes)


Refused = Mapping[str, bytes]
"""File name -> the version that the deployer has refused: its SHA-256, or NO_FILE for a deletion."""


def since(view: View, revision: int, refused: Refused) -> Difference | None:
    """For a deployer that has, but for what it refused, what it should have had at `revision`.

    None where that can not be told any more: then everything has to be compared. More than half may be deleted, since
    each deletion was seen in the change log.
    """
    changed = view.changed_since(revision)
    if changed is None:
        return None
    return _offered(view, revision, changed, refused, allowed=True)


def against(view: View, inventory: Mapping[str, bytes], refused: Refused, *, mass_deletion_allowed: bool) -> Difference:
    """For a deployer that has the files of `inventory` (SHA-256 by name). Names that are not ours are left alone."""
    files = view.files()
    puts = tuple(
        Wanted(name, file.sha256, file.revision) for name, file in files.items() if inventory.get(name) != file.sha256
    )
    deletes = tuple(sorted(name for name in inventory if name not in files and parse_file_name(name) is not None))
    return _offered(view, 0, Changed(puts, deletes), refused, allowed=mass_deletion_allowed)


def _offered(view: View, from_revision: int, changed: Changed, refused: Refused, *, allowed: bool) -> Difference:
    puts, deletes = _without(refused, changed) if refused else changed
    commit_id = view.snapshot.position.commit_id
    return Difference(from_revision, view.revision, puts, deletes, view.manifest_hash, allowed, commit_id)


def _without(refused: Refused, changed: Changed) -> Changed:
    return Changed(
        tuple(put for put in changed.puts if refused.get(put.name) != put.sha256),
        tuple(name for name in changed.deletes if refused.get(name) != NO_FILE),
    )
