"""What Prometheus is to scrape, with the labels by which rules find their series."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rule_service.domain.address import host_of
from rule_service.domain.model import Exporter, Target
from rule_service.domain.names import check_id
from rule_service.usecases.expect import the_group, the_namespace
from rule_service.usecases.filters import ScrapeFilter
from rule_service.usecases.ports import PlacedTarget, Reads

_DEFAULT_PATH = "/metrics"
_DEFAULT_SCHEME = "http"


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One thing to scrape. address: `host:port`. labels: of all its series, and Prometheus's own `__*` ones."""

    address: str
    labels: Mapping[str, str]


class Discovery:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def scrape_targets(self, where: ScrapeFilter) -> tuple[ScrapeTarget, ...]:
        """One for each exporter that passes, by target id.

        Raises NotFound for an unknown group or namespace: an empty answer would make Prometheus forget its targets.
        Raises InvalidInput for what can be no exporter's name.
        """
        if where.exporter is not None:
            check_id(where.exporter, "exporter")
        if where.group_id is not None:
            await the_group(self._reads, where.group_id, "group_id")
        if where.namespace_id is not None:
            await the_namespace(self._reads, where.namespace_id, "namespace_id")
        placed = await self._reads.placed_targets(where)
        return await asyncio.to_thread(_scrapes, placed, where.exporter)


def _scrapes(placed: Sequence[PlacedTarget], exporter: str | None) -> tuple[ScrapeTarget, ...]:
    return tuple(scraped for each in placed for scraped in scrapes_of(each, exporter))


def scrapes_of(placed: PlacedTarget, exporter: str | None = None) -> Iterator[ScrapeTarget]:
    """What to scrape of one target. exporter: only those of this name."""
    target = placed.target
    host = host_of(target.address or target.hostname)
    same_name = Counter(each.name for each in target.exporters)
    for each in target.exporters:
        if exporter in (None, each.name):
            labels = {
                "instance": _instance(target, each, alone=same_name[each.name] == 1),
                "exporter": each.name,
                **target.labels,
                **placed.membership,
                **dict(_how_to_scrape(each)),
            }
            yield ScrapeTarget(f"{host}:{each.port}", labels)


def _instance(target: Target, exporter: Exporter, *, alone: bool) -> str:
    """Prometheus drops samples of two series with the same labels, so exporters of one name are told apart."""
    return target.hostname if alone else f"{target.hostname}:{exporter.port}"


def _how_to_scrape(exporter: Exporter) -> Iterator[tuple[str, str]]:
    if exporter.path != _DEFAULT_PATH:
        yield "__metrics_path__", exporter.path
    if exporter.scheme != _DEFAULT_SCHEME:
        yield "__scheme__", exporter.scheme
