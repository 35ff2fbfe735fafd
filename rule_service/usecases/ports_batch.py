"""Writing many resources at once, as a bundle or a rollback does. Implemented by `rule_service.store`."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from rule_service.domain.model import AlertRule, AlertTemplate, Group, Namespace, Scope, Target


class Content(NamedTuple):
    """Something that is in a place: a group or rule in a namespace; a child group, rule or target in a group."""

    place: str
    place_id: str
    kind: str
    id: str


class Batches(Protocol):
    """Part of a transaction. Each method is one statement or two, however many resources it is about.

    The put methods insert those that are not there and change the others.
    """

    async def put_namespaces(self, namespaces: Sequence[Namespace]) -> None: ...
    async def put_groups(self, groups: Sequence[Group]) -> None:
        """Parents may come after their children."""
        ...

    async def put_targets(self, targets: Sequence[Target]) -> None: ...
    async def put_templates(self, templates: Sequence[AlertTemplate]) -> None: ...
    async def put_rules(self, rules: Sequence[AlertRule]) -> None:
        """Deleted ones are brought back."""
        ...

    async def park(
        self, namespace_ids: Collection[str], group_ids: Collection[str], target_ids: Collection[str]
    ) -> None:
        """Takes labels, label values, parents and memberships from them, until they are put back or removed.

        None of them is then in the way of another that gets what it had.
        """
        ...

    async def delete_rules(self, ids: Collection[str]) -> None:
        """Softly, those that are live."""
        ...

    async def remove_groups(self, ids: Collection[str]) -> None:
        """Raises FailedPrecondition where something is in one of them."""
        ...

    async def remove_namespaces(self, ids: Collection[str]) -> None:
        """Raises FailedPrecondition where something is in one of them."""
        ...

    async def remove_targets(self, ids: Collection[str]) -> None: ...
    async def remove_templates(self, ids: Collection[str]) -> None: ...
    async def live_rules_in_places(self, places: Collection[tuple[str, Scope]]) -> tuple[AlertRule, ...]:
        """The live rules with one of these keys at its scope."""
        ...

    async def contents(self, namespace_ids: Collection[str], group_ids: Collection[str]) -> tuple[Content, ...]:
        """What is in these namespaces and groups."""
        ...
