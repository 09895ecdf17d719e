//! A connection that stops what it does when nobody waits for it any more.
//!
//! Neither database would by itself: a driver whose future is dropped only stops listening. SQLite asks a handler while
//! it works; PostgreSQL looks now and then whether its client is still connected.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::ReadConn;
use crate::error::Result;

/// How many steps SQLite takes between two looks: some ten microseconds.
const STEPS: i32 = 1_000;

/// A connection that is closed, in the middle of its statement, unless it is over when it is dropped.
pub(super) struct Stopping {
    pub(super) conn: ReadConn,
    pub(super) is_over: bool,
    is_wanted: Arc<AtomicBool>,
}

impl Stopping {
    pub(super) async fn new(mut conn: ReadConn) -> Result<Self> {
        let is_wanted = Arc::new(AtomicBool::new(true));
        if let ReadConn::Sqlite(conn) = &mut conn {
            let is_wanted = Arc::clone(&is_wanted);
            // It stays when the connection goes back to the pool; the next one takes its place.
            conn.lock_handle().await?.set_progress_handler(STEPS, move || is_wanted.load(Ordering::Relaxed));
        }
        Ok(Self { conn, is_over: false, is_wanted })
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.is_wanted.store(false, Ordering::Relaxed);
        match &mut self.conn {
            ReadConn::Sqlite(conn) => conn.close_on_drop(),
            ReadConn::Postgres(conn) => conn.close_on_drop(),
        }
    }
}
