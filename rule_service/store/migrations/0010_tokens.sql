-- Who may call. Of a token only its SHA-256 is kept: 256 random bits can not be guessed from that.

CREATE TABLE tokens (
    id text COLLATE "C" PRIMARY KEY,
    sha256 bytea NOT NULL CONSTRAINT tokens_sha256_key UNIQUE CHECK (length(sha256) = 32),
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'editor', 'admin', 'deployer')),
    namespaces text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text
);
