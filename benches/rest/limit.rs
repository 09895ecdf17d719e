//! The storage limit: the statements of the server's requests, in loops on every core, without HTTP and without
//! anything between the loop and SQLite.

use std::{
    path::Path,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};
use snippetbox::{clock::Clock, id::Ids};
use uuid::Uuid;

use super::support::{Result, histogram::as_f64};

const COLUMNS: &str =
    "SELECT s.id, s.owner_id, u.name, s.visibility, s.language, s.version, s.views, s.created_at,
     s.updated_at, s.tags, s.title, ";
const ONE: &str = "s.content FROM snippets s CROSS JOIN users u WHERE u.id = s.owner_id AND s.id = ?1";
const PAGE: &str = "s.excerpt FROM snippets s CROSS JOIN users u WHERE u.id = s.owner_id
     AND s.visibility = 'public' ORDER BY s.created_at DESC, s.id DESC LIMIT 21";

/// Reads of one snippet a second.
pub fn get(folder: &Path, ids: &[String], span: Duration) -> Result<f64> {
    let keys: std::result::Result<Vec<Uuid>, _> = ids.iter().map(|id| id.parse()).collect();
    let keys = keys?;
    on_every_core(folder, span, |conn, number| {
        let mut statement = conn.prepare_cached(&format!("{COLUMNS}{ONE}"))?;
        let key = keys[number.wrapping_mul(7_919) % keys.len()];
        statement.query_row([key.as_bytes()], |row| read(row, 12)).map(drop)
    })
}

/// Reads of the first page of the list a second.
pub fn list(folder: &Path, _: &[String], span: Duration) -> Result<f64> {
    on_every_core(folder, span, |conn, _| {
        let mut statement = conn.prepare_cached(&format!("{COLUMNS}{PAGE}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            read(row, 12)?;
        }
        Ok(())
    })
}

/// Copies what a row holds, as everyone must who hands it on.
fn read(row: &Row<'_>, columns: usize) -> rusqlite::Result<usize> {
    let mut size = 0;
    for column in 0..columns {
        let copy = match row.get_ref(column)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
            ValueRef::Integer(number) => number.to_le_bytes().to_vec(),
            ValueRef::Null | ValueRef::Real(_) => Vec::new(),
        };
        size += std::hint::black_box(copy).len();
    }
    Ok(size)
}

fn on_every_core(
    folder: &Path,
    span: Duration,
    work: impl Fn(&Connection, usize) -> rusqlite::Result<()> + Sync,
) -> Result<f64> {
    let cores = thread::available_parallelism()?.get();
    let counts: Vec<Result<u64>> = thread::scope(|scope| {
        let start = |core: usize| {
            let work = &work;
            scope.spawn(move || -> Result<u64> {
                let conn = Connection::open_with_flags(database(folder), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                let (begun, mut number) = (Instant::now(), 0);
                while begun.elapsed() < span {
                    work(&conn, number + core)?;
                    number += 1;
                }
                Ok(number as u64)
            })
        };
        let threads: Vec<_> = (0..cores).map(start).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a loop has panicked")?).collect()
    });
    Ok(as_f64(counts.into_iter().sum::<Result<u64>>()?) / span.as_secs_f64())
}

fn database(folder: &Path) -> std::path::PathBuf {
    folder.join("snippetbox.db")
}

/// Durable creations a second in a copy of the database: the snippet, its two tags, its terms for the search, its
/// event, the count of all and, with `once`, the stored answer; `group` of them share a transaction and its sync.
pub fn create(folder: &Path, once: bool, group: usize, span: Duration) -> Result<f64> {
    let copy = tempfile::tempdir_in(folder)?;
    for file in ["snippetbox.db", "snippetbox.db-wal"] {
        std::fs::copy(folder.join(file), copy.path().join(file))?;
    }
    let mut conn = Connection::open(database(copy.path()))?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    let owner: Vec<u8> = conn.query_row("SELECT id FROM users", [], |row| row.get(0))?;
    let credential: Vec<u8> = conn.query_row("SELECT id FROM credentials", [], |row| row.get(0))?;
    let ids = Ids::new(Clock::system());
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < span {
        let tx = conn.transaction()?;
        for _ in 0..group {
            tx.prepare_cached("INSERT INTO held_credentials (id) VALUES (?1)")?.execute([&credential])?;
            insert(&tx, &owner, ids.next(), once, count)?;
            count += 1;
        }
        tx.execute_batch(
            "INSERT OR REPLACE INTO search_terms (rowid, terms) SELECT place, terms FROM search_pending;
             DELETE FROM search_pending",
        )?;
        tx.commit()?;
    }
    Ok(as_f64(count) / begun.elapsed().as_secs_f64())
}

fn insert(conn: &Connection, owner: &[u8], id: Uuid, once: bool, number: u64) -> rusqlite::Result<()> {
    const AT: &str = "2026-01-01T00:00:00.000+00:00";
    let content = "let value = compute(input[1], \"rust\");\n".repeat(10);
    let payload =
        format!("{{\"id\":\"{id}\",\"title\":\"A snippet\",\"content\":{content:?},\"language\":\"rust\"}}");
    conn.prepare_cached(
        "INSERT INTO snippets (id, owner_id, visibility, language, version, created_at, updated_at, tags, title,
                               excerpt, content)
         VALUES (?1, ?2, 'public', 'rust', 1, ?3, ?3, '[\"bench\",\"limit\"]', 'A snippet', ?4, ?5)",
    )?
    .execute((id.as_bytes(), owner, AT, &content[..200], &content))?;
    make_findable(conn, owner, id, number)?;
    conn.prepare_cached(
        "INSERT INTO events (type, topic, feed, audience, effect, subjects, actor, origin, payload, at)
         VALUES ('snippet_created', ?1, 'snippets', NULL, NULL, NULL, '{}', NULL, ?2, ?3)",
    )?
    .execute((format!("snippets:{id}"), &payload, AT))?;
    if once {
        let lookup = id.as_bytes().repeat(2);
        conn.prepare_cached(
            "INSERT INTO idempotency_keys (lookup, fingerprint, answer, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((&lookup, &lookup, payload.as_bytes(), AT))?;
    }
    Ok(())
}

/// What the search and the dashboard are told of a snippet.
fn make_findable(conn: &Connection, owner: &[u8], id: Uuid, number: u64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO search_entries (snippet_id, owner_id, public, bytes, title, tags)
         VALUES (?1, ?2, 1, 400, 'A snippet', '[\"bench\",\"limit\"]')",
    )?
    .execute((id.as_bytes(), owner))?;
    conn.prepare_cached("INSERT INTO search_pending (place, terms) VALUES (last_insert_rowid(), ?1)")?
        .execute([terms(number)])?;
    conn.prepare_cached(
        "INSERT INTO dashboard_counts (kind, minute, lane, amount) VALUES ('snippets', 1, 0, 1)
         ON CONFLICT (kind, minute, lane) DO UPDATE SET amount = dashboard_counts.amount + excluded.amount",
    )?
    .execute([])
    .map(drop)
}

/// As many terms as the program makes of a snippet of these benches, and as long: most are shared, some are its own.
fn terms(number: u64) -> String {
    static SHARED: LazyLock<String> = LazyLock::new(|| {
        let shared: Vec<_> = (0..140).map(|term| format!("s{term:04}")).collect();
        shared.join(" ")
    });
    let own: Vec<_> = (0..28).map(|term| format!(" {:05}", (number * 28 + term) % 100_000)).collect();
    SHARED.clone() + &own.concat()
}
