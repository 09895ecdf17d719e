//! Snippetbox: the live side of a snippet-sharing application over plain HTTP.
//!
//! # The idea
//!
//! Every durable change appends a row to one log, `events`, in its own transaction. A stream is a reader of that
//! log that has caught up; resuming, long polling and catching up after a stall are the same reading from a
//! cursor. See [`realtime`].
//!
//! # The map
//!
//! - [`app`] joins everything, starts and stops it; [`config`] has the settings; `main` the commands.
//! - [`accounts`], [`credentials`], [`snippets`], [`search`], [`chat`], [`notifications`], [`presence`], [`dashboard`],
//!   [`exports`], [`imports`], [`streams`], [`custom_topics`] are the features. Each has `mod` (types, rules,
//!   operations), `routes` (HTTP) and, where it keeps something, `store` (SQL).
//! - [`http`] is what belongs to no feature: the table of routes, problems, callers, bodies, pages.
//! - [`realtime`] is the log, the hubs and the bus between nodes; [`db`] the two databases behind one face; [`jobs`] is
//!   work that outlives its request, and the periodic work.
//! - [`figures`] holds what `/metrics` tells. [`files`] keeps files in a folder or in S3; [`archive`] writes and reads ZIP archives.
//! - [`clock`], [`id`], [`patch`], [`seal`], [`limits`], [`error`] are used by all and know nobody.
//!
//! # What must hold (tested by `tests/tidy.rs`)
//!
//! `routes` have no SQL and no hub, and begin what a caller changes with [`credentials::begin`]; a feature's `mod`
//! has no actix and no SQL; `store` is private and has neither actix nor hub; `realtime` and `db` know no feature;
//! the time and ids come from [`clock`] and [`id`] alone; the status of a failure is named in `http/problem.rs` alone.

pub mod accounts;
pub mod app;
pub mod archive;
pub mod chat;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod custom_topics;
pub mod dashboard;
pub mod db;
pub mod error;
pub mod exports;
pub mod figures;
pub mod files;
pub mod http;
pub mod id;
pub mod imports;
pub mod jobs;
pub mod limits;
pub mod notifications;
pub mod patch;
pub mod presence;
pub mod realtime;
pub mod seal;
pub mod search;
pub mod snippets;
pub mod streams;
