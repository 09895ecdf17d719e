//! What must be there.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stands {
    Open(Uuid),
    Gone(Timestamp),
    Lease(usize, Timestamp),
}

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) number: usize,
    pub(super) version: usize,
    pub(super) user: usize,
    pub(super) device: usize,
    pub(super) stands: Stands,
    pub(super) joined_at: Timestamp,
    pub(super) status: Value,
}

impl Expected {
    pub(super) fn is_lease_of(&self, device: usize) -> bool {
        matches!(self.stands, Stands::Lease(of, _) if of == device)
    }

    pub(super) fn say(&mut self, status: u8) {
        if self.status != json!(status) {
            (self.status, self.version) = (json!(status), self.version + 1);
        }
    }
}
