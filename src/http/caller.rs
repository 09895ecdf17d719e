//! Who asks: from the headers, the cookie or the query of a request to a [`Caller`].

use std::{future::Future, pin::Pin, rc::Rc};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    cookie::{Cookie, SameSite, time},
    dev::Payload,
    http::header,
    web,
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{parameters, proxy};
use crate::{
    app::App,
    credentials::{self, Caller, Identity, Kind, Scope},
    error::{Error, Result},
    limits::{Admission, Key},
};

/// The name of the session's cookie.
pub const COOKIE: &str = "session";

/// The caller of a route that changes streams, where stream tokens are good too.
pub struct StreamCaller(pub Caller);

/// The caller of a route that opens a stream.
pub struct Listener {
    /// Who asks.
    pub caller: Caller,
    /// To be kept until the stream is open.
    pub admission: Admission,
}

/// The caller of a route that only those who may read can use.
pub struct Reader(pub Caller);

/// The caller of a route that only those who may notify others can use.
pub struct Notifier(pub Caller);

/// The caller of a route that only those who may write can use.
pub struct Writer(pub Caller);

type Found<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

impl FromRequest for Caller {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, signed_in_or_unknown)
    }
}

impl FromRequest for Reader {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, async |req| {
            let caller = signed_in_or_unknown(req).await?;
            caller.require(Scope::Read)?;
            Ok(Self(caller))
        })
    }
}

impl FromRequest for Writer {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, async |req| {
            let caller = signed_in_or_unknown(req).await?;
            caller.require(Scope::Write)?;
            Ok(Self(caller))
        })
    }
}

impl FromRequest for Notifier {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, async |req| {
            let caller = signed_in_or_unknown(req).await?;
            if !caller.is_admin() {
                caller.require(Scope::Notify)?;
            }
            Ok(Self(caller))
        })
    }
}

impl FromRequest for StreamCaller {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, async |req| identify(req, stream_token(req)).await.map(Self))
    }
}

impl FromRequest for Listener {
    type Error = Error;
    type Future = Found<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        find(req, async |req| {
            let admission = app(req)?.limits.admission().await?;
            // In a box, so that nobody who waits for that holds what the rest needs.
            let caller = Box::pin(identify(req, stream_token(req))).await?;
            Ok(Self { caller, admission })
        })
    }
}

fn stream_token(req: &HttpRequest) -> Option<String> {
    let query = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
    let pairs = query.map(web::Query::into_inner).unwrap_or_default();
    pairs.into_iter().find(|(name, _)| name == "access_token").map(|(_, token)| token)
}

/// Closed until it is known who asks. actix works on all arguments of a handler at once, so whatever else costs
/// something, or tells something, must wait here.
#[derive(Clone)]
struct Gate(Rc<Notify>);

/// Waits until the caller is known whom a handler names before the argument that asks this.
pub(super) fn known(req: &HttpRequest) -> impl Future<Output = ()> + use<> {
    let gate = req.extensions_mut().remove::<Gate>();
    async move {
        if let Some(Gate(gate)) = gate {
            gate.notified().await;
        }
    }
}

fn find<T, F>(req: &HttpRequest, how: F) -> Found<T>
where
    F: AsyncFnOnce(&HttpRequest) -> Result<T> + 'static,
{
    let (req, gate) = (req.clone(), Gate(Rc::default()));
    req.extensions_mut().insert(gate.clone());
    Box::pin(async move {
        let found = how(&req).await?;
        gate.0.notify_one();
        Ok(found)
    })
}

async fn signed_in_or_unknown(req: &HttpRequest) -> Result<Caller> {
    let caller = identify(req, None).await?;
    if caller.identity.as_ref().is_some_and(|who| who.kind == Kind::Stream) {
        return Err(Error::Forbidden("a stream token opens streams and nothing else"));
    }
    Ok(caller)
}

async fn identify(req: &HttpRequest, access_token: Option<String>) -> Result<Caller> {
    let app = app(req)?;
    let as_of = app.realtime.log.head();
    let address = proxy::address(req, app.settings.trust_proxy);
    let identity = prove(app, req, access_token).await;
    // Counted whatever comes of it: guesses at tokens too, for the address.
    let key = match &identity {
        Ok(Some(who)) => Key::User(who.id.0),
        Ok(None) | Err(_) => Key::address(address),
    };
    if let Some(allowance) = app.limits.request(key)? {
        req.extensions_mut().insert(allowance);
    }
    let caller = Caller { identity: identity?, address, as_of, connection: connection(req)? };
    parameters::refuse_needless(req)?;
    Ok(caller)
}

async fn prove(app: &App, req: &HttpRequest, access_token: Option<String>) -> Result<Option<Identity>> {
    Ok(match proof(req, access_token)? {
        Proof::None => None,
        Proof::Bearer(token) => Some(holder(app, &token).await?),
        Proof::Query(token) => {
            let who = holder(app, &token).await?;
            if who.kind != Kind::Stream {
                return Err(Error::Unauthenticated("only a stream token may stand in a URL"));
            }
            Some(who)
        }
        Proof::Cookie(token) => {
            require_same_site(req, app)?;
            credentials::identify(app, &token).await?
        }
    })
}

/// The application that a request came to.
pub(super) fn app(req: &HttpRequest) -> Result<&App> {
    let app = req.app_data::<web::Data<App>>().map(|app| &***app);
    app.ok_or_else(|| Error::Internal("the application's state is missing".into()))
}

async fn holder(app: &App, token: &str) -> Result<Identity> {
    let identity = credentials::identify(app, token).await?;
    identity.ok_or(Error::CREDENTIAL_ENDED)
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
fn require_same_site(req: &HttpRequest, app: &App) -> Result<()> {
    if req.method().is_safe() {
        return Ok(());
    }
    let text = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    if origin.is_some_and(|origin| app.settings.cors_origins.iter().any(|allowed| allowed == origin)) {
        return Ok(());
    }
    let same = match (text("sec-fetch-site"), origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = proxy::host(req, app.settings.trust_proxy);
            origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host)
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

/// The cookie that carries a session in a browser.
#[must_use]
pub fn session_cookie(app: &App, req: &HttpRequest, token: &str) -> Cookie<'static> {
    let trust_proxy = app.settings.trust_proxy;
    let loopback = proxy::address(req, trust_proxy).is_loopback();
    let https = proxy::is_https(req, trust_proxy)
        || app.settings.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
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
