//! How fast a job may go, so that the server's requests do not notice it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Spends bytes at a steady rate.
pub struct Pace {
    per_second: u64,
    free_at: Instant,
}

impl Pace {
    /// So many bytes a second; 0 is no limit.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self { per_second, free_at: Instant::now() }
    }

    /// Waits until so many bytes may be spent. Time that was not used is not made up for.
    pub async fn spend(&mut self, bytes: usize) {
        let Some(span) = (bytes as u64).saturating_mul(1_000_000).checked_div(self.per_second) else {
            return;
        };
        sleep_until(self.free_at).await;
        self.free_at = self.free_at.max(Instant::now()) + Duration::from_micros(span);
    }
}
