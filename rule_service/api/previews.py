"""PreviewService."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, assert_never, cast

from rule_service.api import encode
from rule_service.api.calls import Context, PreviewContext
from rule_service.api.history import action_of, resource_change
from rule_service.domain.diff import Identity, Loss, LostState
from rule_service.domain.winners import ChangedWinner
from rule_service.usecases.change import Preview, PreviewedFile, PreviewedRule
from rulecast.errors import InvalidInput, RulecastError
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2
from rulecast.v1 import preview_pb2 as pb
from rulecast.v1.preview_pb2_grpc import PreviewServiceServicer

Handler = Callable[[Any, Context], Awaitable[object]]
"""The method that answers a write."""


def writes_of(*services: object) -> dict[str, Handler]:
    """The methods of these services that a preview can try, by the field that holds their request."""
    fields = pb.PreviewChangeRequest.DESCRIPTOR.fields
    names = {field.name: _method_name(field.name) for field in fields}
    return {
        field: next(getattr(service, method) for service in services if hasattr(service, method))
        for field, method in names.items()
    }


def _method_name(field: str) -> str:
    """`create_group`: `CreateGroup`."""
    return "".join(part.capitalize() for part in field.split("_"))


class PreviewApi(PreviewServiceServicer):
    """writes: by the field of the request that holds theirs."""

    def __init__(self, writes: Mapping[str, Handler]) -> None:
        self._writes = writes

    async def PreviewChange(self, request: pb.PreviewChangeRequest, context: Context) -> pb.PreviewChangeResponse:
        name = request.WhichOneof("change")
        if name is None:
            names = ", ".join(field.name for field in request.DESCRIPTOR.fields)
            raise InvalidInput.of("change", Reason.FIELD_REQUIRED, f"say which write to preview: one of {names}")
        write = getattr(request, name)
        write.validate_only = True
        trying = PreviewContext(context)
        try:
            await self._writes[name](write, cast(Context, trying))
        except RulecastError as error:
            raise _inside(error, name) from error
        assert trying.capture.preview is not None, "every write goes through the publisher"
        return _preview(trying.capture.preview)


def _inside(error: RulecastError, name: str) -> RulecastError:
    """The error of the write, in terms of the request that it is in."""
    placed = (replace(each, field=f"{name}.{each.field}" if each.field else "") for each in error.violations)
    return replace(error, violations=tuple(placed))


def _preview(value: Preview) -> pb.PreviewChangeResponse:
    return pb.PreviewChangeResponse(
        resources=[resource_change(each.kind, each.id, action_of(each)) for each in value.resources.first],
        resource_count=value.resources.count,
        files=[_file(each) for each in value.files.first],
        file_count=value.files.count,
        rules=[_rule(each) for each in value.rules.first],
        rule_count=value.rules.count,
        targets=[_target(each) for each in value.winners.first],
        target_count=value.winners.count,
        lost_states=[_lost(each) for each in value.lost_states.first],
        lost_state_count=value.lost_states.count,
        warnings=[encode.warning(each.warning, each.rule_id) for each in value.warnings.first],
        warning_count=value.warnings.count,
    )


def _file(value: PreviewedFile) -> pb.FilePreview:
    return pb.FilePreview(
        file_name=value.change.name,
        kind=common_pb2.FileChange.Kind.Value(value.change.kind.name),
        rule_count=value.change.rule_count,
        diff=value.diff.text,
        diff_lines_left_out=value.diff.left_out,
        deployer_ids=value.deployer_ids,
    )


def _rule(value: PreviewedRule) -> pb.RulePreview:
    return pb.RulePreview(
        rule_id=value.rule.rule_id,
        key=value.rule.key,
        file_name=value.rule.file_name,
        kind=common_pb2.FileChange.Kind.Value(value.kind.name),
        deployer_ids=value.deployer_ids,
    )


def _target(value: ChangedWinner) -> pb.TargetPreview:
    before, after = value.before, value.after
    return pb.TargetPreview(
        target_id=value.target_id,
        key=value.key,
        before_rule_id=before.rule_id if before is not None else "",
        before_enabled=before is not None and before.enabled,
        after_rule_id=after.rule_id if after is not None else "",
        after_enabled=after is not None and after.enabled,
    )


def _lost(value: LostState) -> pb.LostAlertState:
    return pb.LostAlertState(
        rule_id=value.rule_id,
        key=value.key,
        loss=_loss(value.loss),
        before=_identity(value.before),
        after=_identity(value.after) if value.after is not None else None,
    )


def _loss(value: Loss) -> pb.LostAlertState.Loss.ValueType:
    match value:
        case Loss.RESET:
            return pb.LostAlertState.RESET
        case Loss.REMOVED:
            return pb.LostAlertState.REMOVED
        case _:
            assert_never(value)


def _identity(value: Identity) -> pb.AlertIdentity:
    return pb.AlertIdentity(
        file_name=value.file_name, group=value.group_name, alert_name=value.alert_name, labels=value.labels
    )
