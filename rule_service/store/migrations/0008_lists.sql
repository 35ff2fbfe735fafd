-- Lists of groups by parent, and of targets by namespace, in the order of their pages.
DROP INDEX groups_parent;
CREATE INDEX groups_parent ON groups (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX target_groups_namespace ON target_groups (namespace_id, target_id);
