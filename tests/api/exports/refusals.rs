//! Who may do what, and what is no request for an export or an import.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{begin, exported, exported_with, imported, path, upload, zipped};
use crate::support::{Persona, TestApp, eventually, on_both_databases};

on_both_databases![
    jobs_belong_to_their_owner,
    the_archive_is_for_its_owner_and_the_admin,
    scopes_are_asked_for,
    what_is_no_export_is_refused,
    what_is_no_upload_is_refused with ["--import-limit", "100000"],
    there_are_at_most_20,
    there_are_at_most_20_however_many_begin_at_once,
    an_upload_that_is_one_too_many_is_refused_before_it_comes,
    a_repeated_request_begins_one_job,
    lists_come_in_pages,
    the_version_tells_what_is_new,
    the_version_changes_with_what_is_seen with ["--job-rate", "500"],
    a_removal_may_be_meant_for_a_version,
    topics_are_for_their_user,
];

async fn status(person: &Persona, method: Method, path: &str) -> u16 {
    person.call(method, path).await.status.as_u16()
}

async fn jobs_belong_to_their_owner(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let export = exported(&ann).await;
    let import = imported(&ann, zipped(&[])).await;
    let export_path = path("exports", &export);
    for path in [export_path.clone(), path("imports", &import)] {
        for method in [Method::GET, Method::DELETE] {
            app.anonymous().call(method.clone(), &path).await.problem(401, "unauthenticated");
            bob.call(method, &path).await.problem(404, "not_found");
        }
        for person in [&ann, app.admin().await] {
            assert_eq!(status(person, Method::GET, &path).await, 200);
        }
    }
    // One kind is not found among the other.
    ann.get(&format!("/v1/imports/{}", export["id"].as_str().expect("an id")))
        .await
        .problem(404, "not_found");
    for kind in ["exports", "imports"] {
        app.anonymous().get(&format!("/v1/{kind}")).await.problem(401, "unauthenticated");
        assert_eq!(bob.get(&format!("/v1/{kind}")).await.json()["data"], json!([]));
        assert_eq!(app.admin().await.get(&format!("/v1/{kind}")).await.json()["data"], json!([]));
        ann.get(&format!("/v1/{kind}/1")).await.problem(404, "not_found");
    }
    assert_eq!(status(app.admin().await, Method::DELETE, &export_path).await, 204);
    ann.get(&export_path).await.problem(404, "not_found");
}

async fn the_archive_is_for_its_owner_and_the_admin(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = format!("{}/download", path("exports", &exported(&ann).await));
    app.anonymous().get(&path).await.problem(401, "unauthenticated");
    bob.get(&path).await.problem(404, "not_found");
    ann.get(&path).await.expect(200);
    app.admin().await.get(&path).await.expect(200);
}

async fn scopes_are_asked_for(app: &TestApp) {
    let ann = app.user("ann").await;
    let (reader, writer) = (ann.with_scopes(&["read"]).await, ann.with_scopes(&["write"]).await);
    let wish = json!({ "format": "zip" });
    reader.post("/v1/exports", &wish).await.problem(403, "insufficient_scope");
    upload(&reader, zipped(&[])).await.problem(403, "insufficient_scope");
    let export = exported(&ann).await;
    let path = path("exports", &export);
    reader.delete(&path).await.problem(403, "insufficient_scope");
    writer.get(&path).await.problem(403, "insufficient_scope");
    writer.get(&format!("{path}/download")).await.problem(403, "insufficient_scope");
    reader.get(&format!("{path}/download")).await.expect(200);
    writer.post("/v1/exports", &wish).await.expect(202);
}

async fn what_is_no_export_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    for (body, pointers) in [
        (json!({}), &["/format"][..]),
        (json!({ "format": "tar" }), &["/format"]),
        (json!({ "format": "zip", "filter": { "language": "Rust!" } }), &["/filter/language"]),
        (json!({ "format": "zip", "filter": { "tag": "A B" } }), &["/filter/tag"]),
        (json!({ "format": "zip", "filter": { "updated_since": "yesterday" } }), &["/filter/updated_since"]),
        (json!({ "format": "zip", "filter": [] }), &["/filter"]),
    ] {
        let problem = ann.post("/v1/exports", &body).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), pointers, "{body}");
    }
    ann.post("/v1/exports", &json!({ "format": "zip", "filters": {} })).await.problem(400, "unknown_field");
    let nested = json!({ "format": "zip", "filter": { "colour": "red" } });
    assert!(ann.post("/v1/exports", &nested).await.status.is_client_error());
    app.anonymous().post("/v1/exports", &json!({ "format": "zip" })).await.problem(401, "unauthenticated");
}

async fn what_is_no_upload_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    for media_type in ["text/plain", "application/json", "application/zipp", ""] {
        let call = ann.call(Method::POST, "/v1/imports").body(media_type, zipped(&[]));
        call.await.problem(415, "unsupported_media_type");
    }
    upload(&ann, vec![0; 100_001]).await.problem(413, "too_large");
    app.anonymous()
        .call(Method::POST, "/v1/imports")
        .body("application/zip", "x")
        .await
        .problem(401, "unauthenticated");
    assert_eq!(ann.get("/v1/imports").await.json()["data"], json!([]));
    assert_eq!(super::jobs::files_of(app), Vec::<String>::new(), "nothing is left of them");
}

async fn there_are_at_most_20(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut last = Value::Null;
    for _ in 0..20 {
        last = begin(&ann).await;
    }
    let wish = json!({ "format": "zip" });
    ann.post("/v1/exports", &wish).await.problem(409, "conflict");
    bob.post("/v1/exports", &wish).await.expect(202);
    super::ended(&ann, "exports", &last).await;
    ann.delete(&path("exports", &last)).await.expect(204);
    ann.post("/v1/exports", &wish).await.expect(202);
}

async fn there_are_at_most_20_however_many_begin_at_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({ "format": "zip" });
    let answers = join_all((0..60).map(|_| ann.post("/v1/exports", &wish).into_future())).await;
    let begun = answers.iter().filter(|answer| answer.status == 202).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((begun, refused), (20, 40));
}

/// Begins an upload that does not go on, and waits for the head of an answer.
async fn stalled_upload(app: &TestApp, person: &Persona) -> String {
    let address = app.url().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await.expect("a connection");
    let head = format!(
        "POST /v1/imports HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/zip\r\nContent-Length: 1000\r\n\r\nPK",
        person.token()
    );
    socket.write_all(head.as_bytes()).await.expect("the beginning is sent");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(socket.read_buf(&mut answer).await.expect("an answer") > 0, "the connection ends");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn an_upload_that_is_one_too_many_is_refused_before_it_comes(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    // Two of a user's uploads are waited for, and no others.
    let mut uploads: FuturesUnordered<_> = (0..5).map(|_| stalled_upload(app, &ann)).collect();
    for _ in 0..3 {
        let refused = tokio::time::timeout(Duration::from_secs(20), uploads.next()).await;
        let refused = refused.expect("it does not wait").expect("an answer");
        assert!(refused.starts_with("HTTP/1.1 409 "), "{refused}");
    }
    imported(&bob, zipped(&[])).await;
    drop(uploads);
    eventually("the places are free", async || {
        let answer = upload(&ann, zipped(&[])).await;
        (answer.status == 202).then_some(())
    })
    .await;
    for _ in 1..20 {
        upload(&ann, zipped(&[])).await.expect(202);
    }
    let refused = tokio::time::timeout(Duration::from_secs(20), stalled_upload(app, &ann)).await;
    assert!(refused.as_ref().is_ok_and(|refused| refused.starts_with("HTTP/1.1 409 ")), "{refused:?}");
}

async fn a_repeated_request_begins_one_job(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({ "format": "zip" });
    let first = ann.post("/v1/exports", &wish).once("key").await.expect(202);
    let again = ann.post("/v1/exports", &wish).once("key").await.expect(202);
    assert_eq!((again.json(), again.header("location")), (first.json(), first.header("location")));
    assert_eq!(first.header("location"), path("exports", &first.json()));
    let archive = zipped(&[("manifest.json", br#"{"format":"snippetbox","version":1,"snippets":[]}"#)]);
    let call = |archive: &[u8]| {
        ann.call(Method::POST, "/v1/imports").once("import").body("application/zip", archive.to_vec())
    };
    let first = call(&archive).await.expect(202);
    let again = call(&archive).await.expect(202);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("idempotent-replayed"), "true");
    call(b"another").await.problem(422, "idempotency_key_reused");
    super::ended(&ann, "imports", &first.json()).await;
    for kind in ["exports", "imports"] {
        let list = ann.get(&format!("/v1/{kind}")).await.json();
        assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{kind}");
    }
    super::ended(&ann, "exports", &ann.get("/v1/exports").await.json()["data"][0]).await;
    let alone = async || (super::jobs::files_of(app).len() == 1).then_some(());
    eventually("the archive of the export is left alone", alone).await;
}

async fn lists_come_in_pages(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, exported(&ann).await["id"].clone());
    }
    let mut found = Vec::new();
    let mut query = "/v1/exports?limit=2".to_owned();
    loop {
        let page = ann.get(&query).await.expect(200).json();
        found.extend(page["data"].as_array().expect("a list").iter().map(|export| export["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("/v1/exports?limit=2&cursor={cursor}");
    }
    assert_eq!(found, ids);
    ann.get("/v1/exports?cursor=x").await.problem(400, "invalid_query");
    ann.get("/v1/imports?colour=red").await.problem(400, "invalid_query");
}

async fn the_version_tells_what_is_new(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported_with(&ann, json!({ "language": "rust" })).await;
    let path = path("exports", &export);
    let tag = ann.get(&path).await.expect(200).header("etag").to_owned();
    ann.get(&path).header("If-None-Match", &tag).await.expect(304);
    ann.get(&path).header("If-None-Match", "\"0\"").await.expect(200);
}

async fn the_version_changes_with_what_is_seen(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..3 {
        ann.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
    }
    let path = path("exports", &begin(&ann).await);
    let mut seen: Vec<(String, Value)> = Vec::new();
    loop {
        let answer = ann.get(&path).await.expect(200);
        let this = (answer.header("etag").to_owned(), answer.json());
        let is_over = this.1["status"] == "completed";
        if seen.last() != Some(&this) {
            seen.push(this);
        }
        if is_over {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen.len() >= 3, "{seen:?}");
    for pair in seen.windows(2) {
        assert!(pair[0].0 != pair[1].0 && pair[0].1 != pair[1].1, "{pair:?}");
    }
}

async fn a_removal_may_be_meant_for_a_version(app: &TestApp) {
    let ann = app.user("ann").await;
    {
        for (kind, job) in [("exports", exported(&ann).await), ("imports", imported(&ann, zipped(&[])).await)]
        {
            let path = path(kind, &job);
            let tag = ann.get(&path).await.expect(200).header("etag").to_owned();
            let removal = |tag: &str| ann.call(Method::DELETE, &path).header("If-Match", tag);
            removal("\"0\"").await.problem(412, "precondition_failed");
            ann.get(&path).await.expect(200);
            removal(if kind == "exports" { &tag } else { "*" }).await.expect(204);
            ann.get(&path).await.problem(404, "not_found");
        }
    }
}

async fn topics_are_for_their_user(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for topic in ["exports", "imports"] {
        app.anonymous().get(&format!("/v1/events?topics={topic}")).await.problem(401, "unauthenticated");
        app.anonymous().get(&format!("/v1/{topic}/events")).await.problem(401, "unauthenticated");
    }
    let mut of_bob = bob.subscribe("topics=exports,imports,custom:x&since=earliest").await;
    let mut of_admin = app.admin().await.subscribe("topics=exports,imports,custom:x").await;
    exported(&ann).await;
    imported(&ann, zipped(&[])).await;
    ann.publish("custom:x", &json!({ "type": "marker", "data": 1 })).await.expect(202);
    assert_eq!(of_bob.next().await.kind, "marker");
    assert_eq!(of_admin.next().await.kind, "marker");
    let mut of_ann = ann.subscribe("topics=exports,imports&since=earliest").await;
    assert_eq!(of_ann.next().await.kind, "export_completed");
    assert_eq!(of_ann.next().await.kind, "import_failed");
}
