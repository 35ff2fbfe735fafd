"""Which table is for which kind of resource."""

from typing import TypeVar, cast

from rule_service.domain.model import AlertTemplate, Group, Namespace, Target
from rule_service.store import groups, namespaces, targets, templates
from rule_service.store.resources import Table

T = TypeVar("T")

_TABLES: dict[type, object] = {
    Namespace: namespaces.TABLE,
    Group: groups.TABLE,
    Target: targets.TABLE,
    AlertTemplate: templates.TABLE,
}


def table_of(kind: type[T]) -> Table[T]:
    return cast(Table[T], _TABLES[kind])
