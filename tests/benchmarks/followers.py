"""Very many deployers in one process of their own: each has its own connection, takes what it is sent, and says so.

`python -m tests.benchmarks.followers ADDRESS COUNT`: prints a line for each thing that happened to all of them.
"""

import asyncio
import gc
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from deploy.local.process import Child, service
from rulecast.digest import manifest_hash
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1.distribution_pb2_grpc import DistributionServiceStub
from tests.support.waiting import wait_for

PATIENCE = 300.0
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Channels of one process to one address share a connection otherwise."""
CONNECTING_AT_ONCE = 50


@dataclass
class Followers:
    """The process, seen from the benchmark. snapshot_seconds: until the last of them had everything."""

    child: Child
    snapshot_seconds: float

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, address: str, count: int) -> AsyncIterator[Self]:
        """Connected, each with all files."""
        child = service("tests.benchmarks.followers", address, str(count), log=folder / "followers.log")
        child.start()
        try:
            followers = cls(child, 0.0)
            ready = await followers._line("ready", None)
            followers.snapshot_seconds = ready["seconds"]
            yield followers
        finally:
            await child.stop()

    async def had(self, file_name: str, revision: int) -> list[float]:
        """When each had this version of the file, by the monotonic clock."""
        line = await self._line("had", [file_name, revision])
        times: list[float] = line["times"]
        return times

    async def _line(self, kind: str, what: object) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            assert self.child.running, self.child.output()
            for line in self.child.log.read_text().splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n"):
                    told: dict[str, Any] = json.loads(line)
                    if told["kind"] == kind and told.get("what") == what:
                        return told
            return None

        told = await wait_for(found, PATIENCE, every=0.05)
        assert told is not None
        return told


@dataclass
class _Follower:
    """One deployer without disk and Prometheus."""

    number: int
    files: dict[str, bytes] = field(default_factory=dict)
    epoch: int = 0

    async def follow(self, address: str, told: "_Told") -> None:
        channel = grpc.aio.insecure_channel(address, _OWN_CONNECTION)
        try:
            stub: Any = DistributionServiceStub(channel)
            call = stub.Sync()
            async with told.connecting:
                await call.write(self._hello())
                welcome = (await call.read()).welcome
                if welcome.mode == pb.Welcome.DIFF:
                    await call.write(pb.SyncRequest(inventory=pb.Inventory()))
            told.welcomed(self.number)
            await self._take(call, told)
        finally:
            await channel.close()

    def _hello(self) -> pb.SyncRequest:
        return pb.SyncRequest(
            hello=pb.Hello(
                deployer_id=f"follower-{self.number:04d}",
                process_id=hashlib.sha256(f"{self.number}".encode()).digest()[:16],
                protocol_version=1,
                manifest_hash=manifest_hash({}),
            )
        )

    async def _take(self, call: Any, told: "_Told") -> None:
        changed: dict[str, int] = {}
        while (response := await call.read()) and response.ByteSize():
            if response.WhichOneof("kind") != "update":
                continue
            update = response.update
            for put in update.puts:
                self.files[put.file_name] = put.sha256
                changed[put.file_name] = put.revision
            if update.more:
                continue
            now = time.monotonic()
            # each is a machine of its own in truth: what one says must not make the next one's time later
            await asyncio.sleep(0)
            status = pb.ApplyStatus(
                nonce=response.nonce, revision=update.to_revision, manifest_hash=manifest_hash(self.files)
            )
            told.has(self.number, changed, now)
            changed = {}
            await call.write(pb.SyncRequest(status=status))


class _Told:
    """Prints what has happened to all of them."""

    def __init__(self, count: int) -> None:
        self.connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._count = count
        self._began: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self._had: dict[tuple[str, int], list[float]] = {}

    def welcomed(self, number: int) -> None:
        self._began[number] = time.monotonic()

    def has(self, number: int, changed: dict[str, int], now: float) -> None:
        if number not in self._first:
            self._first[number] = now
            if len(self._first) == self._count:
                # each is a small process in truth: none looks through the memory of a thousand
                gc.freeze()
                took = max(had - self._began[number] for number, had in self._first.items())
                _print(kind="ready", what=None, seconds=took)
            return
        for what in changed.items():
            times = self._had.setdefault(what, [])
            times.append(now)
            if len(times) == self._count:
                _print(kind="had", what=what, times=self._had.pop(what))


def _print(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def main(address: str, count: int) -> None:
    told = _Told(count)
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(_Follower(number).follow(address, told), name=f"follower {number}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
