//! Several devices of one user, connections that are cut, and what users say of themselves.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Known, hold, present, topic_of, until, until_updated, watch};
use crate::support::{EventStream, Persona, TestApp, eventually, on_both_databases};

on_both_databases![
    each_connection_is_a_meta_of_its_user,
    a_reconnect_within_the_grace_is_not_noticed,
    each_device_comes_back_to_its_own_entry,
    who_comes_back_is_seen_as_they_are_now,
    without_a_grace_a_cut_is_a_leave with ["--presence-grace", "0s"],
    an_update_is_told_in_place,
    each_update_has_a_name_of_its_own,
    an_update_is_of_the_connection_that_the_request_names,
    an_update_that_breaks_a_rule_changes_nothing,
    who_is_not_there_has_nothing_to_update,
    a_restart_is_no_leave_for_who_comes_back with ["--presence-grace", "0s"],
    a_stop_of_the_server_is_no_leave with ["--presence-grace", "0s", "--drain", "1s"],
];

async fn cut(app: &TestApp, person: &Persona, topic: &str, stream: EventStream) {
    disconnect(person, topic, stream).await;
    assert!(present(person, topic).await["count"] == 1, "the grace holds at {}", app.now());
}

/// Cuts a stream, and waits until the server has noticed.
async fn disconnect(person: &Persona, topic: &str, stream: EventStream) {
    // A cut shows in nothing that can be asked for: the entry stays, which is the point. One that stands on the
    // connection cannot be named any more, though.
    let connection = stream.connection().to_owned();
    stream.disconnect();
    eventually("the server has noticed the cut", async || {
        let call = person.patch(&format!("/v1/presence/{topic}"), &json!({}));
        (call.header("Snippetbox-Connection-Id", &connection).await.status == 404).then_some(())
    })
    .await;
}

async fn each_connection_is_a_meta_of_its_user(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (_phone, _) = watch(&ann.sign_in().await, &topic, "").await;
    app.clock.advance(Duration::from_secs(1));
    let (_desk, state) = watch(&ann, &topic, "").await;
    let metas = state[&ann.id]["metas"].as_array().expect("metas");
    assert_eq!(metas.len(), 2);
    assert_ne!(metas[0]["phx_ref"], metas[1]["phx_ref"]);
    assert!(metas[0]["joined_at"].as_str() < metas[1]["joined_at"].as_str());
    assert_eq!(present(&ann, &topic).await["count"], 1, "one user, on two devices");
}

async fn a_reconnect_within_the_grace_is_not_noticed(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(&bob, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (stream, _) = watch(&ann, &topic, "").await;
    ann.patch(&format!("/v1/presence/{topic}"), &json!({ "status": "away" })).await.expect(200);
    until(&mut watcher, &mut known, |known| known.0[&ann.id]["metas"][0]["status"] == "away").await;
    cut(app, &ann, &topic, stream).await;
    app.clock.advance(Duration::from_millis(4_900));
    let (_again, state) = watch(&ann, &topic, "").await;
    assert_eq!(state, known.0, "the old entry is taken over as it was");
    app.clock.advance(Duration::from_secs(60));
    let (_bobs, _) = watch(&bob, &topic, "").await;
    let next = watcher.next().await;
    assert_eq!(
        next.data["joins"].as_object().map(|joins| joins.keys().collect::<Vec<_>>()),
        Some(vec![&bob.id])
    );
    assert_eq!(next.data["leaves"], json!({}), "nobody heard of the cut");
}

async fn each_device_comes_back_to_its_own_entry(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/presence/{topic}");
    let (phone, desk) = (ann.sign_in().await, ann.sign_in().await);
    let mut streams = Vec::new();
    for (person, device) in [(&phone, "phone"), (&desk, "desk")] {
        let (stream, _) = watch(person, &topic, "").await;
        let call = person.patch(&path, &json!({ "device": device }));
        call.header("Snippetbox-Connection-Id", stream.connection()).await.expect(200);
        streams.push(stream);
    }
    for stream in streams {
        cut(app, &ann, &topic, stream).await;
    }
    let said = async |person: &Persona, stream: &EventStream| {
        let call = person.patch(&path, &json!({ "is_back": true }));
        let answer = call.header("Snippetbox-Connection-Id", stream.connection()).await.expect(200).json();
        let metas = answer["metas"].as_array().expect("metas").clone();
        let back: Vec<Value> = metas.into_iter().filter(|meta| meta["is_back"] == true).collect();
        back.iter().map(|meta| meta["device"].as_str().expect("a device").to_owned()).collect::<Vec<_>>()
    };
    let (desks, _) = watch(&desk, &topic, "").await;
    assert_eq!(said(&desk, &desks).await, ["desk"], "the phone's is older");
    // Somebody else's device is better than none: another credential, after a new sign-in.
    let (anns, state) = watch(&ann, &topic, "").await;
    assert_eq!(state[&ann.id]["metas"].as_array().map(Vec::len), Some(2));
    assert_eq!(said(&ann, &anns).await, ["phone", "desk"]);
}

async fn who_comes_back_is_seen_as_they_are_now(app: &TestApp) {
    let (ann, bob, admin) = (app.user("ann").await, app.user("bob").await, app.admin().await);
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(&ann, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let plain = admin.with_scopes(&["read", "write"]).await;
    let (bobs, _) = watch(&bob, &topic, "").await;
    let (plains, _) = watch(&plain, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.users().len() == 2).await;
    for (person, stream) in [(&bob, bobs), (admin, plains)] {
        disconnect(person, &topic, stream).await;
    }
    // Another name is told.
    bob.patch("/v1/me", &json!({ "name": "Robert" })).await.expect(200);
    let (_bobs, _) = watch(&bob, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.0[&bob.id]["user"]["name"] == "Robert").await;
    assert_eq!(known.0[&bob.id]["metas"].as_array().map(Vec::len), Some(1), "and is no second entry");
    // An administrator who sees all stays where all others go.
    let (_admins, _) = watch(admin, &topic, "").await;
    let path = topic.replace("snippets:", "/v1/snippets/");
    ann.patch(&path, &json!({ "visibility": "private" })).await.expect(200);
    until_updated(&mut watcher, &mut known).await;
    until(&mut watcher, &mut known, |known| !known.users().contains(&bob.id.as_str())).await;
    assert_eq!(known.users(), [&admin.id]);
    assert_eq!(present(&ann, &topic).await["count"], 1);
}

async fn without_a_grace_a_cut_is_a_leave(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(&bob, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (stream, _) = watch(&ann, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.users() == [&ann.id]).await;
    stream.disconnect();
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
}

async fn an_update_is_told_in_place(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(&bob, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (_stream, _) = watch(&ann, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.users() == [&ann.id]).await;
    let old = known.0[&ann.id]["metas"][0].clone();

    let path = format!("/v1/presence/{topic}");
    let answer =
        ann.patch(&path, &json!({ "status": "idle", "at": { "line": 3, "column": 1 } })).await.expect(200);
    let diff = watcher.next().await;
    let new = &diff.data["joins"][&ann.id]["metas"][0];
    assert_eq!(diff.data["leaves"][&ann.id]["metas"], json!([old]));
    assert_eq!(new["phx_ref_prev"], old["phx_ref"]);
    assert_ne!(new["phx_ref"], old["phx_ref"]);
    assert_eq!((&new["joined_at"], &new["status"]), (&old["joined_at"], &json!("idle")));
    assert_eq!(answer.json(), json!({ "user": { "id": ann.id, "name": "ann" }, "metas": [new] }));
    known.apply(&diff.data);
    assert_eq!(known.0, present(&bob, &topic).await["presences"]);

    // RFC 7396: what is not named stays, null removes. What changes nothing is not told.
    ann.patch(&path, &json!({ "status": "idle" })).await.expect(200);
    ann.patch(&path, &json!({ "status": null, "at": { "column": null } })).await.expect(200);
    let diff = watcher.next().await;
    let newest = &diff.data["joins"][&ann.id]["metas"][0];
    assert_eq!(newest["phx_ref_prev"], new["phx_ref"]);
    assert_eq!((newest.get("status"), &newest["at"]), (None, &json!({ "line": 3 })));
}

/// Before anybody is told of it too: whoever asked knows the name, and so may another node.
async fn each_update_has_a_name_of_its_own(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (_stream, _) = watch(&ann, &topic, "").await;
    let mut names = std::collections::BTreeSet::new();
    for number in 0..5 {
        let said = ann.patch(&format!("/v1/presence/{topic}"), &json!({ "number": number })).await;
        names.insert(said.expect(200).json()["metas"][0]["phx_ref"].to_string());
    }
    assert_eq!(names.len(), 5, "{names:?}");
}

async fn an_update_is_of_the_connection_that_the_request_names(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/presence/{topic}");
    let (one, _) = watch(&ann, &topic, "").await;
    let (two, _) = watch(&ann, &topic, "").await;
    hold(&ann, &topic, &json!({ "ttl_s": 60 })).await.expect(200);
    let statuses = |answer: &Value| -> Vec<Value> {
        answer["metas"].as_array().expect("metas").iter().map(|meta| meta["status"].clone()).collect()
    };
    let call = ann.patch(&path, &json!({ "status": "away" }));
    let answer = call.header("Snippetbox-Connection-Id", two.connection()).await.expect(200).json();
    assert_eq!(statuses(&answer), [json!(null), json!("away"), json!(null)]);
    let answer = ann.patch(&path, &json!({ "status": "idle" })).await.expect(200).json();
    assert_eq!(statuses(&answer), ["idle", "idle", "idle"]);
    let foreign = app.admin().await.patch(&path, &json!({ "status": "away" }));
    foreign.header("Snippetbox-Connection-Id", one.connection()).await.problem(404, "not_found");
}

async fn an_update_that_breaks_a_rule_changes_nothing(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/presence/{topic}");
    let (_one, _) = watch(&ann, &topic, "").await;
    ann.patch(&path, &json!({ "note": "a".repeat(900) })).await.expect(200);
    let before = present(&ann, &topic).await;
    for (patch, pointers) in [
        (json!({ "status": "busy" }), vec!["/status"]),
        (
            json!({ "status": 1, "phx_ref": "x", "joined_at": null, "phx_ref_prev": 1 }),
            vec!["/phx_ref", "/phx_ref_prev", "/status"],
        ),
        (json!({ "more": "b".repeat(200) }), vec![""]),
        (json!({ "more": "b".repeat(1_100), "note": null }), vec![""]),
    ] {
        let problem = ann.patch(&path, &patch).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), pointers, "{patch}");
    }
    for body in ["[]", "null", "\"away\""] {
        let call = ann.call(reqwest::Method::PATCH, &path).body("application/json", body);
        call.await.problem(422, "validation_failed");
    }
    ann.call(reqwest::Method::PATCH, &path)
        .body("application/json", "{")
        .await
        .problem(400, "malformed_json");
    assert_eq!(present(&ann, &topic).await, before);
}

async fn who_is_not_there_has_nothing_to_update(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/presence/{topic}");
    ann.patch(&path, &json!({ "status": "away" })).await.problem(404, "not_found");
    let (_observing, _) = watch(&ann, &topic, "&presence=observe").await;
    ann.patch(&path, &json!({ "status": "away" })).await.problem(404, "not_found");
}

async fn a_stop_of_the_server_is_no_leave(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    // So many that the first are closed long before the last.
    let mut streams = Vec::new();
    for person in std::iter::repeat_n([&ann, &bob], 20).flatten() {
        streams.push(watch(person, &topic, "").await.0);
    }
    app.stop().await;
    for mut stream in streams {
        loop {
            let event = stream.next().await;
            if event.kind == "closing" {
                break;
            }
            assert_eq!(event.data["leaves"], json!({}), "somebody left because the server stops");
        }
    }
}

async fn a_restart_is_no_leave_for_who_comes_back(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let topic = topic_of(&ann, "public").await;
    let mut streams = Vec::new();
    for person in [&ann, &bob, &cid] {
        streams.push(watch(person, &topic, "").await.0);
    }
    ann.patch(&format!("/v1/presence/{topic}"), &json!({ "status": "idle" })).await.expect(200);
    hold(&bob, &topic, &json!({ "ttl_s": 60 })).await.expect(200);
    let before = present(&ann, &topic).await;
    app.restart_with(&[]).await;
    drop(streams);

    let (mut anns, state) = watch(&ann, &topic, "").await;
    assert_eq!(state, before["presences"], "with their names and all that they said");
    let (_bobs, _) = watch(&bob, &topic, "").await;
    app.clock.advance(Duration::from_millis(9_999));
    assert_eq!(present(&ann, &topic).await, before);
    let mut known = Known::of(&state);
    app.clock.advance(Duration::from_millis(1));
    loop {
        let diff = anns.next().await;
        known.apply(&diff.data);
        if diff.data["leaves"].get(&cid.id).is_some() {
            break;
        }
        // What the state has said already may be told once more.
        assert_eq!((&diff.data["leaves"], known.0 == state), (&json!({}), true));
    }
    assert_eq!(known.0, present(&ann, &topic).await["presences"], "who does not come back has left");

    app.stop().await;
    app.clock.advance(Duration::from_secs(61));
    app.restart_with(&[]).await;
    assert_eq!(present(&ann, &topic).await["count"], 0, "after a long time nobody is expected");
}
