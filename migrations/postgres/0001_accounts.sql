-- One row: what this installation is.
CREATE TABLE installation (
    id           BIGINT PRIMARY KEY CHECK (id = 1),
    epoch        TEXT   NOT NULL,
    secret       BYTEA  NOT NULL,
    first_user   UUID
);

CREATE TABLE users (
    id            UUID PRIMARY KEY,
    email         TEXT NOT NULL COLLATE "C" UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    password_hash TEXT NOT NULL,
    version       BIGINT NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL
);

-- Sessions, personal access tokens and stream tokens: whatever proves who asks. Only digests are kept.
CREATE TABLE credentials (
    id           UUID PRIMARY KEY,
    user_id      UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id    UUID REFERENCES credentials (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL CHECK (kind IN ('session', 'personal', 'stream')),
    digest       BYTEA NOT NULL UNIQUE,
    name         TEXT,
    scopes       JSONB NOT NULL,
    topics       JSONB,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ
);

CREATE INDEX credentials_user ON credentials (user_id, id);
CREATE INDEX credentials_parent ON credentials (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX credentials_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;
