//! Behaviour as clients see it: HTTP over a real socket to a server with its own database, each test on both.

mod backup;
mod chat;
mod conventions;
mod custom_topics;
mod dashboard;
mod database_away;
mod exports;
mod idempotency;
mod me;
mod meanwhile;
mod notifications;
mod openapi;
mod operations;
mod presence;
mod process;
mod readme;
mod roles;
mod search;
mod sessions;
mod snippets;
mod stream_tokens;
mod streams;
mod support;
mod tokens;
mod users;
