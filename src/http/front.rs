//! What every request passes through: an id, the log, the figures, and a problem for every failure.

use std::time::Instant;

use actix_web::{
    Error as ActixError, HttpMessage as _, HttpResponse, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use tracing::Instrument as _;

use super::{
    problem::{self, Problem},
    sse::ClientSocket,
};
use crate::{app::App, error::Error, limits::Allowance};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CURSOR: HeaderName = HeaderName::from_static("snippetbox-cursor");

/// The methods of HTTP.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// The name of a request in the log.
#[derive(Clone)]
struct RequestId(String);

/// Marks a request that came as HEAD: it is served like GET, and only the body is left out.
pub struct IsHead;

/// The middleware around everything.
///
/// # Errors
/// Where no layer inside has an answer, after a panic for instance; the error brings its problem along.
pub async fn front(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    let begun = Instant::now();
    if let Some(socket) = req.conn_data::<ClientSocket>() {
        socket.count_request();
    }
    let id = request_id(&req);
    let (method, path) = (req.method().clone(), req.path().to_owned());
    if method == Method::HEAD {
        req.extensions_mut().insert(IsHead);
        req.head_mut().method = Method::GET;
    }
    let (cursor, origin) = (cursor(&req), allowed_origin(&req));
    let span = tracing::info_span!("request", request.id = %id.0);
    let answered = next.call(req).instrument(span.clone()).await;
    let _entered = span.enter();
    let mut response = match answered {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => {
            let broken = Broken::new(&error, &id, origin);
            record("unknown".to_owned(), broken.status, &method, &path, begun);
            return Err(broken.into());
        }
    };
    let refusal = refusal(&response);
    explain(&mut response, &id);
    decorate(&mut response, id, cursor, refusal);
    let app = response.request().app_data::<web::Data<App>>();
    if app.is_some_and(|app| app.realtime.is_draining()) {
        // A proxy must not send the next request on a connection that the server is about to close.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let route = response.request().match_pattern().unwrap_or_else(|| "unknown".to_owned());
    record(route, response.status(), &method, &path, begun);
    Ok(response)
}

/// A request that ended without a response of its own: with it, what the layers inside know of it is lost.
#[derive(Debug)]
struct Broken {
    status: StatusCode,
    id: String,
    /// The origin whose pages may read the answer.
    origin: Option<HeaderValue>,
}

impl Broken {
    fn new(error: &ActixError, id: &RequestId, origin: Option<HeaderValue>) -> Self {
        let status = error.as_response_error().status_code();
        tracing::error!(status = status.as_u16(), cause = %error, "the request broke off");
        metrics::counter!("snippetbox_broken_requests_total").increment(1);
        Self { status, id: id.0.clone(), origin }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the request broke off with status {}", self.status)
    }
}

impl ResponseError for Broken {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let problem = Problem::plain(problem::of_status(self.status), &self.id);
        let mut response = HttpResponse::build(self.status);
        response.insert_header((REQUEST_ID, self.id.as_str())).content_type(problem::MEDIA_TYPE);
        if let Some(origin) = &self.origin {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
                .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
                .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, REQUEST_ID.as_str()))
                .insert_header((header::VARY, "Origin"));
        }
        response.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}

/// The client's own id when it is sane: 1 to 128 characters that can break no log line and no header.
fn request_id(req: &ServiceRequest) -> RequestId {
    let given = req.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = given.filter(|id| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
    });
    RequestId(sane.map_or_else(
        || req.app_data::<web::Data<App>>().map(|app| app.ids.next().to_string()).unwrap_or_default(),
        str::to_owned,
    ))
}

/// The origin of the page that asks, if it is one that may call the API.
fn allowed_origin(req: &ServiceRequest) -> Option<HeaderValue> {
    let origin = req.headers().get(header::ORIGIN)?;
    let app = req.app_data::<web::Data<App>>()?;
    app.settings.cors_origins.iter().any(|allowed| origin == allowed.as_str()).then(|| origin.clone())
}

/// The place in the log before the request reads anything: following from it misses no change of what was read.
fn cursor(req: &ServiceRequest) -> Option<String> {
    let reads = req.method() == Method::GET && req.path().starts_with("/v1/");
    let app = req.app_data::<web::Data<App>>().filter(|_| reads)?;
    Some(app.realtime.log.id(app.realtime.log.head()))
}

/// Gives every failure its problem as body, whichever layer it comes from.
fn explain(response: &mut ServiceResponse<BoxBody>, id: &RequestId) {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return;
    }
    let own = response.response().error().and_then(|error| error.as_error::<Error>());
    let problem = match own {
        Some(error) => Problem::of(error, &id.0),
        None => Problem::plain(problem::of_status(status), &id.0),
    };
    if status.is_server_error() {
        let cause = own.map_or_else(|| "a panic or a layer of the framework".to_owned(), ToString::to_string);
        tracing::error!(status = status.as_u16(), cause, "the request failed");
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    let described = HttpResponse::new(status).set_body(body).map_into_boxed_body();
    let headers = std::mem::replace(headers, HeaderMap::new());
    let (_, body) = described.into_parts();
    *response.response_mut() = HttpResponse::new(status).set_body(body);
    if problem::leaves_a_rest(status) {
        // The rest of the request may still come, and would be taken for the next one or waited for.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
}

/// What a limit left to the caller that it has refused: nothing.
fn refusal(response: &ServiceResponse<BoxBody>) -> Option<Allowance> {
    match response.response().error()?.as_error::<Error>()? {
        Error::RateLimited { policy, per_minute, .. } => {
            Some(Allowance { policy, per_minute: *per_minute, remaining: 0 })
        }
        _ => None,
    }
}

fn decorate(
    response: &mut ServiceResponse<BoxBody>,
    id: RequestId,
    cursor: Option<String>,
    refusal: Option<Allowance>,
) {
    let allowance = response.request().extensions().get::<Allowance>().copied();
    let status = response.status();
    let (posted, asked) = (response.request().method() == Method::POST, response.request().headers());
    let has_credentials = asked.contains_key(header::AUTHORIZATION) || asked.contains_key(header::COOKIE);
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "identity") {
        headers.remove(header::CONTENT_ENCODING); // It has told the layer that compresses to leave the body alone.
    }
    if !headers.contains_key(header::CACHE_CONTROL) && (posted || has_credentials) {
        // What is posted for may hold a token; what was asked for with credentials may be for their user alone.
        let kept = if posted { "no-store" } else { "private" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    }
    if let Ok(value) = HeaderValue::try_from(id.0) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(Ok(value)) = cursor.filter(|_| !is_failure(status)).map(HeaderValue::try_from)
        && !headers.contains_key(CURSOR)
    {
        headers.insert(CURSOR, value);
    }
    if let Some(Allowance { policy, per_minute: quota, remaining }) = refusal.or(allowance) {
        // draft-ietf-httpapi-ratelimit-headers: the policy by name, its quota and window; what is left of it.
        let reset = u64::from(quota - remaining.min(quota)) * 60 / u64::from(quota.max(1));
        let quota = HeaderValue::try_from(format!("\"{policy}\";q={quota};w=60"));
        let limit = HeaderValue::try_from(format!("\"{policy}\";r={remaining};t={reset}"));
        if let (Ok(quota), Ok(limit)) = (quota, limit) {
            headers.insert(HeaderName::from_static("ratelimit-policy"), quota);
            headers.insert(HeaderName::from_static("ratelimit"), limit);
        }
    }
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn record(route: String, status: StatusCode, method: &Method, path: &str, begun: Instant) {
    let status = status.as_u16();
    let took = begun.elapsed();
    // A client can invent methods without end; the figures have one row for all of them.
    let known = METHODS.contains(method);
    let name = if known { method.to_string() } else { "OTHER".to_owned() };
    let labels = [("method", name), ("route", route), ("status", status.to_string())];
    metrics::counter!("snippetbox_requests_total", &labels).increment(1);
    metrics::histogram!("snippetbox_request_seconds", &labels[..2]).record(took.as_secs_f64());
    // The path alone: a query may hold a token.
    let duration_ms = took.as_secs_f64() * 1_000.0;
    tracing::info!(target: "snippetbox::access", %method, path, status, duration_ms, "answered");
}
