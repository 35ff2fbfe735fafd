"""Whether a migration only adds, so that the release before goes on with the schema after it. Text only."""

import re
from collections.abc import Iterator

_COMMENT = re.compile(r"--[^\n]*")
_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (?:CONCURRENTLY )?\w+ ON (\w+) (.+)", re.IGNORECASE | re.DOTALL)
_ALTER = re.compile(r"ALTER TABLE (\w+) (.+)", re.IGNORECASE | re.DOTALL)
_ADD = re.compile(r"ADD COLUMN (?:IF NOT EXISTS )?(\w+) (.+)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")


def objections(sql: str) -> list[str]:
    """What in it could make statements of the release before fail, or mean something else; nothing if it only adds.

    Allowed are new tables, new indexes, and new columns that may be left out: they are nullable or have a default, and
    no constraint that is not about themselves. A unique index has to be on what the same migration adds.
    """
    statements = [" ".join(part.split()) for part in _split(_COMMENT.sub("", sql), ";")]
    added: set[str] = set()
    return [why for statement in statements if statement for why in _of(statement, added)]


def _of(statement: str, added: set[str]) -> Iterator[str]:
    if table := _TABLE.match(statement):
        added.add(table[1])
    elif index := _INDEX.match(statement):
        unique, table_name, on = index.groups()
        if unique and table_name not in added and not added & set(_WORD.findall(on)):
            yield f"a unique index on columns that were there before: {statement}"
    elif alter := _ALTER.match(statement):
        for clause in _split(alter[2], ","):
            yield from _of_clause(clause, added)
    else:
        yield f"not known to only add: {statement}"


def _of_clause(clause: str, added: set[str]) -> Iterator[str]:
    column = _ADD.match(clause)
    if column is None:
        yield f"it changes what is there: {clause}"
        return
    name, kind = column.groups()
    added.add(name)
    words = kind.upper()
    if "NOT NULL" in words and "DEFAULT" not in words:
        yield f"a column that has to be given: {clause}"
    if any(word in words for word in ("REFERENCES", "CHECK", "UNIQUE", "PRIMARY KEY")) and "DEFAULT" in words:
        yield f"a default that may break a constraint: {clause}"


def _split(text: str, separator: str) -> Iterator[str]:
    """At the separators outside parentheses and strings."""
    depth, quoted, start = 0, False, 0
    for at, character in enumerate(text):
        quoted ^= character == "'"
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == separator and not depth and not quoted:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()
