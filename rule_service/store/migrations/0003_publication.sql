-- What rules are rendered to, and the log of what changed.

-- One row. Raising `revision` is the commit lock: revisions have no gaps and are committed in order.
-- commit_id is made anew with every revision: a revision number that was used twice, because a failover lost the first,
-- is told apart by it. history_id is made anew when a backup is restored.
CREATE TABLE revision_counter (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision bigint NOT NULL,
    commit_id uuid NOT NULL,
    history_id uuid NOT NULL
);

INSERT INTO revision_counter (revision, commit_id, history_id) VALUES (0, gen_random_uuid(), gen_random_uuid());

-- One row for each live rule that is enabled.
CREATE TABLE rendered_rules (
    rule_id text COLLATE "C" PRIMARY KEY CONSTRAINT rendered_rules_rule_fkey REFERENCES rules,
    key text COLLATE "C" NOT NULL,
    scope_level text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    file_name text COLLATE "C" NOT NULL,
    alert_name text NOT NULL,
    source_query text NOT NULL,
    expr text NOT NULL,
    for_duration text,
    keep_firing_for text,
    interval text,
    labels jsonb NOT NULL,
    annotations jsonb NOT NULL,
    digest text NOT NULL,
    text text NOT NULL,
    warnings jsonb NOT NULL,
    revision bigint NOT NULL
);

CREATE INDEX rendered_rules_key ON rendered_rules (key, file_name);
CREATE INDEX rendered_rules_file ON rendered_rules (file_name, interval);

CREATE TABLE rendered_files (
    name text COLLATE "C" PRIMARY KEY,
    scope_level text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    content bytea NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    rule_count integer NOT NULL,
    revision bigint NOT NULL,
    modified_at timestamptz NOT NULL
);

CREATE TABLE history (
    revision bigint PRIMARY KEY,
    commit_id uuid NOT NULL,
    at timestamptz NOT NULL,
    author text NOT NULL,
    method text NOT NULL
);

-- where every history begins
INSERT INTO history (revision, commit_id, at, author, method)
SELECT revision, commit_id, now(), 'rulecast', 'migrate' FROM revision_counter;

CREATE TABLE history_resources (
    revision bigint NOT NULL,
    position integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    before jsonb,
    after jsonb,
    PRIMARY KEY (revision, position)
);

CREATE INDEX history_resources_resource ON history_resources (kind, resource_id, revision);

-- The files that each revision changed; sha256 is null for a deletion.
CREATE TABLE change_log (
    revision bigint NOT NULL,
    file_name text COLLATE "C" NOT NULL,
    sha256 bytea CHECK (length(sha256) = 32),
    PRIMARY KEY (revision, file_name)
);
