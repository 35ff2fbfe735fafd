"""What all streams of a replica share."""

import random
from dataclasses import dataclass, field

from rule_service.metrics import StreamMetrics
from rule_service.stream.hub import Hub
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.traces import Traces
from rule_service.stream.updates import Updates
from rule_service.usecases.ports_delivery import DeployerLeases
from rule_service.usecases.underway import Underway


@dataclass(frozen=True, slots=True)
class StreamParts:
    """server_id: the replica's name, another one for each. source: of randomness, for the age of streams.

    traces: those in which the newest revisions were made. underway: edits that are about to be committed here.
    """

    hub: Hub
    updates: Updates
    leases: DeployerLeases
    metrics: StreamMetrics
    policy: StreamPolicy
    server_id: str
    source: random.Random = field(default_factory=random.SystemRandom)
    traces: Traces = field(default_factory=Traces)
    underway: Underway = field(default_factory=Underway)
