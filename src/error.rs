//! What can go wrong, in words that know nothing of HTTP: `http/problem.rs` says what a client is told.

use std::{sync::Arc, time::Duration};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One rule that an input breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The place.
    pub at: Place,
    /// What is wrong, for the person who wrote the client.
    pub detail: String,
}

/// A place in an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A JSON Pointer (RFC 6901) into the body.
    Pointer(String),
    /// The name of a query parameter.
    Parameter(String),
}

impl Violation {
    /// A violation in the body, at a JSON Pointer.
    pub fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { at: Place::Pointer(pointer.into()), detail: detail.into() }
    }

    /// A violation in a query parameter.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { at: Place::Parameter(name.into()), detail: detail.into() }
    }
}

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("there is no such {0}, or you may not see it")]
    NotFound(&'static str),
    #[error("nothing is served at this path")]
    UnknownPath,
    #[error("this path does not know the method; it knows {allow}")]
    MethodNotAllowed { allow: String },
    #[error("{0}")]
    Unauthenticated(&'static str),
    #[error("the e-mail address or the password is wrong")]
    InvalidCredentials,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("this token lacks the scope `{0}`")]
    InsufficientScope(&'static str),
    #[error("a request by cookie that changes something must come from this site or an allowed origin")]
    CrossSite,
    #[error("{0}")]
    Conflict(&'static str),
    #[error("the resource has changed since the version named in If-Match")]
    Stale,
    #[error("{detail} (line {line}, column {column})")]
    MalformedJson { detail: String, line: usize, column: usize },
    #[error("{0}")]
    MalformedRequest(&'static str),
    #[error("the body has fields that are not known here")]
    UnknownFields(Vec<Violation>),
    #[error("the query has parameters that are unknown or break a rule")]
    InvalidQuery(Vec<Violation>),
    #[error("the body breaks a rule")]
    Invalid(Vec<Violation>),
    #[error("the body must be sent as {0}")]
    UnsupportedMediaType(&'static str),
    #[error("the body did not arrive within {}", humantime::format_duration(*.0))]
    SlowBody(Duration),
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the range lies outside of the {size} bytes that there are")]
    RangeNotSatisfiable { size: u64 },
    #[error("the Idempotency-Key was used before with another request")]
    IdempotencyKeyReused,
    #[error("the first request with this Idempotency-Key is still running")]
    IdempotencyInProgress,
    #[error("the limit `{policy}` is {per_minute} a minute: wait {retry_after_s} s")]
    RateLimited { policy: &'static str, per_minute: u32, retry_after_s: u64 },
    #[error("the server has more to do than it can: try again soon")]
    Overloaded,
    #[error("the server is shutting down: connect again")]
    Draining,
    #[error("the server's disk is full")]
    StorageFull,
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("database: {0}")]
    Database(Arc<sqlx::Error>),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// What was proved by a credential is no longer so.
    pub const CREDENTIAL_ENDED: Self = Self::Unauthenticated("the token is unknown, revoked or expired");

    /// A refusal of one field of the body.
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::pointer(pointer, detail)])
    }

    /// A refusal of one query parameter.
    pub fn invalid_query(name: &str, detail: impl Into<String>) -> Self {
        Self::InvalidQuery(vec![Violation::parameter(name, detail)])
    }

    /// Whether a uniqueness rule of the database refused a row.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Overloaded,
            // As both schemas put it where a write holds a credential.
            sqlx::Error::Database(error) if error.message() == "the credential has ended" => {
                Self::CREDENTIAL_ENDED
            }
            error => Self::Database(Arc::new(error)),
        }
    }
}
