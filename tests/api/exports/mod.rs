//! `/v1/exports` and `/v1/imports`: archives out, archives in, and the jobs that make them.

mod archives;
mod bombs;
mod crash;
mod downloads;
mod imports;
mod jobs;
mod refusals;

use std::io::{Cursor, Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::support::{Answer, EventStream, Persona};

/// Begins an export of everything, and returns it.
pub async fn begin(person: &Persona) -> Value {
    begin_with(person, json!({})).await
}

pub async fn begin_with(person: &Persona, filter: Value) -> Value {
    person.post("/v1/exports", &json!({ "format": "zip", "filter": filter })).await.expect(202).json()
}

pub fn path(kind: &str, job: &Value) -> String {
    format!("/v1/{kind}/{}", job["id"].as_str().expect("a job has an id"))
}

/// Waits until a job has ended, and returns it.
pub async fn ended(person: &Persona, kind: &str, job: &Value) -> Value {
    let path = path(kind, job);
    let begun = Instant::now();
    loop {
        let job = person.get(&path).await.expect(200).json();
        if !matches!(job["status"].as_str(), Some("queued" | "running")) {
            return job;
        }
        // Far longer than it ever takes: a slow machine is no failure.
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not end: {job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An export of everything, once it has completed.
pub async fn exported(person: &Persona) -> Value {
    exported_with(person, json!({})).await
}

pub async fn exported_with(person: &Persona, filter: Value) -> Value {
    let export = ended(person, "exports", &begin_with(person, filter).await).await;
    assert_eq!(export["status"], "completed", "{export}");
    export
}

pub async fn downloaded(person: &Persona, export: &Value) -> Vec<u8> {
    let answer = person.get(&format!("{}/download", path("exports", export))).await.expect(200);
    answer.body.to_vec()
}

pub async fn upload(person: &Persona, archive: Vec<u8>) -> Answer {
    person.call(reqwest::Method::POST, "/v1/imports").body("application/zip", archive).await
}

/// An import of an archive, once it has ended.
pub async fn imported(person: &Persona, archive: Vec<u8>) -> Value {
    let import = upload(person, archive).await.expect(202).json();
    ended(person, "imports", &import).await
}

/// The files of an archive, in their order.
pub fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).expect("an archive");
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).expect("a file");
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("its content");
        files.push((file.name().expect("its name").into_owned(), content));
    }
    files
}

pub fn manifest(archive: &[u8]) -> Value {
    let (_, content) =
        files(archive).into_iter().find(|(name, _)| name == "manifest.json").expect("a manifest");
    serde_json::from_slice(&content).expect("JSON")
}

/// An archive as somebody else may have made it.
pub fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).expect("a file");
        writer.write_all(content).expect("its content");
    }
    writer.finish().expect("an archive").into_inner()
}

/// What `/v1/snippets` says of all snippets of a person, without what is different after an import.
pub async fn everything(person: &Persona) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let query = format!("/v1/snippets?owner=me&include=content&sort=created_at&limit=100{cursor}");
        let page = person.get(&query).await.expect(200).json();
        for mut snippet in page["data"].as_array().expect("a list").clone() {
            for field in ["id", "owner", "version", "views"] {
                snippet.as_object_mut().expect("a snippet").remove(field);
            }
            all.push(snippet);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Reads durable events of a stream until the named one comes, and returns all of them.
pub async fn durable_until(stream: &mut EventStream, kind: &str) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    loop {
        let event = stream.next().await;
        let is_last = event.kind == kind;
        if event.id.is_some() {
            events.push((event.kind, event.data));
        }
        if is_last {
            return events;
        }
    }
}
