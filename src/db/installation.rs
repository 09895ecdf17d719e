//! What tells one installation from another.

use uuid::Uuid;

use super::{Db, WriteTx, on_conn};
use crate::error::Result;

/// The identity of an installation, made once at its first start.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Installation {
    /// The first part of every event id; it changes when a database is restored from a backup.
    pub epoch: String,
    /// 256 random bits, from which everything that is sealed derives its key.
    pub secret: Vec<u8>,
}

impl Db {
    /// The identity of this installation; `fresh` becomes it when there is none yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn installation(&self, fresh: Installation) -> Result<Installation> {
        let mut tx = self.write().await?;
        on_conn!(tx.conn().await?, |c| sqlx::query(
            "INSERT INTO installation (id, epoch, secret) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING"
        )
        .bind(fresh.epoch)
        .bind(fresh.secret)
        .execute(c)
        .await
        .map(drop)?);
        let installation = on_conn!(tx.conn().await?, |c| sqlx::query_as(
            "SELECT epoch, secret FROM installation WHERE id = 1"
        )
        .fetch_one(c)
        .await?);
        tx.commit().await?;
        Ok(installation)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        let mut conn = self.read().await?;
        on_conn!(conn.conn(), |c| sqlx::query("SELECT 1").execute(c).await.map(drop)?);
        Ok(())
    }
}

impl WriteTx {
    /// Holds the installation: until the transaction ends no other one does, so none makes the first user or lets the
    /// last administrator go.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hold_installation(&mut self) -> Result<()> {
        let conn = self.conn().await?;
        // On SQLite a transaction that writes is alone.
        let sql = conn.sql("SELECT id FROM installation", "SELECT id FROM installation FOR UPDATE");
        on_conn!(conn, |c| sqlx::query(sql).execute(c).await.map(drop)?);
        Ok(())
    }

    /// Whether `user` is the first one of an installation that has none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_first_user(&mut self, user: Uuid) -> Result<bool> {
        // While there is an administrator, who stays until the end, nobody else is waited for.
        let conn = self.conn().await?;
        let sql = conn.sql(
            "SELECT id FROM users WHERE role = 'admin' ORDER BY id LIMIT 1",
            "SELECT id FROM users WHERE role = 'admin' ORDER BY id LIMIT 1 FOR KEY SHARE",
        );
        let admin: Option<(Uuid,)> = on_conn!(conn, |c| sqlx::query_as(sql).fetch_optional(c).await?);
        if admin.is_some() {
            return Ok(false);
        }
        self.hold_installation().await?;
        Ok(on_conn!(self.conn().await?, |c| sqlx::query(
            "UPDATE installation SET first_user = $1 WHERE NOT EXISTS (SELECT 1 FROM users)"
        )
        .bind(user)
        .execute(c)
        .await?
        .rows_affected()
            == 1))
    }
}
