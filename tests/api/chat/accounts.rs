//! What becomes of rooms and messages when an account ends.

use serde_json::json;

use super::{add, contents, members, room_of, says, topic};
use crate::support::{TestApp, on_both_databases};

on_both_databases![
    what_somebody_wrote_goes_with_the_account,
    a_room_goes_to_the_eldest_member,
    a_room_without_another_member_goes_with_the_account,
    owners_and_their_heirs_may_leave_at_the_same_moment,
];

async fn what_somebody_wrote_goes_with_the_account(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (member, left) = (room_of(&ann, "private").await, room_of(&ann, "public").await);
    add(&ann, &member, &bob).await.expect(201);
    for room in [&member, &left] {
        says(&ann, room, "Ann's").await;
        says(&bob, room, "Bob's").await;
        says(&bob, room, "Bob's too").await;
    }
    bob.delete(&format!("{left}/members/{}", bob.id)).await.expect(204);
    app.settled().await;
    let mut stream = ann.subscribe(&format!("presence=off&topics={}", topic(&member))).await;
    let mut other = ann.subscribe(&format!("presence=off&topics={}", topic(&left))).await;
    bob.delete("/v1/me").await.expect(204);
    let gone = |room: &str| json!({ "room_id": &room["/v1/rooms/".len()..], "user_id": bob.id });
    let event = stream.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("messages_deleted", gone(&member)));
    let event = stream.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("member_removed", json!({ "user_id": bob.id })));
    let event = other.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("messages_deleted", gone(&left)));
    for room in [&member, &left] {
        assert_eq!(contents(&ann, room, "").await, ["Ann's"]);
        assert_eq!(members(&ann, room).await, ["ann"]);
    }
}

async fn a_room_goes_to_the_eldest_member(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "private").await;
    for user in [&cid, &bob] {
        app.clock.advance(std::time::Duration::from_secs(1));
        add(&ann, &room, user).await.expect(201);
    }
    app.settled().await;
    let mut stream = bob.subscribe(&format!("presence=off&topics={}", topic(&room))).await;
    ann.delete("/v1/me").await.expect(204);
    let event = stream.next().await;
    assert_eq!((event.kind.as_str(), &event.data["owner"]["name"]), ("room_updated", &json!("cid")));
    assert_eq!(event.data, cid.get(&room).await.expect(200).json());
    assert_eq!(stream.next().await.kind, "member_removed");
    cid.patch(&room, &json!({ "name": "Mine now" })).await.expect(200);
    assert_eq!(members(&cid, &room).await, ["cid", "bob"]);
}

async fn a_room_without_another_member_goes_with_the_account(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    app.settled().await;
    let mut stream = app.anonymous().subscribe(&format!("presence=off&topics={}", topic(&room))).await;
    ann.delete("/v1/me").await.expect(204);
    assert_eq!(stream.next().await.kind, "room_deleted");
    app.anonymous().get(&room).await.problem(404, "not_found");
}

/// Each is the heir of the other, and nobody is left.
async fn owners_and_their_heirs_may_leave_at_the_same_moment(app: &TestApp) {
    for round in 0..20 {
        let (ann, bob) = (app.user(&format!("ann{round}")).await, app.user(&format!("bob{round}")).await);
        let (anns, bobs) = (room_of(&ann, "private").await, room_of(&bob, "public").await);
        add(&ann, &anns, &bob).await.expect(201);
        add(&bob, &bobs, &ann).await.expect(201);
        let (first, second) = tokio::join!(async { ann.delete("/v1/me").await.expect(204) }, async {
            bob.delete("/v1/me").await.expect(204)
        });
        drop((first, second));
        for room in [&anns, &bobs] {
            app.admin().await.get(room).await.problem(404, "not_found");
        }
    }
}
