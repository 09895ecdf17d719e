CREATE TABLE rooms (
    id              UUID PRIMARY KEY,
    owner_id        UUID NOT NULL REFERENCES users (id),
    visibility      TEXT NOT NULL CHECK (visibility IN ('public', 'private')),
    name            TEXT NOT NULL,
    version         BIGINT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    members         BIGINT NOT NULL,
    last_message_id UUID NOT NULL
);

CREATE INDEX rooms_visibility ON rooms (visibility, id);
CREATE INDEX rooms_owner ON rooms (owner_id);

-- Who is in a room, and the last message that each has read there.
CREATE TABLE room_members (
    room_id      UUID NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id      UUID NOT NULL REFERENCES users (id),
    joined_at    TIMESTAMPTZ NOT NULL,
    last_read_id UUID NOT NULL,
    PRIMARY KEY (user_id, room_id)
);

CREATE INDEX room_members_room ON room_members (room_id, joined_at, user_id);

CREATE TABLE messages (
    id        UUID PRIMARY KEY,
    room_id   UUID NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id   UUID NOT NULL REFERENCES users (id),
    version   BIGINT NOT NULL,
    sent_at   TIMESTAMPTZ NOT NULL,
    edited_at TIMESTAMPTZ,
    client_id TEXT,
    mentions  JSONB NOT NULL,
    content   TEXT NOT NULL
);

-- With the author, so that unread messages are counted in the index alone.
CREATE UNIQUE INDEX messages_room ON messages (room_id, id, user_id);
CREATE INDEX messages_user ON messages (user_id, room_id);
