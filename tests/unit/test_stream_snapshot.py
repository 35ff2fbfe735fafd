"""The shared manifest: what changed since a revision, whatever happened between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.stream import snapshot as snapshot_module
from rule_service.stream.snapshot import Removed, Snapshot
from rule_service.usecases.ports_delivery import FileChanges, FileVersion, Manifest
from tests.support.streams import FakeLog, position, version

NAMES = [f"group-{letter}.yml" for letter in "abcde"]
EDITS = st.lists(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.none(), st.binary(max_size=2))), max_size=12)


def manifest(**revisions: int) -> Manifest:
    files = {f"group-{id}.yml": version(f"group-{id}.yml", id.encode(), at) for id, at in revisions.items()}
    return Manifest(position(max(revisions.values(), default=0)), files)


def changes(revision: int, **files: bytes | None) -> FileChanges:
    names = {f"group-{id}.yml": content for id, content in files.items()}
    return FileChanges(
        position(revision),
        {name: None if content is None else version(name, content, revision) for name, content in names.items()},
    )


def names_since(snapshot: Snapshot, revision: int) -> list[str] | None:
    changed = snapshot.since(revision)
    return None if changed is None else [name for name, _ in changed]


def test_what_changed_comes_in_the_order_of_the_changes() -> None:
    snapshot = Snapshot.of(manifest(a=3, b=1, c=2))
    assert list(snapshot.entries) == ["group-b.yml", "group-c.yml", "group-a.yml"]
    snapshot = snapshot.with_changes(changes(4, b=b"new")).with_changes(changes(5, c=None))
    assert names_since(snapshot, 3) == ["group-b.yml", "group-c.yml"]
    assert names_since(snapshot, 4) == ["group-c.yml"]
    assert names_since(snapshot, 5) == []
    assert snapshot.entries["group-c.yml"] == Removed(5)
    assert dict(snapshot.files()).keys() == {"group-a.yml", "group-b.yml"}


def test_what_was_before_the_first_manifest_is_not_known() -> None:
    snapshot = Snapshot.of(manifest(a=3))
    assert snapshot.since(2) is None
    assert snapshot.since(3) == []


def test_a_snapshot_is_not_changed_by_the_next_one() -> None:
    first = Snapshot.of(manifest(a=1))
    first.with_changes(changes(2, a=None, b=b"b"))
    assert list(first.entries) == ["group-a.yml"]


def test_only_so_many_deletions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "MAX_REMOVED", 10)
    snapshot = Snapshot.of(manifest(keep=1))
    for revision in range(2, 40):
        snapshot = snapshot.with_changes(changes(revision, **{f"g{revision}": None}))
        assert len(snapshot.entries) <= 11
        assert names_since(snapshot, revision - 1) == [f"group-g{revision}.yml"]
    assert "group-keep.yml" in snapshot.entries
    assert snapshot.since(2) is None
    assert snapshot.since(snapshot.complete_since) is not None


def test_other_content_is_another_manifest() -> None:
    snapshot = Snapshot.of(manifest(a=1, b=2))
    assert snapshot.same_files(manifest(a=1, b=2))
    assert not snapshot.same_files(manifest(a=1))
    other = manifest(a=1, b=2)
    other = Manifest(other.position, {**other.files, "group-b.yml": version("group-b.yml", b"other", 2)})
    assert not snapshot.same_files(other)


@given(EDITS, st.data())
async def test_applying_what_changed_since_any_revision_leads_to_the_newest(
    edits: list[dict[str, bytes | None]], data: st.DataObject
) -> None:
    log = FakeLog()
    snapshot = Snapshot.of(await log.manifest())
    states: list[dict[str, bytes]] = [{}]
    for edit in edits:
        puts = {name: content for name, content in edit.items() if content is not None}
        log.edit(puts, [name for name, content in edit.items() if content is None and name in log.files])
        if data.draw(st.booleans(), label="looked"):
            found = await log.changes_after(snapshot.position)
            assert found is not None
            snapshot = snapshot.with_changes(found)
        states.append({name: file.sha256 for name, file in (await log.manifest()).files.items()})
    found = await log.changes_after(snapshot.position)
    assert found is not None
    snapshot = snapshot.with_changes(found)
    seen = data.draw(st.integers(0, log.revision), label="seen")
    state = dict(states[seen])
    for name, entry in snapshot.since(seen) or []:
        if isinstance(entry, FileVersion):
            state[name] = entry.sha256
        else:
            state.pop(name, None)
    assert state == states[-1]
