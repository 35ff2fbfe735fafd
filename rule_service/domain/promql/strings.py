"""String literals of PromQL: Go's, with three kinds of quotes, two of which take escapes."""

import re

_NEEDS_ESCAPES = re.compile('["\\\\�]')
_SHORT = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_BY_LETTER = {written[1]: char for char, written in _SHORT.items()}
_ESCAPE = re.compile(
    r"\\(?:(?P<letter>[abfnrtv\\\"'])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9A-Fa-f]{2})"
    r"|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8}))"
)


class BadEscape(ValueError):
    """An escape that Prometheus does not know. `offset` counts from the opening quote."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


def quote(value: str) -> str:
    """`value` as a double-quoted literal. Whatever is not printable is written as an escape.

    So is U+FFFD: Prometheus's lexer takes it for broken UTF-8 when it stands there as itself.
    `value` holds no lone surrogates.
    """
    if value.isprintable() and _NEEDS_ESCAPES.search(value) is None:
        return f'"{value}"'
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable() and char != "�":
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def unquote(literal: str) -> str:
    """The value of a literal with its quotes on. Bytes that are not UTF-8 (`\\xff`) become lone surrogates.

    Raises BadEscape.
    """
    mark, body = literal[0], literal[1:-1]
    if mark == "`" or "\\" not in body:
        return body
    value = bytearray()
    at = 0
    while (backslash := body.find("\\", at)) >= 0:
        value += body[at:backslash].encode("utf-8", "surrogatepass")
        escape = _ESCAPE.match(body, backslash)
        if escape is None or (escape["letter"] in ('"', "'") and escape["letter"] != mark):
            raise BadEscape(backslash + 1, f"unknown escape {body[backslash : backslash + 2]!r} in a string")
        value += _escape_bytes(escape, backslash + 1)
        at = escape.end()
    value += body[at:].encode("utf-8", "surrogatepass")
    return value.decode("utf-8", "surrogateescape")


def _escape_bytes(escape: re.Match[str], offset: int) -> bytes:
    if letter := escape["letter"]:
        return _BY_LETTER.get(letter, letter).encode()
    if digits := escape["octal"]:
        code = int(digits, 8)
    elif digits := escape["byte"]:
        code = int(digits, 16)
    else:
        return _code_point(int(escape["short"] or escape["long"], 16), offset)
    if code > 0xFF:
        raise BadEscape(offset, f"the escape {escape[0]} is more than one byte")
    return bytes([code])


def _code_point(code: int, offset: int) -> bytes:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise BadEscape(offset, f"U+{code:04X} is no Unicode character")
    return chr(code).encode()
