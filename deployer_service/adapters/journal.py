"""What is kept over restarts, in `.rulecast/` of the rule directory.

record.json              the record of the last finished change
journal.json             the record of a change that was begun; renamed to record.json when it is finished
generations/<n>.json     which contents made up the last few generations
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from deployer_service.adapters.disk import Disk, DiskThread
from deployer_service.adapters.record_json import (
    NotARecord,
    decode_generation,
    decode_record,
    encode_generation,
    encode_record,
)
from deployer_service.pipeline.ports import WORK_DIRECTORY
from deployer_service.state import Generation, Record

log = structlog.get_logger(__name__)

T = TypeVar("T")


class FileJournal:
    """See `pipeline.ports.Journal`. rule_directory: its path; keep: how many generations are kept."""

    def __init__(self, rule_directory: Path, thread: DiskThread, disk: Disk, keep: int = 5) -> None:
        self._record = rule_directory / WORK_DIRECTORY / "record.json"
        self._journal = rule_directory / WORK_DIRECTORY / "journal.json"
        self._generations = rule_directory / WORK_DIRECTORY / "generations"
        self._thread = thread
        self._disk = disk
        self._keep = keep

    async def load(self) -> Record | None:
        return await self._thread.run(self._read, self._record, decode_record)

    async def unfinished(self) -> Record | None:
        return await self._thread.run(self._read, self._journal, decode_record)

    async def begin(self, record: Record) -> None:
        await self._thread.run(self._begin, record)

    async def finish(self) -> None:
        await self._thread.run(self._finish)

    async def save(self, record: Record) -> None:
        await self._thread.run(self._disk.write_atomically, self._record, encode_record(record))

    async def generations(self) -> tuple[Generation, ...]:
        return await self._thread.run(self._kept_generations)

    def _read(self, path: Path, decode: Callable[[bytes], T]) -> T | None:
        content = self._disk.read(path)
        if content is None:
            return None
        try:
            return decode(content)
        except NotARecord as error:
            aside = path.with_name(path.name + ".unreadable")
            log.warning("file can not be read and is set aside", path=str(path), aside=str(aside), error=str(error))
            self._disk.replace(path, aside)
            return None

    def _begin(self, record: Record) -> None:
        generation = Generation(record.generation, record.files)
        self._disk.make_directory(self._generations)
        self._disk.write_atomically(self._generation_path(record.generation), encode_generation(generation))
        self._disk.write_atomically(self._journal, encode_record(record))

    def _finish(self) -> None:
        self._disk.replace(self._journal, self._record)
        self._disk.sync_directory(self._record.parent)
        for number in self._numbers()[: -self._keep]:
            self._disk.remove(self._generation_path(number))

    def _kept_generations(self) -> tuple[Generation, ...]:
        read = (self._read(self._generation_path(number), decode_generation) for number in self._numbers())
        return tuple(generation for generation in read if generation is not None)

    def _generation_path(self, number: int) -> Path:
        return self._generations / f"{number}.json"

    def _numbers(self) -> list[int]:
        if not self._generations.is_dir():
            return []
        return sorted(int(path.stem) for path in self._generations.glob("*.json") if path.stem.isdecimal())
