"""Brings rules onto the newest version of the template they were made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rule_service.domain.check import check_rule
from rule_service.domain.model import AlertRule, AlertTemplate
from rule_service.domain.wording import shown
from rule_service.usecases.change import WriteOptions, Written
from rule_service.usecases.expect import found, the_template
from rule_service.usecases.filters import RuleFilter
from rule_service.usecases.off import samples_of_off
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import InvalidInput, NotFound, Violation
from rulecast.reasons import Reason

NO_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RulesOfTemplate:
    """Every live rule of a template that is not on its newest version."""

    template_id: str


@dataclass(frozen=True, slots=True)
class TheseRules:
    """Live rules by their ids. Those that are on the newest version stay as they are."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebased:
    """A rule before and after."""

    before: AlertRule
    after: AlertRule


class Rebase:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def rebase(self, which: RulesOfTemplate | TheseRules, options: WriteOptions) -> Written[tuple[Rebased, ...]]:
        """All of them, or none. Answers those that changed, by id.

        Raises NotFound for a rule or a template; InvalidInput for a rule without a template, and for each whose
        config no longer fits, with the rule named.
        """

        async def edit(transaction: Transaction) -> Edited[tuple[Rebased, ...]]:
            rules = await _chosen(transaction, which)
            rebased = await _rebased(transaction, rules)
            for each in rebased:
                await transaction.update_rule(each.after)
            resources = tuple(ResourceChange("rule", each.after.id, each.before, each.after) for each in rebased)
            off = await samples_of_off(transaction, resources, {})
            return Edited(rebased, resources, frozenset(each.after.key for each in rebased), samples=off)

        return await self._publisher.publish(edit, options)


async def _chosen(transaction: Transaction, which: RulesOfTemplate | TheseRules) -> Sequence[AlertRule]:
    match which:
        case RulesOfTemplate(template_id):
            await the_template(transaction, template_id, "template_id")
            where = RuleFilter(template_id=template_id, outdated=True)
            return [record.value for record in (await transaction.rules("", NO_LIMIT, where)).items]
        case TheseRules(ids):
            there = await transaction.rules_by_id(ids)
            live = {id: record for id, record in there.items() if record.deleted_at is None}
            rules = {id: found(live.get(id), "rule", id, f"rule_ids[{at}]").value for at, id in enumerate(ids)}
            return [rules[id] for id in sorted(rules)]


async def _rebased(transaction: Transaction, rules: Sequence[AlertRule]) -> tuple[Rebased, ...]:
    """Those that change. Raises InvalidInput with all that does not fit, of all the rules."""
    labels = {namespace.label for namespace in (await transaction.all_namespaces()).values()}
    templates: dict[str, AlertTemplate] = {}
    rebased, violations = [], []
    for rule in rules:
        template = await _template_of(transaction, rule, templates)
        asked = replace(rule, spec=template.spec, template_version=template.version)
        try:
            after = check_rule(asked, labels, f"rules[{rule.id}]")
        except InvalidInput as refused:
            violations += [_named(each, rule, template) for each in refused.violations]
        else:
            if after != rule:
                rebased.append(Rebased(rule, after))
    if violations:
        raise InvalidInput(tuple(violations))
    return tuple(rebased)


async def _template_of(transaction: Transaction, rule: AlertRule, templates: dict[str, AlertTemplate]) -> AlertTemplate:
    field = f"rules[{rule.id}].template_id"
    if rule.template_id is None:
        message = f"rule {shown(rule.id)} was not made from a template: change its spec instead"
        raise InvalidInput.of(field, Reason.FIELD_INVALID, message)
    if rule.template_id not in templates:
        record = await transaction.template(rule.template_id)
        if record is None:
            message = f"the template {shown(rule.template_id)} of rule {shown(rule.id)} was deleted: it stays as it is"
            raise NotFound.of(field, Reason.TEMPLATE_NOT_FOUND, message, id=rule.template_id)
        templates[rule.template_id] = record.value
    return templates[rule.template_id]


def _named(violation: Violation, rule: AlertRule, template: AlertTemplate) -> Violation:
    message = f"rule {shown(rule.id)} does not fit version {template.version} of its template: {violation.message}"
    return replace(violation, message=message)
