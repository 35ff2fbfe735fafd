"""How far one stream has come, and what is to be sent next. Pure: no I/O, and time is told."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from rule_service.stream.difference import NO_FILE, Difference, against, since
from rule_service.stream.pace import Pace
from rule_service.stream.snapshot import Entry
from rule_service.stream.view import View
from rule_service.usecases.ports_delivery import FileVersion
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast.tracing import NOTHING, Span

REFUSALS: Final = (FateState.REJECTED, FateState.ROLLED_BACK)


@dataclass(slots=True)
class InFlight:
    """An Update that was sent and not answered.

    sent_at: seconds; None until its last fragment is sent. worked_at: when the deployer last said that it applies it.
    delivery: the span of it, to be ended with the answer.
    """

    nonce: int
    to_revision: int
    sent_at: float | None = None
    worked_at: float = 0.0
    delivery: Span = NOTHING

    @property
    def waits_since(self) -> float | None:
        return None if self.sent_at is None else max(self.sent_at, self.worked_at)


@dataclass(frozen=True, slots=True)
class Compare:
    """The deployer has to say what it has: ask for its Inventory."""


@dataclass(slots=True)
class Standing:
    """All that is kept of a stream besides the shared manifest: no files, but those that were refused.

    taken_up: the revision that the deployer has taken up, as recorded.
    grouping: of the view that was last sent.
    refused: by file name, the version not to be offered again, NO_FILE for a deletion.
    sent: everything up to this revision was sent, or changes nothing here; commit_id: of it; manifest_hash: as it
    should be then.
    asked_at: seconds, since when an Inventory is waited for of a deployer that is not busy. inventory: the answer,
    until it is used.
    compare: an Inventory is to be asked for. deletions_asked: deleting most files by what it leads to was asked for.
    confirm: nothing was sent yet; the first Update is sent even if it is empty.
    behind: the deployer has answered, but says that it has not taken up all that was sent.
    disk: hash over the deployer's files when it last answered.
    unrenewed_since: seconds, since when the lease can not be renewed; None while it can.
    pace: when the next Update may go.
    """

    taken_up: int
    grouping: int = 0
    refused: dict[str, bytes] = field(default_factory=dict)
    sent: int = 0
    commit_id: str = ""
    manifest_hash: bytes = b""
    nonce: int = 0
    in_flight: InFlight | None = None
    asked_at: float | None = None
    inventory: Mapping[str, bytes] | None = field(default=None, repr=False)
    compare: bool = False
    deletions_asked: bool = False
    confirm: bool = True
    behind: bool = True
    disk: bytes = b""
    unrenewed_since: float | None = None
    pace: Pace = field(default_factory=Pace, repr=False)

    @property
    def waits(self) -> bool:
        """Whether the deployer has to say something before more is sent."""
        return self.in_flight is not None or self.asked_at is not None

    @property
    def waits_since(self) -> float | None:
        """Since when an answer is waited for without a sign of work on it; None where none is."""
        return self.in_flight.waits_since if self.in_flight is not None else self.asked_at

    def begin(self, view: View, *, up_to_date: bool, now: float) -> None:
        """The deployer is welcomed: with its files as they should be, or asked for its Inventory."""
        self.grouping = view.grouping
        if up_to_date:
            self._reached(view)
        else:
            self.asked_at = now

    def offer(self, view: View, *, trusted: bool) -> Difference | Compare | None:
        """What is to be sent now that the manifest is this; None where there is nothing.

        trusted: the deletions that an Inventory leads to were meant.
        """
        if self.waits:
            return None
        if self.inventory is not None:
            allowed = trusted or self.deletions_asked
            return against(view, self.inventory, self.refused, mass_deletion_allowed=allowed)
        if self.compare or (view.serves and view.grouping != self.grouping):
            return Compare()
        if self.sent == view.revision and not self.confirm:
            return None
        difference = since(view, self.sent, self.refused)
        if difference is None:
            return Compare()
        if difference.empty and not self.confirm:
            self._reached(view)
            return None
        return difference

    def send(self, difference: Difference, view: View) -> InFlight:
        """The difference is going to be sent, with a nonce of its own. What is said until it is sent counts as said
        before."""
        self.nonce += 1
        self._reached(view)
        self.grouping = view.grouping
        update = self.in_flight = InFlight(self.nonce, difference.to_revision)
        if self.inventory is not None:
            self.inventory = None
            self.deletions_asked = False
        self.confirm = False
        return update

    def all_sent(self, nonce: int, now: float) -> None:
        """The last fragment was sent; perhaps it is answered already."""
        if self.in_flight is not None and self.in_flight.nonce == nonce:
            self.in_flight.sent_at = now

    def ask(self, now: float) -> None:
        """The deployer is going to be asked for its Inventory."""
        self.asked_at = now
        self.compare = False

    def told_work(self, applying: int, *, busy: bool, now: float) -> None:
        """The deployer applies the Update of this nonce (0: none), or is at work on something else."""
        if self.in_flight is not None:
            if applying == self.in_flight.nonce:
                self.in_flight.worked_at = now
        elif busy and self.asked_at is not None:
            self.asked_at = now

    def told_inventory(self, inventory: Mapping[str, bytes]) -> None:
        """What the deployer has, whether asked for or not."""
        if self.in_flight is not None:
            self.compare = True  # it may be from before or after the Update
            return
        if self.asked_at is None:
            # it wants to be compared because something is missing: perhaps what was once refused
            self._forget_refused_versions()
        self.asked_at = None
        self.compare = False
        self.inventory = inventory

    def resync(self, *, mass_deletion_allowed: bool = False) -> None:
        """Somebody wants everything compared, and what was refused offered again.

        mass_deletion_allowed: deletions too that were refused because there were too many.
        """
        self._forget_refused_versions()
        if mass_deletion_allowed:
            self.refused.clear()
            self.deletions_asked = True
        self.compare = True

    def revision_of(self, nonce: int, revision: int) -> int:
        """What has been taken up by a status: never more than was sent, never less than before."""
        if self.in_flight is not None:
            limit = self.in_flight.to_revision if nonce == self.in_flight.nonce else self.taken_up
        else:
            # before the first answer the deployer's revision may be one of another history
            limit = self.taken_up if self.confirm else self.sent
        return max(self.taken_up, min(revision, limit))

    def told_status(self, nonce: int, revision: int, disk: bytes) -> InFlight | None:
        """A status was recorded, with the revision that `revision_of` said. The Update that it answers."""
        self.taken_up = revision
        answered = self.in_flight
        if answered is not None and answered.nonce == nonce:
            self.behind = revision < answered.to_revision
            self.in_flight = None
            self.disk = disk
            return answered
        if answered is None and revision >= self.sent:
            self.behind = False
        return None

    def judged(self, fates: Collection[FileFate], entries: Mapping[str, Entry]) -> None:
        """Remembers what was refused, as long as it is what the deployer should have.

        entries: of the newest snapshot.
        """
        for fate in fates:
            if fate.state in REFUSALS:
                self.refused[fate.file_name] = fate.sha256
            else:
                self.refused.pop(fate.file_name, None)
        self.refused = {
            name: version for name, version in self.refused.items() if version == _wanted(entries.get(name))
        }

    def strayed(self, disk: bytes) -> bool:
        """Whether the deployer's disk is not what it was after its last answer, though nothing was sent since."""
        return bool(disk and self.disk and disk != self.disk and not self.waits and not self.confirm)

    @property
    def to_settle(self) -> bool:
        """Whether all that was sent counts as taken up though nobody said so: it changed nothing here."""
        return not (self.waits or self.behind or self.confirm) and self.taken_up < self.sent

    def rests(self, revision: int) -> bool:
        """Whether nothing is to be done as long as this is the newest revision, and nobody asks for anything."""
        return (
            self.taken_up == self.sent == revision
            and not (self.waits or self.confirm or self.compare)
            and self.inventory is None
            and self.unrenewed_since is None
        )

    def _reached(self, view: View) -> None:
        self.sent, self.manifest_hash = view.revision, view.manifest_hash
        self.commit_id = view.snapshot.position.commit_id

    def _forget_refused_versions(self) -> None:
        """But not deletions: one that was refused because there were too many is not asked for by comparing again."""
        self.refused = {name: version for name, version in self.refused.items() if version == NO_FILE}


def _wanted(entry: Entry | None) -> bytes:
    return entry.sha256 if isinstance(entry, FileVersion) else NO_FILE
