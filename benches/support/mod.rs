//! What both benches stand on: the server as a process of its own, a load generator, and reports.

pub mod histogram;
pub mod http;
pub mod report;
pub mod server;

/// A measurement ends with the first thing that goes wrong.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
