//! The OpenAPI document: it is the one in the repository, it is whole, and the server has every route of it.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::Value;

use crate::support::{TestApp, on_both_databases};

on_both_databases![every_route_of_the_document_is_served];

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

#[test]
fn streams_are_described_event_by_event() {
    let document = document();
    let stream = &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
    assert_eq!(stream["itemSchema"]["$ref"], "#/components/schemas/StreamFrame");
    let events = document["components"]["schemas"]["ServerEvent"]["oneOf"].as_array().expect("a union");
    assert!(events.len() >= 11, "{events:?}");
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
    for (path, item) in document()["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let path =
                path.replace("{name}", "x").replace("{code}", "conflict").replace("{topic}", "snippets");
            let path = with_ids(&path);
            let answer = app.anonymous().call(method, &path).await;
            assert_ne!(answer.status, 405, "{path}");
            assert!(!answer.text().contains("nothing is served"), "{answer}");
        }
    }
}

/// A path with an id that nothing has in the place of every parameter.
fn with_ids(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { NIL } else { part });
    parts.collect::<Vec<_>>().join("/")
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";
