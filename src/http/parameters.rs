//! Query parameters on routes that have none: a typo must not look like success.

use std::{
    collections::HashSet,
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};

use super::openapi::Outline;
use crate::error::{Error, Result, Violation};

/// The routes that have a query, as `METHOD /pattern`.
pub struct Queries(HashSet<String>);

impl Queries {
    /// Reads them off the OpenAPI document.
    #[must_use]
    pub fn of(outline: &Outline) -> Self {
        let mut routes = HashSet::new();
        for (path, methods) in &outline.paths {
            for (method, _) in methods.iter().filter(|(_, operation)| operation.has_query()) {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        Self(routes)
    }
}

/// Where a route has no parameter, any is a mistake; where it has, the reader of its query finds the others.
pub(super) fn refuse_needless(req: &HttpRequest) -> Result<()> {
    let route = || Some(format!("{} {}", req.method(), req.match_pattern()?));
    let knows = |route: &String| {
        req.app_data::<web::Data<Queries>>().is_some_and(|queries| queries.0.contains(route))
    };
    if req.query_string().is_empty() || route().as_ref().is_some_and(knows) {
        return Ok(());
    }
    let pairs = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
    let names = pairs.map(web::Query::into_inner).unwrap_or_default().into_iter().map(|(name, _)| name);
    let needless: Vec<_> = names.map(|name| Violation::parameter(name, "is not known here")).collect();
    if needless.is_empty() { Ok(()) } else { Err(Error::InvalidQuery(needless)) }
}

/// Stands in handlers that do not ask who the caller is, and have no parameter.
pub(super) struct NoQuery;

impl FromRequest for NoQuery {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(refuse_needless(req).map(|()| Self))
    }
}
