-- Which bundle a resource belongs to; empty: none. A bundle that is in sync finds by it what it made earlier.

ALTER TABLE namespaces ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE targets ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE templates ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '';

CREATE INDEX namespaces_owner ON namespaces (owner, id);
CREATE INDEX groups_owner ON groups (owner, id);
CREATE INDEX targets_owner ON targets (owner, id);
CREATE INDEX templates_owner ON templates (owner, id);
CREATE INDEX rules_owner ON rules (owner, id);
