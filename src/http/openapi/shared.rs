//! What operations of a kind have in common: added to the document here, so that no route can forget it.

use std::collections::BTreeMap;

use utoipa::{
    IntoParams as _,
    openapi::{
        Components, Content, Header, HeaderBuilder, OpenApi as Document, Ref, RefOr, Required, Response,
        Schema,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{AnyOfBuilder, Discriminator, ObjectBuilder, Type},
    },
};

use super::super::problem::MEDIA_TYPE;
use crate::streams::routes::Follow;

const EVENT_STREAM: &str = "text/event-stream";

/// Headers of answers, with what they mean.
const HEADERS: [(&str, &str); 8] = [
    ("X-Request-Id", "Names the request in the server's log"),
    ("Snippetbox-Cursor", "A place in the log, taken before the read: following from it misses no change"),
    ("ETag", "The version of the resource, in quotes"),
    ("RateLimit", "What is left of the quota, and in how many seconds it is whole again"),
    ("RateLimit-Policy", "The quota, and its window in seconds"),
    ("Retry-After", "How many seconds to wait"),
    ("Idempotent-Replayed", "`true` when the answer was given before, to the same Idempotency-Key"),
    ("Link", "The next page, as `rel=\"next\"`"),
];

/// Headers of requests, with what they mean.
const PARAMETERS: [(&str, &str); 3] = [
    ("Idempotency-Key", "Makes a repetition harmless: it has no second effect, and gets the first answer"),
    ("Snippetbox-Connection-Id", "The stream of the client that asks, which with `echo=false` is not told"),
    ("Last-Event-ID", "The last event that arrived: what comes after it is replayed first"),
];

/// Failures that every operation may answer with.
const FAILURES: [(&str, &str, &str); 5] = [
    ("4XX", "Refused", "The request is refused; `code` says why"),
    ("429", "RateLimited", "Too many requests"),
    ("500", "Failed", "The server made a mistake; its log knows more"),
    ("503", "Unavailable", "The server has too much to do, is shutting down, or cannot reach its database"),
    ("507", "StorageFull", "The disk is full"),
];

/// Completes the document that was collected from the routes.
pub(super) fn complete(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    let text = || ObjectBuilder::new().schema_type(Type::String);
    for (name, description) in HEADERS {
        let header = HeaderBuilder::new().schema(Some(text())).description(Some(description)).build();
        components.headers.insert(name.to_owned(), RefOr::T(header));
    }
    for (name, description) in PARAMETERS {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        let parameter =
            parameter.required(Required::False).schema(Some(text())).description(Some(description));
        components.parameters.insert(name.to_owned(), RefOr::T(parameter.build()));
    }
    for (status, name, description) in FAILURES {
        components.responses.insert(name.to_owned(), RefOr::T(failure(status, description)));
    }
    describe_events(components);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            describe(path, method, operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn failure(status: &str, description: &str) -> Response {
    let mut response = Response::new(description);
    response.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(content("Problem")));
    add_headers(&mut response, &["X-Request-Id"]);
    if ["429", "503"].contains(&status) {
        add_headers(&mut response, &["Retry-After"]);
    }
    response
}

fn content(schema: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(schema)))
}

fn describe(path: &str, method: &str, operation: &mut Operation) {
    let (api, reads) = (path.starts_with("/v1/"), method == "GET");
    let responses = &mut operation.responses.responses;
    let streams = responses.values().any(is_stream);
    let conditional =
        operation.parameters.iter().flatten().any(|parameter| is_named(parameter, "If-None-Match"));
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        let good = status.starts_with(['2', '3']);
        add_headers(response, &["X-Request-Id"]);
        if good && api {
            add_headers(response, &["RateLimit", "RateLimit-Policy"]);
            add_headers(
                response,
                match method {
                    "GET" => &["Snippetbox-Cursor"],
                    "POST" => &["Idempotent-Replayed"],
                    _ => &[],
                },
            );
        }
        if good && conditional {
            add_headers(response, &["ETag"]);
        }
        if is_page(response) {
            add_headers(response, &["Link"]);
        }
        if good && streams {
            add_bodies(response);
        }
    }
    for (status, name, _) in FAILURES {
        let due = match status {
            "4XX" => true,
            "507" => api && !reads,
            _ => api,
        };
        if due {
            let shared = Ref::new(format!("#/components/responses/{name}"));
            responses.insert(status.to_owned(), RefOr::Ref(shared));
        }
    }
    if method == "POST" {
        add_header_parameter(operation, "Idempotency-Key");
    }
    if api && !reads {
        add_header_parameter(operation, "Snippetbox-Connection-Id");
    }
    if streams {
        add_header_parameter(operation, "Last-Event-ID");
        let parameters = Follow::into_params(|| Some(ParameterIn::Query)).into_iter().map(RefOr::T);
        operation.parameters.get_or_insert_default().extend(parameters);
    }
}

fn is_stream(response: &RefOr<Response>) -> bool {
    matches!(response, RefOr::T(response) if response.content.contains_key(EVENT_STREAM))
}

fn is_named(parameter: &RefOr<Parameter>, name: &str) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.name == name)
}

fn is_page(response: &Response) -> bool {
    let schema = response.content.get("application/json").and_then(|content| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => Some(schema),
        _ => None,
    });
    schema.is_some_and(|schema| schema.ref_location.starts_with("#/components/schemas/Page_"))
}

fn add_headers(response: &mut Response, names: &[&str]) {
    for name in names {
        let header: RefOr<Header> = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
        response.headers.insert((*name).to_owned(), header);
    }
}

/// The other two bodies of a stream.
fn add_bodies(response: &mut Response) {
    let lines = Content::builder().item_schema(Some(Ref::from_schema_name("AnyEvent"))).build();
    response.content.insert("application/x-ndjson".to_owned(), RefOr::T(lines));
    response.content.insert("application/json".to_owned(), RefOr::T(content("EventPage")));
}

fn add_header_parameter(operation: &mut Operation, name: &str) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.retain(|parameter| !is_named(parameter, name));
    parameters.push(RefOr::Ref(Ref::new(format!("#/components/parameters/{name}"))));
}

/// Makes the union of events one that generators of code understand: each event a schema with a name of its own, told
/// apart by `type`; and says what the text in a frame's `data` holds.
fn describe_events(components: &mut Components) {
    let schemas = &mut components.schemas;
    let mut mapping = BTreeMap::new();
    if let Some(RefOr::T(Schema::OneOf(union))) = schemas.get_mut("ServerEvent") {
        let mut named = Vec::new();
        for item in &mut union.items {
            let Some(kind) = kind(item) else { continue };
            let name = format!("{}Event", in_capitals(&kind));
            let reference = Ref::from_schema_name(&name);
            mapping.insert(kind, reference.ref_location.clone());
            named.push((name, std::mem::replace(item, RefOr::Ref(reference))));
        }
        union.discriminator = Some(Discriminator::with_mapping("type", mapping));
        schemas.extend(named);
    }
    // An event of the server's is one of a client's too, as far as its form goes.
    if let Some(RefOr::T(Schema::OneOf(any))) = schemas.get("AnyEvent") {
        let builder = any.items.iter().cloned().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
        let any = builder.description(any.description.clone()).build();
        schemas.insert("AnyEvent".to_owned(), RefOr::T(Schema::AnyOf(any)));
    }
    if let Some(RefOr::T(Schema::Object(frame))) = schemas.get_mut("StreamFrame")
        && let Some(RefOr::T(Schema::Object(data))) = frame.properties.get_mut("data")
    {
        data.content_schema = Some(Box::new(RefOr::Ref(Ref::from_schema_name("AnyEvent"))));
    }
}

/// The name of the event that a schema describes: the one value that its `type` can have.
fn kind(item: &RefOr<Schema>) -> Option<String> {
    let RefOr::T(Schema::AllOf(parts)) = item else { return None };
    parts.items.iter().find_map(|part| {
        let RefOr::T(Schema::Object(part)) = part else { return None };
        let RefOr::T(Schema::Object(tag)) = part.properties.get("type")? else { return None };
        tag.enum_values.as_ref()?.first()?.as_str().map(str::to_owned)
    })
}

fn in_capitals(snake_case: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    snake_case.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}
