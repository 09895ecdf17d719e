-- Work that outlives its request. A worker holds a job by its lease; `attempt` tells its claims apart, so that one
-- whose lease has ended can change nothing any more.
CREATE TABLE jobs (
    id          UUID PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('export', 'import')),
    owner_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    status      TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    version     BIGINT NOT NULL,
    attempt     BIGINT NOT NULL DEFAULT 0,
    node        UUID,
    lease_until TIMESTAMPTZ,
    request     TEXT NOT NULL,
    -- How much of the work is done for good, where it is done in pieces.
    checkpoint  BIGINT NOT NULL DEFAULT 0,
    processed   BIGINT NOT NULL DEFAULT 0,
    total       BIGINT,
    bytes       BIGINT NOT NULL DEFAULT 0,
    error       TEXT,
    created_at  TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    expires_at  TIMESTAMPTZ
);

CREATE INDEX jobs_open ON jobs (status, id) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_owner ON jobs (owner_id, kind, id);
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
