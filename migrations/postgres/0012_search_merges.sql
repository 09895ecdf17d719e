-- SQLite merges the parts of its index by a setting of its own here; PostgreSQL's index has none.
SELECT 1;
