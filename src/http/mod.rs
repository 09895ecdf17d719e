//! What belongs to no feature: the table of routes, who asks, what goes in and out, and what failures look like.
#![deny(missing_docs)]

pub mod caller;
pub mod download;
pub mod etag;
pub mod extract;
mod front;
pub mod idempotency;
pub mod openapi;
mod operations;
pub mod page;
mod parameters;
pub mod problem;
mod proxy;
mod routes;
pub mod sse;

use std::sync::Arc;

use actix_cors::Cors;
use actix_web::{
    HttpRequest, HttpResponse, guard,
    http::{Method, header},
    web,
};
use actix_web_lab::extract::LocalData;
use prometheus::Registry;

use self::openapi::Outline;
pub use self::{
    front::{IsHead, front},
    routes::Routes,
};
use crate::{
    accounts,
    app::App,
    chat, credentials, custom_topics, dashboard,
    error::{Error, Result},
    exports, imports, notifications, presence,
    realtime::Hub,
    search, snippets, streams,
};

/// Every route of the server.
pub fn routes(cfg: &mut Routes<'_, '_>) {
    cfg.configure(streams::routes::configure)
        .configure(streams::sugar::configure)
        .configure(snippets::routes::configure)
        .configure(exports::routes::configure)
        .configure(imports::routes::configure)
        .configure(presence::routes::configure)
        .configure(chat::routes::configure)
        .configure(notifications::routes::configure)
        .configure(search::routes::configure)
        .configure(custom_topics::routes::configure)
        .configure(dashboard::routes::configure)
        .configure(accounts::routes::configure)
        .configure(credentials::routes::configure)
        .configure(operations::configure);
}

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    app: web::Data<App>,
    /// The paths that are written out, with the methods that each knows.
    literals: Arc<Vec<(String, String)>>,
    figures: web::Data<Registry>,
    methods: Arc<Methods>,
    queries: web::Data<parameters::Queries>,
}

impl Shared {
    /// The state, with what is looked up in the document once.
    ///
    /// # Errors
    /// When the document is none.
    pub fn new(app: web::Data<App>, figures: Registry) -> Result<Self> {
        let outline = openapi::outline()?;
        let methods = Arc::new(Methods::of(&outline));
        let queries = web::Data::new(parameters::Queries::of(&outline));
        let paths = outline.paths.iter().filter(|(path, _)| !path.contains('{'));
        let literals = Arc::new(paths.map(|(path, methods)| (path.clone(), allow(methods))).collect());
        Ok(Self { app, literals, figures: web::Data::new(figures), methods, queries })
    }

    /// Lays out one worker: its state, its hub and its routes.
    pub fn configure(&self, cfg: &mut web::ServiceConfig) {
        let hub = Hub::start(&self.app.realtime);
        cfg.app_data(self.app.clone())
            .app_data(self.figures.clone())
            .app_data(self.queries.clone())
            .app_data(LocalData::new(hub))
            .app_data(web::PathConfig::default().error_handler(|_, _| Error::UnknownPath.into()));
        self.prefer_literal_paths(cfg);
        routes(&mut Routes::Served(cfg));
        let to_the_page = web::resource("/docs").guard(guard::Get());
        cfg.service(to_the_page.to(|| async { web::Redirect::to("/docs/") }))
            .service(
                utoipa_swagger_ui::SwaggerUi::new("/docs/{_:.*}")
                    .config(utoipa_swagger_ui::Config::new(["/openapi.json"])),
            )
            .default_service(self.refuse_method());
    }

    /// A path that is written out wins over a pattern that it fits, for the methods too that it does not know.
    fn prefer_literal_paths(&self, cfg: &mut web::ServiceConfig) {
        for (path, known) in self.literals.iter() {
            let known = known.clone();
            let knows = move |method: &Method| {
                *method != Method::OPTIONS && known.split(", ").any(|name| name == method.as_str())
            };
            let others = guard::fn_guard(move |request| !knows(&request.head().method));
            cfg.service(web::resource(path.as_str()).guard(others).route(self.refuse_method()));
        }
    }

    fn refuse_method(&self) -> actix_web::Route {
        let methods = Arc::clone(&self.methods);
        web::to(move |req: HttpRequest| {
            let answer = methods.answer(&req);
            async move { answer }
        })
    }
}

impl Shared {
    /// Leave for the pages of allowed origins to call the API, with their users' credentials.
    pub fn cors(&self) -> Cors {
        let origins = &self.app.settings.cors_origins;
        let cors = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
        cors.supports_credentials()
            .block_on_origin_mismatch(false)
            .allow_any_method()
            .allow_any_header()
            .expose_headers(EXPOSED)
            .max_age(3_600)
    }
}

/// The headers of a response that a page of another origin may read.
const EXPOSED: [&str; 12] = [
    "ETag",
    "Location",
    "Link",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Request-Id",
    "Snippetbox-Cursor",
    "Idempotent-Replayed",
    "Allow",
    "Content-Disposition",
    "Content-Range",
];

/// The application of one worker, with everything that its requests pass through, the outermost last.
#[macro_export]
#[doc(hidden)]
macro_rules! worker {
    ($shared:expr) => {
        actix_web::App::new()
            .configure(|cfg| $shared.configure(cfg))
            .wrap(actix_web_lab::middleware::CatchPanic::default())
            .wrap(actix_web::middleware::Compress::default())
            .wrap($shared.cors())
            .wrap(actix_web::middleware::from_fn($crate::http::front))
    };
}

/// The methods that each path knows, for paths that are asked in another way; those that are written out come first.
struct Methods(Vec<(String, String)>);

impl Methods {
    fn of(outline: &Outline) -> Self {
        let documented = outline.paths.iter().map(|(path, methods)| (path.clone(), allow(methods)));
        let pages = ["/docs", "/docs/", "/docs/{file}"];
        let pages = pages.map(|path| (path.to_owned(), "GET, HEAD, OPTIONS".to_owned()));
        let mut all: Vec<_> = documented.chain(pages).collect();
        all.sort_by_key(|(pattern, _)| pattern.contains('{'));
        Self(all)
    }

    fn answer(&self, req: &HttpRequest) -> Result<HttpResponse> {
        let known = self.0.iter().find(|(pattern, _)| fits(pattern, req.path()));
        let Some((_, allow)) = known else { return Err(Error::UnknownPath) };
        if req.method() == Method::OPTIONS {
            return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, allow.as_str())).finish());
        }
        Err(Error::MethodNotAllowed { allow: allow.clone() })
    }
}

/// Whether a path has the segments of a pattern, and something in the place of each name.
fn fits(pattern: &str, path: &str) -> bool {
    let (wanted, given) = (pattern.split('/'), path.split('/'));
    let fits = |(wanted, given): (&str, &str)| match wanted.split_once('{') {
        None => wanted == given,
        Some((before, _)) => given.strip_prefix(before).is_some_and(|named| !named.is_empty()),
    };
    wanted.clone().count() == given.clone().count() && wanted.zip(given).all(fits)
}

fn allow(methods: &openapi::Methods) -> String {
    let names =
        [("get", "GET, HEAD"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];
    let known = names.iter().filter(|(method, _)| methods.contains_key(*method)).map(|(_, names)| *names);
    known.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use actix_web::{HttpResponse, HttpServer, web};

    use super::Shared;
    use crate::{app::App, clock::Clock, config::Settings, figures};

    const ORIGIN: &str = "https://app.example.org";

    async fn panics() -> HttpResponse {
        panic!("a secret of the inside")
    }

    #[actix_web::test]
    async fn a_panic_is_answered_like_every_failure() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let settings = Settings::from_args(["--data-dir", data, "--cors-origins", ORIGIN]).unwrap();
        let app = App::open(settings, Clock::system()).await.unwrap();
        let shared = Shared::new(web::Data::new(app), figures::registry()).unwrap();
        let panicking = move || crate::worker!(shared).route("/panics", web::get().to(panics));
        let server = HttpServer::new(panicking).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);

        drop(rustls::crypto::ring::default_provider().install_default()); // What the client wants, unused.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let request = client.get(format!("{url}/panics")).header("Origin", ORIGIN);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        assert_eq!(
            (status.as_u16(), &headers["content-type"]),
            (500, &"application/problem+json".parse().unwrap())
        );
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert!(text.contains("\"code\":\"internal\"") && !text.contains("secret"), "{text}");
        assert!(text.contains(headers["x-request-id"].to_str().unwrap()), "{text}");
        let stranger = client.get(format!("{url}/panics")).header("Origin", "https://evil.example.org");
        let answer = stranger.send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let figures = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let counted = "snippetbox_requests_total{method=\"GET\",route=\"unknown\",status=\"500\"} 2";
        assert!(figures.contains(counted), "{figures}");
        handle.stop(false).await;
    }
}
