-- Who was on which topic when a server stopped, for the next one that starts.
CREATE TABLE presence_handovers (
    id         BLOB PRIMARY KEY,
    people     TEXT NOT NULL,
    stopped_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
