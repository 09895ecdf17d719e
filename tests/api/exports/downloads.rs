//! The archive itself: whole, in part, by link.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{begin, downloaded, ended, exported, path};
use crate::support::{Answer, TestApp, on_both_databases};

on_both_databases![
    the_archive_says_what_it_is,
    ranges_are_parts_of_the_whole,
    what_the_client_has_is_not_sent_again,
    a_range_is_for_the_archive_it_was_meant_for,
    the_link_needs_no_credentials,
    an_altered_link_opens_nothing,
    a_link_ends_with_its_archive,
    there_is_no_archive_before_the_end,
];

async fn the_archive_says_what_it_is(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let path = format!("{}/download", path("exports", &export));
    for method in [Method::GET, Method::HEAD] {
        let answer = ann.call(method, &path).header("Accept-Encoding", "gzip, br, zstd").await.expect(200);
        assert_eq!(answer.header("content-type"), "application/zip");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"snippets-2026-01-01.zip\"");
        assert_eq!(answer.header("content-length"), export["bytes"].to_string());
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("cache-control"), "private, no-transform");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.find_header("content-encoding"), None);
    }
}

fn part(answer: &Answer) -> (&str, &[u8]) {
    (answer.header("content-range"), &answer.body)
}

async fn ranges_are_parts_of_the_whole(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "content": "x".repeat(100_000) })).await;
    let export = exported(&ann).await;
    let whole = downloaded(&ann, &export).await;
    let size = whole.len();
    let path = format!("{}/download", path("exports", &export));
    let get = |range: String| ann.get(&path).header("Range", range);
    for (range, expected) in [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=1-9".to_owned(), 1..10),
        (format!("bytes=0-{}", size - 1), 0..size),
        (format!("bytes=10-{}", size + 1_000), 10..size),
        ("bytes=100-".to_owned(), 100..size),
        ("bytes=-7".to_owned(), size - 7..size),
        (format!("bytes=-{}", size * 2), 0..size),
    ] {
        let answer = get(range.clone()).await.expect(206);
        let place = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(part(&answer), (place.as_str(), &whole[expected]), "{range}");
    }
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned(), format!("bytes={}-", u64::MAX)] {
        let problem = get(range).await.problem(416, "range_not_satisfiable");
        let place = problem.headers.get("content-range").and_then(|value| value.to_str().ok());
        assert_eq!(place, Some(format!("bytes */{size}").as_str()));
    }
    // What is not understood, and several at once, is answered with everything.
    for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes", "bytes=5-1", ""] {
        assert_eq!(get(range.to_owned()).await.expect(200).body, whole, "{range}");
    }
}

async fn what_the_client_has_is_not_sent_again(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let path = format!("{}/download", path("exports", &export));
    let tag = ann.get(&path).await.expect(200).header("etag").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = ann.get(&path).header("If-None-Match", known).await.expect(304);
        assert!(answer.body.is_empty() && answer.header("etag") == tag, "{answer}");
    }
    ann.get(&path).header("If-None-Match", "\"x\"").await.expect(200);
    let other = format!("{}/download", super::path("exports", &exported(&ann).await));
    ann.get(&other).header("If-None-Match", &tag).await.expect(200);
}

async fn a_range_is_for_the_archive_it_was_meant_for(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = format!("{}/download", path("exports", &exported(&ann).await));
    let tag = ann.get(&path).await.expect(200).header("etag").to_owned();
    let get = |meant: String| ann.get(&path).header("Range", "bytes=0-3").header("If-Range", meant);
    assert_eq!(&*get(tag.clone()).await.expect(206).body, b"PK\x03\x04");
    for other in ["\"x\"".to_owned(), format!("W/{tag}"), "Thu, 01 Jan 2026 12:00:00 GMT".to_owned()] {
        get(other).await.expect(200);
    }
}

async fn the_link_needs_no_credentials(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let whole = downloaded(&ann, &export).await;
    let link = export["download_url"].as_str().expect("a link");
    assert_eq!(app.anonymous().get(link).await.expect(200).body, whole);
    let range = app.anonymous().get(link).header("Range", "bytes=0-3").await.expect(206);
    assert_eq!(&*range.body, b"PK\x03\x04");
    assert_eq!(ann.get(&path("exports", &export)).await.json()["download_url"], link, "it stays the same");
}

async fn an_altered_link_opens_nothing(app: &TestApp) {
    let ann = app.user("ann").await;
    let (one, other) = (exported(&ann).await, exported(&ann).await);
    let link = one["download_url"].as_str().expect("a link");
    let (path, signature) = link.split_once("?signature=").expect("a signature");
    let (_, of_other) = other["download_url"].as_str().and_then(|link| link.split_once('=')).expect("a link");
    let middle = signature.len() / 2;
    let change = if signature.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let changed = format!("{}{change}{}", &signature[..middle], &signature[middle + 1..]);
    let long = "A".repeat(5_000);
    for forged in ["", "A", "%00", &signature[1..], &signature[..middle], &changed, of_other, &long] {
        let url = format!("{path}?signature={forged}");
        app.anonymous().get(&url).await.problem(404, "not_found");
        // Whoever shows a link is asked for nothing else.
        ann.get(&url).await.problem(404, "not_found");
    }
    let unknown = link.replace(one["id"].as_str().expect("an id"), "01890000-0000-7000-8000-000000000000");
    app.anonymous().get(&unknown).await.problem(404, "not_found");
    app.anonymous().get(&format!("{link}&signature={signature}")).await.problem(400, "invalid_query");
    app.anonymous().get(&link.replace("/download", "")).await.problem(400, "invalid_query");
}

async fn a_link_ends_with_its_archive(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let link = export["download_url"].as_str().expect("a link");
    app.clock.advance(Duration::from_secs(24 * 3600 - 1));
    app.anonymous().get(link).await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    app.anonymous().get(link).await.problem(404, "not_found");
    let other = exported(&ann).await;
    let link = other["download_url"].as_str().expect("a link");
    ann.delete(&path("exports", &other)).await.expect(204);
    app.anonymous().get(link).await.problem(404, "not_found");
}

async fn there_is_no_archive_before_the_end(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..5 {
        ann.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
    }
    app.restart_with(&["--job-rate", "500"]).await;
    let export = begin(&ann).await;
    let path = path("exports", &export);
    ann.get(&format!("{path}/download")).await.problem(409, "conflict");
    ann.delete(&path).await.expect(204);
    assert_eq!(ended(&ann, "exports", &export).await["status"], "cancelled");
    ann.get(&format!("{path}/download")).await.problem(409, "conflict");
}
