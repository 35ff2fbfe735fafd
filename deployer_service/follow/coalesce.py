"""Several updates become one batch. Pure."""

from collections.abc import Sequence

from deployer_service.state import Batch, Put


def coalesce(batches: Sequence[Batch]) -> Batch:
    """The batch that leads to where all of them, one after the other, would lead: of each file the last word counts.

    It may delete more than half of the files only if each batch with deletions may.
    """
    puts: dict[str, Put] = {}
    deletes: set[str] = set()
    for batch in batches:
        for name in batch.deletes - batch.puts.keys():
            puts.pop(name, None)
            deletes.add(name)
        deletes -= batch.puts.keys()
        puts |= batch.puts
    allowed = all(batch.mass_deletion_allowed for batch in batches if batch.deletes)
    return Batch(puts, frozenset(deletes), batches[-1].to_revision, allowed)
