"""The commands of the documents, as a person pastes them, from the first to the last, on the demo's data."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from deploy.local.demo import Demo
from deploy.local.parts import PrometheusParts
from rulecast.process.addresses import HostPort
from tests.support.documents import DOCS, TRANSLATED, Block, read_document
from tests.support.standins import covers, environment
from tests.support.system import System, running_system

PROGRAMS = ("curl", "grpcurl")
RUN = {"sh": True, "sh refused": False}
"""The blocks that are run, and whether they succeed."""
TWO_WAYS = {"API.md"}
"""Each recipe of these is told twice, for grpcurl and for curl. Each way is run by itself."""


def stories() -> list[tuple[str, str]]:
    """The documents that have commands, and of which program; of both, if empty."""
    names = [name for name in TRANSLATED if any(b.info in RUN for b in read_document(DOCS / "en" / name).blocks)]
    return [(name, program) for name in names for program in (PROGRAMS if name in TWO_WAYS else [""])]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "program"), stories())
async def test_commands_do_what_the_document_says(
    name: str, program: str, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    blocks = read_document(DOCS / "en" / name).blocks
    shell = environment(tmp_path / "shell")
    async with running_system(tmp_path, database, prometheus_parts) as system:
        demo = Demo(system.first.channel)
        for step in (
            demo.load_library(),
            demo.create_groups(),
            demo.create_targets(HostPort("127.0.0.1", 9)),
            demo.create_rules(),
        ):
            await step
        await system.settled()
        for at, block in enumerate(blocks):
            if block.info not in RUN or not _is_for(block, program):
                continue
            printed = await _run(_here(block.text, system), shell, RUN[block.info], f"{name}:{block.line}")
            following = blocks[at + 1] if at + 1 < len(blocks) else None
            if following is not None and following.info == "json answer":
                _check_answer(printed, following, f"{name}:{following.line}")


def _is_for(block: Block, program: str) -> bool:
    first = block.text.split(maxsplit=1)[0]
    assert first in PROGRAMS, f"line {block.line}: a block of `sh` begins with one of {PROGRAMS}"
    return program in ("", first)


def _here(text: str, system: System) -> str:
    """The text, with the addresses of this system."""
    replica, deployer = system.first, system.deployers[0]
    ports = {50051: replica.grpc_port, 8080: replica.http_port, 50052: deployer.grpc_port}
    return re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", text)


async def _run(script: str, shell: dict[str, str], succeeds: bool, where: str) -> str:
    """What it printed. Every command of it must succeed; or the last one must be refused."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-euc",
        script,
        env={**shell, "PYTHONPATH": os.pathsep.join([str(DOCS.parent), str(DOCS.parent / "protos")])},
        cwd=shell["HOME"],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = (text.decode() for text in await process.communicate())
    told = f"{where}: exit code {process.returncode}\n{script}\n{printed}{complaints}"
    assert (process.returncode == 0) is succeeds, told
    return printed


def _check_answer(printed: str, wanted: Block, where: str) -> None:
    """The last JSON document that was printed has everything that the document shows."""
    decoder, at, answer = json.JSONDecoder(), 0, None
    while at < len(printed):
        answer, at = decoder.raw_decode(printed, at)
        at += len(printed[at:]) - len(printed[at:].lstrip())
    assert covers(answer, json.loads(wanted.text)), f"{where}: the answer was\n{printed}"
