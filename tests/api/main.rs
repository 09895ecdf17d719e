//! Behaviour as clients see it: HTTP over a real socket to a server with its own database, each test on both.

mod chat;
mod conventions;
mod custom_topics;
mod exports;
mod idempotency;
mod me;
mod notifications;
mod openapi;
mod operations;
mod process;
mod sessions;
mod snippets;
mod stream_tokens;
mod streams;
mod support;
mod tokens;
mod users;
