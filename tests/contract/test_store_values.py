"""Numbers and texts come back from the database exactly as they were written, or are refused as bad input."""

import math
import random
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.model import AlertRule, Config, GlobalScope, Group, ParameterValue
from rule_service.store.encode import config_json, config_of, dump
from rule_service.store.pool import Database
from rule_service.store.unit_of_work import PostgresStore
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from tests.support.store import add, open_database, writing
from tests.support.worlds import SPEC, rule

NUMBERS = (
    0.0, -0.0, 0.1, 80.0, 1e-300, 5e-324, 1.7976931348623157e308, -1e300, 2.0**53 + 2, 1e21, 1e22, 123456789.125,
    math.inf, -math.inf, math.pi,
)  # fmt: skip
TEXTS = (
    "", " ", "\x01\x1f\x7f\x85\u2028", "é e\u0301", "𝔸🔥", "\ufeff\uffff", "\\u0000", "'\"\\{}$1%s", "80", "null",
    "x" * 100_000,
)  # fmt: skip


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest.fixture
def store(pool: Database) -> PostgresStore:
    return PostgresStore(pool)


def doubles(count: int) -> list[float]:
    """Numbers over the whole range of exponents, always the same ones."""
    source = random.Random(20)
    found: list[float] = []
    while len(found) < count:
        (number,) = struct.unpack("<d", source.randbytes(8))
        if math.isfinite(number):
            found.append(number)
    return found


async def stored(store: PostgresStore, parameters: dict[str, ParameterValue]) -> dict[str, ParameterValue]:
    await add(store, AlertRule("r", "k", GlobalScope(), SPEC, Config(parameters=parameters)))
    record = await store.rule("r")
    assert record is not None
    world = (await store.key_worlds(["k"]))["k"]
    assert world.rules == (record.value,)
    return dict(record.value.config.parameters)


async def test_numbers_come_back_to_the_last_bit(store: PostgresStore) -> None:
    written: dict[str, ParameterValue] = {f"p{at}": number for at, number in enumerate([*NUMBERS, *doubles(1_000)])}
    read = await stored(store, written)
    assert {name: type(value) for name, value in read.items()} == dict.fromkeys(written, float)
    assert {name: struct.pack("<d", value) for name, value in read.items()} == {
        name: struct.pack("<d", value) for name, value in written.items()
    }


async def test_texts_come_back_character_for_character(store: PostgresStore) -> None:
    written: dict[str, ParameterValue] = {f"p{at}": text for at, text in enumerate(TEXTS)}
    assert await stored(store, written) == written


async def test_texts_in_columns_come_back_character_for_character(store: PostgresStore) -> None:
    await add(store, *(Group(f"g{at}", "default", text, description=text) for at, text in enumerate(TEXTS)))
    groups = (await store.groups("", 99)).items
    assert {(record.value.label_value, record.value.description) for record in groups} == {(t, t) for t in TEXTS}


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "half a surrogate pair"])
@pytest.mark.parametrize("place", ["column", "json"])
async def test_what_is_no_text_is_bad_input(store: PostgresStore, text: str, place: str) -> None:
    bad = rule("global", description=text) if place == "column" else rule("global", config={"labels": {"l": text}})
    with pytest.raises(InvalidInput) as caught:
        async with writing(store) as transaction:
            await transaction.insert_rule(bad)
    assert caught.value.reason is Reason.FIELD_INVALID
    assert await store.rule("global") is None


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.one_of(st.text(), st.floats(allow_nan=False)), max_size=5),
    st.dictionaries(st.text(max_size=5), st.text()),
    st.one_of(st.none(), st.text()),
)
def test_every_config_survives_its_json(
    parameters: dict[str, ParameterValue], labels: dict[str, str], duration: str | None
) -> None:
    config = Config(duration, None, duration, labels, labels, parameters)
    assert config_of(config_json(config)) == config
    assert dump(config_json(config))
