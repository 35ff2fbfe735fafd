"""A rule made of a template alone, so that a template can be checked before any rule is made from it."""

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, AlertTemplate, Config, GlobalScope, KeyWorld
from rule_service.domain.parameters import example_value
from rule_service.domain.render import RenderedRule, render_rule


def sample_of(template: AlertTemplate) -> RenderedRule:
    """The global rule that the template gives with its defaults, and with some legal value where there is none.

    Raises InvalidInput where that does not render.
    """
    needed = {each.name: example_value(each) for each in template.spec.parameters if each.default is None}
    rule = AlertRule(template.id, template.key, GlobalScope(), template.spec, Config(parameters=needed))
    return render_rule(rule, WorldIndex(KeyWorld(template.key, {}, {}, (rule,))))
