-- Revisions by author, rules by severity.

CREATE INDEX history_author ON history (author, revision);
CREATE INDEX rules_severity ON rules ((spec ->> 'severity'), id);
