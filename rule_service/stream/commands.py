"""Commands to deployers, whichever replica they are connected to.

A replica passes a command on to its own streams at once, and asks the others to do so by a notice. They answer by a
notice too, with the deployers they have told, so that what the caller hears is what was done.
"""

import asyncio
import json
from collections.abc import Collection, Iterable
from typing import Any, Final
from uuid import uuid4

import structlog

from rule_service.stream.hub import Hub
from rule_service.stream.ports import KnownDeployers, Notices
from rulecast.errors import RulecastError
from rulecast.v1 import distribution_pb2 as pb

COMMANDS: Final = "rulecast_commands"
"""The channel of the notices."""
PATIENCE: Final = 2.0
"""Seconds that the other replicas have to answer."""
IDS_AT_ONCE: Final = 100
"""So many ids fit into one notice, of at most 7999 bytes."""
BACKLOG: Final = 1_000

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class StreamCommands:
    """Implements `Commands`. `heard` is to be called with every notice, `run` to be running.

    server_id: this replica's name.
    """

    def __init__(
        self, hub: Hub, deployers: KnownDeployers, notices: Notices, server_id: str, *, patience: float = PATIENCE
    ) -> None:
        self._hub = hub
        self._deployers = deployers
        self._notices = notices
        self._server_id = server_id
        self._patience = patience
        self._asked: dict[str, _Question] = {}
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)

    async def reload(self, deployer_id: str | None) -> tuple[str, ...]:
        return await self.command(pb.Command.RELOAD, deployer_id)

    async def resync(self, deployer_id: str | None, *, mass_deletion_allowed: bool = False) -> tuple[str, ...]:
        return await self.command(pb.Command.RESYNC, deployer_id, mass_deletion_allowed=mass_deletion_allowed)

    async def command(
        self, kind: pb.Command.Kind.ValueType, deployer_id: str | None, *, mass_deletion_allowed: bool = False
    ) -> tuple[str, ...]:
        """Tells one deployer, or every one that is connected; who was told."""
        told = set(self._tell(kind, deployer_id, mass_deletion_allowed))
        elsewhere = {
            deployer.id
            for deployer in await self._deployers.deployers()
            if deployer.connected and deployer_id in (None, deployer.id)
        } - told
        if elsewhere:
            told |= await self._ask(kind, deployer_id, elsewhere, mass_deletion_allowed)
        return tuple(sorted(told))

    def heard(self, payload: str) -> None:
        """A notice of some replica, perhaps of this one."""
        notice = json.loads(payload)
        if "told" in notice:
            question = self._asked.get(notice["question"])
            if question is not None:
                question.answer(notice["told"])
        elif notice["from"] != self._server_id:
            try:
                self._requests.put_nowait(notice)
            except asyncio.QueueFull:
                _log.warning("too many commands at once, one is dropped", kind=notice["kind"])

    async def run(self) -> None:
        """Does what other replicas ask for, until it is cancelled."""
        while True:
            request = await self._requests.get()
            kind = pb.Command.Kind.Value(request["kind"])
            told = self._tell(kind, request["deployer"] or None, bool(request["mass_deletion_allowed"]))
            try:
                await self._answer(request["question"], told)
            except RulecastError as error:
                _log.warning("answer to a command not sent", error=str(error))

    def _tell(self, kind: pb.Command.Kind.ValueType, deployer_id: str | None, mass_deletion_allowed: bool) -> list[str]:
        told = [id for id in self._hub.streams if deployer_id in (None, id)]
        for id in told:
            self._hub.streams[id].command(kind, mass_deletion_allowed=mass_deletion_allowed)
        return told

    async def _ask(
        self,
        kind: pb.Command.Kind.ValueType,
        deployer_id: str | None,
        elsewhere: Collection[str],
        mass_deletion_allowed: bool,
    ) -> set[str]:
        """Which of the deployers the other replicas have told."""
        name = uuid4().hex
        question = self._asked[name] = _Question(elsewhere)
        try:
            request = {
                "question": name,
                "from": self._server_id,
                "kind": pb.Command.Kind.Name(kind),
                "deployer": deployer_id or "",
                "mass_deletion_allowed": mass_deletion_allowed,
            }
            await self._notices.send(json.dumps(request))
            await question.answered(self._patience)
        finally:
            del self._asked[name]
        if question.open:
            _log.warning("no replica has told these deployers", deployers=sorted(question.open)[:10])
        return question.told

    async def _answer(self, question: str, told: list[str]) -> None:
        for at in range(0, len(told), IDS_AT_ONCE):
            await self._notices.send(json.dumps({"question": question, "told": told[at : at + IDS_AT_ONCE]}))


class _Question:
    """A command that other replicas were asked to pass on. open: the deployers that were not told yet."""

    def __init__(self, deployers: Collection[str]) -> None:
        self.open = set(deployers)
        self.told: set[str] = set()
        self._all = asyncio.Event()

    def answer(self, told: Iterable[str]) -> None:
        self.told.update(told)
        self.open -= self.told
        if not self.open:
            self._all.set()

    async def answered(self, timeout: float) -> None:
        """Until every deployer was told, or `timeout` seconds are over."""
        try:
            async with asyncio.timeout(timeout):
                await self._all.wait()
        except TimeoutError:
            return
