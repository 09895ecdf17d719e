CREATE TABLE snippets (
    id         UUID PRIMARY KEY,
    owner_id   UUID NOT NULL REFERENCES users (id),
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'unlisted', 'private')),
    language   TEXT NOT NULL COLLATE "C",
    version    BIGINT NOT NULL,
    views      BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    tags       JSONB NOT NULL,
    title      TEXT NOT NULL COLLATE "C",
    excerpt    TEXT NOT NULL,
    content    TEXT NOT NULL
);

CREATE INDEX snippets_created ON snippets (visibility, created_at, id);
CREATE INDEX snippets_updated ON snippets (visibility, updated_at, id);
CREATE INDEX snippets_title ON snippets (visibility, title, id);
CREATE INDEX snippets_language ON snippets (language, visibility, created_at, id);
CREATE INDEX snippets_owner ON snippets (owner_id, created_at, id);

CREATE TABLE snippet_tags (
    tag        TEXT NOT NULL COLLATE "C",
    snippet_id UUID NOT NULL REFERENCES snippets (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, snippet_id)
);

CREATE INDEX snippet_tags_snippet ON snippet_tags (snippet_id);

-- What can be searched by its tags follows what is shown: one statement writes a snippet.
CREATE FUNCTION tag_snippet() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM snippet_tags WHERE snippet_id = new.id;
    INSERT INTO snippet_tags (tag, snippet_id) SELECT jsonb_array_elements_text(new.tags), new.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER snippets_tagged AFTER INSERT ON snippets
    FOR EACH ROW WHEN (new.tags <> '[]') EXECUTE FUNCTION tag_snippet();
CREATE TRIGGER snippets_tagged_anew AFTER UPDATE OF tags ON snippets
    FOR EACH ROW WHEN (new.tags <> old.tags) EXECUTE FUNCTION tag_snippet();
