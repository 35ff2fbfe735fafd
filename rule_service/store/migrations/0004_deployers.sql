-- Deployers and what became of the files at each. Rewritten by every heartbeat, so pages keep room for updates in place.

CREATE TABLE deployers (
    id text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    process_id bytea NOT NULL,
    lease_until timestamptz NOT NULL,
    replica text NOT NULL,
    seen_at timestamptz NOT NULL,
    software_version text NOT NULL,
    prometheus_version text NOT NULL,
    prometheus_url text NOT NULL,
    serves jsonb NOT NULL,
    -- what it has acknowledged
    revision bigint NOT NULL,
    manifest_hash bytea NOT NULL,
    -- what it last said of its disk and its Prometheus
    prometheus_up boolean NOT NULL DEFAULT false,
    last_reload_at timestamptz,
    last_reload_ok boolean,
    drifted_files jsonb NOT NULL DEFAULT '[]',
    warnings jsonb NOT NULL DEFAULT '[]',
    effective_files jsonb
) WITH (fillfactor = 70);

-- The files that are not ACTIVE.
CREATE TABLE deployer_files (
    deployer_id text COLLATE "C" NOT NULL
        CONSTRAINT deployer_files_deployer_fkey REFERENCES deployers ON DELETE CASCADE,
    file_name text COLLATE "C" NOT NULL,
    sha256 bytea NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    group_name text NOT NULL,
    rule_name text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (deployer_id, file_name)
);
