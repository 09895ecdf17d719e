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
