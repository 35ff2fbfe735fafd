"""Several rule services and several deployers: frozen, restarted one after the other, and two of one name."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from rulecast.errors import Conflict
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import delivery_pb2, deployer_pb2, rule_pb2
from tests.support.cluster import CALL, CONVERGE, Cluster, make_groups, missed_evaluations, running_cluster
from tests.support.freezing import frozen
from tests.support.person import Person
from tests.support.postgres import fresh_database
from tests.support.system import Deployer, Replica, deployer, global_scope, group_scope
from tests.support.truth import every_version, read_truth
from tests.support.waiting import wait_for
from tests.support.watcher import watching

pytestmark = pytest.mark.asyncio(loop_scope="module")

LASTING = {"global.yml": ["everywhere"], "group-first.yml": ["first"]}
ENDS_WITHIN = 3.0
"""Seconds; without being told, an open stream would keep the process for its whole grace of 10."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, prometheus_parts: PrometheusParts
) -> AsyncIterator[Cluster]:
    """Two replicas and two deployers, a rule everywhere and one in the group `first`."""
    folder = tmp_path_factory.mktemp("replicas")
    async with (
        fresh_database(postgres_server) as database,
        running_cluster(folder, database, prometheus_parts) as cluster,
    ):
        await make_groups(cluster, "first")
        person = Person(cluster.replicas, random.Random(1))
        await person.create("everywhere", global_scope(), 1)
        await person.create("first", group_scope("first"), 1)
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> AsyncIterator[Cluster]:
    """With everything well at the start, and healed at the end."""
    await running.converged()
    yield running
    await running.heal()
    await running.converged()


_values = iter(range(100, 10**6))


def another() -> float:
    """A threshold that no rule has had."""
    return float(next(_values))


def change(
    rule: str, etag: str = "", *, threshold: float | None = None, description: str | None = None
) -> rule_pb2.UpdateAlertRuleRequest:
    """Of the one that is given."""
    request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id=rule, etag=etag))
    if threshold is not None:
        request.rule.config.parameters["threshold"].number_value = threshold
        request.update_mask.paths.append("config.parameters.threshold")
    if description is not None:
        request.rule.description = description
        request.update_mask.paths.append("description")
    return request


async def read(replica: Replica, rule: str) -> rule_pb2.AlertRule:
    answer: rule_pb2.AlertRule = await replica.rules.GetAlertRule(rule_pb2.GetAlertRuleRequest(id=rule), timeout=CALL)
    return answer


async def test_two_writers_of_one_rule_through_two_replicas_lose_nothing(cluster: Cluster) -> None:
    """Each changes a field of its own, again and again, and none undoes what the other did."""
    one, other = cluster.replicas
    for _ in range(5):
        threshold, description = another(), f"number {another():g}"
        await asyncio.gather(
            one.rules.UpdateAlertRule(change("first", threshold=threshold), timeout=CALL),
            other.rules.UpdateAlertRule(change("first", description=description), timeout=CALL),
        )
        rule = await read(one, "first")
        assert (rule.config.parameters["threshold"].number_value, rule.description) == (threshold, description)


async def test_of_two_writers_with_one_etag_the_second_is_told(cluster: Cluster) -> None:
    one, other = cluster.replicas
    for _ in range(3):
        etag = (await read(one, "first")).etag
        thresholds = (another(), another())
        answers = await asyncio.gather(
            *(
                replica.rules.UpdateAlertRule(change("first", etag, threshold=threshold), timeout=CALL)
                for replica, threshold in zip((one, other), thresholds, strict=True)
            ),
            return_exceptions=True,
        )
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        (error,) = map(from_rpc_error, refused)
        assert (type(error), error.reason) == (Conflict, Reason.ETAG_MISMATCH)
        (winner,) = [threshold for threshold, answer in zip(thresholds, answers, strict=True) if answer not in refused]
        assert (await read(other, "first")).config.parameters["threshold"].number_value == winner


async def test_a_frozen_replica_is_left_and_its_stale_write_does_not_win(cluster: Cluster) -> None:
    at = await cluster.serving_replica_of(0)
    stuck, well = cluster.replicas[at], cluster.replicas[1 - at]
    etag = (await read(well, "first")).etag
    stale, newest = another(), another()
    async with asyncio.TaskGroup() as tasks:
        async with frozen(stuck.child.pid):
            late = tasks.create_task(refusal(stuck, change("first", etag, threshold=stale)), name="stale write")
            await well.rules.UpdateAlertRule(change("first", etag, threshold=newest), timeout=CALL)

            async def runs_it() -> bool:
                wanted = (await read_truth(cluster.database_url)).files
                return all(each.files() == wanted for each in cluster.deployers)

            await wait_for(runs_it, CONVERGE, every=0.1)
            assert await cluster.serving_replica_of(0) == 1 - at
            assert not late.done()
        error = from_rpc_error(await late)
    assert (type(error), error.reason) == (Conflict, Reason.ETAG_MISMATCH)
    assert (await read(stuck, "first")).config.parameters["threshold"].number_value == newest
    await cluster.converged()
    assert await cluster.serving_replica_of(0) == 1 - at


async def refusal(replica: Replica, request: rule_pb2.UpdateAlertRuleRequest) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await replica.rules.UpdateAlertRule(request, timeout=CONVERGE)
    return refused.value


async def test_a_second_deployer_of_one_name_waits_until_the_first_has_ended(
    cluster: Cluster, prometheus_parts: PrometheusParts, tmp_path: Path
) -> None:
    first = cluster.deployers[1]
    addresses = [replica.address for replica in cluster.replicas]
    second = deployer(tmp_path, first.prometheus, prometheus_parts, addresses, name=first.id)
    try:
        await second.start()
        await wait_for(lambda: Reason.DUPLICATE_DEPLOYER in second.child.output(100), CONVERGE)
        assert not (await status(second)).connected
        assert second.files() == {}
        assert (await status(first)).connected
        await first.child.stop()

        async def took_over() -> bool:
            return (await status(second)).connected and second.files() == first.files()

        await wait_for(took_over, CONVERGE, every=0.1)
    finally:
        await second.child.stop()
        await second.channel.close()


async def status(deployer: Deployer) -> deployer_pb2.DeployerStatus:
    answer: deployer_pb2.DeployerStatus = await deployer.service.GetStatus(
        deployer_pb2.GetStatusRequest(), timeout=CALL
    )
    return answer


async def test_told_to_stop_a_replica_ends_at_once_though_streams_are_open(cluster: Cluster) -> None:
    at = await cluster.serving_replica_of(0)
    began = time.monotonic()
    exit_code = await cluster.replicas[at].child.stop(grace=60.0)
    took = time.monotonic() - began
    assert exit_code == 0
    assert took < ENDS_WITHIN
    assert await cluster.serving_replica_of(0) == 1 - at


async def test_a_rolling_restart_under_edits_is_not_noticed_by_prometheus(cluster: Cluster, tmp_path: Path) -> None:
    folders = [each.rules for each in cluster.deployers]
    missed = [await missed_evaluations(each) for each in cluster.deployers]
    people = [Person(cluster.replicas, random.Random(seed)) for seed in (1, 2)]
    done = asyncio.Event()

    async def edit(person: Person, rule: str) -> None:
        while not done.is_set():
            await person.set_threshold(rule, another())

    async with watching(tmp_path / "watcher.log", folders, LASTING) as sights, asyncio.TaskGroup() as tasks:
        for person, rule in zip(people, ("everywhere", "first"), strict=True):
            tasks.create_task(edit(person, rule), name=rule)
        for replica in cluster.replicas:
            assert await replica.child.stop(grace=60.0) == 0
            await replica.start()
        await wait_for(lambda: all(len(person.acknowledged) >= 5 for person in people), CONVERGE)
        done.set()
    await cluster.converged()
    for person in people:
        assert await person.lost(cluster.database_url) == []
    (sight,) = sights
    assert (sight.torn, sight.absent, sight.unknown(await every_version(cluster.database_url))) == ([], [], [])
    assert sight.reads > 100
    assert [await missed_evaluations(each) for each in cluster.deployers] == missed


async def test_commands_and_files_are_the_same_through_every_replica(cluster: Cluster) -> None:
    listed = [
        await replica.delivery.ListRuleFiles(delivery_pb2.ListRuleFilesRequest(), timeout=CALL)
        for replica in cluster.replicas
    ]
    assert listed[0].files == listed[1].files
    for replica in cluster.replicas:
        told = await replica.delivery.ReloadPrometheus(delivery_pb2.ReloadPrometheusRequest(), timeout=CALL)
        assert list(told.deployer_ids) == [each.id for each in cluster.deployers]
