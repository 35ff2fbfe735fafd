"""AlertRuleService."""

from rule_service.api import decode, encode, explained
from rule_service.api.calls import (
    MAX_PAGE_SIZE,
    Context,
    batch_ids,
    once,
    owner_filter,
    page_after,
    page_size,
    page_token,
    waiting_options,
    write_options,
)
from rule_service.api.mask import merged
from rule_service.api.resource_text import unified_diff
from rule_service.domain.model import AlertRule
from rule_service.usecases.expect import found
from rule_service.usecases.filters import RuleFilter
from rule_service.usecases.ports import Reads
from rule_service.usecases.rebase import Rebase, Rebased, RulesOfTemplate, TheseRules
from rule_service.usecases.rules import RuleEdits
from rule_service.usecases.show import shown_rules
from rule_service.usecases.understand import Understanding
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import rule_pb2 as pb
from rulecast.v1.rule_pb2_grpc import AlertRuleServiceServicer


class AlertRuleApi(AlertRuleServiceServicer):
    def __init__(self, edits: RuleEdits, rebase: Rebase, understanding: Understanding, reads: Reads) -> None:
        self._edits = edits
        self._rebase = rebase
        self._understanding = understanding
        self._reads = reads

    async def CreateAlertRule(self, request: pb.CreateAlertRuleRequest, context: Context) -> pb.CreateAlertRuleResponse:
        options = once(waiting_options(request, "CreateAlertRule", context), request, request.request_id)
        written = await self._edits.create(decode.rule_draft(request.rule, "rule"), options)
        return pb.CreateAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def GetAlertRule(self, request: pb.GetAlertRuleRequest, context: Context) -> pb.AlertRule:
        record = found(await self._reads.rule(request.id), "rule", request.id, "id")
        (shown,) = await shown_rules(self._reads, [record])
        return encode.rule(shown)

    async def ListAlertRules(self, request: pb.ListAlertRulesRequest, context: Context) -> pb.ListAlertRulesResponse:
        where = RuleFilter(
            scope=decode.scope(request.scope, "scope") if request.HasField("scope") else None,
            key=request.key or None,
            template_id=request.template_id or None,
            enabled=request.enabled if request.HasField("enabled") else None,
            severity=request.severity or None,
            namespace_id=request.namespace_id or None,
            text=request.text or None,
            owner=owner_filter(request),
            outdated=request.outdated_only,
            show_deleted=request.show_deleted,
        )
        page = await self._reads.rules(page_after(request.page_token), page_size(request.page_size), where)
        return pb.ListAlertRulesResponse(
            rules=[encode.rule(each) for each in await shown_rules(self._reads, page.items)],
            next_page_token=page_token(page.next_after),
        )

    async def UpdateAlertRule(self, request: pb.UpdateAlertRuleRequest, context: Context) -> pb.UpdateAlertRuleResponse:
        def change(current: AlertRule) -> AlertRule:
            return _changed(current, merged(encode.rule_fields(current), request.rule, request.update_mask))

        options = waiting_options(request, "UpdateAlertRule", context)
        written = await self._edits.update(request.rule.id, request.rule.etag, change, options)
        return pb.UpdateAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def DeleteAlertRule(self, request: pb.DeleteAlertRuleRequest, context: Context) -> pb.DeleteAlertRuleResponse:
        options = waiting_options(request, "DeleteAlertRule", context)
        written = await self._edits.delete(request.id, request.etag, options)
        return pb.DeleteAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def UndeleteAlertRule(
        self, request: pb.UndeleteAlertRuleRequest, context: Context
    ) -> pb.UndeleteAlertRuleResponse:
        options = waiting_options(request, "UndeleteAlertRule", context)
        written = await self._edits.undelete(request.id, request.etag, options)
        return pb.UndeleteAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def EnableAlertRule(self, request: pb.EnableAlertRuleRequest, context: Context) -> pb.EnableAlertRuleResponse:
        options = waiting_options(request, "EnableAlertRule", context)
        written = await self._edits.switch(request.id, request.etag, True, options)
        return pb.EnableAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def DisableAlertRule(
        self, request: pb.DisableAlertRuleRequest, context: Context
    ) -> pb.DisableAlertRuleResponse:
        options = waiting_options(request, "DisableAlertRule", context)
        written = await self._edits.switch(request.id, request.etag, False, options)
        return pb.DisableAlertRuleResponse(rule=encode.rule(written.value), change=encode.change(written.change))

    async def PurgeAlertRule(self, request: pb.PurgeAlertRuleRequest, context: Context) -> pb.PurgeAlertRuleResponse:
        options = write_options(request, "PurgeAlertRule", context)
        return pb.PurgeAlertRuleResponse(
            change=encode.change(await self._edits.purge(request.id, request.etag, options))
        )

    async def BatchGetAlertRules(
        self, request: pb.BatchGetAlertRulesRequest, context: Context
    ) -> pb.BatchGetAlertRulesResponse:
        there = await self._reads.rules_by_id(batch_ids(request.ids))
        records = [found(there.get(id), "rule", id, f"ids[{at}]") for at, id in enumerate(request.ids)]
        rules = await shown_rules(self._reads, records)
        return pb.BatchGetAlertRulesResponse(rules=[encode.rule(each) for each in rules])

    async def RebaseAlertRules(
        self, request: pb.RebaseAlertRulesRequest, context: Context
    ) -> pb.RebaseAlertRulesResponse:
        options = waiting_options(request, "RebaseAlertRules", context)
        written = await self._rebase.rebase(_which(request), options)
        return pb.RebaseAlertRulesResponse(
            rules=[_rebased(each) for each in written.value], change=encode.change(written.change)
        )

    async def GetEffectiveRules(
        self, request: pb.GetEffectiveRulesRequest, context: Context
    ) -> pb.GetEffectiveRulesResponse:
        key = request.key or None
        match request.WhichOneof("subject"):
            case "target_id":
                effective = await self._understanding.effective_for_target(request.target_id, key)
            case "series":
                effective = await self._understanding.effective_for_labels(dict(request.series.labels), key)
            case _:
                raise _no_subject("`target_id`, or `series` with `labels`")
        return explained.effective(effective)

    async def ExplainRule(self, request: pb.ExplainRuleRequest, context: Context) -> pb.ExplainRuleResponse:
        match request.WhichOneof("subject"):
            case "target_id":
                answer = await self._understanding.explain_for_target(request.target_id, request.key)
            case "series":
                answer = await self._understanding.explain_for_labels(dict(request.series.labels), request.key)
            case "rule_id":
                answer = await self._understanding.explain_rule(request.rule_id)
            case _:
                raise _no_subject("`target_id`, `series` with `labels`, or `rule_id`")
        return explained.explanation(answer)


def _which(request: pb.RebaseAlertRulesRequest) -> RulesOfTemplate | TheseRules:
    if bool(request.template_id) == bool(request.rule_ids):
        raise InvalidInput.of(
            "rule_ids",
            Reason.FIELD_REQUIRED,
            "say which rules: all of a template (`template_id`), or some (`rule_ids`): give one of the two",
        )
    if len(request.rule_ids) > MAX_PAGE_SIZE:
        message = f"{len(request.rule_ids)} ids: name at most {MAX_PAGE_SIZE}"
        raise InvalidInput.of("rule_ids", Reason.FIELD_INVALID, message)
    return RulesOfTemplate(request.template_id) if request.template_id else TheseRules(tuple(request.rule_ids))


def _rebased(value: Rebased) -> pb.RebasedRule:
    before, after = value.before, value.after
    old, new = (f"rule/{after.id}@v{each.template_version}" for each in (before, after))
    return pb.RebasedRule(
        rule_id=after.id,
        template_id=after.template_id or "",
        from_version=before.template_version or 0,
        to_version=after.template_version or 0,
        diff=unified_diff(encode.rule_fields(before), encode.rule_fields(after), old, new),
    )


def _no_subject(what: str) -> InvalidInput:
    return InvalidInput.of("subject", Reason.FIELD_REQUIRED, f"say for what: {what}")


def _changed(current: AlertRule, message: pb.AlertRule) -> AlertRule:
    return AlertRule(
        id=current.id,
        key=message.key,
        scope=decode.scope(message.scope, "rule.scope"),
        spec=decode.spec(message.spec, "rule.spec"),
        config=decode.config(message.config, "rule.config"),
        template_id=message.template_id or None,
        template_version=current.template_version,
        merge_strategy=decode.merge_strategy(message.merge_strategy, "rule.merge_strategy"),
        priority=message.priority,
        enabled=message.enabled if message.HasField("enabled") else True,
        description=message.description,
    )
