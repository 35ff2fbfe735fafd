"""Bundles and previews over the use cases of one store, with no server between."""

from collections.abc import Awaitable, Callable

from rule_service.api.bundles import BundleApi, BundleLimits
from rule_service.api.groups import GroupApi
from rule_service.api.history import HistoryApi
from rule_service.api.namespaces import NamespaceApi
from rule_service.api.previews import PreviewApi, writes_of
from rule_service.api.rules import AlertRuleApi
from rule_service.api.targets import TargetApi
from rule_service.api.templates import AlertTemplateApi
from rule_service.api.text.tree import TextLimits
from rulecast.v1 import bundle_pb2, history_pb2, preview_pb2
from tests.support.edits import Edits

LIMITS = BundleLimits(TextLimits(max_bytes=1_000_000, max_values=200_000), max_resources=5_000)


class Nobody:
    """Implements what handlers need of a call's context."""

    def peer(self) -> str:
        return "tester:1"

    def invocation_metadata(self) -> None:
        return None

    def time_remaining(self) -> float | None:
        return None


class BundleText:
    """The handlers of one store, called without a server."""

    def __init__(self, edits: Edits, limits: BundleLimits = LIMITS) -> None:
        self._api = BundleApi(edits.bundles, edits.exports, limits)

    async def apply(self, content: str, mode: str = "UPSERT", **fields: object) -> bundle_pb2.ApplyBundleResponse:
        asked = bundle_pb2.ApplyBundleRequest.Mode.Value(mode)
        request = bundle_pb2.ApplyBundleRequest(content=content, mode=asked, **fields)  # type: ignore[arg-type]
        return await self._api.ApplyBundle(request, Nobody())  # type: ignore[arg-type]

    async def export(self, **fields: object) -> str:
        request = bundle_pb2.ExportBundleRequest(**fields)  # type: ignore[arg-type]
        return (await self._api.ExportBundle(request, Nobody())).content  # type: ignore[arg-type]


def actions(answer: bundle_pb2.ApplyBundleResponse) -> dict[str, str]:
    """What became of each resource, as `rule/cpu-all: CREATED`."""
    return {
        f"{history_pb2.Resource.Kind.Name(each.kind).lower()}/{each.id}": history_pb2.ResourceAction.Name(each.action)
        for each in answer.resources
    }


def previewing(
    edits: Edits,
) -> Callable[[preview_pb2.PreviewChangeRequest], Awaitable[preview_pb2.PreviewChangeResponse]]:
    """PreviewChange over all the writes there are."""
    writes = writes_of(
        NamespaceApi(edits.namespaces, edits.store),
        GroupApi(edits.groups, edits.store),
        TargetApi(edits.targets, edits.heartbeats, edits.store),
        AlertTemplateApi(edits.templates, edits.store),
        AlertRuleApi(edits.rules, edits.rebase, edits.understanding, edits.store),
        HistoryApi(edits.history, edits.rollback),
        BundleApi(edits.bundles, edits.exports, LIMITS),
    )
    return lambda request: PreviewApi(writes).PreviewChange(request, Nobody())  # type: ignore[arg-type]
