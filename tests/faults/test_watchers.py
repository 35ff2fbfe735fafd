"""What judges the others: it has to see a loss, a torn file and a gap when there is one."""

import random
from pathlib import Path

from rulecast.digest import file_sha256
from tests.support.person import Acknowledged, Person
from tests.support.rule_files import rule_file
from tests.support.truth import contradictions, read_truth
from tests.support.watcher import Watcher


def test_a_watcher_tells_whole_files_from_torn_and_missing_ones(tmp_path: Path) -> None:
    path, other = tmp_path / "global.yml", tmp_path / "group-a.yml"
    watcher = Watcher([tmp_path], {"global.yml": ["lasting"]})
    watcher.look()
    content = rule_file("lasting", "other")
    path.write_bytes(content)
    other.write_bytes(rule_file("a"))
    watcher.look()
    other.unlink()
    watcher.look()
    assert (watcher.sight.torn, watcher.sight.absent, watcher.sight.reads) == ([], [], 3)
    known = {"global.yml": {file_sha256(content).hex()}}
    assert [version.split()[0] for version in watcher.sight.unknown(known)] == ["group-a.yml"]

    for torn in (content[:-20], content[: len(content) // 2], b""):
        path.write_bytes(torn)
        watcher.look()
    assert len(watcher.sight.torn) == 3
    path.write_bytes(rule_file("other"))
    watcher.look()
    path.unlink()
    watcher.look()
    assert watcher.sight.absent == [f"{path}: ['lasting']", str(path)]


async def test_an_edit_that_is_not_in_the_database_is_lost(database: str) -> None:
    person = Person([], random.Random(1), acknowledged=[Acknowledged("never", 1.0, 1)])
    assert await person.lost(database) == [Acknowledged("never", 1.0, 1), Acknowledged("never", 1.0, 0)]
    assert await contradictions(database) == []
    assert (await read_truth(database)).files == {}
