"""How patient a stream is, in seconds."""

from dataclasses import dataclass

MISSED_HEARTBEATS = 3
"""So many heartbeats without a word of the deployer end its stream, and its lease."""


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """heartbeat: how often both sides give a sign of life.
    ack_timeout: within which an Update, or the question for an Inventory, has to be answered.
    max_age: of a stream, +- 20 %; then the deployer is asked to connect again, so that they spread over replicas.
    settle: how long revisions that change no file of a deployer are gathered before they are taken as taken up.
    lost_grace: for which the lease still runs after the connection was lost, for the deployer to come back.
    reconnect_within: within which a drained deployer is to connect again.
    retry: pause before the database is tried again.
    farewell: for the lease to be ended at the end of a stream.
    """

    heartbeat: float = 10.0
    ack_timeout: float = 120.0
    max_age: float = 1800.0
    settle: float = 2.0
    lost_grace: float = 3.0
    reconnect_within: float = 2.0
    retry: float = 1.0
    farewell: float = 2.0

    @property
    def lease(self) -> float:
        return MISSED_HEARTBEATS * self.heartbeat
