//! Both schemas are one: the same tables, columns and indexes, but for what is on a list here, with its reason.

use std::collections::BTreeSet;

use snippetbox::db::Db;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::storage::{Database, Storage};

/// What stands in one schema alone, or differently.
const DIFFERENT: [&str; 7] = [
    // PostgreSQL's writers take the order of `id`; the sequencer gives the places later.
    "column events.id INTEGER NOT NULL",
    "column events.seq INTEGER",
    "column events.seq INTEGER NOT NULL",
    "index events_unnumbered",
    // SQLite's index of search takes what is written together at once, and asks how much is hidden.
    "column search_pending.place INTEGER NOT NULL",
    "column search_pending.terms TEXT NOT NULL",
    "index search_entries_hidden",
];

/// Columns that are indexed but never sorted by, only compared.
const NEVER_SORTED: [&str; 5] =
    ["dashboard_counts.kind", "jobs.kind", "jobs.status", "rooms.visibility", "snippets.visibility"];

const SQLITE: &str = "
    SELECT 'column ' || t.name || '.' || c.name || ' ' || c.type || iif(c.\"notnull\" OR c.pk, ' NOT NULL', '')
    FROM pragma_table_list AS t JOIN pragma_table_info(t.name) AS c
    WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
      AND t.name <> '_sqlx_migrations'
    UNION ALL SELECT 'index ' || name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";

/// Generated columns and indexes of other kinds serve the search, where each database has ways of its own.
const POSTGRES: &str = "
    SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type
           || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END
    FROM information_schema.columns
    WHERE table_schema = 'public' AND is_generated = 'NEVER' AND data_type <> 'tsvector'
      AND table_name <> '_sqlx_migrations'
    UNION ALL SELECT 'index ' || indexname FROM pg_indexes
    WHERE schemaname = 'public' AND indexdef LIKE '% USING btree %'
      AND indexname NOT IN (SELECT conname FROM pg_constraint)";

const INDEXED_IN_THE_ORDER_OF_A_LANGUAGE: &str = "
    SELECT DISTINCT c.relname || '.' || a.attname FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    JOIN pg_collation AS l ON l.oid = a.attcollation
    WHERE n.nspname = 'public' AND l.collname <> 'C' ORDER BY 1";

/// The types of PostgreSQL in the words of SQLite.
fn in_words_of_sqlite(line: &str) -> String {
    let types = [
        (" timestamp with time zone", " TEXT"),
        (" text", " TEXT"),
        (" jsonb", " TEXT"),
        (" uuid", " BLOB"),
        (" bytea", " BLOB"),
        (" bigint", " INTEGER"),
        (" boolean", " INTEGER"),
        (" double precision", " REAL"),
    ];
    types.iter().fold(line.to_owned(), |line, (postgres, sqlite)| line.replacen(postgres, sqlite, 1))
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
async fn both_databases_have_the_same_tables_columns_and_indexes() {
    let (sqlite, postgres) =
        (Storage::create(Database::Sqlite).await, Storage::create(Database::Postgres).await);
    for storage in [&sqlite, &postgres] {
        Db::open(&storage.url(), 1).await.expect("migrated").close().await;
    }
    let mut conn = SqliteConnection::connect(&sqlite.url()).await.expect("a connection");
    let on_sqlite: Vec<String> = sqlx::query_scalar(SQLITE).fetch_all(&mut conn).await.expect("the schema");
    let mut conn = PgConnection::connect(&postgres.url()).await.expect("a connection");
    let on_postgres: Vec<String> =
        sqlx::query_scalar(POSTGRES).fetch_all(&mut conn).await.expect("the schema");
    let unsorted: Vec<String> =
        sqlx::query_scalar(INDEXED_IN_THE_ORDER_OF_A_LANGUAGE).fetch_all(&mut conn).await.expect("columns");
    conn.close().await.expect("closed");
    sqlite.remove().await;
    postgres.remove().await;

    let on_sqlite: BTreeSet<String> = on_sqlite.into_iter().collect();
    let on_postgres: BTreeSet<String> = on_postgres.iter().map(|line| in_words_of_sqlite(line)).collect();
    assert!(on_sqlite.len() > 50, "the schema was read: {on_sqlite:?}");
    let different: BTreeSet<String> = on_sqlite.symmetric_difference(&on_postgres).cloned().collect();
    assert_eq!(different, DIFFERENT.map(String::from).into_iter().collect());
    assert_eq!(unsorted, NEVER_SORTED, "text that is indexed is COLLATE \"C\": SQLite sorts by bytes");
}
