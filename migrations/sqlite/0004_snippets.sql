CREATE TABLE snippets (
    id         BLOB PRIMARY KEY,
    owner_id   BLOB NOT NULL REFERENCES users (id),
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'unlisted', 'private')),
    language   TEXT NOT NULL,
    version    INTEGER NOT NULL,
    views      INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    tags       TEXT NOT NULL CHECK (json_valid(tags)),
    title      TEXT NOT NULL,
    excerpt    TEXT NOT NULL,
    content    TEXT NOT NULL
) STRICT;

CREATE INDEX snippets_created ON snippets (visibility, created_at, id);
CREATE INDEX snippets_updated ON snippets (visibility, updated_at, id);
CREATE INDEX snippets_title ON snippets (visibility, title, id);
CREATE INDEX snippets_language ON snippets (language, visibility, created_at, id);
CREATE INDEX snippets_owner ON snippets (owner_id, created_at, id);

CREATE TABLE snippet_tags (
    tag        TEXT NOT NULL,
    snippet_id BLOB NOT NULL REFERENCES snippets (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, snippet_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX snippet_tags_snippet ON snippet_tags (snippet_id);

-- What can be searched by its tags follows what is shown: one statement writes a snippet.
CREATE TRIGGER snippets_tagged AFTER INSERT ON snippets WHEN new.tags <> '[]' BEGIN
    INSERT INTO snippet_tags (tag, snippet_id) SELECT value, new.id FROM json_each(new.tags);
END;

CREATE TRIGGER snippets_tagged_anew AFTER UPDATE OF tags ON snippets WHEN new.tags <> old.tags BEGIN
    DELETE FROM snippet_tags WHERE snippet_id = new.id;
    INSERT INTO snippet_tags (tag, snippet_id) SELECT value, new.id FROM json_each(new.tags);
END;
