//! `GET /v1/events`: nothing lost, nothing twice, nothing to those who may not see it.

mod admission;
mod comeback;
mod crash;
mod cuts;
mod fallback;
mod handover;
mod races;
mod resume;
mod rights;
mod sequencer;
mod shape;
mod slow;
mod stalled;

/// The place in the log that an id or a cursor names.
fn place(id: &str) -> u64 {
    id.split_once('.').and_then(|(_, place)| place.parse().ok()).expect("<epoch>.<place>")
}
