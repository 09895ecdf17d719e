CREATE TABLE notifications (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    message    TEXT NOT NULL,
    link       TEXT,
    read       INTEGER NOT NULL CHECK (read IN (0, 1)),
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_unread ON notifications (user_id, id) WHERE NOT read;

-- How many of them a user has not read. Whoever changes what is counted holds this row, which also gives the
-- changes of one user their order.
CREATE TABLE notification_counts (
    user_id BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    unread  INTEGER NOT NULL CHECK (unread >= 0)
) STRICT;
