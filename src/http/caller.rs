//! Who asks: from the headers, the cookie or the query of a request to a [`Caller`].

use std::{collections::HashSet, future::Future, net::IpAddr, pin::Pin};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    cookie::{Cookie, SameSite, time},
    dev::Payload,
    http::header,
    web,
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Parameter, ParameterIn},
};
use uuid::Uuid;

use crate::{
    app::App,
    credentials::{self, Caller, Identity, Kind},
    error::{Error, Result, Violation},
    limits::Key,
};

/// The name of the session's cookie.
pub const COOKIE: &str = "session";

/// The caller of a route that opens or changes streams, where stream tokens are good too.
pub struct StreamCaller(pub Caller);

impl FromRequest for Caller {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let caller = identify(&req, None).await?;
            if caller.identity.as_ref().is_some_and(|who| who.kind == Kind::Stream) {
                return Err(Error::Forbidden("a stream token opens streams and nothing else"));
            }
            Ok(caller)
        })
    }
}

impl FromRequest for StreamCaller {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let query = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
            let pairs = query.map(web::Query::into_inner).unwrap_or_default();
            let token = pairs.into_iter().find(|(name, _)| name == "access_token").map(|(_, token)| token);
            identify(&req, token).await.map(Self)
        })
    }
}

async fn identify(req: &HttpRequest, access_token: Option<String>) -> Result<Caller> {
    refuse_needless_query(req)?;
    let app = app(req)?;
    let as_of = app.realtime.log.head();
    let address = address(req, app.settings.trust_proxy);
    let identity = match proof(req, access_token)? {
        Proof::None => None,
        Proof::Bearer(token) => Some(known(app, &token).await?),
        Proof::Query(token) => {
            let who = known(app, &token).await?;
            if who.kind != Kind::Stream {
                return Err(Error::Unauthenticated("only a stream token may stand in a URL"));
            }
            Some(who)
        }
        Proof::Cookie(token) => {
            require_same_site(req, &app.settings.cors_origins)?;
            credentials::identify(app, &token).await?
        }
    };
    let key = identity.as_ref().map_or_else(|| Key::address(address), |who| Key::User(who.id.0));
    if let Some(allowance) = app.limits.request(key)? {
        req.extensions_mut().insert(allowance);
    }
    Ok(Caller { identity, address, as_of, connection: connection(req)? })
}

/// Where a route has no parameter, any is a mistake; where it has, the reader of its query finds the others.
fn refuse_needless_query(req: &HttpRequest) -> Result<()> {
    let route = || Some(format!("{} {}", req.method(), req.match_pattern()?));
    let knows = |route: &String| {
        req.app_data::<web::Data<Queries>>().is_some_and(|queries| queries.0.contains(route))
    };
    if req.query_string().is_empty() || route().as_ref().is_some_and(knows) {
        return Ok(());
    }
    let pairs = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
    let names = pairs.map(web::Query::into_inner).unwrap_or_default().into_iter().map(|(name, _)| name);
    Err(Error::InvalidQuery(names.map(|name| Violation::parameter(name, "is not known here")).collect()))
}

fn is_query(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query)
}

/// The routes that have a query, as `METHOD /pattern`.
pub struct Queries(HashSet<String>);

impl Queries {
    /// Reads them off the OpenAPI document.
    #[must_use]
    pub fn of(document: &OpenApi) -> Self {
        let mut routes = HashSet::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in
                [("GET", &item.get), ("POST", &item.post), ("PATCH", &item.patch), ("DELETE", &item.delete)]
            {
                let parameters = operation.as_ref().and_then(|operation| operation.parameters.as_ref());
                if parameters.is_some_and(|all| all.iter().any(is_query)) {
                    routes.insert(format!("{method} {path}"));
                }
            }
        }
        Self(routes)
    }
}

fn app(req: &HttpRequest) -> Result<&App> {
    let app = req.app_data::<web::Data<App>>().map(|app| &***app);
    app.ok_or_else(|| Error::Internal("the application's state is missing".into()))
}

async fn known(app: &App, token: &str) -> Result<Identity> {
    let identity = credentials::identify(app, token).await?;
    identity.ok_or(Error::Unauthenticated("the token is unknown, revoked or expired"))
}

enum Proof {
    None,
    Bearer(String),
    Query(String),
    Cookie(String),
}

fn proof(req: &HttpRequest, access_token: Option<String>) -> Result<Proof> {
    if let Some(value) = req.headers().get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) =
            bearer.ok_or(Error::Unauthenticated("the scheme of Authorization must be Bearer"))?;
        return Ok(Proof::Bearer(token.trim().to_owned()));
    }
    if let Some(token) = access_token {
        return Ok(Proof::Query(token));
    }
    Ok(req.cookie(COOKIE).map_or(Proof::None, |cookie| Proof::Cookie(cookie.value().to_owned())))
}

/// Refuses what another site's page makes a browser send along with the cookie. A client that sends neither
/// header is no browser, and nobody can make it send a cookie.
fn require_same_site(req: &HttpRequest, allowed: &[String]) -> Result<()> {
    if req.method().is_safe() {
        return Ok(());
    }
    let text = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    if origin.is_some_and(|origin| allowed.iter().any(|known| known == origin)) {
        return Ok(());
    }
    let same = match (text("sec-fetch-site"), origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = req.connection_info().host().to_owned();
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        (None, None) => true,
    };
    if same { Ok(()) } else { Err(Error::CrossSite) }
}

fn connection(req: &HttpRequest) -> Result<Option<Uuid>> {
    let Some(value) = req.headers().get("snippetbox-connection-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or(Error::MalformedRequest("Snippetbox-Connection-Id must be the id of a connection"))
}

/// Where a request comes from: the peer, or what a trusted proxy says.
fn address(req: &HttpRequest, trust_proxy: bool) -> IpAddr {
    let peer = req.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    if !trust_proxy {
        return peer;
    }
    let named = req.connection_info().realip_remote_addr().and_then(|text| text.parse().ok());
    named.unwrap_or(peer)
}

/// The cookie that carries a session in a browser.
#[must_use]
pub fn session_cookie(app: &App, req: &HttpRequest, token: &str) -> Cookie<'static> {
    let loopback = req.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
    let https = app.settings.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let age = i64::try_from(app.settings.session_ttl.as_secs()).unwrap_or(i64::MAX);
    Cookie::build(COOKIE, token.to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(https || !loopback)
        .max_age(time::Duration::seconds(age))
        .finish()
}

/// The cookie that makes a browser forget its session.
#[must_use]
pub fn ended_cookie() -> Cookie<'static> {
    Cookie::build(COOKIE, "")
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(time::Duration::ZERO)
        .finish()
}
