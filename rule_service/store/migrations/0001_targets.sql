-- What is monitored, and how it is divided. Ids sort by code point ("C"), whatever the database's own collation.

CREATE TABLE namespaces (
    id text COLLATE "C" PRIMARY KEY,
    label text COLLATE "C" NOT NULL CONSTRAINT namespaces_label_key UNIQUE,
    policy_priority integer NOT NULL,
    description text NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

INSERT INTO namespaces (id, label, policy_priority, description, revision, created_at, updated_at)
VALUES ('default', 'group_id', 0, 'There from the start.', 0, now(), now());

CREATE TABLE groups (
    id text COLLATE "C" PRIMARY KEY,
    namespace_id text COLLATE "C" NOT NULL CONSTRAINT groups_namespace_fkey REFERENCES namespaces,
    label_value text COLLATE "C" NOT NULL,
    parent_id text COLLATE "C" CONSTRAINT groups_parent_check CHECK (parent_id <> id),
    description text NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT groups_namespace_id_key UNIQUE (namespace_id, id),
    -- a parent is of the same namespace
    CONSTRAINT groups_parent_fkey FOREIGN KEY (namespace_id, parent_id) REFERENCES groups (namespace_id, id),
    -- unique, by a hash: a label value can be too long for a row of a B-tree; an id has no space in it
    CONSTRAINT groups_label_value_excl EXCLUDE USING hash ((namespace_id || ' ' || label_value) WITH =)
);

CREATE INDEX groups_parent ON groups (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE targets (
    id text COLLATE "C" PRIMARY KEY,
    hostname text COLLATE "C" NOT NULL,
    address text NOT NULL,
    labels jsonb NOT NULL,
    exporters jsonb NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX targets_hostname ON targets (hostname, id);

CREATE TABLE target_groups (
    target_id text COLLATE "C" NOT NULL
        CONSTRAINT target_groups_target_fkey REFERENCES targets ON DELETE CASCADE,
    namespace_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    -- at most one group of each namespace
    PRIMARY KEY (target_id, namespace_id),
    CONSTRAINT target_groups_group_fkey FOREIGN KEY (namespace_id, group_id) REFERENCES groups (namespace_id, id)
);

CREATE INDEX target_groups_group ON target_groups (group_id, target_id);
