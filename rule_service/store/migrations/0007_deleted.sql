-- Namespaces, groups, targets and templates that were deleted and can be brought back. Moved here, so that every
-- unique label, value and id of the live ones stays a plain constraint. Rules keep their rows.
CREATE TABLE deleted_resources (
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    -- its row as it was, a target's with its `group_ids`
    value jsonb NOT NULL,
    -- what it can not come back without, such as 'namespace env' and 'group prod'
    refers_to text[] NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (kind, resource_id)
);

CREATE INDEX deleted_resources_refers_to ON deleted_resources USING gin (refers_to);
CREATE INDEX deleted_resources_deleted_at ON deleted_resources (deleted_at);
CREATE INDEX rules_deleted_at ON rules (deleted_at) WHERE deleted_at IS NOT NULL;
