CREATE TABLE rooms (
    id              BLOB PRIMARY KEY,
    owner_id        BLOB NOT NULL REFERENCES users (id),
    visibility      TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
    name            TEXT NOT NULL,
    version         INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    members         INTEGER NOT NULL,
    last_message_id BLOB NOT NULL
) STRICT;

CREATE INDEX rooms_visibility ON rooms (visibility, id);
CREATE INDEX rooms_owner ON rooms (owner_id);

-- Who is in a room, and the last message that each has read there.
CREATE TABLE room_members (
    room_id      BLOB NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id      BLOB NOT NULL REFERENCES users (id),
    joined_at    TEXT NOT NULL,
    last_read_id BLOB NOT NULL,
    PRIMARY KEY (user_id, room_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_members_room ON room_members (room_id, joined_at, user_id);

CREATE TABLE messages (
    id        BLOB PRIMARY KEY,
    room_id   BLOB NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id   BLOB NOT NULL REFERENCES users (id),
    version   INTEGER NOT NULL,
    sent_at   TEXT NOT NULL,
    edited_at TEXT,
    client_id TEXT,
    mentions  TEXT NOT NULL CHECK (json_valid(mentions)),
    content   TEXT NOT NULL
) STRICT;

-- With the author, so that unread messages are counted in the index alone.
CREATE UNIQUE INDEX messages_room ON messages (room_id, id, user_id);
CREATE INDEX messages_user ON messages (user_id, room_id);
