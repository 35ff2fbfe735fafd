"""What of a batch has to be done. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer_service.pipeline.names import own_name
from deployer_service.pipeline.ports import Step
from deployer_service.state import Batch, Files, Put, Rejected, Why
from rulecast.digest import file_sha256
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """puts, deletes: what differs from the disk. same: what does not. rejected: what is not done at all."""

    puts: Mapping[str, Put]
    deletes: frozenset[str]
    same: frozenset[str]
    rejected: Mapping[str, Rejected]


def make_plan(files: Files, batch: Batch) -> Plan:
    """files: what is on disk. A name that is both put and deleted is put: that keeps more rules."""
    rejected: dict[str, Rejected] = {}
    puts: dict[str, Put] = {}
    same: set[str] = set()
    for asked, put in batch.puts.items():
        name = own_name(asked)
        if name is None:
            rejected[asked] = _not_ours(asked)
        elif file_sha256(put.content) != put.sha256:
            rejected[name] = _other_hash(name)
        elif name in files and files[name].sha256 == put.sha256:
            same.add(name)
        else:
            puts[name] = put
    wanted = batch.deletes - batch.puts.keys()
    rejected.update({asked: _not_ours(asked) for asked in wanted if own_name(asked) is None})
    named = {name for asked in wanted if (name := own_name(asked))}
    deletes = frozenset(named & files.keys())
    same |= named - deletes
    if not batch.mass_deletion_allowed and is_mass_deletion(len(deletes), len(files)):
        rejected.update({name: _too_many(len(deletes), len(files)) for name in deletes})
        deletes = frozenset()
    return Plan(puts, deletes, frozenset(same), rejected)


def is_mass_deletion(deleted: int, existing: int) -> bool:
    """More than half of the files, and more than one: an emptied database must not silence every alert."""
    return deleted > 1 and 2 * deleted > existing


def in_order(
    steps: Sequence[Step], before: Mapping[str, frozenset[bytes]], after: Mapping[str, frozenset[bytes]]
) -> list[Step]:
    """The steps in the order that never lowers coverage, should Prometheus load the files between two of them.

    before, after: the ids of the rules in each file. First the files that gain rules, then those that have the same
    ones, then those that lose some, last the deletions: a rule that moves from one file to another is in both for a
    moment, and in none at no time. So is a series that another rule evaluates from now on: the new rule is there before
    an old one leaves out the new one's series, and an old one takes them back before the new one goes.
    """

    def rank(step: Step) -> tuple[int, str]:
        name = step.file_name
        if step.sha256 is None:
            return 3, name
        had, has = before.get(name, frozenset()), after.get(name, frozenset())
        if had - has:
            return 2, name
        return (0 if has - had else 1), name

    return sorted(steps, key=rank)


def _not_ours(name: str) -> Rejected:
    shown = name if len(name) <= 100 else name[:100] + "..."
    return Rejected(
        Why(
            Reason.ID_INVALID,
            f"{shown!r} is not the name of a rule file: it must be global.yml, namespace-<id>.yml or group-<id>.yml "
            "with an id of a-z, 0-9 and '-', at most 63 characters",
        )
    )


def _other_hash(name: str) -> Rejected:
    return Rejected(
        Why(Reason.HASH_MISMATCH, f"{name} arrived with other bytes than its SHA-256 says: it has to be sent again")
    )


def _too_many(deleted: int, existing: int) -> Rejected:
    return Rejected(
        Why(
            Reason.MASS_DELETION,
            f"deleting {deleted} of {existing} rule files at once was not asked for, so none of them is deleted: "
            "if it is meant, call ResyncDeployers of the rule service with mass_deletion_allowed",
        )
    )
