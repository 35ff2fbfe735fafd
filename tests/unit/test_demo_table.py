"""The table that `make up` ends with."""

from collections.abc import Iterable

from aiohttp import web

from deploy.local.demo import Applied
from deploy.local.table import expected, firing_in, judged, table

APPLIED = [
    Applied("production", "web-1", "high-cpu-production", True, 80),
    Applied("production", "db-1", "high-cpu-production", True, 80),
    Applied("development", "dev-1", "high-cpu-development", True, 95),
    Applied("lab", "lab-1", "high-cpu-lab", False, 80),
]


def test_it_shows_which_rule_applies_and_what_fires() -> None:
    assert table(APPLIED, {"web-1", "db-1"}) == (
        "group        hosts       rule that applies     threshold  fires in Prometheus\n"
        "-----------  ----------  --------------------  ---------  -------------------\n"
        "production   web-1 db-1  high-cpu-production   80 %       yes\n"
        "development  dev-1       high-cpu-development  95 %       no\n"
        "lab          lab-1       high-cpu-lab          off        no"
    )


def test_hosts_that_do_not_fire_alike_are_told_apart() -> None:
    rows = table(APPLIED, {"db-1"}).splitlines()
    assert [row.split()[1] for row in rows[2:4]] == ["web-1", "db-1"]
    assert [row.split()[-1] for row in rows[2:4]] == ["no", "yes"]


def test_a_host_without_a_rule_says_so() -> None:
    row = table([Applied("lab", "lab-1", "", False, 0)], ()).splitlines()[2]
    assert row.split() == ["lab", "lab-1", "none", "-", "no"]


def test_a_host_has_to_fire_when_its_rule_is_on_and_its_threshold_below_what_it_does() -> None:
    assert expected(APPLIED) == {"web-1", "db-1"}
    assert expected([Applied("development", "dev-1", "high-cpu-development", True, 90)]) == {"dev-1"}
    assert expected([Applied("development", "dev-1", "high-cpu-development", True, 91)]) == set()


def test_it_names_the_hosts_that_do_not_do_as_the_rules_say() -> None:
    assert judged(frozenset({"a"}), frozenset({"a"})) == "the alerts in Prometheus are as the rules say they should be"
    words = judged(frozenset({"dev-1"}), frozenset({"web-1"}))
    assert words.endswith("NOT as the rules say: web-1 should fire and does not, dev-1 fires and should not")


async def test_only_firing_alerts_of_this_name_count() -> None:
    alerts = [
        alert("HighCPU", "firing", instance="web-1"),
        alert("HighCPU", "pending", instance="web-2"),
        alert("HostDown", "firing", instance="db-1"),
        alert("HighCPU", "firing"),
    ]
    async with serving(alerts) as url:
        assert await firing_in(url) == {"web-1"}


def alert(name: str, state: str, **labels: str) -> dict[str, object]:
    return {"labels": {"alertname": name, **labels}, "state": state}


class serving:  # noqa: N801 - reads as a verb
    """A Prometheus that knows these alerts."""

    def __init__(self, alerts: Iterable[dict[str, object]]) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.json_response({"status": "success", "data": {"alerts": list(alerts)}})

        app = web.Application()
        app.router.add_get("/api/v1/alerts", answer)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
