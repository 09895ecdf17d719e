-- First answers to requests with an Idempotency-Key, sealed with a key that only the repeated request can give.
CREATE TABLE idempotency_keys (
    lookup      BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    answer      BYTEA NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL
);

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
