//! Notifications: who gets them, what is unread, on every device.

use std::collections::HashMap;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Call, Persona, TestApp, on_both_databases};

on_both_databases![
    a_notification_reaches_its_user_and_nobody_else,
    what_is_read_on_one_device_is_read_on_all,
    all_are_read_up_to_a_place,
    a_list_goes_on_where_the_page_ended,
    everybody_may_do_what_the_table_says,
    foreign_and_missing_look_the_same,
    wrong_notifications_are_refused,
    a_repetition_notifies_once,
    the_count_is_exact_under_many_writers_and_readers,
    an_empty_page_and_its_count_are_of_one_moment,
    a_deleted_account_takes_its_notifications_along,
    the_topic_is_for_who_is_signed_in,
];

const MISSING: &str = "/v1/notifications/01890000-0000-7000-8000-000000000000";

fn notice(message: &str) -> Value {
    json!({ "kind": "build_failed", "message": message, "link": "/builds/1" })
}

async fn notify(by: &Persona, to: &Persona, message: &str) -> String {
    by.post(&format!("/v1/users/{}/notifications", to.id), &notice(message)).await.expect(201).id()
}

fn path(id: &str) -> String {
    format!("/v1/notifications/{id}")
}

async fn unread(person: &Persona) -> i64 {
    let page = person.get("/v1/notifications?limit=1").await.expect(200).json();
    page["unread_count"].as_i64().expect("a count")
}

async fn a_notification_reaches_its_user_and_nobody_else(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    app.settled().await;
    let mut anns = ann.subscribe("topics=notifications").await;
    let mut bobs = bob.subscribe("topics=notifications").await;
    let mut admins = app.admin().await.subscribe("topics=notifications").await;
    let answer = bob.post(&format!("/v1/users/{}/notifications", ann.id), &notice("Red")).await.expect(201);
    let expected = json!({
        "id": answer.id(), "kind": "build_failed", "message": "Red", "link": "/builds/1", "read": false,
        "created_at": app.now(),
    });
    assert_eq!(answer.json(), expected, "the sender does not learn how many the other has");
    let event = anns.next().await;
    assert_eq!(
        (event.kind.as_str(), event.topic.as_deref()),
        ("notification_created", Some("notifications"))
    );
    let mut counted = expected.clone();
    counted["unread_count"] = json!(1);
    assert_eq!(event.data, counted);
    assert_eq!(event.envelope["actor"], json!({ "id": bob.id, "name": "bob" }));
    let page = ann.get("/v1/notifications").await.expect(200).json();
    assert_eq!(page, json!({ "data": [expected], "next_cursor": null, "unread_count": 1 }));

    for (person, stream) in [(&bob, &mut bobs), (app.admin().await, &mut admins)] {
        let page = person.get("/v1/notifications").await.expect(200).json();
        assert_eq!(page, json!({ "data": [], "next_cursor": null, "unread_count": 0 }));
        notify(&ann, person, "Yours").await;
        assert_eq!(stream.next().await.data["message"], "Yours", "nothing of ann's came before");
    }
}

async fn what_is_read_on_one_device_is_read_on_all(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    let (first, second) = (notify(&ann, &ann, "First").await, notify(&ann, &ann, "Second").await);
    app.settled().await;
    let mut stream = phone.subscribe("topics=notifications").await;
    for (id, read, count) in [(&first, true, 1), (&first, false, 2), (&second, true, 1)] {
        let answer = ann.patch(&path(id), &json!({ "read": read })).await.expect(200).json();
        assert_eq!((&answer["read"], &answer["unread_count"]), (&json!(read), &json!(count)));
        let event = stream.next().await;
        let data = json!({ "id": id, "up_to": null, "read": read, "unread_count": count });
        assert_eq!((event.kind.as_str(), event.data), ("notification_read", data));
        assert_eq!(unread(&phone).await, count);
    }
    // What changes nothing is no event: the next one is the deletion.
    let answer = ann.patch(&path(&second), &json!({ "read": true })).await.expect(200).json();
    assert_eq!(answer["unread_count"], 1);
    ann.patch(&path(&second), &json!({})).await.expect(200);
    for (id, count) in [(&second, 1), (&first, 0)] {
        let answer = ann.delete(&path(id)).await.expect(200).json();
        assert_eq!(answer, json!({ "unread_count": count }));
        let event = stream.next().await;
        let data = json!({ "id": id, "unread_count": count });
        assert_eq!((event.kind.as_str(), event.data), ("notification_deleted", data));
        ann.delete(&path(id)).await.problem(404, "not_found");
    }
    assert_eq!(unread(&phone).await, 0);
}

async fn all_are_read_up_to_a_place(app: &TestApp) {
    let ann = app.user("ann").await;
    let read_all = async |body: Value| {
        let answer = ann.post("/v1/notifications/read", &body).await.expect(200).json();
        answer["unread_count"].as_i64().expect("a count")
    };
    assert_eq!(read_all(json!({})).await, 0, "there is nothing to read");
    let mut ids = Vec::new();
    for message in ["a", "b", "c", "d"] {
        ids.push(notify(&ann, &ann, message).await);
    }
    app.settled().await;
    let mut stream = ann.subscribe("topics=notifications").await;
    assert_eq!(read_all(json!({ "up_to": ids[1] })).await, 2);
    let event = stream.next().await;
    assert_eq!(event.data, json!({ "id": null, "up_to": ids[1], "read": true, "unread_count": 2 }));
    let page = ann.get("/v1/notifications?unread=true").await.expect(200).json();
    let left: Vec<&Value> = page["data"].as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    assert_eq!(left, [&ids[3], &ids[2]]);
    assert_eq!(read_all(json!({ "up_to": ids[0] })).await, 2, "nothing becomes unread");
    assert_eq!(ann.delete(&path(&ids[2])).await.expect(200).json(), json!({ "unread_count": 1 }));
    assert_eq!(stream.next().await.kind, "notification_deleted");
    assert_eq!(
        read_all(json!({ "up_to": ids[2] })).await,
        1,
        "a place stays one when its notification is gone"
    );
    assert_eq!(read_all(json!({ "up_to": null })).await, 0);
    let event = stream.next().await;
    assert_eq!(event.data, json!({ "id": null, "up_to": ids[3], "read": true, "unread_count": 0 }));
}

async fn a_list_goes_on_where_the_page_ended(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..7 {
        let id = notify(&ann, &ann, &number.to_string()).await;
        if number % 2 == 0 {
            ann.patch(&path(&id), &json!({ "read": true })).await.expect(200);
        }
    }
    for (query, expected) in
        [("", &["6", "5", "4", "3", "2", "1", "0"][..]), ("unread=true&", &["5", "3", "1"])]
    {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = ann.get(&format!("/v1/notifications?{query}limit=2{cursor}")).await.expect(200);
            let page = answer.json();
            assert_eq!(page["unread_count"], 3);
            let data = page["data"].as_array().expect("a list");
            found.extend(data.iter().map(|it| it["message"].as_str().expect("text").to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(answer.header("link").contains(next));
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected);
        let other = if query.is_empty() { "unread=true&" } else { "" };
        let path = format!("/v1/notifications?{other}limit=2{cursor}");
        ann.get(&path).await.problem(400, "invalid_query");
    }
}

/// Everything that can be asked of a notification, of all of one's own, and of somebody else.
pub fn calls(person: &Persona, one: &str, other: &Persona) -> [Call; 8] {
    [
        person.get("/v1/notifications"),
        person.call(Method::HEAD, "/v1/notifications"),
        person.get("/v1/notifications/events"),
        person.get("/v1/events?topics=notifications"),
        person.patch(one, &json!({ "read": true })),
        person.post("/v1/notifications/read", &json!({})),
        person.delete(one),
        person.post(&format!("/v1/users/{}/notifications", other.id), &notice("Hello")),
    ]
}

async fn everybody_may_do_what_the_table_says(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let admin = app.admin().await;
    let reader = ann.with_scopes(&["read"]).await;
    let notifier = bob.with_scopes(&["notify"]).await;
    let admins_token = admin.with_scopes(&["admin"]).await;
    for (who, person, list, mark, mark_all, remove, send) in [
        ("anonymous", &app.anonymous(), 401, 401, 401, 401, 401),
        ("a stranger", &bob, 200, 404, 200, 404, 201),
        ("an administrator", admin, 200, 404, 200, 404, 201),
        ("a script that reads", &reader, 200, 403, 403, 403, 403),
        ("a script that notifies", &notifier, 403, 403, 403, 403, 201),
        ("a script of an administrator's", &admins_token, 403, 403, 403, 403, 201),
        ("the owner", &ann, 200, 200, 200, 200, 201),
    ] {
        let one = path(&notify(&ann, &ann, "One").await);
        let statuses = [list, list, list, list, mark, mark_all, remove, send];
        for (call, status) in calls(person, &one, &ann).into_iter().zip(statuses) {
            let answer = call.await;
            assert_eq!(answer.status.as_u16(), status, "{who}: {answer}");
            // The answer to HEAD has no body.
            if answer.status.is_client_error() && !answer.body.is_empty() {
                let code = match status {
                    401 => "unauthenticated",
                    403 => "insufficient_scope",
                    _ => "not_found",
                };
                answer.problem(status, code);
            }
        }
    }
}

async fn foreign_and_missing_look_the_same(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let foreign = path(&notify(&ann, &ann, "Ann's").await);
    for (method, body) in [(Method::PATCH, json!({ "read": true })), (Method::DELETE, json!({}))] {
        let refused = bob.call(method.clone(), &foreign).json(&body).await.problem(404, "not_found");
        let missing = bob.call(method, MISSING).json(&body).await.problem(404, "not_found");
        assert_eq!(refused.without_request(), missing.without_request());
    }
    assert_eq!(unread(&ann).await, 1);
}

async fn wrong_notifications_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let route = format!("/v1/users/{}/notifications", ann.id);
    let long = "a".repeat(501);
    for (body, pointers) in [
        (json!({}), &["/kind", "/message"][..]),
        (json!({ "kind": "mention", "message": "I am the server" }), &["/kind"]),
        (json!({ "kind": "Red", "message": "" }), &["/kind", "/message"]),
        (json!({ "kind": "red", "message": long }), &["/message"]),
        (json!({ "kind": "red", "message": "x", "link": "javascript:alert(1)" }), &["/link"]),
        (json!({ "kind": "red", "message": "x", "link": "//evil.example" }), &["/link"]),
    ] {
        assert_eq!(ann.post(&route, &body).await.problem(422, "validation_failed").pointers(), pointers);
    }
    ann.post(&route, &json!({ "kind": "a", "message": "b", "read": true }))
        .await
        .problem(400, "unknown_field");
    let nobody = "/v1/users/01890000-0000-7000-8000-000000000000/notifications";
    ann.post(nobody, &notice("Hello?")).await.problem(404, "not_found");
    let wrong = json!({ "up_to": "yesterday" });
    let problem = ann.post("/v1/notifications/read", &wrong).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/up_to"]);
    let id = notify(&ann, &ann, "Hello").await;
    for read in [json!(null), json!("yes")] {
        let problem = ann.patch(&path(&id), &json!({ "read": read })).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), ["/read"]);
    }
    assert_eq!(unread(&ann).await, 1, "nothing of what was refused was kept");
}

async fn a_repetition_notifies_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let route = format!("/v1/users/{}/notifications", ann.id);
    let first = ann.post(&route, &notice("Once")).once("k").await.expect(201);
    let again = ann.post(&route, &notice("Once")).once("k").await.expect(201);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (first.json(), "true"));
    assert_eq!(unread(&ann).await, 1);
}

/// Each of eight devices writes and reads in its own order; every event and every answer must carry the count
/// that was true at that point.
async fn the_count_is_exact_under_many_writers_and_readers(app: &TestApp) {
    const ROUNDS: usize = 12;
    let ann = app.user("ann").await;
    app.settled().await;
    let mut stream = ann.subscribe("topics=notifications").await;
    let answers = join_all((0..8).map(|device| {
        let ann = &ann;
        async move {
            let mut answers = Vec::new();
            for round in 0..ROUNDS {
                let id = notify(ann, ann, "Hello").await;
                let call = match (device + round) % 4 {
                    0 => ann.patch(&path(&id), &json!({ "read": true })),
                    1 => ann.post("/v1/notifications/read", &json!({ "up_to": id })),
                    2 => ann.delete(&path(&id)),
                    _ => continue,
                };
                let counted = call.await.expect(200).json()["unread_count"].clone();
                answers.push((id, counted));
            }
            answers
        }
    }))
    .await;
    let mut answers: HashMap<String, Value> = answers.into_iter().flatten().collect();
    let end = notify(&ann, &ann, "The end").await;
    let (mut model, mut n_compared) = (Model::default(), 0);
    loop {
        let event = stream.next().await;
        model.apply(&event.kind, &event.data);
        assert_eq!(event.data["unread_count"], model.unread(), "{:?}", event.envelope);
        // What was read or deleted is told with the count that its own answer had.
        let about = event.data["id"].as_str().or(event.data["up_to"].as_str()).unwrap_or_default();
        if event.kind != "notification_created"
            && let Some(answered) = answers.remove(about)
        {
            assert_eq!(answered, event.data["unread_count"], "{:?}", event.envelope);
            n_compared += 1;
        }
        if event.data["id"] == json!(end) {
            break;
        }
    }
    assert!(n_compared >= 8 * ROUNDS / 4, "each deletion is told, and {n_compared} answers were compared");
    let mut found = Model::read(&ann).await;
    assert_eq!(found.unread(), unread(&ann).await);
    found.0.sort();
    model.0.sort();
    assert_eq!(found.0, model.0, "the state read is the state followed");
}

/// What is unread comes and goes while others ask for it.
async fn an_empty_page_and_its_count_are_of_one_moment(app: &TestApp) {
    let ann = app.user("ann").await;
    let done = std::cell::Cell::new(false);
    let write = async {
        for _ in 0..100 {
            notify(&ann, &ann, "Hello").await;
            ann.post("/v1/notifications/read", &json!({})).await.expect(200);
        }
        done.set(true);
    };
    let read = || async {
        while !done.get() {
            let page = ann.get("/v1/notifications?unread=true&limit=1").await.expect(200).json();
            let n_listed = page["data"].as_array().expect("a list").len();
            assert_eq!(page["unread_count"], n_listed, "{page}");
        }
    };
    tokio::join!(write, join_all((0..4).map(|_| read())));
}

/// What a client knows: the ids, and which of them are read.
#[derive(Default)]
struct Model(Vec<(String, bool)>);

impl Model {
    async fn read(person: &Persona) -> Self {
        let (mut model, mut cursor) = (Self::default(), String::new());
        loop {
            let page = person.get(&format!("/v1/notifications?limit=100{cursor}")).await.expect(200).json();
            for it in page["data"].as_array().expect("a list") {
                model.apply("notification_created", it);
            }
            let Some(next) = page["next_cursor"].as_str() else { return model };
            cursor = format!("&cursor={next}");
        }
    }

    fn apply(&mut self, kind: &str, data: &Value) {
        let id = data["id"].as_str().unwrap_or_default();
        match kind {
            "notification_created" => self.0.push((id.to_owned(), data["read"] == true)),
            "notification_deleted" => self.0.retain(|(known, _)| known != id),
            "notification_read" => {
                let up_to = data["up_to"].as_str().unwrap_or_default();
                for (_, read) in self.0.iter_mut().filter(|(known, _)| known == id || known.as_str() <= up_to)
                {
                    *read = data["read"] == true;
                }
            }
            _ => panic!("{kind} does not belong here"),
        }
    }

    fn unread(&self) -> i64 {
        i64::try_from(self.0.iter().filter(|(_, read)| !read).count()).expect("few")
    }
}

async fn a_deleted_account_takes_its_notifications_along(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    notify(&bob, &ann, "Hello").await;
    ann.delete("/v1/me").await.expect(204);
    bob.post(&format!("/v1/users/{}/notifications", ann.id), &notice("Gone?"))
        .await
        .problem(404, "not_found");
}

async fn the_topic_is_for_who_is_signed_in(app: &TestApp) {
    let ann = app.user("ann").await;
    app.anonymous().get("/v1/events?topics=notifications").await.problem(401, "unauthenticated");
    app.settled().await;
    let stream = app.anonymous().subscribe("topics=snippets,notifications").await;
    assert_eq!(stream.ready["denied"], json!([{ "topic": "notifications", "code": "unauthenticated" }]));
    notify(&ann, &ann, "Before").await;
    app.settled().await;
    let mut replay = ann.subscribe("topics=notifications&since=earliest").await;
    assert_eq!(replay.next().await.data["message"], "Before");
    let token = ann.post("/v1/stream-tokens", &json!({})).await.expect(201).json();
    let token = token["token"].as_str().expect("a token");
    let query = format!("topics=notifications&since=earliest&access_token={token}");
    app.settled().await;
    let mut browser = app.anonymous().subscribe(&query).await;
    assert_eq!(browser.next().await.data["message"], "Before");
    let bob = app.user("bob").await;
    app.settled().await;
    assert_eq!(bob.subscribe("topics=notifications&since=earliest").await.ready["replayed"], 0);
}
