-- One row: what this installation is.
CREATE TABLE installation (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    epoch        TEXT    NOT NULL,
    secret       BLOB    NOT NULL,
    first_user   BLOB
) STRICT;

CREATE TABLE users (
    id            BLOB PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    password_hash TEXT NOT NULL,
    version       INTEGER NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;

-- Sessions, personal access tokens and stream tokens: whatever proves who asks. Only digests are kept.
CREATE TABLE credentials (
    id           BLOB PRIMARY KEY,
    user_id      BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id    BLOB REFERENCES credentials (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL CHECK (kind IN ('session', 'personal', 'stream')),
    digest       BLOB NOT NULL UNIQUE,
    name         TEXT,
    scopes       TEXT NOT NULL CHECK (json_valid(scopes)),
    topics       TEXT CHECK (json_valid(topics)),
    created_at   TEXT NOT NULL,
    expires_at   TEXT,
    last_used_at TEXT
) STRICT;

CREATE INDEX credentials_user ON credentials (user_id, id);
CREATE INDEX credentials_parent ON credentials (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX credentials_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;
