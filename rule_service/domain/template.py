"""A template as a whole: every placeholder is declared, every parameter is used, each where its type belongs."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rule_service.domain.model import AlertSpec, Parameter, ParameterValue
from rule_service.domain.parameters import example_value
from rule_service.domain.placeholders import Placeholder
from rule_service.domain.template_query import query_placeholders, render_query
from rule_service.domain.template_text import render_text, text_placeholders
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput, Violation
from rulecast.reasons import Reason

__all__ = ["check_spec_templates", "example_values", "render_query", "render_text"]

_Find = Callable[[str, Sequence[Parameter], str], list[Placeholder]]
_Render = Callable[[str, Sequence[Parameter], Mapping[str, ParameterValue], str], object]


def example_values(parameters: Sequence[Parameter]) -> dict[str, ParameterValue]:
    """A value for each parameter, its default where it has one: to look at a template before any rule is made of it."""
    return {parameter.name: example_value(parameter) for parameter in parameters}


def check_spec_templates(spec: AlertSpec, field: str) -> None:
    """Checks the query, default labels and default annotations as templates, with the example values in place.

    The parameters are as `check_parameters` returned them. A parameter without a default is fine: a rule must set it.
    Raises InvalidInput with one violation for each text that is wrong, as `render_query` and `render_text` do, and for
    each declared parameter that no text uses (PARAMETER_UNUSED).
    """
    examples = example_values(spec.parameters)
    violations: list[Violation] = []
    used: set[str] = set()
    for path, text, find, render in _texts(spec, field):
        try:
            used.update(placeholder.name for placeholder in find(text, spec.parameters, path))
            render(text, spec.parameters, examples, path)
        except InvalidInput as error:
            violations.extend(error.violations)
    # a text that cannot be read may use any of them
    if not violations:
        violations.extend(_unused(spec, used, field))
    if violations:
        raise InvalidInput(tuple(violations))


def _texts(spec: AlertSpec, field: str) -> Iterator[tuple[str, str, _Find, _Render]]:
    yield f"{field}.query", spec.query, query_placeholders, render_query
    for section, texts in (("labels", spec.defaults.labels), ("annotations", spec.defaults.annotations)):
        for name, text in texts.items():
            yield f"{field}.default_config.{section}[{name}]", text, text_placeholders, render_text


def _unused(spec: AlertSpec, used: set[str], field: str) -> Iterator[Violation]:
    for parameter in spec.parameters:
        if parameter.name not in used:
            yield Violation(
                f"{field}.parameters[{parameter.name}]",
                Reason.PARAMETER_UNUSED,
                f"the parameter {shown(parameter.name)} is declared and never used: write "
                f"{{{{ .{parameter.name} }}}} in the query, a label or an annotation, or remove it",
            )
