"""Roll back: the last good version of files that Prometheus does not load. Pure."""

from collections.abc import Collection

from deployer_service.state import Files, Record, same


def gone_back(record: Record, names: Collection[str]) -> Files:
    """The files, with those of `names` as Prometheus was last seen to run them."""
    kept = {name: version for name, version in record.files.items() if name not in names}
    return {**kept, **{name: version for name, version in record.good.items() if name in names}}


def can_go_back(record: Record, names: Collection[str]) -> frozenset[str]:
    """Those of `names` of which the last good version is another one than the one on disk."""
    return frozenset(name for name in names if not same(record.files.get(name), record.good.get(name)))
