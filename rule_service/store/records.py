"""What the modules of nouns share: stamps, records, pages, and what to say when a row is missing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from rule_service.store.encode import dump
from rule_service.store.pool import Row
from rule_service.usecases.ports import Page, Record
from rulecast.errors import NotFound
from rulecast.reasons import Reason

T = TypeVar("T")

PARKED = "moving "
"""Before an id: like no label and no value that anybody may have, and gone before anyone sees it."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a transaction writes on every row that it changes. at: the database's clock, after the commit lock.

    created_at: for a row that is inserted again after it was deleted; None: `at`.
    """

    revision: int
    at: datetime
    created_at: datetime | None = None

    @property
    def of_insert(self) -> tuple[int, datetime, datetime]:
        """The revision, and the times of creation and change of a row that is inserted."""
        return self.revision, self.created_at or self.at, self.at


def record_of(row: Row, value: T) -> Record[T]:
    return Record(value, row["revision"], row["created_at"], row["updated_at"])


def page_of(rows: Sequence[Row], limit: int, item: Callable[[Row], T], id: str = "id") -> Page[T]:
    """A page of `limit` items from one row more, by which it is known that another page follows."""
    shown = rows[:limit]
    return Page(tuple(item(row) for row in shown), str(shown[-1][id]) if len(rows) > limit else None)


def columns(rows: Iterable[tuple[object, ...]]) -> Iterator[list[object]]:
    """Rows as the arrays that `unnest` makes rows of again."""
    return (list(column) for column in zip(*rows, strict=True))


def as_texts(row: Iterable[object]) -> tuple[object, ...]:
    """A row with its JSON as text: arrays of `jsonb` can not be sent."""
    return tuple(dump(value) if isinstance(value, (dict, list)) else value for value in row)


def missing(kind: str, id: str, reason: Reason) -> NotFound:
    return NotFound.of("id", reason, f"there is no {kind} '{id}'", id=id)
