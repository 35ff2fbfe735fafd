"""`python -m tests.benchmarks [--quick] [NAME...]`: a table, and `bench/results.json`."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from deploy.local.postgres import PostgresServer
from deploy.local.process import REPOSITORY
from tests.benchmarks import edits, reads, rendering, streams, writes
from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure, save, table
from tests.support.postgres import make_template

RESULTS = REPOSITORY / "bench" / "results.json"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """quick: whether `--quick` runs it too."""

    run: Callable[[Bench], AsyncIterator[Figure]]
    quick: bool


BENCHMARKS: Mapping[str, Benchmark] = {
    "edit_to_active_100": Benchmark(
        lambda bench: edits.edit_to_active(bench, "edit_to_active_100", 100, bench.times(30, 10)), quick=True
    ),
    "edit_to_active_1k": Benchmark(
        lambda bench: edits.edit_to_active(bench, "edit_to_active_1k", 1_000, bench.times(20, 8)), quick=True
    ),
    "edit_to_active_10k": Benchmark(
        lambda bench: edits.edit_to_active(bench, "edit_to_active_10k", 10_000, bench.times(8, 3)), quick=False
    ),
    "burst_50": Benchmark(edits.burst_50, quick=True),
    "edit_rpc_1k": Benchmark(lambda bench: writes.edit_rpc(bench, "edit_rpc_1k", 1_000), quick=True),
    "edit_rpc_10k": Benchmark(lambda bench: writes.edit_rpc(bench, "edit_rpc_10k", 10_000), quick=True),
    "edit_rpc_100k": Benchmark(lambda bench: writes.edit_rpc(bench, "edit_rpc_100k", 100_000), quick=False),
    "group_100": Benchmark(rendering.group_100, quick=True),
    "full_10k": Benchmark(lambda bench: rendering.full(bench, "full_10k", 10_000), quick=True),
    "full_100k": Benchmark(lambda bench: rendering.full(bench, "full_100k", 100_000), quick=False),
    "snapshot_100k": Benchmark(streams.snapshot_100k, quick=False),
    "fanout_100": Benchmark(lambda bench: streams.fanout(bench, "fanout_100", 100), quick=True),
    "fanout_1000": Benchmark(lambda bench: streams.fanout(bench, "fanout_1000", 1_000), quick=False),
    "writes": Benchmark(writes.writes, quick=True),
    "effective": Benchmark(reads.effective, quick=True),
    "list": Benchmark(reads.lists, quick=True),
}


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """Of everything that is started; PostgreSQL enters it as another user."""
    with tempfile.TemporaryDirectory(prefix="rulecast-bench-") as name:
        Path(name).chmod(0o755)
        yield name


async def run(names: Sequence[str], *, quick: bool) -> list[Figure]:
    found: list[Figure] = []
    with _folder() as name:
        folder = Path(name)
        async with PostgresServer(folder / "postgres", log=folder / "postgres.log") as server:
            await make_template(server)
            bench = Bench(folder, server, quick)
            for name in names:
                began = time.monotonic()
                async for figure in BENCHMARKS[name].run(bench):
                    found.append(figure)
                    save([figure], RESULTS)
                    print(table([figure]).splitlines()[1], flush=True)
                print(f"  ({name} took {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    return found


async def _until_interrupted(names: Sequence[str], *, quick: bool) -> list[Figure]:
    """SIGTERM ends it like Ctrl-C: with everything stopped and removed."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(names, quick=quick)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="those that take seconds, with fewer repetitions")
    parser.add_argument("names", nargs="*", help=f"which, as glob patterns; there are: {', '.join(BENCHMARKS)}")
    arguments = parser.parse_args()
    names = [
        name
        for name, benchmark in BENCHMARKS.items()
        if (any(fnmatch(name, pattern) for pattern in arguments.names))
        or (not arguments.names and (benchmark.quick or not arguments.quick))
    ]
    if not names:
        parser.error(f"there is no benchmark {' '.join(arguments.names)}")
    try:
        figures = asyncio.run(_until_interrupted(names, quick=arguments.quick))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(table(figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
