"""Whole worlds rendered at once, as an edit that reaches everything does."""

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import KeyWorld
from rule_service.domain.render import RenderedRule, in_files, render_rule


def render_key(world: KeyWorld) -> tuple[RenderedRule, ...]:
    """All rules of the key that are in a file, in the order of the world."""
    index = WorldIndex(world)
    return tuple(render_rule(rule, index) for rule in in_files(world.rules))
