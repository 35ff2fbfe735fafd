"""The real store over a test's own database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import AlertRule, Group, Namespace, Scope
from rule_service.domain.render import RenderedRule
from rule_service.store.pool import Database, connect
from rule_service.store.unit_of_work import PostgresStore, PostgresTransaction
from rule_service.usecases.ports_changes import LoggedChange
from rulecast.digest import file_sha256


@asynccontextmanager
async def open_database(url: str, *, max_size: int = 10) -> AsyncIterator[Database]:
    database = await connect(url, min_size=1, max_size=max_size)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def writing(store: PostgresStore) -> AsyncIterator[PostgresTransaction]:
    """A transaction that holds the commit lock."""
    async with store.transaction() as transaction:
        await transaction.take_revision()
        yield transaction


async def add(store: PostgresStore, *values: Namespace | Group | AlertRule) -> None:
    """Stores them in the order given, in one transaction."""
    async with writing(store) as transaction:
        for value in values:
            match value:
                case Namespace():
                    await transaction.insert_namespace(value)
                case Group():
                    await transaction.insert_group(value)
                case AlertRule():
                    await transaction.insert_rule(value)


async def publish(store: PostgresStore, *files: tuple[Scope, RuleFile], deleted: tuple[str, ...] = ()) -> int:
    """Stores and deletes files as an edit does, with their log. The revision."""
    async with store.transaction() as transaction:
        revision = await transaction.take_revision()
        await transaction.put_files(files)
        await transaction.delete_files(deleted)
        changes = [LoggedChange(file.name, file_sha256(file.content)) for _, file in files]
        changes += [LoggedChange(name, None) for name in deleted]
        await transaction.log("test", "Publish", (), changes)
    return revision


def rendered(rule: AlertRule, **facts: object) -> RenderedRule:
    """A rendered rule with something in every field."""
    values = {
        "rule_id": rule.id,
        "key": rule.key,
        "scope": rule.scope,
        "alert_name": "HighCPU",
        "source_query": "cpu > 90",
        "expr": 'cpu{env=~"a|b"} > 90',
        "for_duration": "5m",
        "keep_firing_for": None,
        "interval": None,
        "labels": {"severity": "warning"},
        "annotations": {"summary": "{{ $value }} %"},
        "digest": "0123456789abcdef",
        "text": f"- alert: HighCPU # {rule.id}\n",
        "warnings": (),
    }
    return RenderedRule(**{**values, **facts})  # type: ignore[arg-type]
