"""Cutting PromQL into words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.promql.strings import BadEscape, quote, unquote
from rule_service.domain.promql.tokens import Token, TokenKind, position_of, tokenize
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason


def words(text: str) -> list[tuple[str, str]]:
    return [(token.kind.name, text[token.start : token.end]) for token in tokenize(text)]


def tokens_of(text: str) -> list[Token] | None:
    """None where the text is refused, which is always with a reason and a position."""
    try:
        return tokenize(text)
    except InvalidInput as error:
        if error.reason is not Reason.QUERY_INVALID or error.violations[0].position is None:
            raise
        return None


def test_every_kind_of_word() -> None:
    assert words("a:b{c=~`}`} [5m:1h]\n+ 1_0 @ .5e-3, 'x' # end") == [
        ("IDENTIFIER", "a:b"),
        ("LEFT_BRACE", "{"),
        ("IDENTIFIER", "c"),
        ("OPERATOR", "=~"),
        ("STRING", "`}`"),
        ("RIGHT_BRACE", "}"),
        ("LEFT_BRACKET", "["),
        ("DURATION", "5m"),
        ("COLON", ":"),
        ("DURATION", "1h"),
        ("RIGHT_BRACKET", "]"),
        ("OPERATOR", "+"),
        ("NUMBER", "1_0"),
        ("AT", "@"),
        ("NUMBER", ".5e-3"),
        ("COMMA", ","),
        ("STRING", "'x'"),
        ("COMMENT", "# end"),
    ]


@pytest.mark.parametrize("number", ["0", "5.", ".5", "1e5", "1E+5", "1.5e-3", "0x1F", "0X_1f", "1_000", "0755", "5.e3"])
def test_numbers(number: str) -> None:
    assert words(number) == [("NUMBER", number)]


@pytest.mark.parametrize("duration", ["5m", "1h30m", "1y2w3d4h5m6s7ms", "1ms", "0s", "007d"])
def test_durations(duration: str) -> None:
    assert words(duration) == [("DURATION", duration)]


@pytest.mark.parametrize(
    "wrong", ["1.5h", "30m1h", "5min", "1e", "1e+", "0x", "0xg", "1.2.3", "1..2", "5m5m", "1hs", "5m_"]
)
def test_neither_number_nor_duration(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="neither a number nor a duration") as caught:
        tokenize(f"foo > {wrong}")
    assert caught.value.violations[0].position == Position(1, 7)


def test_a_colon_is_part_of_a_name_except_between_brackets() -> None:
    assert words("a:b[5m:step()]:c")[2:] == [
        ("DURATION", "5m"),
        ("COLON", ":"),
        ("IDENTIFIER", "step"),
        ("LEFT_PAREN", "("),
        ("RIGHT_PAREN", ")"),
        ("RIGHT_BRACKET", "]"),
        ("IDENTIFIER", ":c"),
    ]


@pytest.mark.parametrize("fragment", ['a="b",', "[5m", ")) + {", "> bool", "", "  \n", "5m:", "offset"])
def test_fragments_are_cut_as_well(fragment: str) -> None:
    covered = "".join(fragment[token.start : token.end] for token in tokenize(fragment))
    assert covered == "".join(fragment.split())


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("foo ! bar", "unexpected character '!'", Position(1, 5)),
        ("foo\n  + é", "unexpected character 'é'", Position(2, 5)),
        ("foo;", "unexpected character ';'", Position(1, 4)),
        ('foo{a="b\nc"}', 'the string has no closing "', Position(1, 7)),
        ("foo{a='b", "the string has no closing '", Position(1, 7)),
        ("\n\nfoo{a=`b", "the string has no closing `", Position(3, 7)),
        ('foo{a="b\\z"}', "unknown escape", Position(1, 9)),
        ('foo{a="b\\\'"}', "unknown escape", Position(1, 9)),
        ('"\\ud800"', "U\\+D800 is no Unicode character", Position(1, 2)),
        ('"\\U00110000"', "U\\+110000 is no Unicode character", Position(1, 2)),
        ('"ab\\400"', "more than one byte", Position(1, 4)),
        ('"a�"', "U\\+FFFD stands for broken UTF-8", Position(1, 3)),
    ],
)
def test_errors_say_what_and_where(text: str, message: str, position: Position) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        tokenize(text)
    assert caught.value.reason is Reason.QUERY_INVALID
    assert caught.value.violations[0].position == position


def test_columns_count_characters() -> None:
    assert position_of("é😀\n😀x", 0) == Position(1, 1)
    assert position_of("é😀\n😀x", 2) == Position(1, 3)
    assert position_of("é😀\n😀x", 4) == Position(2, 2)


@given(st.text(st.sampled_from("ab:09.eEx_mhs+-*/%^=!~<>(){}[],@#\"'`\\ \t\n\ré"), max_size=30))
def test_words_cover_everything_but_white_space(text: str) -> None:
    tokens = tokens_of(text)
    if tokens is None:
        return
    at = 0
    for token in [*tokens, Token(TokenKind.END, len(text), len(text))]:
        assert not text[at : token.start].strip(" \t\r\n")
        at = token.end
    assert all(token.start < token.end for token in tokens)


@pytest.mark.parametrize("start", ["1", '"', "'", "1_", "1h", "1.", '"\\', "0x", "1e"])
def test_long_words_do_not_backtrack(start: str) -> None:
    # quadratic backtracking would take minutes here and run into the time limit
    assert tokens_of(start * 200_000 + "é") is None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_a_quoted_value_is_one_string_that_reads_back(value: str) -> None:
    literal = quote(value)
    assert tokenize(literal) == [Token(TokenKind.STRING, 0, len(literal))]
    assert unquote(literal) == value


@pytest.mark.parametrize("code", [*range(1, 32), *range(0x7F, 0xA0), 0xFFFD, 0xFFFE, 0x2028, 0xFEFF, 0xE0001])
def test_what_is_not_printable_is_written_as_an_escape(code: int) -> None:
    assert quote(chr(code)).isascii()
    assert unquote(quote(chr(code))) == chr(code)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"'),
        (r"'\''", "'"),
        (r"`\n`", r"\n"),
        (r'"\x41\101\u0041\U00000041"', "AAAA"),
        (r'"\xc3\xa9é"', "éé"),
        (r'"\xff"', "\udcff"),
    ],
)
def test_literals_are_read_as_go_reads_them(literal: str, value: str) -> None:
    assert unquote(literal) == value


def test_a_bad_escape_says_where() -> None:
    with pytest.raises(BadEscape) as caught:
        unquote(r'"ab\q"')
    assert caught.value.offset == 3
