-- The log. Writers append without a `seq`, in the order of `id`; the sequencer numbers what is committed. The
-- texts of events are TEXT, not JSONB: they are sent exactly as they were written, and may hold \u0000.
CREATE TABLE events (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq      BIGINT UNIQUE,
    type     TEXT NOT NULL,
    topic    TEXT NOT NULL COLLATE "C",
    feed     TEXT COLLATE "C",
    audience UUID,
    effect   TEXT CHECK (effect IN ('withdraw', 'end', 'expel', 'restrict')),
    subjects JSONB,
    actor    TEXT,
    origin   UUID,
    payload  TEXT NOT NULL,
    at       TIMESTAMPTZ NOT NULL
);

CREATE INDEX events_unnumbered ON events (id) WHERE seq IS NULL;
CREATE INDEX events_topic ON events (topic, seq);
CREATE INDEX events_feed ON events (feed, seq) WHERE feed IS NOT NULL;
