//! Work that any node may take on, and figures that are those of all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{NODES, eventually, run, run_with};

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn an_export_is_made_by_whichever_node_and_told_at_all() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        for number in 0..3 {
            let snippet = json!({ "title": format!("{number}"), "content": "x", "visibility": "private" });
            ann.post("/v1/snippets", &snippet).await.expect(201);
        }
        let mut streams = Vec::new();
        for index in 0..NODES {
            streams.push(cluster.at(index, &ann).subscribe("topics=exports").await);
        }
        for index in 0..NODES {
            let export = cluster.at(index, &ann).post("/v1/exports", &json!({ "format": "zip" })).await;
            let id = export.expect(202).id();
            for stream in &mut streams {
                let completed = stream.until("export_completed").await;
                assert_eq!((&completed.data["id"], &completed.data["total"]), (&json!(id), &json!(3)));
                // Whoever made it, the link leads to it everywhere.
                let link = completed.data["download_url"].as_str().expect("a link").to_owned();
                cluster.anonymous(index + 1).get(&link).await.expect(200);
            }
        }
    });
}

/// What a node's two workers wait for is asked of connections that have died, one of them between a change of its job and
/// the commit: they must have their places again, and the jobs must end.
#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn workers_keep_their_places_when_connections_die() {
    run_with(1, &["--database-connections", "40"], None, async |cluster| {
        let ann = cluster.user(0).await;
        ann.has_snippet(json!({})).await;
        let read = cluster.lock("snippets").await;
        let mut exports = Vec::new();
        for _ in 0..2 {
            exports.push(ann.post("/v1/exports", &json!({ "format": "zip" })).await.expect(202).id());
        }
        let status = async |id: &str| {
            let answer = ann.get(&format!("/v1/exports/{id}")).await;
            if answer.status == 200 { answer.json()["status"].clone() } else { Value::Null }
        };
        for id in &exports {
            eventually("it runs", async || (status(id).await == "running").then_some(())).await;
        }
        let to_database = &cluster.node(0).to_database;
        to_database.withhold_commits(exports[0].parse().expect("an id"));
        eventually("the change waits for its commit", async || cluster.is_left_open().await.then_some(()))
            .await;
        to_database.lose();
        read.close().await.expect("the connection closes");
        let begun = Instant::now();
        for id in &exports {
            while status(id).await != "completed" {
                // What waits is given up after 30 s, and the lease ends after as many.
                assert!(begun.elapsed() < Duration::from_secs(150), "the jobs do not end");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
}

/// Whoever works on a job hears of its end at another node later than the listeners.
#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn nothing_of_a_job_comes_after_its_end_at_another_node() {
    run(&["--job-rate", "500"], async |cluster| {
        let ann = cluster.user(0).await;
        for _ in 0..20 {
            ann.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
        }
        let mut stream = ann.subscribe("topics=exports,custom:x").await;
        for index in 0..2 * NODES {
            let export = ann.post("/v1/exports", &json!({ "format": "zip" })).await.expect(202).id();
            stream.until("export_progress").await;
            stream.until("export_progress").await;
            cluster.at(index, &ann).delete(&format!("/v1/exports/{export}")).await.expect(204);
            stream.until("export_cancelled").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            ann.publish("custom:x", &json!({ "type": "marker", "data": 1 })).await.expect(202);
            assert_eq!(stream.next().await.kind, "marker");
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn the_dashboard_is_the_same_at_all_nodes() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let _anns = cluster.at(0, &ann).subscribe("topics=snippets").await;
        let _bobs = cluster.at(1, &bob).subscribe("topics=snippets").await;
        let snippet = json!({ "title": "One", "content": "x" });
        cluster.at(1, &ann).post("/v1/snippets", &snippet).await.expect(201);
        for index in 0..NODES {
            eventually("each node shows what there is at all", async || {
                let shown = cluster.anonymous(index).get("/v1/dashboard").await.expect(200).json();
                let is_whole = shown["online"] == 2
                    && shown["total_snippets"]["value"] == 1
                    && shown["active_users"]["value"] == 2
                    && shown["activity"][0]["snippet"]["title"] == "One";
                is_whole.then_some(())
            })
            .await;
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_viewer_is_counted_once_whatever_node_they_look_at() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let snippet = ann.has_snippet(json!({})).await;
        let path = format!("/v1/snippets/{}", snippet["id"].as_str().expect("an id"));
        // Asked at a node where no view waits to be written: once they are, every node has heard of them for long.
        let counted = async |index: usize, views: i64| {
            eventually("the views are written", async || {
                // The list, whose reading is no view.
                let page = cluster.at(index, &ann).get("/v1/snippets").await.expect(200).json();
                let counted = page["data"][0]["views"].as_i64().expect("a number");
                assert!(counted <= views, "{counted} views instead of {views}");
                (counted == views).then_some(())
            })
            .await;
        };
        cluster.at(0, &bob).get(&path).await.expect(200);
        cluster.anonymous(0).get(&path).await.expect(200);
        counted(2, 2).await;
        for (index, views) in [(1, 3), (2, 4)] {
            cluster.at(index, &bob).get(&path).await.expect(200);
            cluster.anonymous(index).get(&path).await.expect(200);
            // Written together with what else was counted there.
            cluster.user(index).await.get(&path).await.expect(200);
            counted(0, views).await;
        }
    });
}
