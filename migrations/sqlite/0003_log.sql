-- The log. One writer, so `seq` is given at the append and is gapless in the order of commits. AUTOINCREMENT, so
-- that a number is never given twice, whatever was trimmed.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    type     TEXT NOT NULL,
    topic    TEXT NOT NULL,
    feed     TEXT,
    audience BLOB,
    effect   TEXT CHECK (effect IN ('withdraw', 'end', 'expel', 'restrict')),
    subjects TEXT CHECK (json_valid(subjects)),
    actor    TEXT,
    origin   BLOB,
    payload  TEXT NOT NULL,
    at       TEXT NOT NULL
) STRICT;

CREATE INDEX events_topic ON events (topic, seq);
CREATE INDEX events_feed ON events (feed, seq) WHERE feed IS NOT NULL;
