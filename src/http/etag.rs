//! Conditional requests: `ETag` is the version of a resource in quotes.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{self, EntityTag, Header as _, IfMatch as IfMatchHeader, IfNoneMatch},
};
use serde::Serialize;

use crate::error::{Error, Result};

/// The tag of a version.
#[must_use]
pub fn of(version: i64) -> String {
    format!("\"{version}\"")
}

/// A version as JSON, unless the client says that it has it.
pub fn respond(req: &HttpRequest, version: i64, value: &impl Serialize) -> HttpResponse {
    let tag = (header::ETAG, of(version));
    if is_known(req, version) {
        return HttpResponse::NotModified().insert_header(tag).finish();
    }
    HttpResponse::Ok().insert_header(tag).json(value)
}

/// Whether the client says that it has this version.
#[must_use]
pub fn is_known(req: &HttpRequest, version: i64) -> bool {
    let tag = EntityTag::new_strong(version.to_string());
    match IfNoneMatch::parse(req) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    }
}

/// The versions for which a change is meant; without the header, any.
pub struct IfMatch(Option<IfMatchHeader>);

impl IfMatch {
    /// Whether the change may be made to this version.
    #[must_use]
    pub fn allows(&self, version: i64) -> bool {
        let tag = EntityTag::new_strong(version.to_string());
        match &self.0 {
            None | Some(IfMatchHeader::Any) => true,
            Some(IfMatchHeader::Items(tags)) => tags.iter().any(|meant| meant.strong_eq(&tag)),
        }
    }
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        if !req.headers().contains_key(header::IF_MATCH) {
            return ready(Ok(Self(None)));
        }
        let parsed =
            IfMatchHeader::parse(req).map_err(|_| Error::MalformedRequest("If-Match must list entity tags"));
        ready(parsed.map(|header| Self(Some(header))))
    }
}
