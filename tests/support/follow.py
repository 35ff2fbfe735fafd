"""The deployer's side of the stream for tests: a rule service that says what the test says, on no socket."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from deployer_service.follow.follower import Follower
from deployer_service.follow.messages import Identity
from deployer_service.state import BatchResult, Why
from rulecast.digest import file_sha256, manifest_hash
from rulecast.errors import RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb
from tests.support.pipeline_fakes import World

IDENTITY = Identity("one", b"p" * 16, "1.0", "http://prometheus", ())
HEARTBEAT = 10.0


class Latest(random.Random):
    """Draws the latest moment and the longest delay, and the first of all addresses."""

    def uniform(self, a: float, b: float) -> float:
        return b

    def randrange(self, *args: Any) -> int:
        return 0


@dataclass
class FakeStream:
    """Implements `Stream`. A RulecastError among the answers is raised, and everything after it fails too."""

    answers: asyncio.Queue[pb.SyncResponse | RulecastError | None] = field(default_factory=asyncio.Queue)
    said: asyncio.Queue[pb.SyncRequest] = field(default_factory=asyncio.Queue)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    stuck: bool = False
    broken: RulecastError | None = None

    async def send(self, message: pb.SyncRequest) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        if self.broken is not None:
            raise self.broken
        self.said.put_nowait(message)

    async def receive(self) -> pb.SyncResponse | None:
        answer = await self.answers.get()
        if isinstance(answer, RulecastError):
            self.broken = answer
            raise answer
        return answer

    async def finish(self) -> None:
        self.finished.set()


@dataclass
class RuleService:
    """One stream as the rule service sees it."""

    address: str
    stream: FakeStream
    epoch: int = 1
    nonce: int = 0
    heard: list[pb.SyncRequest] = field(default_factory=list)

    async def hear(self, kind: str) -> Any:
        """The next message of this kind; others are passed over."""
        while True:
            message = await self.stream.said.get()
            self.heard.append(message)
            if message.WhichOneof("kind") == kind:
                return getattr(message, kind)

    def said(self, kind: str) -> list[Any]:
        """All messages of this kind so far, passed over or not."""
        while not self.stream.said.empty():
            self.heard.append(self.stream.said.get_nowait())
        return [getattr(message, kind) for message in self.heard if message.WhichOneof("kind") == kind]

    def say(self, nonce: int = 0, **kind: Any) -> None:
        self.stream.answers.put_nowait(pb.SyncResponse(nonce=nonce, epoch=self.epoch, **kind))

    def fail(self, error: RulecastError) -> None:
        self.stream.answers.put_nowait(error)

    def hang_up(self) -> None:
        self.stream.answers.put_nowait(None)

    async def welcome(self, mode: pb.Welcome.Mode.ValueType = pb.Welcome.UP_TO_DATE, **fields: Any) -> pb.Hello:
        """Hears Hello and answers it."""
        hello: pb.Hello = await self.hear("hello")
        welcome = pb.Welcome(**{"protocol_version": 1, "history_id": "h", "mode": mode, "server_id": "a", **fields})
        welcome.heartbeat_interval.FromTimedelta(timedelta(seconds=HEARTBEAT))
        self.say(welcome=welcome)
        return hello

    def update(
        self,
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
        *,
        files: Mapping[str, bytes] | None = None,
        revision: int = 1,
        more: bool = False,
        commit_id: str = "",
    ) -> int:
        """Sends one fragment with the next nonce. files: all as they should be afterwards; default: those put."""
        self.nonce += 1
        wanted = {name: file_sha256(content) for name, content in (puts if files is None else files).items()}
        fragment = pb.Update(
            to_revision=revision,
            puts=[put(name, content, revision) for name, content in puts.items()],
            deletes=[pb.FileDelete(file_name=name) for name in deletes],
            more=more,
            manifest_hash=b"" if more else manifest_hash(wanted),
            commit_id=commit_id,
        )
        self.say(self.nonce, update=fragment)
        return self.nonce

    async def applied(self, puts: Mapping[str, bytes], **facts: Any) -> pb.ApplyStatus:
        """Sends an Update and hears its answer."""
        nonce = self.update(puts, **facts)
        while (status := await self.hear("status")).nonce != nonce:
            assert status.nonce == 0
        return status  # type: ignore[no-any-return]


def hold_validation(world: World) -> asyncio.Event:
    """Keeps promtool, and so the pipeline, busy until the event is set."""
    gate, check = asyncio.Event(), world.checker.check

    async def held(files: Sequence[Path]) -> Mapping[Path, Why]:
        await gate.wait()
        return await check(files)

    world.checker.check = held  # type: ignore[method-assign]
    return gate


def put(name: str, content: bytes, revision: int = 1) -> pb.FilePut:
    return pb.FilePut(
        file_name=name, sha256=file_sha256(content), revision=revision, total_size=len(content), content=content
    )


class FakeUpstream:
    """Implements `Upstream`. `streams` has each new stream; `unreachable`: addresses where nobody listens."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[RuleService] = asyncio.Queue()
        self.tried: list[str] = []
        self.unreachable: set[str] = set()

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeStream]:
        self.tried.append(address)
        stream = FakeStream()
        if address in self.unreachable:
            stream.broken = Unavailable.of("", Reason.STREAM_LOST, "connection refused")
        else:
            self.streams.put_nowait(RuleService(address, stream))
        try:
            yield stream
        finally:
            stream.closed.set()


@dataclass
class Following:
    """A follower on a fake pipeline and a fake rule service."""

    world: World
    upstream: FakeUpstream
    follower: Follower
    stop: asyncio.Event
    results: list[BatchResult]

    async def stream(self) -> RuleService:
        """The next stream that the deployer opens."""
        return await self.upstream.streams.get()

    async def welcomed(self, **fields: Any) -> RuleService:
        service = await self.stream()
        await service.welcome(**fields)
        return service


@asynccontextmanager
async def following(
    world: World | None = None, addresses: Sequence[str] = ("a:1",), source: random.Random | None = None
) -> AsyncIterator[Following]:
    """Recovered and following until the body ends."""
    world = world or World()
    upstream, stop = FakeUpstream(), asyncio.Event()
    results: list[BatchResult] = []
    await world.pipeline.recover()
    follower = Follower(
        upstream, addresses, world.pipeline, IDENTITY, source or Latest(), lambda result, _: results.append(result)
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(follower.run(stop), name="follower")
        yield Following(world, upstream, follower, stop, results)
        running.cancel()
