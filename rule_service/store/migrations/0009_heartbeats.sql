-- What was last heard of each target. It comes without a revision and often, so it is apart from the target's own row:
-- no edit waits for a heartbeat, and no heartbeat for an edit. Pages keep room for updates in place.
CREATE TABLE target_heartbeats (
    target_id text COLLATE "C" PRIMARY KEY,
    status text COLLATE "C" NOT NULL CHECK (status IN ('UP', 'DOWN', 'MAINTENANCE', 'UNKNOWN')),
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX target_heartbeats_status ON target_heartbeats (status, target_id);
