"""The bytes of updates: fetched once, serialised once, and never other than what the manifest says."""

import asyncio

import pytest

from rule_service.stream.difference import Difference
from rule_service.stream.fragments import LIMIT
from rule_service.stream.updates import FILES_AT_ONCE, LARGE_AT_ONCE, Held, Moved, Updates
from rule_service.stream.view import Wanted
from rulecast.digest import file_sha256
from rulecast.errors import Unavailable
from rulecast.reasons import Reason
from tests.support.streams import FakeLog
from tests.support.waiting import wait_for


def wanted(contents: dict[str, bytes], revision: int = 1) -> Difference:
    puts = tuple(Wanted(name, file_sha256(content), revision) for name, content in contents.items())
    return Difference(0, revision, puts, (), b"h" * 32, False)


async def bodies(updates: Updates, difference: Difference) -> tuple[bytes, ...]:
    async with await updates.ready(difference, {}) as made:
        return made


async def test_one_update_for_many_is_fetched_and_serialised_once() -> None:
    log = FakeLog()
    contents = {"group-a.yml": b"a", "group-b.yml": b"b"}
    log.edit(contents)
    updates = Updates(log)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(bodies(updates, wanted(contents)), name=f"{at}") for at in range(50)]
    first = asked[0].result()
    assert all(task.result() is first for task in asked)
    assert log.asked == [["group-a.yml", "group-b.yml"]]


async def test_those_who_waited_for_an_update_go_on_together() -> None:
    log = FakeLog()
    log.edit({"group-a.yml": b"a"})
    updates, turns, done_in = Updates(log), 0, list[int]()

    async def count() -> None:
        nonlocal turns
        while len(done_in) < 50:
            await asyncio.sleep(0)  # one turn of the event loop
            turns += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(count(), name="turns")
        for at in range(50):
            asked = tasks.create_task(bodies(updates, wanted({"group-a.yml": b"a"})), name=f"{at}")
            asked.add_done_callback(lambda _: done_in.append(turns))
    assert len(done_in) == 50
    assert max(done_in) - min(done_in) <= 2


async def test_when_it_can_not_be_made_the_next_one_tries() -> None:
    log = FakeLog(away=Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away"))
    log.edit({"group-a.yml": b"a"})
    updates, difference = Updates(log), wanted({"group-a.yml": b"a"})
    failed = await asyncio.gather(*(bodies(updates, difference) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failed] == [Unavailable] * 3
    log.away = None
    assert len(await bodies(updates, difference)) == 1


async def test_a_content_that_was_fetched_is_not_fetched_again() -> None:
    log = FakeLog()
    log.edit({"group-a.yml": b"a", "group-b.yml": b"b"})
    updates = Updates(log)
    await bodies(updates, wanted({"group-a.yml": b"a"}))
    await bodies(updates, wanted({"group-a.yml": b"a", "group-b.yml": b"b"}))
    assert log.asked == [["group-a.yml"], ["group-b.yml"]]


async def test_files_are_fetched_in_batches() -> None:
    log = FakeLog()
    contents = {f"group-g{at}.yml": str(at).encode() for at in range(2 * FILES_AT_ONCE + 1)}
    log.edit(contents)
    await bodies(Updates(log), wanted(contents))
    assert [len(names) for names in log.asked] == [FILES_AT_ONCE, FILES_AT_ONCE, 1]


async def test_a_database_that_is_ahead_is_told_and_nothing_is_fetched_twice() -> None:
    log = FakeLog()
    log.edit({"group-a.yml": b"a", "group-b.yml": b"old"})
    before = wanted({"group-a.yml": b"a", "group-b.yml": b"old"})
    log.edit({"group-b.yml": b"new"})
    # too small to keep anything for others
    updates, held = Updates(log, contents_limit=0), Held()
    with pytest.raises(Moved):
        async with await updates.ready(before, held):
            pass
    async with await updates.ready(wanted({"group-a.yml": b"a", "group-b.yml": b"new"}, 2), held):
        pass
    assert log.asked == [["group-a.yml", "group-b.yml"]]


async def test_a_file_that_is_gone_is_told() -> None:
    log = FakeLog()
    log.edit({"group-a.yml": b"a"})
    log.edit({}, ["group-a.yml"])
    with pytest.raises(Moved):
        await bodies(Updates(log), wanted({"group-a.yml": b"a"}))


async def test_only_so_many_large_ones_at_a_time_and_small_ones_meanwhile() -> None:
    log = FakeLog()
    large, small = {"global.yml": b"x" * (2 * LIMIT)}, {"group-a.yml": b"a"}
    log.edit(large | small)
    updates = Updates(log)
    sending, go_on = 0, asyncio.Event()

    async def send() -> None:
        nonlocal sending
        async with await updates.ready(wanted(large), {}):
            sending += 1
            await go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        for at in range(LARGE_AT_ONCE + 3):
            tasks.create_task(send(), name=f"{at}")
        await wait_for(lambda: sending == LARGE_AT_ONCE)
        assert len(await bodies(updates, wanted(small))) == 1
        assert sending == LARGE_AT_ONCE
        go_on.set()
    assert sending == LARGE_AT_ONCE + 3


async def test_a_database_that_is_away_is_said() -> None:
    log = FakeLog(away=Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away"))
    with pytest.raises(Unavailable):
        await bodies(Updates(log), wanted({"group-a.yml": b"a"}))
