//! What a client is told when something goes wrong: the one table from failures to statuses (RFC 9457).

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Place, Violation};

/// The media type of every failure.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A failure, as RFC 9457 describes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A reference to a page that explains the code
    #[schema(example = "/problems/not_found")]
    pub r#type: String,
    /// The code in words, the same for every failure of its kind
    pub title: &'static str,
    /// The status of the response
    pub status: u16,
    /// What went wrong this time
    pub detail: String,
    /// The kind of failure, for programs
    pub code: &'static str,
    /// Names the request in the server's log
    pub request_id: String,
    /// Every rule that the input breaks
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One rule that an input breaks, in the body (`pointer`) or in the query (`parameter`).
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the body
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of a query parameter
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong
    pub detail: String,
}

impl From<&Violation> for FieldError {
    fn from(violation: &Violation) -> Self {
        let detail = violation.detail.clone();
        match &violation.at {
            Place::Pointer(pointer) => Self { pointer: Some(pointer.clone()), parameter: None, detail },
            Place::Parameter(name) => Self { pointer: None, parameter: Some(name.clone()), detail },
        }
    }
}

/// A kind of failure: its status, its code, its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub StatusCode, pub &'static str, pub &'static str);

/// Every kind of failure that a client can meet.
pub const KINDS: &[Kind] = &[
    BAD_REQUEST,
    MALFORMED_JSON,
    UNKNOWN_FIELD,
    INVALID_QUERY,
    UNAUTHENTICATED,
    INVALID_CREDENTIALS,
    FORBIDDEN,
    INSUFFICIENT_SCOPE,
    CSRF,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    REQUEST_TIMEOUT,
    CONFLICT,
    IN_PROGRESS,
    PRECONDITION_FAILED,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    RANGE_NOT_SATISFIABLE,
    VALIDATION_FAILED,
    KEY_REUSED,
    RATE_LIMITED,
    INTERNAL,
    UNAVAILABLE,
    OVERLOADED,
    DRAINING,
    STORAGE_FULL,
];

const BAD_REQUEST: Kind = Kind(StatusCode::BAD_REQUEST, "bad_request", "The request is malformed");
const MALFORMED_JSON: Kind = Kind(StatusCode::BAD_REQUEST, "malformed_json", "The body is not JSON");
const UNKNOWN_FIELD: Kind = Kind(StatusCode::BAD_REQUEST, "unknown_field", "The body has unknown fields");
const INVALID_QUERY: Kind = Kind(StatusCode::BAD_REQUEST, "invalid_query", "The query is wrong");
const UNAUTHENTICATED: Kind = Kind(StatusCode::UNAUTHORIZED, "unauthenticated", "Credentials are needed");
const INVALID_CREDENTIALS: Kind =
    Kind(StatusCode::UNAUTHORIZED, "invalid_credentials", "E-mail address or password is wrong");
const FORBIDDEN: Kind = Kind(StatusCode::FORBIDDEN, "forbidden", "This is not allowed");
const INSUFFICIENT_SCOPE: Kind = Kind(StatusCode::FORBIDDEN, "insufficient_scope", "The token lacks a scope");
const CSRF: Kind = Kind(StatusCode::FORBIDDEN, "csrf", "The request comes from another site");
const NOT_FOUND: Kind = Kind(StatusCode::NOT_FOUND, "not_found", "There is nothing here");
const METHOD_NOT_ALLOWED: Kind =
    Kind(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not know this method");
const NOT_ACCEPTABLE: Kind =
    Kind(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "There is no answer in a form that is accepted");
const REQUEST_TIMEOUT: Kind =
    Kind(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request took too long to arrive");
const CONFLICT: Kind = Kind(StatusCode::CONFLICT, "conflict", "The request conflicts with what is there");
const IN_PROGRESS: Kind =
    Kind(StatusCode::CONFLICT, "idempotency_in_progress", "The first request is still running");
const PRECONDITION_FAILED: Kind =
    Kind(StatusCode::PRECONDITION_FAILED, "precondition_failed", "The resource has changed");
const TOO_LARGE: Kind = Kind(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large");
const UNSUPPORTED_MEDIA_TYPE: Kind =
    Kind(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body has the wrong media type");
const RANGE_NOT_SATISFIABLE: Kind =
    Kind(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "The range lies outside of the content");
const VALIDATION_FAILED: Kind =
    Kind(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", "The body breaks a rule");
const KEY_REUSED: Kind =
    Kind(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The key belongs to another request");
const RATE_LIMITED: Kind = Kind(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests");
const INTERNAL: Kind = Kind(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server made a mistake");
const UNAVAILABLE: Kind =
    Kind(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The server cannot reach its database");
const OVERLOADED: Kind = Kind(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "The server is overloaded");
const DRAINING: Kind = Kind(StatusCode::SERVICE_UNAVAILABLE, "draining", "The server is shutting down");
const STORAGE_FULL: Kind = Kind(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "The disk is full");

fn kind(error: &Error) -> Kind {
    match error {
        Error::NotFound(_) | Error::UnknownPath => NOT_FOUND,
        Error::MethodNotAllowed { .. } => METHOD_NOT_ALLOWED,
        Error::Unauthenticated(_) => UNAUTHENTICATED,
        Error::InvalidCredentials => INVALID_CREDENTIALS,
        Error::Forbidden(_) => FORBIDDEN,
        Error::InsufficientScope(_) => INSUFFICIENT_SCOPE,
        Error::CrossSite => CSRF,
        Error::Conflict(_) => CONFLICT,
        Error::Stale => PRECONDITION_FAILED,
        Error::MalformedJson { .. } => MALFORMED_JSON,
        Error::MalformedRequest(_) => BAD_REQUEST,
        Error::UnknownFields(_) => UNKNOWN_FIELD,
        Error::InvalidQuery(_) => INVALID_QUERY,
        Error::Invalid(_) => VALIDATION_FAILED,
        Error::UnsupportedMediaType(_) => UNSUPPORTED_MEDIA_TYPE,
        Error::TooLarge { .. } => TOO_LARGE,
        Error::RangeNotSatisfiable { .. } => RANGE_NOT_SATISFIABLE,
        Error::SlowBody(_) => REQUEST_TIMEOUT,
        Error::IdempotencyKeyReused => KEY_REUSED,
        Error::IdempotencyInProgress => IN_PROGRESS,
        Error::RateLimited { .. } => RATE_LIMITED,
        Error::Overloaded => OVERLOADED,
        Error::Draining => DRAINING,
        Error::StorageFull => STORAGE_FULL,
        Error::Unreachable(_) => UNAVAILABLE,
        Error::Database(error) => database_kind(error),
        Error::Internal(_) => INTERNAL,
    }
}

fn database_kind(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(INTERNAL, |code| code_kind(&code)),
        // A connection that ends before the first answer is, to the driver, a server that says something unknown.
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// By a code of PostgreSQL, which has five characters, or of SQLite, a smaller number with its kind in the last byte.
fn code_kind(code: &str) -> Kind {
    match code {
        // PostgreSQL's disk_full.
        "53100" => STORAGE_FULL,
        // serialization_failure, deadlock_detected, lock_not_available, query_canceled, and
        // idle_in_transaction_session_timeout: another try may do.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => OVERLOADED,
        // Its classes for lost connections, resources and operator intervention.
        _ if code.len() == 5 => {
            let lost = ["08", "53", "57"].iter().any(|class| code.starts_with(class));
            if lost { UNAVAILABLE } else { INTERNAL }
        }
        _ => match code.parse::<u16>().map(|code| code & 0xff) {
            Ok(5) => OVERLOADED,    // SQLITE_BUSY
            Ok(13) => STORAGE_FULL, // SQLITE_FULL
            _ => INTERNAL,
        },
    }
}

/// What a client should know about an unexpected status that some layer answered without a problem.
#[must_use]
pub fn of_status(status: StatusCode) -> Kind {
    let found = KINDS.iter().find(|kind| kind.0 == status);
    let next = if status.is_server_error() { INTERNAL } else { BAD_REQUEST };
    found.copied().unwrap_or(Kind(status, next.1, next.2))
}

/// Whether the request has not come to its end, so that nothing can follow it on its connection.
#[must_use]
pub fn leaves_a_rest(status: StatusCode) -> bool {
    status == REQUEST_TIMEOUT.0
}

impl Problem {
    /// Describes a failure. Of the inside, a client learns nothing.
    #[must_use]
    pub fn of(error: &Error, request_id: &str) -> Self {
        let kind = kind(error);
        let told = !(kind.0.is_server_error()
            && matches!(error, Error::Unreachable(_) | Error::Database(_) | Error::Internal(_)));
        let errors = match error {
            Error::UnknownFields(list) | Error::InvalidQuery(list) | Error::Invalid(list) => {
                list.iter().map(FieldError::from).collect()
            }
            _ => Vec::new(),
        };
        let detail = if told { error.to_string() } else { format!("{}; the log knows more", kind.2) };
        Self { detail, errors, ..Self::plain(kind, request_id) }
    }

    /// Describes a failure of which only the kind is known.
    #[must_use]
    pub fn plain(kind: Kind, request_id: &str) -> Self {
        let Kind(status, code, title) = kind;
        Self {
            r#type: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: title.to_owned(),
            code,
            request_id: request_id.to_owned(),
            errors: Vec::new(),
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        kind(self).0
    }

    /// The status and the headers; `front` writes the body, because it knows the request.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        match self {
            Self::MethodNotAllowed { allow } => {
                response.insert_header((header::ALLOW, allow.as_str()));
            }
            Self::RateLimited { retry_after_s, .. } => {
                response.insert_header((header::RETRY_AFTER, *retry_after_s));
            }
            Self::RangeNotSatisfiable { size } => {
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{size}")));
            }
            Self::Unauthenticated(_) | Self::InvalidCredentials => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            _ if self.status_code() == StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header((header::RETRY_AFTER, 1));
            }
            _ => {}
        }
        response.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_another_try_may_mend_is_no_mistake_of_the_server() {
        for (kind, codes) in [
            (OVERLOADED, &["40001", "40P01", "55P03", "57014", "25P03", "5", "261", "517", "773"][..]),
            (UNAVAILABLE, &["08006", "53300", "57P01"]),
            (STORAGE_FULL, &["53100", "13"]),
            (INTERNAL, &["42P01", "40002", "1", "787"]),
        ] {
            for code in codes {
                assert_eq!(code_kind(code), kind, "{code}");
            }
        }
    }
}
