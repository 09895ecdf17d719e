-- What search knows of each snippet. `place` is older than any newer one's, so candidates come newest first. The
-- program makes the terms (src/search/terms.rs).
CREATE TABLE search_entries (
    place      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    snippet_id UUID NOT NULL UNIQUE REFERENCES snippets (id) ON DELETE CASCADE,
    owner_id   UUID NOT NULL,
    public     BOOLEAN NOT NULL,
    bytes      BIGINT NOT NULL,
    title      TEXT NOT NULL,
    tags       JSONB NOT NULL,
    words      TSVECTOR NOT NULL,
    grams      TSVECTOR NOT NULL
);

-- A short list of pending entries: every search reads all of it.
CREATE INDEX search_entries_terms ON search_entries USING gin (words, grams) WITH (gin_pending_list_limit = 256);

-- Common words must be known as such: then the newest rows are read, and not all that have the word.
ALTER TABLE search_entries ALTER COLUMN words SET STATISTICS 1000;
