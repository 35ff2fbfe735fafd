"""The demo, from the first template to the alerts that fire.

`python -m deploy.local.story` tells it where all parts run already: deploy/compose.yaml does that once. `make up` tells
the same, beside the parts that it has started itself.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

import aiohttp
import grpc

from deploy.local.demo import Demo, DemoFailed
from deploy.local.examples import examples
from deploy.local.table import expected, firing_in, judged, table
from rulecast.process.addresses import HostPort
from rulecast.rpc.channel import open_channel

FIRE: Final = 90.0
"""Seconds after which the alerts are shown as they are."""

_POLL: Final = 0.5


@dataclass(frozen=True, slots=True)
class Places:
    """Where a person finds the parts. rule_service, deployer: `host:port` of gRPC; the others are URLs."""

    prometheus: str
    rule_service: str
    rule_service_http: str
    deployer: str
    deployer_http: str

    def text(self, revision: int) -> str:
        """The addresses, and lines to paste. revision: one that exists."""
        http = self.rule_service_http
        lines = [
            f"Prometheus    {self.prometheus}/alerts",
            f"rule service  gRPC {self.rule_service} (reflection is on), HTTP {http} (see {http}/api/v1/docs)",
            f"deployer      gRPC {self.deployer}, HTTP {self.deployer_http}",
            "",
            "Lines to paste; each pair does the same, with grpcurl or with curl.",
        ]
        for example in examples(revision):
            lines += ["", example.what, f"  {example.grpcurl(self.rule_service)}", f"  {example.curl(http)}"]
        lines += ["", "What fires, as Prometheus itself tells:", f"  curl -sS {self.prometheus}/api/v1/alerts"]
        return "\n".join(lines)


PUBLISHED: Final = Places(
    "http://127.0.0.1:9090", "127.0.0.1:50051", "http://127.0.0.1:8080", "127.0.0.1:50052", "http://127.0.0.1:8081"
)
"""Where deploy/compose.yaml publishes the parts."""


async def tell(demo: Demo, deployer: str, exporter: HostPort, prometheus: str) -> bool:
    """Tells the story, and shows what came of it. Whether the alerts are as they should be.

    deployer: the name of the one to wait for. exporter: where Prometheus reaches it. prometheus: its URL.
    Raises DemoFailed, and AioRpcError or ClientError when a part does not answer.
    """
    await _told(demo.wait_for_deployer(deployer))
    await _told(demo.load_library())
    await _told(demo.create_groups())
    await _told(demo.create_targets(exporter))
    await _told(demo.create_rules())
    await _told(demo.wait_until_active())
    applied = await demo.applied()
    should = expected(applied)
    hosts = frozenset(each.host for each in applied)
    print("          waiting for Prometheus to evaluate the rules, some 20 s", flush=True)
    began = time.monotonic()
    firing = await _wait_for_alerts(prometheus, should, hosts)
    say(time.monotonic() - began, judged(firing, should))
    print(f"\n{table(applied, firing)}", flush=True)
    return firing == should


def say(seconds: float, words: str) -> None:
    """One line: what happened, and how long it took."""
    print(f"{seconds:6.1f} s  {words}", flush=True)


async def _wait_for_alerts(prometheus: str, should: frozenset[str], hosts: frozenset[str]) -> frozenset[str]:
    """Those of `hosts` whose alert fires: once these are the ones that should, or as it is after FIRE seconds."""
    deadline = time.monotonic() + FIRE
    firing: frozenset[str] = frozenset()
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # a slow answer is no reason to give up
            firing = await firing_in(prometheus) & hosts
            if firing == should:
                return firing
        if time.monotonic() > deadline:
            return firing
        await asyncio.sleep(_POLL)


async def _told(work: Awaitable[str]) -> None:
    began = time.monotonic()
    words = await work
    say(time.monotonic() - began, words)


async def _told_to(rule_service: str, deployer: str, exporter: HostPort, prometheus: str) -> bool:
    channel = open_channel(rule_service)
    try:
        demo = Demo(channel)
        as_expected = await tell(demo, deployer, exporter, prometheus)
        print(f"\n{PUBLISHED.text(await demo.newest_revision())}", flush=True)
        return as_expected
    finally:
        await channel.close()


def main() -> int:
    """0: the alerts are as the rules say; 1: they are not, or it could not go on."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.story", description="Rulecast's demo, told once.")
    parser.add_argument("--rule-service", required=True, metavar="HOST:PORT", help="its gRPC address")
    parser.add_argument("--deployer", required=True, metavar="ID", help="the name of the deployer to wait for")
    parser.add_argument("--exporter", required=True, type=HostPort.parse, metavar="HOST:PORT", help="of the demo")
    parser.add_argument("--prometheus", required=True, metavar="URL")
    given = parser.parse_args()
    try:
        told = _told_to(given.rule_service, given.deployer, given.exporter, given.prometheus)
        return 0 if asyncio.run(told) else 1
    except grpc.aio.AioRpcError as error:
        print(f"demo: the rule service answered {error.code().name}: {error.details()}", file=sys.stderr)
    except (DemoFailed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
