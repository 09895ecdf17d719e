//! `/v1/topics/custom:{name}/events`: what clients publish.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![
    a_published_event_arrives_as_it_was_sent,
    any_data_arrives_unchanged,
    a_durable_event_is_history_and_an_ephemeral_one_is_not,
    an_event_reaches_its_topic_only,
    every_rule_of_an_event_is_checked,
    types_of_the_server_cannot_be_used,
    a_type_has_at_most_64_characters,
    data_have_at_most_64_kibibytes,
    a_topic_name_is_checked,
    publishing_needs_the_right_to_write,
    subscribing_needs_a_credential,
    data_are_kept_as_they_were_sent,
    data_that_others_could_not_read_are_refused,
];

async fn a_published_event_arrives_as_it_was_sent(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut events = bob.subscribe("topics=custom:builds").await;
    let build = json!({ "type": "build_finished", "data": { "number": 7, "ok": true } });
    let answer = ann.publish("custom:builds", &build).await.expect(202);
    let event = events.next().await;
    assert_eq!(event.id, Some(answer.id()));
    let expected = json!({
        "id": answer.id(),
        "type": "build_finished",
        "topic": "custom:builds",
        "at": app.now(),
        "actor": { "id": ann.id, "name": "ann" },
        "data": { "number": 7, "ok": true },
    });
    assert_eq!(event.envelope, expected);
}

async fn any_data_arrives_unchanged(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=custom:builds").await;
    for data in [
        json!(null),
        json!(-0.5),
        json!(9_007_199_254_740_993_u64),
        json!([]),
        json!([[{ "deep": [null] }]]),
        json!("\u{0} \r\n \n\n data: x \u{85}\u{2028}\u{2029} \u{1F980} \u{feff}"),
        json!({ "": 1, "id": "forged", "type": "forged", "data": {}, "\n": "\r" }),
    ] {
        for is_ephemeral in [false, true] {
            let event = json!({ "type": "note", "data": data, "ephemeral": is_ephemeral });
            ann.publish("custom:builds", &event).await.expect(202);
            assert_eq!(events.next().await.data, data);
        }
    }
}

async fn a_durable_event_is_history_and_an_ephemeral_one_is_not(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=custom:builds").await;
    let durable = ann.publish("custom:builds", &json!({ "type": "first", "data": 1 })).await.expect(202);
    let fleeting = json!({ "type": "second", "data": 2, "ephemeral": true });
    let answer = ann.publish("custom:builds", &fleeting).await.expect(202);
    assert_eq!(answer.json()["id"], Value::Null);
    let last = ann.publish("custom:builds", &json!({ "type": "third", "data": 3 })).await.expect(202);
    for _ in 0..3 {
        let event = events.next().await;
        assert_eq!(event.id.is_none(), event.kind == "second", "{event:?}");
    }
    let mut history = ann.subscribe("topics=custom:builds&since=earliest").await;
    for (kind, id) in [("first", durable.id()), ("third", last.id())] {
        let event = history.next().await;
        assert_eq!((event.kind.as_str(), event.id), (kind, Some(id)));
    }
}

async fn an_event_reaches_its_topic_only(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=custom:builds,snippets").await;
    for topic in ["custom:build", "custom:builds.x", "custom:builds"] {
        let event = json!({ "type": "note", "data": topic });
        ann.publish(topic, &event).await.expect(202);
    }
    assert_eq!(events.next().await.data, "custom:builds");
}

async fn assert_violations(person: &Persona, event: Value, pointers: &[&str]) {
    let problem = person.publish("custom:builds", &event).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), pointers, "{event}");
}

async fn every_rule_of_an_event_is_checked(app: &TestApp) {
    let ann = app.user("ann").await;
    assert_violations(&ann, json!({}), &["/data", "/type"]).await;
    assert_violations(&ann, json!({ "type": "Note", "data": 1 }), &["/type"]).await;
    for kind in ["", "1note", "_note", "no-te", "no te", "note\n", "nöte", "note\nid: 1"] {
        assert_violations(&ann, json!({ "type": kind, "data": 1 }), &["/type"]).await;
    }
}

async fn types_of_the_server_cannot_be_used(app: &TestApp) {
    let ann = app.user("ann").await;
    for kind in [
        "snippet_created",
        "snippet_updated",
        "snippet_deleted",
        "ready",
        "reset",
        "heartbeat",
        "topics",
        "lagged",
        "closing",
        "topic_closed",
        "auth_expiring",
        "presence_state",
        "message_created",
        "metrics",
    ] {
        assert_violations(&ann, json!({ "type": kind, "data": 1 }), &["/type"]).await;
    }
}

async fn a_type_has_at_most_64_characters(app: &TestApp) {
    let ann = app.user("ann").await;
    let longest = json!({ "type": "a".repeat(64), "data": 1 });
    ann.publish("custom:builds", &longest).await.expect(202);
    assert_violations(&ann, json!({ "type": "a".repeat(65), "data": 1 }), &["/type"]).await;
}

async fn data_have_at_most_64_kibibytes(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=custom:builds").await;
    let largest = "a".repeat(64 * 1024 - 2);
    ann.publish("custom:builds", &json!({ "type": "note", "data": largest })).await.expect(202);
    assert_eq!(events.next().await.data, largest);
    let larger = "a".repeat(64 * 1024 - 1);
    assert_violations(&ann, json!({ "type": "note", "data": larger }), &["/data"]).await;
}

async fn a_topic_name_is_checked(app: &TestApp) {
    let ann = app.user("ann").await;
    let event = json!({ "type": "note", "data": 1 });
    let longest = format!("custom:{}", "a".repeat(100));
    for topic in ["custom:a", "custom:0.a_b-c", &longest] {
        ann.publish(topic, &event).await.expect(202);
        ann.subscribe(&format!("topics={topic}")).await.disconnect();
    }
    let too_long = format!("custom:{}", "a".repeat(101));
    for topic in
        ["custom:", "custom:A", "custom:.a", "custom:a%20b", "custom:%C3%A9", "snippets", "custom", &too_long]
    {
        ann.publish(topic, &event).await.problem(404, "not_found");
    }
}

async fn publishing_needs_the_right_to_write(app: &TestApp) {
    let ann = app.user("ann").await;
    let event = json!({ "type": "note", "data": 1 });
    app.anonymous().publish("custom:builds", &event).await.problem(401, "unauthenticated");
    let reader = ann.with_scopes(&["read"]).await;
    reader.publish("custom:builds", &event).await.problem(403, "insufficient_scope");
    ann.with_scopes(&["write"]).await.publish("custom:builds", &event).await.expect(202);
}

async fn subscribing_needs_a_credential(app: &TestApp) {
    app.anonymous().get("/v1/events?topics=custom:builds").await.problem(401, "unauthenticated");
    let stream = app.anonymous().subscribe("topics=custom:builds,snippets").await;
    assert_eq!(stream.ready["denied"], json!([{ "topic": "custom:builds", "code": "unauthenticated" }]));
    assert_eq!(stream.ready["topics"], json!(["snippets"]));
}

async fn data_are_kept_as_they_were_sent(app: &TestApp) {
    let ann = app.user("ann").await;
    let data = r#"{"z":12345678901234567890123,"a":[1e400,-0.10,1E2],"m":{"b":1,"a":"é\u00e9"}}"#;
    let body = format!("{{\"type\": \"note\", \"data\": {}}}", data.replace(',', " ,\n "));
    let path = "/v1/topics/custom:builds/events";
    ann.call(Method::POST, path).body("application/json", body).await.expect(202);
    let path = "/v1/events?topics=custom:builds&since=earliest&wait=30";
    let text = ann.get(path).header("Accept", "application/json").await.expect(200).text();
    assert!(text.contains(&format!("\"data\":{data}")), "{text}");
}

async fn data_that_others_could_not_read_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    for data in [r#""\ud800""#, &deep] {
        let body = format!("{{\"type\": \"note\", \"data\": {data}}}");
        let call = ann.call(Method::POST, "/v1/topics/custom:builds/events").body("application/json", body);
        let answer = call.await;
        assert!([400, 422].contains(&answer.status.as_u16()), "{answer}");
    }
}
