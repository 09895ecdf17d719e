CREATE TABLE notifications (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL COLLATE "C",
    message    TEXT NOT NULL,
    link       TEXT,
    read       BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_unread ON notifications (user_id, id) WHERE NOT read;

-- How many of them a user has not read. Whoever changes what is counted holds this row, which also gives the
-- changes of one user their order.
CREATE TABLE notification_counts (
    user_id UUID PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    unread  BIGINT NOT NULL CHECK (unread >= 0)
);
