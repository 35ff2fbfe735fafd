"""The lines to paste: each the same call as grpcurl and as curl."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deploy.local.demo import KEY

_RULES: Final = "AlertRuleService"
_DELIVERY: Final = "DeliveryService"


@dataclass(frozen=True, slots=True)
class Example:
    """One call. what: in words. rpc: `Service/Method`. body: of the HTTP request; request: of the RPC."""

    what: str
    rpc: str
    request: Mapping[str, Any]
    verb: str
    path: str
    body: Mapping[str, Any] | None = None

    def grpcurl(self, address: str) -> str:
        given = ["-d", json.dumps(self.request)] if self.request else []
        return shlex.join(["grpcurl", "-plaintext", *given, address, f"rulecast.v1.{self.rpc}"])

    def curl(self, url: str) -> str:
        """url: of the rule service, without a slash at its end."""
        given = ["-d", json.dumps(self.body)] if self.body is not None else []
        verb = ["-X", self.verb] if self.verb not in ("GET", "POST") else []
        return shlex.join(["curl", "-sS", *verb, f"{url}{self.path}", *given])


def examples(revision: int) -> Iterator[Example]:
    """What a new user wants to try first. revision: one that exists."""
    rule = "high-cpu-development"
    lower: dict[str, Any] = {"config": {"parameters": {"threshold": 85}}}
    yield Example(
        "Set the threshold of development to 85 %: it answers when Prometheus runs it, and dev-1 and dev-2 fire:",
        f"{_RULES}/UpdateAlertRule",
        {"rule": {"id": rule, **lower}, "wait_for": "ACTIVE"},
        "PATCH",
        f"/api/v1/alert-rules/{rule}",
        {"rule": lower, "wait_for": "ACTIVE"},
    )
    yield Example(
        "Which rules apply to a host:",
        f"{_RULES}/GetEffectiveRules",
        {"target_id": "dev-1"},
        "GET",
        "/api/v1/prometheus/rules/effective/dev-1",
    )
    yield Example(
        "Why: who won and who lost, and where each value is from:",
        f"{_RULES}/ExplainRule",
        {"target_id": "dev-1", "key": KEY},
        "POST",
        "/api/v1/prometheus/rules/explain",
        {"target_id": "dev-1", "key": KEY},
    )
    yield Example(
        "How far a revision has come, and what each Prometheus runs:",
        f"{_DELIVERY}/GetRollout",
        {"revision": str(revision)},
        "GET",
        f"/api/v1/rollouts/{revision}",
    )
    yield Example(
        "All deployers:",
        f"{_DELIVERY}/ListDeployers",
        {},
        "GET",
        "/api/v1/prometheus/status",
    )
