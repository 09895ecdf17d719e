//! Joining, adding, leaving and removing.

use std::time::Duration;

use serde_json::json;

use super::{add, each, members, remove, room_of, says, topic};
use crate::support::{TestApp, on_both_databases};

on_both_databases![
    whoever_is_added_is_notified,
    everybody_may_join_a_public_room_and_leave_it,
    whoever_writes_in_a_public_room_joins_it,
    the_owner_stays,
    a_list_of_members_goes_on_where_the_page_ended,
];

async fn whoever_is_added_is_notified(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "private").await;
    let mut chat = ann.subscribe(&format!("topics={}", topic(&room))).await;
    let mut own = bob.subscribe("topics=notifications").await;
    app.clock.advance(Duration::from_secs(1));
    let member = json!({ "user": { "id": bob.id, "name": "bob" }, "joined_at": app.now() });
    assert_eq!(add(&ann, &room, &bob).await.expect(201).json(), member);
    assert_eq!(add(&ann, &room, &bob).await.expect(200).json(), member, "nothing happens the second time");
    assert_eq!(add(&bob, &room, &bob).await.expect(200).json(), member);
    let event = chat.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("member_added", member));
    let event = own.next().await;
    assert_eq!(event.data["kind"], "room_invitation");
    assert_eq!((&event.data["message"], &event.data["link"]), (&json!("ann added you to Den"), &json!(room)));
    bob.get(&room).await.expect(200);

    remove(&ann, &room, &bob).await.expect(204);
    let event = chat.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("member_removed", json!({ "user_id": bob.id })));
    remove(&ann, &room, &bob).await.problem(404, "not_found");
    bob.get(&room).await.problem(404, "not_found");
    let count = bob.get("/v1/notifications").await.expect(200).json()["unread_count"].clone();
    assert_eq!(count, 1, "one invitation");
}

async fn everybody_may_join_a_public_room_and_leave_it(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    assert_eq!(members(&app.anonymous(), &room).await, ["ann", "bob"]);
    add(&bob, &room, &cid).await.problem(403, "forbidden");
    remove(&cid, &room, &bob).await.problem(403, "forbidden");
    remove(&bob, &room, &ann).await.problem(403, "forbidden");
    remove(&bob, &room, &bob).await.expect(204);
    remove(&bob, &room, &bob).await.problem(404, "not_found");
    assert_eq!(members(&ann, &room).await, ["ann"]);
    let page = bob.get("/v1/notifications").await.expect(200).json();
    assert_eq!(page["data"], json!([]), "nobody invited bob");
}

async fn whoever_writes_in_a_public_room_joins_it(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let mut stream = ann.subscribe(&format!("topics={}", topic(&room))).await;
    says(&bob, &room, "Hello").await;
    says(&bob, &room, "Here I am").await;
    for kind in ["member_added", "message_created", "message_created"] {
        assert_eq!(stream.next().await.kind, kind);
    }
    assert_eq!(members(&ann, &room).await, ["ann", "bob"]);
}

async fn the_owner_stays(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "private").await;
    remove(&ann, &room, &ann).await.problem(409, "conflict");
    remove(app.admin().await, &room, &ann).await.problem(409, "conflict");
    assert_eq!(members(&ann, &room).await, ["ann"]);
}

async fn a_list_of_members_goes_on_where_the_page_ended(app: &TestApp) {
    let ann = app.user("ann").await;
    let (room, other) = (room_of(&ann, "public").await, room_of(&ann, "public").await);
    for name in ["d", "c", "b"] {
        let user = app.user(name).await;
        if name == "b" {
            app.clock.advance(Duration::from_secs(1));
        }
        add(&user, &room, &user).await.expect(201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ann.get(&format!("{room}/members?limit=1{cursor}")).await.expect(200);
        names.extend(each(&page, "/user/name"));
        let Some(next) = page.json()["next_cursor"].as_str().map(str::to_owned) else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["ann", "d", "c", "b"], "by the time of joining, then by the id");
    ann.get(&format!("{other}/members?limit=1{cursor}")).await.problem(400, "invalid_query");
}
