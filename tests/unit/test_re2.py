"""Which regular expressions are Go's. The verdicts were taken from Go's own regexp package."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.matchers import regex_quote
from rule_service.domain.re2 import BadRegex, ItemKind, scan_regex

VALID = [
    "",
    "a|b",
    "(a|b)*?c+",
    "^$",
    "^*",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[[:alpha:]_]",
    r"[\d\]-]",
    "[a[]",
    "x{2}",
    "x{2,}",
    "x{2,3}?",
    "x{,3}",
    "x{1000}",
    "(x{10}){100}",
    "x{a",
    "}",
    "]",
    r"\x41\x{1F600}\012\0\_\-\/\"",
    r"\bfoo\B\A\z",
    r"\d\D\s\S\w\W\pL\PL\p{Greek}\p{^Lu}",
    r"\Qa.b(\E",
    r"\Qa\E*",
    "(?i)a(?-s)b",
    "(?i:a)",
    "(?-i:a)",
    "(?P<name>a)",
    "é.\U0001f600\n",
    "()",
    "a||b",
]
INVALID = [
    ("(", 0, "never closed"),
    ("a)", 1, "never opened"),
    ("a)(b", 1, "never opened"),
    ("[a", 0, "never closed"),
    ("[]", 0, "never closed"),
    ("a\\", 1, "backslash"),
    ("[a\\", 2, "backslash"),
    ("*a", 0, "nothing stands before"),
    ("a|*", 2, "nothing stands before"),
    ("(+)", 1, "nothing stands before"),
    ("a**", 2, "nothing stands before"),
    ("a*{2}", 2, "nothing stands before"),
    ("x{1001}", 1, "more than 1000"),
    ("(x{100}){11}", 8, "more than 1000"),
    ("x{3,2}", 1, "backwards"),
    ("x{" + "1" * 5000 + "}", 1, "more than 1000"),
    ("[z-a]", 1, "backwards"),
    (r"[a-\d]", 3, "escape"),
    ("[[:foo:]]", 1, "class"),
    (r"(a)\1", 3, "backreferences"),
    ("a(?=b)", 1, "lookahead"),
    ("a(?!b)", 1, "lookahead"),
    ("(?<=a)b", 0, "lookbehind"),
    ("(?<!a)b", 0, "lookbehind"),
    ("(?x)a", 0, "kind of group"),
    ("(?>a)", 0, "kind of group"),
    ("(?P<n>a)(?P<n>b)", 8, "two groups"),
    (r"\h", 0, "escape"),
    (r"\é", 0, "escape"),
    (r"a\Qb", 1, r"\E"),
    (r"a\E", 1, r"\Q"),
    ("(" * 101 + ")" * 101, 100, "nested"),
]


@pytest.mark.parametrize("pattern", VALID)
def test_what_go_takes_is_cut_into_words_without_gaps(pattern: str) -> None:
    items = scan_regex(pattern)
    assert "".join(pattern[item.start : item.end] for item in items) == pattern


@pytest.mark.parametrize(("pattern", "offset", "message"), INVALID)
def test_what_go_refuses_is_refused_where_it_breaks(pattern: str, offset: int, message: str) -> None:
    with pytest.raises(BadRegex) as refused:
        scan_regex(pattern)
    assert refused.value.offset == offset
    assert message in str(refused.value)


@given(st.text())
def test_a_quoted_text_is_a_sequence_of_characters(text: str) -> None:
    items = scan_regex(regex_quote(text))
    assert len(items) == len(text)
    assert {item.kind for item in items} <= {ItemKind.CHARACTER, ItemKind.ESCAPE}


@given(st.text(alphabet="ab\\[](){}|*+?^$-:,.QEdP<>1", max_size=30))
def test_any_text_is_taken_or_refused(pattern: str) -> None:
    try:
        end = sum(item.end - item.start for item in scan_regex(pattern))
    except BadRegex as refused:
        end = refused.offset + 1
    assert end <= len(pattern)
