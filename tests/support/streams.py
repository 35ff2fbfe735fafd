"""Streams for tests: manifests written down shortly, fakes of the ports, a rule service's stream on a real port, and a
deployer that does what the test says."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from uuid import uuid4

import grpc
from prometheus_client import CollectorRegistry

from rule_service.api.distribution import NAME, DistributionApi, register
from rule_service.changelog.reader import PostgresChangeLog
from rule_service.changelog.wake import Listener
from rule_service.domain.layout import RuleFile, parse_file_name
from rule_service.domain.model import Group, Scope
from rule_service.metrics import StreamMetrics
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.unit_of_work import PostgresStore
from rule_service.stream.commands import COMMANDS, StreamCommands
from rule_service.stream.fragments import LIMIT
from rule_service.stream.hub import Hub
from rule_service.stream.notices import PostgresNotices
from rule_service.stream.parts import StreamParts
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.updates import Updates
from rule_service.usecases.ports_delivery import (
    Claim,
    EffectiveFacts,
    FileChanges,
    FileVersion,
    HelloFacts,
    Manifest,
    Position,
)
from rule_service.usecases.ports_fates import FileFate
from rulecast.digest import file_sha256, manifest_hash
from rulecast.rpc.channel import open_channel
from rulecast.rpc.interceptors import ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.server import RpcServer, Service
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1 import distribution_pb2_grpc as pb_grpc
from tests.support.store import open_database

State = common_pb2.Rollout
HISTORY = "history"


def scope_of(name: str) -> Scope:
    scope = parse_file_name(name)
    assert scope is not None, name
    return scope


def version(name: str, content: bytes, revision: int) -> FileVersion:
    return FileVersion(file_sha256(content), revision, scope_of(name))


def position(revision: int, history: str = HISTORY) -> Position:
    return Position(history, revision, f"commit-{revision}")


@dataclass
class FakeLog:
    """Implements `ChangeLog` on a dictionary. `away`: what every call raises. asked: the names of each fetch."""

    history: str = HISTORY
    revision: int = 0
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    away: Exception | None = None
    goes_on: bool = True
    asked: list[list[str]] = field(default_factory=list)
    manifests: int = 0

    def edit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> int:
        self.revision += 1
        for name, content in puts.items():
            self.removed.pop(name, None)
            self.files[name] = (content, self.revision)
        for name in deletes:
            del self.files[name]
            self.removed[name] = self.revision
        return self.revision

    @property
    def position(self) -> Position:
        return position(self.revision, self.history)

    async def manifest(self) -> Manifest:
        self._check()
        self.manifests += 1
        return Manifest(self.position, {name: version(name, *file) for name, file in self.files.items()})

    async def changes_after(self, position: Position) -> FileChanges | None:
        self._check()
        if not self.goes_on or position.history_id != self.history or position.revision > self.revision:
            self.goes_on = True
            return None
        changed: dict[str, FileVersion | None] = {
            name: version(name, *file) for name, file in self.files.items() if file[1] > position.revision
        }
        changed |= {name: None for name, revision in self.removed.items() if revision > position.revision}
        return FileChanges(self.position, changed)

    async def contents(self, names: Collection[str]) -> dict[str, bytes]:
        self._check()
        self.asked.append(sorted(names))
        await asyncio.sleep(0)
        return {name: self.files[name][0] for name in names if name in self.files}

    def _check(self) -> None:
        if self.away is not None:
            raise self.away


@dataclass
class FakeGroups:
    groups: dict[str, Group] = field(default_factory=dict)
    asked: list[set[str]] = field(default_factory=list)

    async def group_with_ancestors(self, ids: Collection[str]) -> dict[str, Group]:
        self.asked.append(set(ids))
        found: dict[str, Group] = {}
        pending = list(ids)
        while pending:
            group = self.groups.get(pending.pop())
            if group is not None and group.id not in found:
                found[group.id] = group
                pending += [group.parent_id] if group.parent_id else []
        return found


@dataclass
class FakeLeases:
    """Implements `DeployerLeases`; remembers what was said. `refuse`: what the next report raises, once."""

    claim_revision: int = 0
    refused_versions: set[tuple[str, bytes]] = field(default_factory=set)
    outcomes: list[tuple[int, tuple[FileFate, ...]]] = field(default_factory=list)
    renewed: list[float] = field(default_factory=list)
    released: int = 0
    effective: list[EffectiveFacts] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)

    async def claim(self, hello: HelloFacts, replica: str, lease_seconds: float) -> Claim:
        self._check()
        return Claim(hello.epoch + 1, self.claim_revision)

    async def renew(self, id: str, epoch: int, lease_seconds: float, manifest_hash: bytes) -> None:
        self._check()
        self.renewed.append(lease_seconds)

    async def release(self, id: str, epoch: int) -> None:
        self.released += 1

    async def record_outcomes(
        self, id: str, epoch: int, revision: int, manifest_hash: bytes, fates: Sequence[FileFate]
    ) -> None:
        self._check()
        self.outcomes.append((revision, tuple(fates)))

    async def record_effective(self, id: str, epoch: int, facts: EffectiveFacts) -> None:
        self.effective.append(facts)

    async def refused(self, id: str) -> set[tuple[str, bytes]]:
        return self.refused_versions

    def _check(self) -> None:
        if self.refuse:
            raise self.refuse.pop(0)


@dataclass(frozen=True)
class Got:
    """A whole Update. sizes: bytes of each of its fragments."""

    nonce: int
    from_revision: int
    to_revision: int
    puts: dict[str, bytes]
    deletes: set[str]
    manifest_hash: bytes
    mass_deletion_allowed: bool
    sizes: tuple[int, ...]
    commit_id: str


def assembled(fragments: Sequence[pb.SyncResponse]) -> Got:
    """Checks that the fragments are one whole Update, and puts it together."""
    updates = [fragment.update for fragment in fragments]
    assert [update.more for update in updates] == [True] * (len(updates) - 1) + [False]
    assert len({fragment.nonce for fragment in fragments}) == 1
    assert len({(update.from_revision, update.to_revision) for update in updates}) == 1
    sizes = tuple(fragment.ByteSize() for fragment in fragments)
    assert max(sizes) <= LIMIT
    files: dict[str, bytearray] = {}
    hashes: dict[str, bytes] = {}
    for put in (put for update in updates for put in update.puts):
        file = files.setdefault(put.file_name, bytearray())
        assert put.offset == len(file)
        file += put.content
        assert len(file) <= put.total_size
        hashes[put.file_name] = put.sha256
    puts = {name: bytes(content) for name, content in files.items()}
    assert {name: file_sha256(content) for name, content in puts.items()} == hashes
    last = updates[-1]
    return Got(
        fragments[0].nonce,
        last.from_revision,
        last.to_revision,
        puts,
        {delete.file_name for update in updates for delete in update.deletes},
        last.manifest_hash,
        last.mass_deletion_allowed,
        sizes,
        last.commit_id,
    )


class Call:
    """One stream, from the deployer's side."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, **kind: Any) -> None:
        await self._call.write(pb.SyncRequest(**kind))

    async def next(self, timeout: float = 10.0) -> pb.SyncResponse | None:
        """The next message; None at the end of the stream. Raises AioRpcError as the stream does."""
        message = await asyncio.wait_for(self._call.read(), timeout)
        return message if isinstance(message, pb.SyncResponse) else None

    async def done_writing(self) -> None:
        await self._call.done_writing()

    async def code(self) -> grpc.StatusCode:
        return cast(grpc.StatusCode, await asyncio.wait_for(self._call.code(), 10))


@dataclass
class FakeDeployer:
    """A deployer that keeps its files in memory. Each process of it has another process_id."""

    id: str = "dep-1"
    serves: Sequence[common_pb2.Scope] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    epoch: int = 0
    history_id: str = ""
    revision: int = 0
    commit_id: str = ""
    process_id: bytes = field(default_factory=lambda: uuid4().bytes)
    protocol_version: int = 1

    @property
    def hashes(self) -> dict[str, bytes]:
        return {name: file_sha256(content) for name, content in self.files.items()}

    @property
    def manifest_hash(self) -> bytes:
        return manifest_hash(self.hashes)

    def hello(self) -> pb.Hello:
        return pb.Hello(
            deployer_id=self.id,
            process_id=self.process_id,
            protocol_version=self.protocol_version,
            software_version="test",
            serves=self.serves,
            epoch=self.epoch,
            history_id=self.history_id,
            revision=self.revision,
            commit_id=self.commit_id,
            manifest_hash=self.manifest_hash,
        )

    def inventory(self) -> pb.Inventory:
        files = [pb.FileVersion(file_name=name, sha256=sha256) for name, sha256 in self.hashes.items()]
        return pb.Inventory(files=files)

    def apply(self, update: Got, refuse: Collection[str] = ()) -> pb.ApplyStatus:
        """Applies an Update but for the files of `refuse`, and says so."""
        for name, content in update.puts.items():
            if name not in refuse:
                self.files[name] = content
        for name in update.deletes - set(refuse):
            self.files.pop(name, None)
        self.revision, self.commit_id = update.to_revision, update.commit_id
        outcomes = [
            common_pb2.FileOutcome(
                file_name=name,
                sha256=file_sha256(update.puts[name]) if name in update.puts else b"",
                state=State.REJECTED,
                reason="PROMTOOL_CHECK_FAILED",
                message="no",
            )
            for name in refuse
        ]
        return self.status(update.nonce, outcomes)

    def status(self, nonce: int = 0, outcomes: Sequence[common_pb2.FileOutcome] = ()) -> pb.ApplyStatus:
        return pb.ApplyStatus(
            nonce=nonce,
            state=max((outcome.state for outcome in outcomes), default=State.ACTIVE),
            revision=self.revision,
            files=outcomes,
            manifest_hash=self.manifest_hash,
        )

    @asynccontextmanager
    async def calling(self, address: str) -> AsyncIterator[Call]:
        """A stream on which nothing was said yet."""
        channel = open_channel(address)
        try:
            call = pb_grpc.DistributionServiceStub(channel).Sync()
            try:
                yield Call(call)
            finally:
                call.cancel()
        finally:
            await channel.close()

    @asynccontextmanager
    async def connected(self, address: str) -> AsyncIterator["Connected"]:
        """A stream after the Welcome; an Inventory that it asks for was sent."""
        async with self.calling(address) as call:
            await call.send(hello=self.hello())
            response = await call.next()
            assert response is not None
            assert response.WhichOneof("kind") == "welcome"
            assert response.epoch > self.epoch
            self.epoch, self.history_id = response.epoch, response.welcome.history_id
            stream = Connected(self, call, response.welcome)
            if response.welcome.mode == pb.Welcome.DIFF:
                await stream.tell_inventory()
            yield stream


@dataclass
class Connected:
    deployer: FakeDeployer
    call: Call
    welcome: pb.Welcome

    async def send(self, **kind: Any) -> None:
        await self.call.send(**kind)

    async def tell_inventory(self, at_once: int = 10_000) -> None:
        """In messages of so many files."""
        files = self.deployer.inventory().files
        for at in range(0, len(files) or 1, at_once):
            piece = pb.Inventory(files=files[at : at + at_once], more=at + at_once < len(files))
            await self.send(inventory=piece)

    async def message(self, kind: str) -> pb.SyncResponse:
        """The next message of this kind; signs of life before it are passed over, any other message is a failure."""
        while True:
            response = await self.call.next()
            assert response is not None, "the stream has ended"
            assert response.epoch == self.deployer.epoch
            if response.WhichOneof("kind") == kind:
                return response
            assert response.WhichOneof("kind") in (None, "progress"), response

    async def update(self) -> Got:
        """The next Update, not answered."""
        fragments = [await self.message("update")]
        while fragments[-1].update.more:
            fragments.append(await self.message("update"))
        return assembled(fragments)

    async def take(self, refuse: Collection[str] = ()) -> Got:
        """Takes the next Update, but for what it refuses, and answers."""
        update = await self.update()
        await self.send(status=self.deployer.apply(update, refuse))
        return update

    async def follow_to(self, revision: int) -> list[Got]:
        """Takes Updates until this revision is reached."""
        taken = [await self.take()]
        while taken[-1].to_revision < revision:
            taken.append(await self.take())
        return taken


@dataclass
class StreamReplica:
    """A rule service's stream on a real port."""

    address: str
    server: RpcServer
    hub: Hub
    commands: StreamCommands
    registry: CollectorRegistry
    store: PostgresStore

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def stream_replica(
    url: str,
    *,
    name: str = "replica-a",
    policy: StreamPolicy | None = None,
    poll: float = 2.0,
    compare_every: float = 300.0,
    listen: bool = True,
    patience: float = 2.0,
) -> AsyncIterator[StreamReplica]:
    """listen: whether notifications are heard; otherwise there is only the poll."""
    async with open_database(url) as database, asyncio.TaskGroup() as tasks:
        registry, stopping = CollectorRegistry(), asyncio.Event()
        metrics = StreamMetrics(registry)
        store, log = PostgresStore(database), PostgresChangeLog(database)
        listener = Listener(
            url if listen else "postgresql://nobody@127.0.0.1:1/none",
            poll=poll,
            on_wake=metrics.woken,
        )
        hub = Hub(log, store, listener.revisions, metrics, compare_every=compare_every)
        commands = StreamCommands(hub, store, PostgresNotices(database), name, patience=patience)
        listener.hear(COMMANDS, commands.heard)
        parts = StreamParts(
            hub, Updates(log), PostgresDeployers(database), metrics, policy or StreamPolicy(), server_id=name
        )
        api = DistributionApi(parts, store, stopping)
        server = RpcServer(
            "127.0.0.1:0",
            [Service(NAME, partial(register, api))],
            interceptors=[ServerInterceptor(RpcMetrics(registry))],
            stopping=stopping,
        )
        await hub.follow()
        running = [
            tasks.create_task(hub.run(), name="hub"),
            tasks.create_task(listener.run(), name="listener"),
            tasks.create_task(commands.run(), name="commands"),
        ]
        port = await server.start()
        try:
            yield StreamReplica(f"127.0.0.1:{port}", server, hub, commands, registry, store)
        finally:
            await server.stop(1)
            for task in running:
                task.cancel()


def rule_files(contents: Mapping[str, bytes]) -> list[tuple[Scope, RuleFile]]:
    """For `publish`."""
    return [(scope_of(name), RuleFile(name, content, 1)) for name, content in contents.items()]
