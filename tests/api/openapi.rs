//! The OpenAPI document: it is the one in the repository, it is whole, and the server has every route of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases};

on_both_databases![
    every_route_of_the_document_is_served,
    nobody_can_publish_under_the_name_of_a_server_event,
    who_may_call_is_who_the_document_says,
];

fn document() -> Value {
    let text = snippetbox::http::openapi::text().expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_document_is_the_one_in_the_repository() {
    let stored = include_str!("../../openapi/openapi.json");
    let made = snippetbox::http::openapi::text().expect("the document");
    assert!(stored == made, "run: cargo run -- openapi > openapi/openapi.json");
}

#[test]
fn no_reference_dangles() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference into the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} dangles");
                }
                object.values().for_each(|value| check(value, document));
            }
            Value::Array(list) => list.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    about: Value,
    security: Value,
}

/// Every operation, with what is shared put in the place of its references.
fn operations() -> Vec<Operation> {
    let document = document();
    let of_path = |(path, item): (&String, &Value)| -> Vec<Operation> {
        let all = item.as_object().expect("operations").iter();
        all.map(|(method, about)| Operation {
            method: method.to_uppercase().parse().expect("a method"),
            path: path.clone(),
            about: resolved(about, &document),
            security: about.get("security").unwrap_or(&document["security"]).clone(),
        })
        .collect()
    };
    document["paths"].as_object().expect("paths").iter().flat_map(of_path).collect()
}

/// The value with references to anything but schemas followed: those lead in circles.
fn resolved(value: &Value, document: &Value) -> Value {
    let followed = value["$ref"].as_str().filter(|reference| !reference.contains("/schemas/"));
    match (followed, value) {
        (Some(reference), _) => resolved(document.pointer(&reference[1..]).expect(reference), document),
        (None, Value::Object(object)) => {
            object.iter().map(|(name, value)| (name.clone(), resolved(value, document))).collect()
        }
        (None, Value::Array(list)) => list.iter().map(|value| resolved(value, document)).collect(),
        (None, other) => other.clone(),
    }
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn parameters(&self, kind: &str) -> BTreeSet<&str> {
        let all = self.about["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = all.iter().filter(|parameter| parameter["in"] == kind);
        named.map(|parameter| parameter["name"].as_str().expect("a name")).collect()
    }

    /// The least that the query must have.
    fn required_query(&self) -> String {
        let all = self.about["parameters"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let required = all.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
        let pairs = required.map(|parameter| match parameter["name"].as_str().expect("a name") {
            "topics" => "topics=snippets".to_owned(),
            name => format!("{name}=x"),
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    fn responses(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.about["responses"].as_object().expect("responses").iter()
    }

    fn is_stream(&self) -> bool {
        self.responses().any(|(_, response)| response["content"]["text/event-stream"].is_object())
    }

    /// Who may call it, by the names of the ways to say who one is; `anyone` for those who say nothing.
    fn callers(&self) -> BTreeSet<&str> {
        let ways = self.security.as_array().expect("a list of ways").iter();
        ways.map(|way| way.as_object().expect("a way").keys().next().map_or("anyone", String::as_str))
            .collect()
    }
}

#[test]
fn every_operation_says_what_all_of_its_kind_have() {
    let operations = operations();
    let names: BTreeSet<&str> =
        operations.iter().map(|one| one.about["operationId"].as_str().expect("an id")).collect();
    assert_eq!(names.len(), operations.len(), "each operation has an id of its own");
    for operation in &operations {
        let (name, api) = (operation.name(), operation.path.starts_with("/v1/"));
        let writes = operation.method != Method::GET;
        assert!(
            operation.about["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: no summary"
        );
        assert!(operation.about["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name}: no tag");
        assert!(!operation.callers().is_empty(), "{name}: nobody may call it");
        for (status, response) in operation.responses() {
            let told = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(told, "{name}: {status} is not described");
            let good = status.starts_with(['2', '3']);
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem == "#/components/schemas/Problem", !good, "{name}: {status}");
            let headers = &response["headers"];
            let due = [
                ("X-Request-Id", good || status.ends_with("XX")),
                ("RateLimit", good && api),
                ("RateLimit-Policy", good && api),
                ("Snippetbox-Cursor", good && api && !writes),
                ("Idempotent-Replayed", good && operation.method == Method::POST),
                ("Retry-After", status == "429" || status == "503" && api),
                ("ETag", good && operation.parameters("header").contains("If-None-Match")),
            ];
            for (header, _) in due.iter().filter(|(_, due)| *due) {
                assert!(headers[header].is_object(), "{name}: {status} has no {header}");
            }
        }
        let due = ["4XX"].into_iter().chain(["429", "500", "503"].into_iter().filter(|_| api));
        for status in due.chain(["507"].into_iter().filter(|_| api && writes)) {
            assert!(operation.about["responses"][status].is_object(), "{name}: no {status}");
        }
        let headers = operation.parameters("header");
        assert_eq!(headers.contains("Idempotency-Key"), operation.method == Method::POST, "{name}");
        assert_eq!(headers.contains("Snippetbox-Connection-Id"), api && writes, "{name}");
    }
}

#[test]
fn every_stream_takes_and_gives_the_same() {
    let operations = operations();
    let streams: Vec<&Operation> = operations.iter().filter(|operation| operation.is_stream()).collect();
    assert!(streams.len() >= 5, "the streams were found");
    let all = streams.iter().find(|stream| stream.path == "/v1/events").expect("the stream of many topics");
    for stream in &streams {
        let name = stream.name();
        let mut query = stream.parameters("query");
        assert_eq!(query.insert("topics"), stream.path != "/v1/events", "{name}");
        assert_eq!(query, all.parameters("query"), "{name}");
        assert!(stream.parameters("header").contains("Last-Event-ID"), "{name}");
        assert!(stream.callers().contains("stream_token"), "{name}");
        let content = &stream.about["responses"]["200"]["content"];
        let schema = |media_type: &str, kind: &str| content[media_type][kind]["$ref"].clone();
        assert_eq!(schema("text/event-stream", "itemSchema"), "#/components/schemas/StreamFrame", "{name}");
        assert_eq!(schema("application/x-ndjson", "itemSchema"), "#/components/schemas/AnyEvent", "{name}");
        assert_eq!(schema("application/json", "schema"), "#/components/schemas/EventPage", "{name}");
    }
    let tokens = operations.iter().filter(|operation| operation.callers().contains("stream_token")).count();
    assert_eq!(tokens, streams.len(), "a stream token opens streams and nothing else");
}

/// The events of the union, by their names.
fn events() -> BTreeMap<String, String> {
    let document = document();
    let frame = &document["components"]["schemas"]["StreamFrame"]["properties"]["data"];
    assert_eq!(frame["contentMediaType"], "application/json");
    assert_eq!(frame["contentSchema"]["$ref"], "#/components/schemas/AnyEvent");
    let union = &document["components"]["schemas"]["ServerEvent"];
    assert_eq!(union["discriminator"]["propertyName"], "type");
    let mapping = union["discriminator"]["mapping"].as_object().expect("a mapping").iter();
    let mapping = mapping.map(|(name, schema)| (name.clone(), schema.as_str().expect("a schema").to_owned()));
    mapping.collect()
}

#[test]
fn events_are_told_apart_by_their_type() {
    let (document, events) = (document(), events());
    assert!(events.len() >= 11, "{events:?}");
    let of_union =
        document["components"]["schemas"]["ServerEvent"]["oneOf"].as_array().expect("a union").iter();
    let of_union: BTreeSet<&str> = of_union.map(|one| one["$ref"].as_str().expect("a schema")).collect();
    assert_eq!(of_union, events.values().map(String::as_str).collect(), "every event is in the mapping");
    for (name, schema) in &events {
        let parts = document.pointer(&format!("{}/allOf", &schema[1..])).and_then(Value::as_array);
        let tagged = parts.expect(schema).iter().any(|part| part["properties"]["type"]["enum"][0] == **name);
        assert!(tagged, "{schema} is the event {name}");
    }
}

async fn nobody_can_publish_under_the_name_of_a_server_event(app: &TestApp) {
    let ann = app.user("ann").await;
    for name in events().keys() {
        let refused = ann.publish("custom:x", &json!({ "type": name, "data": null })).await;
        assert_eq!(refused.status, 422, "{name} is reserved: {refused}");
    }
}

/// Calls every operation as nobody, with a body made from its schema: whoever needs no credential by the document is
/// never told to bring one, and everybody else always is.
async fn who_may_call_is_who_the_document_says(app: &TestApp) {
    let (document, anonymous) = (document(), app.anonymous());
    for operation in operations() {
        let path = format!("{}?{}", filled_in(&operation.path), operation.required_query());
        let mut call = anonymous.call(operation.method.clone(), path.trim_end_matches('?'));
        let content = operation.about["requestBody"]["content"].as_object();
        if let Some((media_type, content)) = content.and_then(|content| content.iter().next()) {
            call = call.body(media_type, example(&content["schema"], &document).to_string());
        }
        let answer = call.await;
        let name = operation.name();
        assert!(![400, 415, 422].contains(&answer.status.as_u16()), "{name} by its own schema: {answer}");
        let asked = answer.status == 401 && answer.json()["code"] == "unauthenticated";
        assert_eq!(asked, !operation.callers().contains("anyone"), "{name}: {answer}");
    }
}

/// The least that a schema allows.
fn example(schema: &Value, document: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document.pointer(&reference[1..]).expect(reference), document);
    }
    if let Some(given) = schema.get("example").or_else(|| schema["enum"].get(0)) {
        return given.clone();
    }
    if let Some(one) = ["oneOf", "anyOf", "allOf"].iter().find_map(|kind| schema[kind].get(0)) {
        return example(one, document);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("null");
    match kind {
        "object" => {
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
            let name = |name: &Value| name.as_str().expect("a name").to_owned();
            required.map(|one| (name(one), example(&schema["properties"][name(one)], document))).collect()
        }
        "array" => Value::Array(vec![example(&schema["items"], document)]),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "string" if schema["format"] == "uuid" => json!(NIL),
        "string" => {
            json!("a".repeat(usize::try_from(schema["minLength"].as_u64().unwrap_or(1)).expect("small")))
        }
        _ => Value::Null,
    }
}

/// A path as somebody would call it who knows of nothing that is there.
fn filled_in(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{topic}" => format!("snippets:{NIL}"),
        "{code}" => "conflict".to_owned(),
        part => {
            let (before, name) = part.split_once('{').unwrap_or((part, ""));
            let value = match name {
                "" => "",
                "name}" => "x",
                _ => NIL,
            };
            format!("{before}{value}")
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Routes are collected for the document where they are registered, so one cannot be without the other; here the
/// names of all handlers in the sources are held against it.
#[test]
fn no_route_is_missing_in_the_document() {
    let document = document();
    let (mut found, mut paths) = (0, vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))]);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(path.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        for line in std::fs::read_to_string(path).expect("a source").lines() {
            let Some((method, rest)) = line.strip_prefix("#[").and_then(|line| line.split_once("(\"/"))
            else {
                continue;
            };
            let path = format!("/{}", rest.trim_end_matches("\")]"));
            assert!(document["paths"][&path][method].is_object(), "{method} {path} is missing");
            found += 1;
        }
    }
    assert!(found >= 40, "only {found} routes were found in the sources");
}

async fn every_route_of_the_document_is_served(app: &TestApp) {
    for operation in operations() {
        let answer = app.anonymous().call(operation.method.clone(), &filled_in(&operation.path)).await;
        assert_ne!(answer.status, 405, "{}", operation.name());
        assert!(!answer.text().contains("nothing is served"), "{answer}");
    }
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";
