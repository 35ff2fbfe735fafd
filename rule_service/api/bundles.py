"""BundleService."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from rule_service.api import decode, encode
from rule_service.api.calls import Context, once, waiting_options
from rule_service.api.history import action_of, resource_change
from rule_service.api.text.read import read
from rule_service.api.text.tree import TextLimits, parse_json, parse_yaml
from rule_service.api.text.write import as_json, as_yaml
from rule_service.domain.model import AlertRule, AlertTemplate
from rule_service.usecases.bundle import Applied, Bundles
from rule_service.usecases.bundle_plan import Bundle, How, Mode
from rule_service.usecases.export import Exported, Exports
from rulecast.errors import InvalidInput, LimitExceeded, Violation
from rulecast.reasons import Reason
from rulecast.v1 import bundle_pb2 as pb
from rulecast.v1 import common_pb2, history_pb2, rule_pb2, template_pb2
from rulecast.v1.bundle_pb2_grpc import BundleServiceServicer

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_MODES = {
    pb.ApplyBundleRequest.MODE_UNSPECIFIED: Mode.UPSERT,
    pb.ApplyBundleRequest.CREATE_ONLY: Mode.CREATE_ONLY,
    pb.ApplyBundleRequest.UPSERT: Mode.UPSERT,
    pb.ApplyBundleRequest.SYNC: Mode.SYNC,
}
_KEPT = frozenset({"version", "template_version"})
"""Output only elsewhere; what an export says of them is read."""


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Of one bundle."""

    text: TextLimits
    max_resources: int


class BundleApi(BundleServiceServicer):
    def __init__(self, bundles: Bundles, exports: Exports, limits: BundleLimits) -> None:
        self._bundles = bundles
        self._exports = exports
        self._limits = limits

    async def ApplyBundle(self, request: pb.ApplyBundleRequest, context: Context) -> pb.ApplyBundleResponse:
        options = once(waiting_options(request, "ApplyBundle", context), request, request.request_id)
        mode = decode.chosen(_MODES, pb.ApplyBundleRequest.Mode, request.mode, "mode")
        how = How(mode, request.owner, request.take_over, request.rebase)
        # a large one takes a while
        bundle = await asyncio.to_thread(_bundle, request, self._limits)
        written = await self._bundles.apply(bundle, how, options)
        return _applied(written.value, encode.change(written.change))

    async def ExportBundle(self, request: pb.ExportBundleRequest, context: Context) -> pb.ExportBundleResponse:
        write = as_json if _format(request.format) == pb.JSON else as_yaml
        owner = request.owner if request.HasField("owner") else None
        exported = await self._exports.export(owner, request.namespace_id or None)
        content = await asyncio.to_thread(lambda: write(_message(exported)))
        return pb.ExportBundleResponse(content=content, resource_count=exported.count)


def _applied(applied: Applied, change: common_pb2.Change) -> pb.ApplyBundleResponse:
    actions = {(each.kind, each.id): action_of(each) for each in applied.changes}
    actions |= dict.fromkeys(applied.unchanged, history_pb2.UNCHANGED)
    counts = Counter(actions.values())
    return pb.ApplyBundleResponse(
        resources=[resource_change(kind, id, actions[kind, id]) for kind, id in sorted(actions)],
        created=counts[history_pb2.CREATED],
        updated=counts[history_pb2.UPDATED],
        unchanged=counts[history_pb2.UNCHANGED],
        deleted=counts[history_pb2.DELETED],
        change=change,
    )


def _format(asked: pb.BundleFormat.ValueType) -> pb.BundleFormat.ValueType:
    if asked not in pb.BundleFormat.values():
        raise InvalidInput.of("format", Reason.FIELD_INVALID, f"{asked} is not one of the formats: use YAML or JSON")
    return asked


def _bundle(request: pb.ApplyBundleRequest, limits: BundleLimits) -> Bundle:
    match request.WhichOneof("source"):
        case "bundle":
            return _decoded(request.bundle, limits)
        case "content":
            return _decoded(_read(request, limits), limits)
        case _:
            message = "say what to apply: `content` with the text of a bundle, or the `bundle` itself"
            raise InvalidInput.of("content", Reason.FIELD_REQUIRED, message)


def _read(request: pb.ApplyBundleRequest, limits: BundleLimits) -> pb.Bundle:
    asked = _format(request.format)
    json = asked == pb.JSON or (not asked and request.content.lstrip().startswith("{"))
    parse = parse_json if json else parse_yaml
    bundle = pb.Bundle()
    read(parse(request.content, limits.text, "content"), bundle, "content", _KEPT)
    return bundle


def _decoded(message: pb.Bundle, limits: BundleLimits) -> Bundle:
    """Raises all that can not be decoded at once, and LimitExceeded."""
    count = sum(len(getattr(message, field.name)) for field in message.DESCRIPTOR.fields)
    if count > limits.max_resources:
        text = f"the bundle has {count} resources: at most {limits.max_resources} are allowed; cut it into several"
        raise LimitExceeded.of("", Reason.TOO_LARGE, text, limit=str(limits.max_resources))
    wrong: list[Violation] = []

    def every(field: str, resources: Iterable[M], decoded: Callable[[M, str], T]) -> tuple[T, ...]:
        return tuple(_each(field, resources, decoded, wrong))

    bundle = Bundle(
        every("namespaces", message.namespaces, lambda each, _: decode.namespace(each)),
        every("groups", message.groups, lambda each, _: decode.group(each, "")),
        every("targets", message.targets, lambda each, _: decode.target(each)),
        every("templates", message.templates, lambda each, place: decode.template(each, each.version, place)),
        every("rules", message.rules, decode.rule_draft),
    )
    if wrong:
        raise InvalidInput(tuple(wrong))
    return bundle


def _each(field: str, resources: Iterable[M], decoded: Callable[[M, str], T], wrong: list[Violation]) -> Iterator[T]:
    for at, each in enumerate(resources):
        place = f"{field}[{at}]"
        if not each.id:  # type: ignore[attr-defined]  # all resources have one
            message = "a resource of a bundle needs its id: by it the bundle finds it the next time"
            wrong.append(Violation(f"{place}.id", Reason.FIELD_REQUIRED, message))
        try:
            yield decoded(each, place)
        except InvalidInput as refused:
            wrong.extend(refused.violations)


def _message(exported: Exported) -> pb.Bundle:
    templates = {each.id: each for each in exported.templates}
    bundle = pb.Bundle(
        namespaces=[encode.namespace_fields(each) for each in exported.namespaces],
        groups=[encode.group_fields(each) for each in exported.groups],
        targets=[encode.target_fields(each) for each in exported.targets],
        templates=[_template(each) for each in exported.templates],
        rules=[_rule(each, templates) for each in exported.rules],
    )
    for field in bundle.DESCRIPTOR.fields:
        for resource in getattr(bundle, field.name):
            resource.ClearField("owner")
    return bundle


def _template(template: AlertTemplate) -> template_pb2.AlertTemplate:
    message = encode.template_fields(template)
    if template.version == 1:
        message.ClearField("version")
    _leave_out_usual(message.spec)
    return message


def _rule(rule: AlertRule, templates: Mapping[str, AlertTemplate]) -> rule_pb2.AlertRule:
    """Without what goes without saying: what a new rule of its template, as that is now, would have."""
    message = encode.rule_fields(rule)
    template = templates.get(rule.template_id or "")
    if template is not None and (template.spec, template.version) == (rule.spec, rule.template_version):
        message.ClearField("spec")
        message.ClearField("template_version")
    else:
        _leave_out_usual(message.spec)
    if not message.config.ByteSize():
        message.ClearField("config")
    if message.merge_strategy == rule_pb2.MERGE:
        message.ClearField("merge_strategy")
    if message.enabled:
        message.ClearField("enabled")
    return message


def _leave_out_usual(spec: template_pb2.AlertSpec) -> None:
    if spec.scope_mode == template_pb2.SCOPE_MODE_AUTO:
        spec.ClearField("scope_mode")
    if not spec.default_config.ByteSize():
        spec.ClearField("default_config")
