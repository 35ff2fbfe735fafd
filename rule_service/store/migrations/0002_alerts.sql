-- Templates and rules. A rule keeps a snapshot (`spec`) and survives its template, so no foreign key points there.

CREATE TABLE templates (
    id text COLLATE "C" PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    spec jsonb NOT NULL,
    severity text COLLATE "C" NOT NULL GENERATED ALWAYS AS (spec ->> 'severity') STORED,
    version integer NOT NULL,
    description text NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX templates_severity ON templates (severity, id);

CREATE TABLE rules (
    id text COLLATE "C" PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    scope_level text COLLATE "C" NOT NULL CHECK (scope_level IN ('global', 'namespace', 'group')),
    -- the namespace's or group's id; empty at the global scope
    scope_id text COLLATE "C" NOT NULL CHECK ((scope_id = '') = (scope_level = 'global')),
    spec jsonb NOT NULL,
    config jsonb NOT NULL,
    template_id text COLLATE "C",
    template_version integer,
    merge_strategy text NOT NULL CHECK (merge_strategy IN ('merge', 'override')),
    priority integer NOT NULL,
    enabled boolean NOT NULL,
    description text NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    -- a deleted rule outlives its scope; a live one does not
    live_namespace_id text COLLATE "C"
        GENERATED ALWAYS AS (CASE WHEN deleted_at IS NULL AND scope_level = 'namespace' THEN scope_id END) STORED
        CONSTRAINT rules_namespace_fkey REFERENCES namespaces,
    live_group_id text COLLATE "C"
        GENERATED ALWAYS AS (CASE WHEN deleted_at IS NULL AND scope_level = 'group' THEN scope_id END) STORED
        CONSTRAINT rules_group_fkey REFERENCES groups
);

CREATE UNIQUE INDEX rules_live_key ON rules (key, scope_level, scope_id) WHERE deleted_at IS NULL;
CREATE INDEX rules_live_scope ON rules (scope_level, scope_id, id) WHERE deleted_at IS NULL;
CREATE INDEX rules_live_namespace ON rules (live_namespace_id) WHERE live_namespace_id IS NOT NULL;
CREATE INDEX rules_live_group ON rules (live_group_id) WHERE live_group_id IS NOT NULL;
CREATE INDEX rules_key ON rules (key, id);
CREATE INDEX rules_scope ON rules (scope_level, scope_id, id);
CREATE INDEX rules_template ON rules (template_id, id);
