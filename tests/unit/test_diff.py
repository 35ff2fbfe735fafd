"""Which alerts lose their state by a change."""

from dataclasses import replace
from typing import Any

from rule_service.domain.diff import Loss, LostState, changed_identities
from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule
from rule_service.domain.render import RenderedRule, render_rule
from tests.support.rendering import render_key
from tests.support.worlds import SPEC, group, rule, world

ENV = (group("env/prod"), group("env/dev"))
BASE = (rule("global"), rule("group:dev", config={"labels": {"team": "a"}}))


def lost(*after: AlertRule) -> list[tuple[str, Loss]]:
    changes = changed_identities(render_key(world(BASE, ENV)), render_key(world(after, ENV)))
    return [(each.rule_id, each.loss) for each in changes]


def edited(**changes: Any) -> AlertRule:
    return replace(BASE[1], config=replace(BASE[1].config, **changes))


def test_edits_of_query_for_annotations_and_threshold_lose_nothing() -> None:
    other_query = replace(BASE[1], spec=replace(SPEC, query="other > {{ .threshold }}"))
    assert lost(BASE[0], other_query) == []
    assert lost(BASE[0], edited(for_duration="9m", annotations={"summary": "s"}, parameters={"threshold": 1.0})) == []


def test_a_new_rule_costs_others_nothing() -> None:
    assert lost(*BASE, rule("group:prod")) == []


def test_another_label_resets() -> None:
    assert lost(BASE[0], edited(labels={"team": "b"})) == [("group-dev", Loss.RESET)]


def test_another_alert_name_resets() -> None:
    assert lost(BASE[0], replace(BASE[1], spec=replace(SPEC, alert_name="Other"))) == [("group-dev", Loss.RESET)]


def test_another_interval_resets_since_the_group_is_another() -> None:
    changes = changed_identities(render_key(world(BASE, ENV)), render_key(world((BASE[0], edited(interval="1m")), ENV)))
    [change] = changes
    assert isinstance(change, LostState)
    assert change.after is not None
    assert (change.before.group_name, change.after.group_name) == ("group-dev/default/0", "group-dev/1m/0")
    assert change.before.labels == change.after.labels


def test_a_rule_that_goes_ends_its_alerts() -> None:
    assert lost(BASE[0]) == [("group-dev", Loss.REMOVED)]
    assert lost(BASE[0], replace(BASE[1], enabled=False)) == [("group-dev", Loss.REMOVED)]


def test_a_rule_made_anew_with_the_same_identity_keeps_the_state() -> None:
    assert lost(BASE[0], replace(BASE[1], id="again")) == []


def test_the_51st_rule_of_a_file_splits_its_group() -> None:
    before = [keyed(at) for at in range(50)]
    changes = changed_identities(before, [*before, keyed(50)])
    assert 15 <= len(changes) <= 35
    assert {each.loss for each in changes} == {Loss.RESET}
    assert {each.after.group_name for each in changes if each.after} == {"global/default/1"}


def keyed(at: int) -> RenderedRule:
    made = rule("global", id=f"rule-{at}", key=f"key-{at}")
    return render_rule(made, WorldIndex(world([made], key=made.key)))
