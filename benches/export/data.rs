//! Snippets to export, written into the database directly: through the API it would take an hour.

use std::{fmt::Write as _, path::Path};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use crate::Failure;

/// How long a content is, in bytes.
const LENGTH: usize = 10_740;
/// Words of which contents are made, so that they compress like code.
const WORDS: [&str; 16] = [
    "let ", "fn ", "match ", "self.", "value", "= ", "(", ");\n", "{\n    ", "}\n", "Some", "return ",
    "&mut ", "name", "count", ", ",
];

/// Writes so many snippets of one owner.
pub async fn fill(database: &Path, owner: &str, count: u64) -> Result<(), Failure> {
    let owner: Uuid = owner.parse()?;
    let mut conn = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(database)).await?;
    let mut random = 1_u64;
    let mut number = 0;
    while number < count {
        let mut tx = conn.begin().await?;
        for _ in 0..1_000.min(count - number) {
            number += 1;
            let id = Uuid::from_u128((0x0190_0000_0000_7000_8000 << 48) | u128::from(number));
            let at = chrono::DateTime::from_timestamp_millis(1_750_000_000_000 + i64::try_from(number)?);
            sqlx::query(
                "INSERT INTO snippets (id, owner_id, visibility, language, version, created_at, updated_at, tags,
                                       title, excerpt, content)
                 VALUES ($1, $2, 'public', 'rust', 1, $3, $3, '[]', $4, 'x', $5)",
            )
            .bind(id)
            .bind(owner)
            .bind(at)
            .bind(format!("Snippet number {number}"))
            .bind(content(&mut random))
            .execute(&mut *tx)
            .await?;
            // Without terms: the server would make them now, in the background.
            sqlx::query(
                "INSERT INTO search_entries (snippet_id, owner_id, public, bytes, title, tags)
                 VALUES ($1, $2, true, 0, '', '[]')",
            )
            .bind(id)
            .bind(owner)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
    }
    conn.close().await?;
    Ok(())
}

fn content(random: &mut u64) -> String {
    let mut content = String::with_capacity(LENGTH);
    while content.len() < LENGTH - 24 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.push_str(WORDS[usize::try_from(*random >> 60).unwrap_or_default()]);
        if (*random >> 40).is_multiple_of(4) {
            let _ = write!(content, "{:x}", *random >> 44); // Into a string it cannot fail.
        }
    }
    content
}
