-- What search knows of each snippet. `place` is older than any newer one's, so candidates come newest first.
CREATE TABLE search_entries (
    place      INTEGER PRIMARY KEY AUTOINCREMENT,
    snippet_id BLOB NOT NULL UNIQUE REFERENCES snippets (id) ON DELETE CASCADE,
    owner_id   BLOB NOT NULL,
    public     INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    title      TEXT NOT NULL,
    tags       TEXT NOT NULL CHECK (json_valid(tags))
) STRICT;

-- Terms by place. The program makes the terms (src/search/terms.rs), of characters that the tokenizer keeps; neither
-- their texts nor their positions are stored.
CREATE VIRTUAL TABLE search_terms USING fts5 (
    terms, content = '', contentless_delete = 1, detail = 'none', tokenize = 'ascii'
);

CREATE TRIGGER search_entries_deleted AFTER DELETE ON search_entries BEGIN
    DELETE FROM search_terms WHERE rowid = old.place;
END;
