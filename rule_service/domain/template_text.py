"""Annotations and label values: our placeholders are filled in, Prometheus's own template actions stay as they are.

Prometheus expands these texts with Go's text/template each time the alert is evaluated. So every action that is no
placeholder (`{{ $labels.instance }}`, `{{ $value | humanize }}`, `{{ with query "..." }}`) passes byte for byte, and a
value is written so that the expansion gives back exactly that value.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rule_service.domain.model import Parameter, ParameterValue
from rule_service.domain.parameters import format_number
from rule_service.domain.placeholders import BLANKS, PLACEHOLDER, Placeholder, unknown_parameter, value_of
from rule_service.domain.promql.tokens import position_of
from rule_service.domain.remembered import remembered
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

# atomic groups, no possessive ones: before Python 3.11.5 these keep what the last try took, although it failed
_STRINGS = r""""(?>(?:[^"\\\n]++|\\.)*)"|'(?>(?:[^'\\\n]++|\\.)*)'|`[^`]*+`"""
_TRIM = r"(?:-[ \t\r\n]+)?"
_COMMENT = rf"\{{\{{{_TRIM}/\*.*?\*/(?:[ \t\r\n]+-)?\}}\}}"
_CODE = rf"\{{\{{(?!{_TRIM}/\*)(?>(?:[^\"'`}}]++|{_STRINGS}|\}}(?!\}}))*)\}}\}}"
_ACTION = re.compile(f"{_COMMENT}|{_CODE}", re.DOTALL)
_STRING = re.compile(_STRINGS, re.DOTALL)
_KEYWORD = re.compile(rf"\{{\{{{_TRIM}[ \t\r\n]*(if|with|range|block|define|end)\b")
# a field of the dot, not of a variable, of another field or of a result: `.x`, but not `$labels.x` or `.Labels.x`
_DOT_FIELD = re.compile(r"(?<![\w).])\.([a-z]\w*)")
_MOVES_DOT = {"with", "range", "block", "define"}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the text. placeholder: for one of a declared parameter. action: it is an action of Prometheus's."""

    text: str
    placeholder: Placeholder | None = None
    action: bool = False

    @property
    def trims_before(self) -> bool:
        return self.action and self.text[2] == "-" and self.text[3] in BLANKS

    @property
    def trims_after(self) -> bool:
        return self.action and self.text[-3] == "-" and self.text[-4] in BLANKS


def text_placeholders(text: str, parameters: Sequence[Parameter], field: str) -> list[Placeholder]:
    """The placeholders that are filled in, in order. Raises InvalidInput as `render_text` does."""
    return [piece.placeholder for piece in _pieces(text, parameters, field) if piece.placeholder]


def render_text(text: str, parameters: Sequence[Parameter], values: Mapping[str, ParameterValue], field: str) -> str:
    """The text with the placeholders of declared parameters replaced by their values.

    `{{ .name }}` of a declared parameter is always ours, within `with` and `range` too. parameters: as
    `check_parameters` returned them. values: by name, defaults included; others are ignored.
    Raises InvalidInput for `field`, with the position in the text: TEMPLATE_SYNTAX for `{{` that is never closed, and
    for a parameter within another action; PARAMETER_UNKNOWN for a lower-case `.name` where Prometheus has none
    (promtool does not notice, and the alert would fail when it fires); PARAMETER_MISSING; and as `check_value` does.
    """
    if "{{" not in text:
        return text
    pieces = _pieces(text, parameters, field)
    declared = {parameter.name: parameter for parameter in parameters}
    filled = [
        _text_of(value_of(declared[piece.placeholder.name], values, field)) if piece.placeholder else piece.text
        for piece in pieces
    ]
    return "".join(
        _literal(text, _trims_before(pieces, filled, at), _trims_after(pieces, filled, at), at + 1 < len(pieces))
        if pieces[at].placeholder
        else text
        for at, text in enumerate(filled)
    )


def _text_of(value: ParameterValue) -> str:
    return value if isinstance(value, str) else format_number(value)


def _pieces(text: str, parameters: Sequence[Parameter], field: str) -> tuple[_Piece, ...]:
    return _read(text, tuple(parameters), field)


@remembered(1_024)
def _read(text: str, parameters: tuple[Parameter, ...], field: str) -> tuple[_Piece, ...]:
    declared = {parameter.name: parameter for parameter in parameters}
    pieces: list[_Piece] = []
    # of each open block: whether the dot in it is another one
    blocks: list[bool] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        action = _ACTION.match(text, start)
        if action is None:
            message = 'this {{ is never closed by }}: close it, or write {{"{{"}} for two braces'
            raise InvalidInput.of(field, Reason.TEMPLATE_SYNTAX, message, position_of(text, start))
        found = PLACEHOLDER.fullmatch(text, start, action.end())
        if found and (found["name"] in declared or not any(blocks)):
            placeholder = Placeholder.of(found, at)
            if found["name"] not in declared:
                raise unknown_parameter(found["name"], declared, field, position_of(text, start))
            before = text[at : placeholder.start]
            _check_brace(before, placeholder, text, field)
            pieces += (_Piece(before), _Piece(text[placeholder.start : placeholder.end], placeholder))
            at = placeholder.end
            continue
        if not any(blocks):
            _check_fields(action, declared, field)
        _follow_blocks(action[0], blocks)
        pieces += (_Piece(text[at:start]), _Piece(action[0], action=True))
        at = action.end()
    return tuple(piece for piece in (*pieces, _Piece(text[at:])) if piece.text)


def _check_brace(before: str, placeholder: Placeholder, text: str, field: str) -> None:
    # only a trim mark can bring a brace this near: {{{ would have been read as {{ and {
    if before.endswith("{"):
        message = f'a brace would join the value of {placeholder}: write {{{{"{{"}}}} for it'
        raise InvalidInput.of(field, Reason.TEMPLATE_SYNTAX, message, position_of(text, placeholder.at))


def _follow_blocks(action: str, blocks: list[bool]) -> None:
    keyword = _KEYWORD.match(action)
    if keyword is None:
        return
    if keyword[1] != "end":
        blocks.append(keyword[1] in _MOVES_DOT)
    elif blocks:
        blocks.pop()


def _check_fields(action: re.Match[str], declared: Mapping[str, Parameter], field: str) -> None:
    """Where the dot is Prometheus's own data, it has .Labels, .ExternalLabels, .ExternalURL and .Value only."""
    code = _STRING.sub(lambda string: " " * len(string[0]), action[0])
    wrong = _DOT_FIELD.search(code)
    if wrong is None or code.lstrip("{-" + BLANKS).startswith("/*"):
        return
    name = wrong[1]
    position = position_of(action.string, action.start() + wrong.start())
    if name in declared:
        message = f"the parameter {shown(name)} stands alone, with no function or block around: {{{{ .{name} }}}}"
        raise InvalidInput.of(field, Reason.TEMPLATE_SYNTAX, message, position)
    raise unknown_parameter(name, declared, field, position)


def _trims_before(pieces: Sequence[_Piece], filled: Sequence[str], at: int) -> bool:
    """Whether an action in front removes white space at the beginning of the value."""
    nearest = next((other for other in range(at - 1, -1, -1) if filled[other].strip(BLANKS)), None)
    return nearest is not None and pieces[nearest].trims_after


def _trims_after(pieces: Sequence[_Piece], filled: Sequence[str], at: int) -> bool:
    nearest = next((other for other in range(at + 1, len(pieces)) if filled[other].strip(BLANKS)), None)
    return nearest is not None and pieces[nearest].trims_before


_GO_ESCAPES = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _literal(value: str, trimmed_before: bool, trimmed_after: bool, more: bool) -> str:
    """A value as text/template gives it back: what it would take for an action, or trim, becomes a Go string."""
    if not value and (trimmed_before or trimmed_after):
        # the trimming ends here, as it would at the placeholder
        return '{{""}}'
    if "{" not in value and not (trimmed_before or trimmed_after):
        return value
    special = [r"\{\{+"]
    if more:
        # what follows may begin with a brace
        special.append(r"\{\Z")
    if trimmed_before:
        special.append(r"\A[ \t\r\n]+")
    if trimmed_after:
        special.append(r"(?:\{|(?<![ \t\r\n]))[ \t\r\n]+\Z")
    return re.sub("|".join(special), lambda part: '{{"' + part[0].translate(_GO_ESCAPES) + '"}}', value)
