-- First answers to requests with an Idempotency-Key, sealed with a key that only the repeated request can give.
CREATE TABLE idempotency_keys (
    lookup      BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    answer      BLOB NOT NULL,
    created_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
