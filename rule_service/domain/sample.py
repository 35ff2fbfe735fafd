"""Rules as they would be with what they lack made up, so that what is in no file yet can be checked."""

from dataclasses import replace

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, AlertTemplate, GlobalScope, KeyWorld, MergeStrategy
from rule_service.domain.parameters import example_value
from rule_service.domain.render import RenderedRule, render_rule


def sample_of(template: AlertTemplate) -> RenderedRule:
    """The global rule that the template gives with its defaults, and with some legal value where there is none.

    Raises InvalidInput where that does not render.
    """
    rule = AlertRule(template.id, template.key, GlobalScope(), template.spec)
    return sample_of_rule(rule, WorldIndex(KeyWorld(template.key, {}, {}, (rule,))))


def sample_of_rule(rule: AlertRule, index: WorldIndex) -> RenderedRule:
    """The rule at its scope, enabled or not, as its author wrote it: with nothing inherited, and with some legal value
    for each parameter that it leaves to the rules above.

    Raises as `render_rule` does.
    """
    missing = {each.name: example_value(each) for each in rule.spec.parameters if each.default is None}
    parameters = {**missing, **rule.spec.defaults.parameters, **rule.config.parameters}
    config = replace(rule.config, parameters=parameters)
    return render_rule(replace(rule, merge_strategy=MergeStrategy.OVERRIDE, config=config), index)
