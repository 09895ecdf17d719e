-- Work that outlives its request. A worker holds a job by its lease; `attempt` tells its claims apart, so that one
-- whose lease has ended can change nothing any more.
CREATE TABLE jobs (
    id          BLOB PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('export', 'import')),
    owner_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    status      TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    version     INTEGER NOT NULL,
    attempt     INTEGER NOT NULL DEFAULT 0,
    node        BLOB,
    lease_until TEXT,
    request     TEXT NOT NULL,
    -- How much of the work is done for good, where it is done in pieces.
    checkpoint  INTEGER NOT NULL DEFAULT 0,
    processed   INTEGER NOT NULL DEFAULT 0,
    total       INTEGER,
    bytes       INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    created_at  TEXT NOT NULL,
    finished_at TEXT,
    expires_at  TEXT
) STRICT;

CREATE INDEX jobs_open ON jobs (status, id) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_owner ON jobs (owner_id, kind, id);
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
