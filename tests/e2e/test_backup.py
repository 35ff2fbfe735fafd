"""Back up and restore with PostgreSQL's own programs, by the commands that the documentation gives."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import find_programs
from tests.support.cluster import CONVERGE
from tests.support.documents import DOCS, read_document
from tests.support.solo import solo
from tests.support.system import cpu_rule, global_scope, group_scope
from tests.support.truth import read_truth
from tests.support.waiting import wait_for

PAGE = DOCS / "en" / "backup-and-upgrade.md"


def command(program: str) -> str:
    """The only line of the page that runs the program."""
    lines = [line for block in read_document(PAGE).blocks for line in block.text.splitlines()]
    (found,) = [line for line in lines if line.startswith(f"{program} ")]
    return found


async def run(line: str, database: str, folder: Path) -> None:
    path = f"{find_programs()}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        line,
        cwd=folder,
        env={**os.environ, "PATH": path, "RULECAST_DATABASE": database},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore", "createdb"])
def test_the_programs_are_there(program: str) -> None:
    assert shutil.which(program, path=find_programs())


async def test_dumped_and_restored(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    """What was made after the backup is gone, in the database and in Prometheus; all else is as it was."""
    async with solo(tmp_path, database, prometheus_parts) as here:
        await here.make_groups("prod")
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.create(cpu_rule("prod", group_scope("prod"), 80))
        before, thresholds = await read_truth(database), await here.thresholds()
        await run(command("pg_dump"), database, tmp_path)
        await here.set_threshold("everywhere", 10)
        await here.disable("prod")
        assert await here.thresholds() != thresholds

        await here.first.child.stop()
        await run(command("pg_restore"), database, tmp_path)
        assert await read_truth(database) == before
        await here.first.start()

        async def as_before() -> bool:
            return await here.thresholds() == thresholds and here.deployer.files() == before.files

        await wait_for(as_before, CONVERGE, every=0.1)
        # the numbers of the lost revisions are used again
        again = await here.set_threshold("prod", 70)
        assert again.revision == before.revision + 1
        assert await here.thresholds() == {**thresholds, "prod": 70.0}


async def test_a_dump_goes_into_an_empty_database(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    """A move: another server's database has the same truth, and a service starts on it."""
    async with solo(tmp_path, database, prometheus_parts) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        truth = await read_truth(database)
        await run(command("pg_dump"), database, tmp_path)
        await here.first.child.stop()
        await run(command("createdb"), database, tmp_path)
        moved = re.sub(r"/test_\w+\?", "/rulecast_trial?", database)
        try:
            await run(command("pg_restore"), moved, tmp_path)
            assert await read_truth(moved) == truth
        finally:
            await run('dropdb --force --maintenance-db="$RULECAST_DATABASE" rulecast_trial', database, tmp_path)
