"""Stage: contents are kept, by hash, before anything that Prometheus reads changes."""

from collections.abc import Mapping

from deployer_service.pipeline.ports import RuleDirectory
from deployer_service.state import Put


async def stage(directory: RuleDirectory, puts: Mapping[str, Put]) -> None:
    """Raises Unavailable with the disk's reason; then nothing was kept."""
    await directory.store({put.sha256: put.content for put in puts.values()})
