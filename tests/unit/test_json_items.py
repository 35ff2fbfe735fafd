"""Items told while a document comes in: the same as of the whole document, however it is cut."""

import itertools
import json
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer_service.adapters.json_items import JsonItems

PATH = ("data", "groups")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
others = st.dictionaries(st.text().filter(lambda key: key not in PATH), values, max_size=2)
spaces = st.sampled_from([None, 0, 1])


def told(chunks: Iterable[bytes]) -> list[Any]:
    found: list[Any] = []
    items = JsonItems(PATH, found.append)
    for chunk in chunks:
        items.feed(chunk)
    items.close()
    return found


def cut(whole: bytes, at: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(end % (len(whole) + 1) for end in at), len(whole)]
    return [whole[begin:end] for begin, end in itertools.pairwise(ends)]


@given(
    groups=st.lists(values, max_size=5),
    around=st.tuples(others, others, others, others),
    ascii_only=st.booleans(),
    space=spaces,
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_however_it_is_cut_the_items_are_those_of_the_whole(
    groups: list[Any],
    around: tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]],
    ascii_only: bool,
    space: int | None,
    cuts: list[int],
) -> None:
    before, after, inner_before, inner_after = around
    document = before | {"data": inner_before | {"groups": groups} | inner_after} | after
    whole = json.dumps(document, ensure_ascii=ascii_only, indent=space).encode() + b"\n" * (space or 0)
    expected = json.loads(whole)["data"]["groups"]
    assert told(cut(whole, cuts)) == expected
    assert told(whole[at : at + 1] for at in range(len(whole))) == expected


WHOLE = (
    '{"status":"ok","data":{"more":[1,{}],"groups":[{"é":"\\u00e9🔔","n":12},-1.5e3,[]],"next":null},"w":"}"}'.encode()
)


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_document_that_is_not_whole_is_refused_wherever_it_ends(size: int) -> None:
    for chunks in ([WHOLE[:size]], [WHOLE[at : at + 1] for at in range(size)]):
        with pytest.raises(ValueError, match=r"not whole|unexpected end of data"):
            told(chunks)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "<html>",
        "[]",
        "null",
        "{}",
        '{"data":null}',
        '{"data":[]}',
        '{"data":{"groups":null}}',
        '{"data":{"groups":{}}}',
        '{"data":{"groups":[1,]}}',
        '{"data":{"groups":[,1]}}',
        '{"data":{"groups":[1 2]}}',
        '{"data":{"groups":[01]}}',
        '{"data":{"groups":[1}}',
        '{"data":{"groups":[tru]}}',
        '{"data" {"groups":[]}}',
        '{"data":{"groups":[]},}',
        '{"data":{"groups":[]}}}',
        '{"data":{"groups":[]}} {}',
        '{"data":{"groups":["\n"]}}',
    ],
)
def test_what_is_not_such_a_document_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not whole|expected|after the end"):
        told([text.encode()])


@pytest.mark.parametrize("text", ['{"a":1}', '{"data":{"a":1}}', '{"data":{"data":[],"a":{"groups":[1]}},"groups":[]}'])
def test_a_document_without_the_array_is_refused(text: str) -> None:
    with pytest.raises(KeyError):
        told([text.encode()])


@pytest.mark.parametrize("cut_at", range(4))
def test_bytes_that_are_no_utf_8_are_refused(cut_at: int) -> None:
    bad = b'{"data":{"groups":["' + "🔔".encode()[:cut_at] + b'\xff"]}}'
    with pytest.raises(UnicodeDecodeError):
        told([bad])


def test_what_the_taker_raises_comes_out() -> None:
    def take(item: Any) -> None:
        raise TypeError(item)

    with pytest.raises(TypeError):
        JsonItems(PATH, take).feed(b'{"data":{"groups":[1,')


def test_items_are_told_as_soon_as_they_are_whole() -> None:
    found: list[Any] = []
    items = JsonItems(PATH, found.append)
    items.feed(b'{"data":{"groups":[{"a":1},{"b"')
    assert found == [{"a": 1}]
    items.feed(b":2}    ,")
    assert found == [{"a": 1}, {"b": 2}]


def test_an_item_in_many_pieces_is_decoded_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def decode(text: str, at: int) -> tuple[Any, int]:
        tried.append(len(text) - at)
        return json.JSONDecoder().raw_decode(text, at)

    monkeypatch.setattr("deployer_service.adapters.json_items._decode", decode)
    item = "x" * 1_000_000
    whole = json.dumps({"data": {"groups": [item, item]}}).encode()
    assert told(whole[at : at + 1000] for at in range(0, len(whole), 1000)) == [item, item]
    assert sum(tried) < 5 * len(whole)


def test_what_was_told_is_kept_no_longer() -> None:
    item = b'{"text":"' + b"x" * 1_000 + b'"},'
    items = JsonItems(PATH, lambda item: None)
    items.feed(b'{"data":{"groups":[')
    tracemalloc.start()
    try:
        for _ in range(10_000):
            items.feed(item)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    items.feed(b"0]}}")
    items.close()
    assert most < 100_000, "of ten million bytes"
