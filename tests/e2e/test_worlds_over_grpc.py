"""Random worlds over gRPC: what is said of each series is what a plain reading says, and what promtool sees."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from deploy.local.postgres import PostgresServer
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import common_pb2, delivery_pb2, rule_pb2
from tests.support.plain_alerts import Alert, Subject, alert_of, promtool_test
from tests.support.plain_edits import KEYS, Dice
from tests.support.plain_messages import place_of, settings_of
from tests.support.plain_worlds import PlainWorld
from tests.support.postgres import fresh_database
from tests.support.promtool import promtool as run_promtool
from tests.support.system import RPC, Replica, replica

EDITS = 40
MORE_EDITS = 80
LOOK_EVERY = 20
"""A world is judged in full after so many edits."""
LABEL_SETS = 6
SEEDS = range(8)
MORE_SEEDS = range(100, 400)

RuleOnDisk = Mapping[str, Any]


@dataclass
class Judge:
    """Keeps a world and a rule service in step, and compares the two. `seen` counts what was compared."""

    service: Replica
    dice: Dice
    folder: Path
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def world(self) -> PlainWorld:
        return self.dice.world

    async def one_edit(self) -> None:
        """Asks for a random edit: it is refused if it has to be, and changes just the files that it says."""
        edit, before = self.dice.edit(), await self.listed()
        try:
            answer = await getattr(getattr(self.service, edit.service), edit.method)(edit.request, timeout=RPC)
        except grpc.aio.AioRpcError as refusal:
            error = from_rpc_error(refusal)
            assert error.reason in edit.refused, f"{error} of {edit.request}, and expected {edit.refused or 'success'}"
            assert await self.listed() == before
            self.seen[f"refused with {error.reason}"] += 1
            return
        assert not edit.refused, f"expected {edit.refused} of {edit.request}"
        self.dice.world = edit.after
        after = await self.listed()
        assert {file.file_name: _kind(file.file_name, before, after) for file in answer.change.files} == {
            name: _kind(name, before, after) for name in before | after if before.get(name) != after.get(name)
        }
        assert {file.file_name: file.kind for file in answer.change.files} == {
            file.file_name: _kind(file.file_name, before, after) for file in answer.change.files
        }
        self.seen[edit.method] += 1

    async def listed(self) -> dict[str, bytes]:
        listed = await self.service.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=RPC)
        return {file.file_name: file.sha256 for file in listed.files}

    async def files(self) -> dict[str, str]:
        """The text of every file."""
        return {
            name: (
                await self.service.delivery.GetRuleFile(delivery_pb2.GetRuleFileRequest(file_name=name), timeout=RPC)
            ).content
            for name in await self.listed()
        }

    async def look(self) -> None:
        """Compares everything that can be asked with the plain reading, and the files' alerts with it in promtool."""
        files = await self.files()
        on_disk = {name: dict(_rules(text)) for name, text in files.items()}
        assert {name: sorted(rules) for name, rules in on_disk.items()} == {
            name: sorted(rules) for name, rules in self.world.files().items()
        }
        rendered = {id: rule for rules in on_disk.values() for id, rule in rules.items()}
        subjects = list(self.dice.subjects(LABEL_SETS))
        for at, subject in enumerate(subjects):
            ids = list(self.world.targets)
            await self.check_effective(subject, ids[at] if at < len(ids) else "", rendered)
            for key in self.world.alert_keys():
                await self.check_explained(key, subject)
        for id in self.world.rules:
            await self.check_warnings(id)
        self.check_alerts(files, subjects, rendered)
        self.seen["looks"] += 1
        self.seen["series"] += len(subjects)

    async def check_effective(self, subject: Subject, target: str, rendered: Mapping[str, RuleOnDisk]) -> None:
        series = self.world.series(target) if target else dict(subject.labels)
        if target:
            request = rule_pb2.GetEffectiveRulesRequest(target_id=target)
        else:
            request = rule_pb2.GetEffectiveRulesRequest(series=rule_pb2.LabelSet(labels=series))
        answer = await self.service.rules.GetEffectiveRules(request, timeout=RPC)
        assert (answer.target_id, dict(answer.labels)) == (target, series)
        said = {rule.key: rule for rule in answer.rules}
        assert list(said) == sorted(said)
        winners = {key: self.world.winner(key, series) for key in self.world.alert_keys()}
        assert {key: rule.rule_id for key, rule in said.items()} == {key: id for key, id in winners.items() if id}
        for rule in said.values():
            self.check_one(rule, rendered.get(rule.rule_id, {}))

    def check_one(self, said: rule_pb2.EffectiveRule, on_disk: RuleOnDisk) -> None:
        rule, settings = self.world.rules[said.rule_id], self.world.settings(said.rule_id)
        assert settings_of(said.config) == settings
        assert (said.enabled, said.source, said.source_id) == (rule.enabled, rule.place.level, rule.place.id)
        assert (said.name, said.severity) == (rule.spec.alert_name, settings["labels.severity"])
        assert said.query == on_disk.get("expr", "")
        assert (dict(said.labels), dict(said.annotations)) == (
            on_disk.get("labels", {}),
            on_disk.get("annotations", {}),
        )
        self.seen["effective rules"] += 1

    async def check_explained(self, key: str, subject: Subject) -> None:
        series = rule_pb2.LabelSet(labels=subject.labels)
        request = rule_pb2.ExplainRuleRequest(series=series, key=key)
        answer = await self.service.rules.ExplainRule(request, timeout=RPC)
        winner, held = self.world.winner(key, subject.labels), self.world.candidates(key, subject.labels)
        outcomes = {id: rule_pb2.Candidate.NOT_IN_SCOPE for id, rule in self.world.rules.items() if rule.key == key}
        outcomes |= dict.fromkeys(held, rule_pb2.Candidate.LOST)
        if winner:
            outcomes[winner] = rule_pb2.Candidate.WON
            assert answer.candidates[0].rule_id == winner
        assert {each.rule_id: each.outcome for each in answer.candidates} == outcomes
        assert all(place_of(each.scope) == self.world.rules[each.rule_id].place for each in answer.candidates)
        assert all(each.why for each in answer.candidates)
        assert answer.rule_id == (winner or "")
        assert _trace(answer) == (self.world.told(winner) if winner else {})
        assert answer.HasField("rendered") == answer.enabled == bool(winner and self.world.rules[winner].enabled)
        self.seen["explanations"] += 1

    async def check_warnings(self, id: str) -> None:
        answer = await self.service.rules.ExplainRule(rule_pb2.ExplainRuleRequest(rule_id=id), timeout=RPC)
        ignored = [each.message for each in answer.warnings if each.code == "PARAMETER_IGNORED"]
        wanted = self.world.ignored(id)
        assert len(ignored) == len(wanted), f"{answer.warnings} and ignored are {wanted}"
        for rule, name in wanted:
            assert any(f'"{name}" set by rule "{rule}"' in message for message in ignored)

    def check_alerts(
        self, files: Mapping[str, str], subjects: list[Subject], rendered: Mapping[str, RuleOnDisk]
    ) -> None:
        """For every series and key the alert of the winner fires, and no other, when the files run in Prometheus."""
        alerts: list[Alert] = []
        for subject in subjects:
            for key in self.world.alert_keys():
                winner = self.world.winner(key, subject.labels)
                if winner and self.world.rules[winner].enabled:
                    annotation = rendered[winner]["annotations"]["rulecast_rule"]
                    alert = alert_of(self.world, winner, subject, annotation)
                    alerts += [alert] if alert else []
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8", newline="")
        test = self.folder / "judge_test.yml"
        names = {rule["alert"] for rule in rendered.values()}
        test.write_text(promtool_test(files, subjects, KEYS, names, alerts), encoding="utf-8")
        done = run_promtool("test", "rules", str(test), cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        self.seen["alerts"] += len(alerts)


def _kind(name: str, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> int:
    if name not in before:
        return common_pb2.FileChange.ADDED
    return common_pb2.FileChange.MODIFIED if name in after else common_pb2.FileChange.DELETED


def _rules(text: str) -> Iterator[tuple[str, RuleOnDisk]]:
    """The rules of a file, by the id that their annotation begins with."""
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            yield rule["annotations"]["rulecast_rule"].partition("@")[0], rule


def _trace(answer: rule_pb2.ExplainRuleResponse) -> dict[str, list[tuple[Any, str, str]]]:
    found = {}
    for each in answer.trace:
        steps: list[rule_pb2.ReplacedValue | rule_pb2.TracedValue] = [*each.replaced, each]
        found[each.path] = [
            (
                getattr(step.value, str(step.value.WhichOneof("kind"))),
                step.rule_id,
                rule_pb2.TracedValue.Origin.Name(step.origin),
            )
            for step in steps
        ]
    return found


@asynccontextmanager
async def judged(folder: Path, server: PostgresServer, promtool: Path, seed: int) -> AsyncIterator[Judge]:
    """A rule service on a database of its own, and a world that both start from."""
    async with fresh_database(server) as database:
        service = replica(folder, database, promtool)
        try:
            await service.start()
            yield Judge(service, Dice(random.Random(seed)), folder)
        finally:
            await service.channel.close()
            await service.child.stop()


async def judge_world(folder: Path, server: PostgresServer, promtool: Path, seed: int, edits: int) -> Counter[str]:
    home = folder / f"world-{seed}"
    home.mkdir()
    async with judged(home, server, promtool, seed) as judge:
        for at in range(edits):
            await judge.one_edit()
            if (at + 1) % LOOK_EVERY == 0:
                await judge.look()
        return judge.seen


@pytest.mark.timeout(900)
async def test_random_worlds_are_what_a_plain_reading_says(
    tmp_path: Path, postgres_server: PostgresServer, promtool: Path
) -> None:
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        seen += await judge_world(tmp_path, postgres_server, promtool, seed, EDITS)
    assert seen["looks"] == len(SEEDS) * EDITS // LOOK_EVERY
    assert all(seen[what] for what in ("effective rules", "explanations", "alerts"))


@pytest.mark.prove
@pytest.mark.parametrize("seed", MORE_SEEDS)
async def test_hundreds_of_random_worlds(
    tmp_path: Path, postgres_server: PostgresServer, promtool: Path, seed: int
) -> None:
    seen = await judge_world(tmp_path, postgres_server, promtool, seed, MORE_EDITS)
    assert seen["looks"] == MORE_EDITS // LOOK_EVERY
