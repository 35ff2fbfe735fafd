"""What the pipeline is promised of its checker: by the fake and by the real promtool."""

from pathlib import Path

import pytest

from deployer_service.adapters.promtool import PromtoolChecker, PromtoolConfigChecker
from deployer_service.pipeline.ports import Checker
from rulecast.errors import FailedPrecondition, Position
from rulecast.process.promtool import Promtool
from rulecast.reasons import Reason
from tests.support.pipeline_fakes import FakeChecker, FakeDirectory
from tests.support.prometheus import choices, parts_of
from tests.support.rule_files import BROKEN, rule_file


class Bench:
    def __init__(self, checker: Checker, directory: FakeDirectory | None, folder: Path) -> None:
        self.checker = checker
        self._directory = directory
        self._folder = folder

    def write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        if self._directory is None:
            path.write_bytes(content)
        else:
            self._directory.files[name] = content
        return path


@pytest.fixture(params=["fake", *choices()])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "fake":
        directory = FakeDirectory(tmp_path)
        return Bench(FakeChecker(directory), directory, tmp_path)
    return Bench(PromtoolChecker(Promtool(parts_of(request.param).promtool)), None, tmp_path)


async def test_good_files(bench: Bench) -> None:
    files = [bench.write("group-a.yml", rule_file("a", "b")), bench.write("group-b.yml", b"groups:\n")]
    assert await bench.checker.check(files) == {}
    assert await bench.checker.check([]) == {}


async def test_a_bad_file_among_good_ones(bench: Bench) -> None:
    good = [bench.write(f"group-{number}.yml", rule_file(f"r{number}")) for number in range(20)]
    bad = bench.write("group-bad.yml", BROKEN)
    refused = await bench.checker.check([*good[:10], bad, *good[10:]])
    assert refused.keys() == {bad}
    why = refused[bad]
    assert (why.reason, why.group, why.rule) == (Reason.PROMTOOL_CHECK_FAILED, "g", "Alert_broken")
    assert "parse error" in why.message


@pytest.fixture(params=choices())
def promtool(request: pytest.FixtureRequest) -> Promtool:
    return Promtool(parts_of(request.param).promtool)


class TestConfiguration:
    @pytest.fixture
    def rules(self, tmp_path: Path) -> Path:
        rules = tmp_path / "rules"
        rules.mkdir()
        (rules / "group-a.yml").write_bytes(rule_file("a"))
        return rules

    @staticmethod
    def write(tmp_path: Path, text: str) -> Path:
        config = tmp_path / "prometheus.yml"
        config.write_text(text)
        return config

    async def test_a_good_one(self, promtool: Promtool, tmp_path: Path, rules: Path) -> None:
        (tmp_path / "others.yml").write_bytes(rule_file("other"))
        config = self.write(tmp_path, f"rule_files: ['{rules}/*.yml', others.yml, 'none/*.yml']")
        await PromtoolConfigChecker(promtool, config, rules).check()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("rule_files: [", "prometheus.yml: .*yaml"),
            ("rulefiles: []", "prometheus.yml: .*field rulefiles not found"),
            ("rule_files: [nowhere.yml]", "nowhere.yml.* does not point to an existing file"),
            ("rule_files: ['rules/*.yml', 'others.yml']", "others.yml: .*parse error"),
            ("scrape_configs: [{job_name: a, tls_config: {cert_file: gone.pem, key_file: gone.key}}]", "gone.pem"),
            (None, "prometheus.yml: there is no such file"),
        ],
    )
    async def test_what_prometheus_could_not_load(
        self, promtool: Promtool, tmp_path: Path, rules: Path, text: str | None, words: str
    ) -> None:
        (tmp_path / "others.yml").write_bytes(BROKEN)
        config = tmp_path / "prometheus.yml" if text is None else self.write(tmp_path, text)
        with pytest.raises(FailedPrecondition, match=words) as caught:
            await PromtoolConfigChecker(promtool, config, rules).check()
        assert caught.value.reason is Reason.CONFIG_CHECK_FAILED

    async def test_our_own_files_are_about_to_be_others(self, promtool: Promtool, tmp_path: Path, rules: Path) -> None:
        (rules / "group-a.yml").write_bytes(BROKEN)
        link = tmp_path / "link"
        link.symlink_to(rules)
        config = self.write(tmp_path, f"rule_files: ['{link}/*.yml']")
        await PromtoolConfigChecker(promtool, config, rules).check()
        (rules / "alerts.yml").write_bytes(BROKEN)
        with pytest.raises(FailedPrecondition, match=r"repair \S+/link/alerts\.yml: "):
            await PromtoolConfigChecker(promtool, config, rules).check()


@pytest.mark.parametrize(
    "content",
    [
        "groups: [",
        "groups:\n- name: g\n  foo: 1\n",
        "groups:\n- name: g\n- name: g\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 5 minutes\n",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations: {x: '{{ $foo }}'}\n",
        "groups:\n- name: g\n  rules:\n  - alert: ''\n    expr: ''\n",
        'groups:\n- name: g\n  rules:\n  - alert: A\n    expr: "up\\0"\n',
    ],
)
async def test_what_prometheus_does_not_load(promtool: Promtool, tmp_path: Path, content: str) -> None:
    path = tmp_path / "group-a.yml"
    path.write_text(content)
    failures = await promtool.check_rules([path])
    assert {failure.file for failure in failures} == {path}
    assert all(failure.message for failure in failures)


async def test_the_place_of_a_bad_expression(promtool: Promtool, tmp_path: Path) -> None:
    path = tmp_path / "group-a.yml"
    path.write_text('groups:\n- name: "a\\"b"\n  rules:\n  - alert: A\n    expr: |\n      up ==\n      foo bar\n')
    (failure,) = await promtool.check_rules([path])
    assert (failure.line, failure.column) == (5, 11)
    assert (failure.group, failure.rule_number, failure.rule_name) == ('a"b', 1, "A")
    assert failure.query_position == Position(2, 5)


async def test_equal_rules_are_no_failure_since_prometheus_loads_them(promtool: Promtool, tmp_path: Path) -> None:
    path = tmp_path / "group-a.yml"
    path.write_bytes(rule_file("a", "a"))
    assert await promtool.check_rules([path]) == ()


async def test_more_files_than_one_process_takes(promtool: Promtool, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    good = folder / "group-a.yml"
    good.write_bytes(rule_file("a"))
    bad = folder / "group-b.yml"
    bad.write_bytes(BROKEN)
    failures = await promtool.check_rules([*[good] * 6_000, bad])
    assert [failure.file for failure in failures] == [bad]


async def test_its_version(promtool: Promtool) -> None:
    assert (await promtool.version())[0] in "23"
