"""Edits of alert rules: the one thing that most calls are about."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rule_service.domain.check import check_rule
from rule_service.domain.model import AlertRule, AlertSpec, Config, GroupScope, MergeStrategy, Scope
from rule_service.domain.reach import Everything, Reach, Settings, Standing
from rule_service.domain.wording import shown
from rule_service.usecases.change import Change, WriteOptions, Written
from rule_service.usecases.deleted import id_of_deleted
from rule_service.usecases.expect import check_etag, found, the_live_rule, the_scope, the_template
from rule_service.usecases.off import samples_of_off
from rule_service.usecases.ports import Reads, Record, Transaction
from rule_service.usecases.ports_changes import Answered, ResourceChange
from rule_service.usecases.publish import Edit, First, Publisher
from rule_service.usecases.rendering import Edited
from rule_service.usecases.restore import restore_rule
from rule_service.usecases.show import ShownRule, shown_rules
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, Violation
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule as asked for: from a template, or directly with `key` and `spec`.

    template_version: in a bundle, of the snapshot that a rule from a template has in `spec`.
    """

    id: str
    scope: Scope
    key: str | None = None
    template_id: str | None = None
    template_version: int | None = None
    spec: AlertSpec | None = None
    config: Config = field(default_factory=Config)
    merge_strategy: MergeStrategy = MergeStrategy.MERGE
    priority: int = 0
    enabled: bool = True
    description: str = ""


class RuleEdits:
    def __init__(self, publisher: Publisher, reads: Reads) -> None:
        self._publisher = publisher
        self._reads = reads

    async def create(self, draft: RuleDraft, options: WriteOptions) -> Written[ShownRule]:
        """Raises InvalidInput with field and position, NotFound for the template or the scope, AlreadyExists."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertRule]]:
            there = await transaction.rule(draft.id)
            if there is not None and there.deleted_at is not None:
                raise id_of_deleted("rule", draft.id)
            await the_scope(transaction, draft.scope, "rule.scope")
            rule = await _checked(transaction, await _made(transaction, draft))
            return await _saved(transaction, await transaction.insert_rule(rule), None)

        async def first(transaction: Transaction, done: Answered) -> Record[AlertRule]:
            return found(await transaction.rule(done.resource_id), "rule", done.resource_id, "rule.id")

        return await self._shown(edit, options, first)

    async def update(
        self, id: str, etag: str, change: Callable[[AlertRule], AlertRule], options: WriteOptions
    ) -> Written[ShownRule]:
        """`change` makes the new value of the current one. Raises NotFound, Conflict, InvalidInput."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertRule]]:
            current = await the_live_rule(transaction, id, "rule.id")
            check_etag(current, etag, "rule.etag")
            asked = replace(change(current.value), owner=current.value.owner)
            _refuse_immutable(current.value, asked)
            rule = await _checked(transaction, asked)
            if rule == current.value:
                return Edited(current)
            return await _saved(transaction, await transaction.update_rule(rule), current.value)

        return await self._shown(edit, options)

    async def switch(self, id: str, etag: str, enabled: bool, options: WriteOptions) -> Written[ShownRule]:
        """On or off; a rule that is so already stays as it is. Raises NotFound, Conflict, InvalidInput."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertRule]]:
            current = await the_live_rule(transaction, id, "id")
            check_etag(current, etag, "etag")
            if current.value.enabled == enabled:
                return Edited(current)
            rule = await _checked(transaction, replace(current.value, enabled=enabled))
            return _edited(await transaction.update_rule(rule), current.value, rule)

        return await self._shown(edit, options)

    async def delete(self, id: str, etag: str, options: WriteOptions) -> Written[ShownRule]:
        """Softly. Raises NotFound, Conflict."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertRule]]:
            current = await the_live_rule(transaction, id, "id")
            check_etag(current, etag, "etag")
            return _edited(await transaction.delete_rule(id), current.value, None)

        return await self._shown(edit, options)

    async def undelete(self, id: str, etag: str, options: WriteOptions) -> Written[ShownRule]:
        """Raises NotFound for the rule and for its scope, AlreadyExists for a live rule and a key that is taken,
        Conflict, and InvalidInput for what can not be rendered any more.
        """

        async def edit(transaction: Transaction) -> Edited[Record[AlertRule]]:
            current = found(await transaction.rule(id), "rule", id, "id")
            if current.deleted_at is None:
                raise AlreadyExists.of("id", Reason.RULE_NOT_DELETED, f"rule {shown(id)} is not deleted: it is there")
            check_etag(current, etag, "etag")
            record = await restore_rule(transaction, current.value, "rule")
            return _edited(record, None, record.value)

        return await self._shown(edit, options)

    async def purge(self, id: str, etag: str, options: WriteOptions) -> Change:
        """Removes a deleted rule for good. Raises NotFound, Conflict, FailedPrecondition for a live one."""

        async def edit(transaction: Transaction) -> Edited[None]:
            current = found(await transaction.rule(id), "rule", id, "id")
            if current.deleted_at is None:
                message = f"rule {shown(id)} is not deleted, and only deleted rules are purged: delete it first"
                raise FailedPrecondition.of("id", Reason.RULE_NOT_DELETED, message)
            check_etag(current, etag, "etag")
            await transaction.purge_rule(id)
            return Edited(None, (ResourceChange("rule", id, None, None),))

        return (await self._publisher.publish(edit, options)).change

    async def _shown(
        self, edit: Edit[Record[AlertRule]], options: WriteOptions, first: First[Record[AlertRule]] | None = None
    ) -> Written[ShownRule]:
        written = await self._publisher.publish(edit, options, first)
        record = written.value
        placed = written.rendered.get(record.value.id)
        if placed is not None or record.deleted_at is not None or not record.value.enabled:
            return Written(ShownRule(record, placed), written.change, written.rendered)
        (rule,) = await shown_rules(self._reads, [record])
        return Written(rule, written.change, written.rendered)


def _edited(record: Record[AlertRule], before: AlertRule | None, after: AlertRule | None) -> Edited[Record[AlertRule]]:
    id = record.value.id
    return Edited(
        record,
        (ResourceChange("rule", id, before, after),),
        frozenset([record.value.key]),
        _reach(record.value, before, after),
        fields={id: "rule"},
    )


def _reach(rule: AlertRule, before: AlertRule | None, after: AlertRule | None) -> Reach:
    if not isinstance(rule.scope, GroupScope):
        return Everything()
    if before is not None and after is not None and before.priority == after.priority:
        return Settings(rule.scope.group_id)
    return Standing(rule.scope.group_id)


async def _saved(
    transaction: Transaction, record: Record[AlertRule], before: AlertRule | None
) -> Edited[Record[AlertRule]]:
    """An edit that says what a rule is to be; it is checked even if it is off."""
    edited = _edited(record, before, record.value)
    return replace(edited, samples=await samples_of_off(transaction, edited.resources, edited.fields))


def _refuse_immutable(before: AlertRule, after: AlertRule) -> None:
    changed = {
        "id": before.id != after.id,
        "key": before.key != after.key,
        "scope": before.scope != after.scope,
        "template_id": before.template_id != after.template_id,
        "spec": before.template_id is not None and before.spec != after.spec,
    }
    violations = tuple(
        Violation(f"rule.{name}", Reason.FIELD_IMMUTABLE, _IMMUTABLE[name]) for name in changed if changed[name]
    )
    if violations:
        raise InvalidInput(violations)


_ELSEWHERE = "it says which alert this is and where, and can not be changed: create another rule and delete this one"
_IMMUTABLE = {
    "id": _ELSEWHERE,
    "key": _ELSEWHERE,
    "scope": _ELSEWHERE,
    "template_id": "a rule stays with the template it was made from: create another rule and delete this one",
    "spec": "it is a snapshot of the template: set `config` to change how the rule behaves",
}


async def _checked(transaction: Transaction, rule: AlertRule) -> AlertRule:
    namespaces = await transaction.all_namespaces()
    return check_rule(rule, {namespace.label for namespace in namespaces.values()})


async def _made(transaction: Transaction, draft: RuleDraft) -> AlertRule:
    """The rule that the draft asks for, with its snapshot."""
    if draft.template_id is None:
        return made_directly(draft, "rule")
    if draft.spec is not None:
        raise InvalidInput.of(
            "rule.spec",
            Reason.FIELD_INVALID,
            "a rule from a template takes its spec from there: set `config`, or leave out `template_id`",
        )
    template = (await the_template(transaction, draft.template_id, "rule.template_id")).value
    return made_of(draft, draft.key or template.key, template.spec, template.version)


def made_directly(draft: RuleDraft, field: str) -> AlertRule:
    """The rule of a draft without a template. field: where it stands in the request. Raises InvalidInput."""
    if draft.spec is None:
        raise InvalidInput.of(
            f"{field}.spec",
            Reason.FIELD_REQUIRED,
            "a rule is made from a template (`template_id`), or directly (`key` and `spec`): give one of the two",
        )
    if draft.key is None:
        raise InvalidInput.of(
            f"{field}.key", Reason.FIELD_REQUIRED, "a direct rule needs a key: which alert it is, e.g. 'high-cpu'"
        )
    return made_of(draft, draft.key, draft.spec, None)


def made_of(draft: RuleDraft, key: str, spec: AlertSpec, template_version: int | None) -> AlertRule:
    """The rule of a draft with this snapshot."""
    return AlertRule(
        id=draft.id,
        key=key,
        scope=draft.scope,
        spec=spec,
        config=draft.config,
        template_id=draft.template_id,
        template_version=template_version,
        merge_strategy=draft.merge_strategy,
        priority=draft.priority,
        enabled=draft.enabled,
        description=draft.description,
    )
