"""Each case in `cases/`: the rules it gives become exactly the files it shows.

After a change that is meant, `RULECAST_UPDATE_GOLDEN=1 pytest tests/golden` writes what comes out now; read the
difference before keeping it.
"""

import os
from pathlib import Path

import pytest

from tests.golden.case import Case, outcome
from tests.support.promtool import promtool

CASES = sorted((Path(__file__).parent / "cases").glob("*.txt"))
FILES = ".yml"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = Case.read(path)
    came_out = outcome(case.given)
    if os.environ.get("RULECAST_UPDATE_GOLDEN"):
        Case(case.intro, case.given, came_out).write(path)
    assert came_out == Case.read(path).sections


def test_prometheus_loads_every_file(tmp_path: Path) -> None:
    written = []
    for path in CASES:
        for name, content in Case.read(path).sections.items():
            if name.endswith(FILES):
                file = tmp_path / f"{path.stem}-{name}"
                file.write_text(content, encoding="utf-8")
                written.append(file.name)
    assert len(written) > len(CASES) // 2
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *written, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
