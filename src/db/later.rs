//! Statements that a transaction runs along with later ones.
//!
//! A statement costs SQLite itself a few microseconds, and ten times that to hand over to its thread and to wake up
//! for the answer. So what nobody waits for is put off, and handed over in one piece with the next statement that
//! somebody does wait for, or with the commit. On PostgreSQL nothing is put off.

use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, FromRow, PgConnection, Postgres, Sqlite, Type,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};

use super::sqlite::Write;
use crate::error::Result;

/// How many statements are put off at most; more are handed over in pieces of this size.
const MOST: usize = 16;

/// Statements for SQLite that have not run yet, with what is bound to them.
#[derive(Default)]
pub(super) struct Batch {
    sql: String,
    arguments: SqliteArguments,
    statements: usize,
}

impl Batch {
    /// Adds a statement, whose placeholders are numbered on from those of the others.
    pub(super) fn push(&mut self, sql: &str) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
        let base = self.arguments.len();
        let mut pieces = sql.split('$');
        self.sql.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digits = piece.find(|it: char| !it.is_ascii_digit()).unwrap_or(piece.len());
            let number = piece[..digits].parse::<usize>().unwrap_or_default();
            self.sql.push('$');
            self.sql.push_str(&(base + number).to_string());
            self.sql.push_str(&piece[digits..]);
        }
        self.statements += 1;
    }

    /// Puts statements without arguments in front.
    pub(super) fn begin_with(&mut self, sql: Option<&str>) {
        let Some(sql) = sql else { return };
        let first = if self.sql.is_empty() { sql.to_owned() } else { format!("{sql}; ") };
        self.sql.insert_str(0, &first);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statements == 0
    }

    /// The statements as one text, and their arguments.
    pub(super) fn take(&mut self) -> (AssertSqlSafe<String>, SqliteArguments) {
        let Self { sql, arguments, .. } = std::mem::take(self);
        // Safe, because each piece came as a text of the program.
        (AssertSqlSafe(sql), arguments)
    }
}

/// A statement of a transaction that is being put together.
#[must_use = "it does nothing until it is run"]
pub struct Later<'t> {
    on: On<'t>,
    bound: Result<(), BoxDynError>,
}

enum On<'t> {
    Sqlite(&'t mut Write),
    Postgres(&'t mut PgConnection, &'static str, PgArguments),
}

impl<'t> Later<'t> {
    pub(super) fn sqlite(write: &'t mut Write, sql: &'static str) -> Self {
        write.later.push(sql);
        Self { on: On::Sqlite(write), bound: Ok(()) }
    }

    pub(super) fn postgres(conn: &'t mut PgConnection, sql: &'static str) -> Self {
        Self { on: On::Postgres(conn, sql, PgArguments::default()), bound: Ok(()) }
    }

    /// Binds the next argument.
    pub fn bind<'q, T>(mut self, value: T) -> Self
    where
        T: Encode<'q, Sqlite> + Type<Sqlite> + Encode<'q, Postgres> + Type<Postgres>,
    {
        let bound = match &mut self.on {
            On::Sqlite(write) => write.later.arguments.add(value),
            On::Postgres(_, _, arguments) => arguments.add(value),
        };
        self.bound = self.bound.and(bound);
        self
    }

    /// Has the statement run before anything else of the transaction is asked for, and before its commit.
    ///
    /// # Errors
    /// When the database refuses it, or one that was put off before. What is still put off fails with whatever runs it.
    pub async fn run(self) -> Result<()> {
        self.bound.map_err(sqlx::Error::Encode)?;
        match self.on {
            On::Sqlite(write) if write.later.statements >= MOST => write.conn().await.map(drop),
            On::Sqlite(_) => Ok(()),
            On::Postgres(conn, sql, arguments) => {
                sqlx::query_with(sql, arguments).execute(conn).await?;
                Ok(())
            }
        }
    }

    /// Runs the statement at once, behind those that were put off, and answers with its first row.
    ///
    /// # Errors
    /// When the database refuses one of them.
    pub async fn find<T>(self) -> Result<Option<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.bound.map_err(sqlx::Error::Encode)?;
        Ok(match self.on {
            On::Sqlite(write) => {
                let (conn, (sql, arguments)) = write.due().await?;
                sqlx::query_as_with(sql, arguments).fetch_optional(conn).await?
            }
            On::Postgres(conn, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_optional(conn).await?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Arguments as _;

    use super::Batch;

    #[test]
    fn each_statement_keeps_its_own_arguments() {
        let mut batch = Batch::default();
        batch.push("SAVEPOINT one_write");
        batch.push("INSERT INTO t VALUES ($1, $2, $1)");
        batch.arguments.add(7_i64).unwrap();
        batch.arguments.add("seven").unwrap();
        batch.push("DELETE FROM t WHERE n = $1");
        batch.arguments.add(8_i64).unwrap();
        assert_eq!(
            batch.sql,
            "SAVEPOINT one_write; INSERT INTO t VALUES ($1, $2, $1); DELETE FROM t WHERE n = $3"
        );
    }
}
