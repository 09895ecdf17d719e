//! What clients are promised while something is broken.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use sqlx::Connection as _;

use crate::streams::{BY_THE_BUS, TOPIC, place, read, revoked_within, subscribe_everywhere, write};
use crate::support::{NODES, Persona, eventually, path_of, run};

/// How long anything may take without the bus: a poll each second, and a slow machine.
const WITHOUT_BUS: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn without_the_bus_everything_comes_from_the_database_until_it_is_back() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let session = ann.sign_in().await;
        let mut streams = subscribe_everywhere(cluster, &ann).await;
        let guarded = subscribe_everywhere(cluster, &session).await;
        cluster.nats.kill();
        for index in 0..NODES {
            cluster.connected(index, false).await;
        }
        let writers: Vec<Persona> = (0..NODES).map(|index| cluster.at(index, &ann)).collect();
        let begun = Instant::now();
        let mut written = join_all(writers.iter().map(|writer| write(writer, 2))).await.concat();
        written.sort_by_key(|id| place(id));
        for stream in &mut streams {
            assert_eq!(read(stream, written.len()).await, written);
        }
        assert!(begun.elapsed() < WITHOUT_BUS, "came after {:?}", begun.elapsed());
        session.delete("/v1/sessions/current").await.expect(204);
        revoked_within(WITHOUT_BUS, guarded).await;
        cluster.nats.restart();
        for index in 0..NODES {
            cluster.connected(index, true).await;
        }
        let follower = (cluster.sequencer().await + 1) % NODES;
        let heard = cluster.figure(follower, "snippetbox_log_heard_total").await;
        eventually("the bus brings events again", async || {
            let written = write(&writers[0], 1).await;
            for stream in &mut streams {
                assert_eq!(read(stream, 1).await, written);
            }
            (cluster.figure(follower, "snippetbox_log_heard_total").await > heard).then_some(())
        })
        .await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn another_node_takes_over_when_the_one_that_gives_the_places_is_killed() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let leader = cluster.sequencer().await;
        let others: Vec<usize> = (0..NODES).filter(|index| *index != leader).collect();
        let mut streams = Vec::new();
        for index in &others {
            streams.push(cluster.at(*index, &ann).subscribe(&format!("topics={TOPIC}")).await);
        }
        let writers: Vec<Persona> = others.iter().map(|index| cluster.at(*index, &ann)).collect();
        let first = write(&writers[0], 5).await;
        let begun = Instant::now();
        let writing = join_all(writers.iter().map(|writer| write(writer, 100)));
        let killing = async { cluster.kill(leader) };
        let (written, ()) = tokio::join!(writing, killing);
        let mut written = [first, written.concat()].concat();
        written.sort_by_key(|id| place(id));
        for stream in &mut streams {
            assert_eq!(read(stream, written.len()).await, written);
        }
        let next = cluster.sequencer().await;
        assert_ne!(next, leader);
        println!("another node led, and all was told, after {:?}", begun.elapsed());
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_sequencer_that_has_stopped_does_not_stop_the_others() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let leader = cluster.sequencer().await;
        let other = (leader + 1) % NODES;
        let mut stream = cluster.at(other, &ann).subscribe(&format!("topics={TOPIC}")).await;
        let bob = cluster.at(other, &ann);
        cluster.send(leader, "STOP");
        // The answer to a publication tells its place, and waits for it; that to a snippet does not.
        let begun = Instant::now();
        let mut snippets = bob.subscribe("topics=snippets").await;
        bob.has_snippet(json!({ "title": "Meanwhile" })).await;
        snippets.until("snippet_created").await;
        println!("taken over after {:?}", begun.elapsed());
        cluster.send(leader, "CONT");
        let written = write(&bob, 1).await;
        assert_eq!(read(&mut stream, 1).await, written);
        let mut late = cluster.at(leader, &ann).subscribe(&format!("topics={TOPIC}&since=earliest")).await;
        assert_eq!(read(&mut late, 1).await, written);
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_node_that_cannot_know_who_is_revoked_ends_the_streams_of_all_who_could_be() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let mut streams = subscribe_everywhere(cluster, &ann).await;
        let mut public = cluster.anonymous(1).subscribe("topics=snippets").await;
        let begun = Instant::now();
        cluster.node(1).to_database.cut();
        cluster.node(1).to_nats.cut();
        let mut isolated = streams.remove(1);
        assert_eq!(isolated.until("closing").await.data, json!({ "reason": "isolated" }));
        isolated.ended().await;
        let took = begun.elapsed();
        println!("isolated after {took:?}");
        assert!(took < Duration::from_secs(15), "ended after {took:?}");
        let written = write(&cluster.at(0, &ann), 1).await;
        for stream in &mut streams {
            assert_eq!(read(stream, 1).await, written);
        }
        cluster.node(1).to_database.mend();
        cluster.node(1).to_nats.mend();
        cluster.at(0, &ann).has_snippet(json!({ "title": "Mended" })).await;
        assert_eq!(public.until("snippet_created").await.data["title"], "Mended");
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_node_without_the_database_goes_on_with_what_it_hears() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let session = ann.sign_in().await;
        let away = (cluster.sequencer().await + 1) % NODES;
        let mut stream = cluster.at(away, &ann).subscribe(&format!("topics={TOPIC}")).await;
        let guarded = vec![cluster.at(away, &session).subscribe(&format!("topics={TOPIC}")).await];
        let writer = cluster.at(away + 1, &ann);
        cluster.node(away).to_database.cut();
        let cut = Instant::now();
        // Longer than it would believe what it has read, if it heard nothing.
        while cut.elapsed() < Duration::from_secs(10) {
            let written = write(&writer, 1).await;
            assert_eq!(read(&mut stream, 1).await, written);
        }
        cluster.at(away + 1, &session).delete("/v1/sessions/current").await.expect(204);
        revoked_within(BY_THE_BUS, guarded).await;
        cluster.at(away, &ann).get("/v1/me").await.problem(503, "unavailable");
        cluster.node(away).to_database.mend();
        eventually("it answers again", async || {
            (cluster.at(away, &ann).get("/v1/me").await.status == 200).then_some(())
        })
        .await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_node_whose_connections_die_without_a_word_makes_new_ones() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let lonely = (cluster.sequencer().await + 1) % NODES;
        let mut public = cluster.anonymous(lonely).subscribe("topics=snippets").await;
        cluster.node(lonely).to_nats.cut();
        cluster.connected(lonely, false).await;
        let lock = cluster.lock("events").await;
        let locked = Instant::now();
        // Whatever asks the database each second waits for its answer by then.
        eventually("a while", async || (locked.elapsed() > Duration::from_secs(2)).then_some(())).await;
        cluster.node(lonely).to_database.lose();
        lock.close().await.expect("the connection closes");
        cluster.at(lonely + 1, &ann).has_snippet(json!({ "title": "Reached" })).await;
        let reading = tokio::time::timeout(Duration::from_secs(30), public.until("snippet_created"));
        assert_eq!(reading.await.expect("it reads again").data["title"], "Reached");
        println!("read after {:?}", locked.elapsed());
        eventually("it answers", async || {
            (cluster.at(lonely, &ann).get("/v1/me").await.status == 200).then_some(())
        })
        .await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_request_whose_connection_dies_without_a_word_holds_up_the_others_for_a_while() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let path = path_of(&ann.has_snippet(json!({})).await);
        let index = (cluster.sequencer().await + 1) % NODES;
        let lonely = cluster.at(index, &ann);
        lonely.get(&path).await.expect(200);
        for (table, path) in [("credentials", "/v1/me"), ("snippets", &path)] {
            let lock = cluster.lock(table).await;
            let lost = tokio::task::spawn_local(lonely.get(path).into_future());
            eventually("the node asks", async || cluster.waits_for(table).await.then_some(())).await;
            let begun = Instant::now();
            cluster.node(index).to_database.lose();
            lock.close().await.expect("the connection closes");
            eventually("it answers others", async || (lonely.get(path).await.status == 200).then_some(()))
                .await;
            println!("answered after {:?}", begun.elapsed());
            lost.await.expect("it is answered").problem(503, "overloaded");
        }
    });
}
