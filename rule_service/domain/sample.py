"""A rule made of a template alone, so that a template can be checked before any rule is made from it."""

from typing import assert_never

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    Config,
    GlobalScope,
    KeyWorld,
    Parameter,
    ParameterType,
    ParameterValue,
)
from rule_service.domain.render import RenderedRule, render_rule


def sample_of(template: AlertTemplate) -> RenderedRule:
    """The global rule that the template gives with its defaults, and with some legal value where there is none.

    Raises InvalidInput where that does not render.
    """
    needed = {each.name: _some_value(each) for each in template.spec.parameters if each.default is None}
    rule = AlertRule(template.id, template.key, GlobalScope(), template.spec, Config(parameters=needed))
    return render_rule(rule, WorldIndex(KeyWorld(template.key, {}, {}, (rule,))))


def _some_value(parameter: Parameter) -> ParameterValue:
    if parameter.allowed:
        return parameter.allowed[0]
    bound = parameter.minimum if parameter.minimum is not None else parameter.maximum
    if bound is not None:
        return bound
    match parameter.type:
        case ParameterType.NUMBER:
            return 1.0
        case ParameterType.DURATION:
            return "5m"
        case ParameterType.STRING | ParameterType.LABEL_NAME | ParameterType.METRIC_NAME:
            return "sample"
        case ParameterType.REGEX:
            return ".+"
        case _:
            assert_never(parameter.type)
