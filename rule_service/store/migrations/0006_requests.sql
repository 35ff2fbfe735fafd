-- Why a revision was made, and by which request: a create that is repeated is told by it.

ALTER TABLE history
    ADD COLUMN reason text NOT NULL DEFAULT '',
    ADD COLUMN request_id text COLLATE "C",
    ADD COLUMN request_digest bytea;

CREATE UNIQUE INDEX history_request ON history (request_id) WHERE request_id IS NOT NULL;
