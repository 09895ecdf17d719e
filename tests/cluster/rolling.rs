//! A new version comes node by node, while clients go on through a proxy that asks `/readyz`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::streams::{TOPIC, read, write};
use crate::support::{NODES, Persona, eventually, run};

/// What a proxy does, without trying any request twice.
struct Proxy {
    ann: Persona,
    nodes: RefCell<Vec<String>>,
    ready: RefCell<Vec<String>>,
    busy: Cell<bool>,
    requests: Cell<usize>,
}

impl Proxy {
    async fn check(self: Rc<Self>) {
        while self.busy.get() {
            let mut ready = Vec::new();
            let nodes = self.nodes.borrow().clone();
            for node in nodes {
                let asked =
                    self.ann.client.get(format!("{node}/readyz")).timeout(Duration::from_secs(1)).send();
                if asked.await.is_ok_and(|answer| answer.status().is_success()) {
                    ready.push(node);
                }
            }
            self.ready.replace(ready);
            tokio::time::sleep(Duration::from_millis(20)).await; // Between two checks.
        }
    }

    async fn load(self: Rc<Self>, client: usize) {
        while self.busy.get() {
            let next = self.requests.get();
            self.requests.set(next + 1);
            let node = {
                let ready = self.ready.borrow();
                ready[(client + next) % ready.len()].clone()
            };
            let ann = Persona { server: node, ..self.ann.clone() };
            let snippet = ann.has_snippet(json!({ "title": format!("Request {next}") })).await;
            ann.get(&format!("/v1/snippets/{}", snippet["id"].as_str().expect("an id"))).await.expect(200);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_rolling_restart_fails_no_request_and_no_stream() {
    run(&["--drain", "3s"], async |cluster| {
        let ann = cluster.user(0).await;
        let (nodes, ready) = (RefCell::new(cluster.urls()), RefCell::new(cluster.urls()));
        let (busy, requests) = (Cell::new(true), Cell::new(0));
        let proxy = Rc::new(Proxy { ann: ann.clone(), nodes, ready, busy, requests });
        let checking = tokio::task::spawn_local(Rc::clone(&proxy).check());
        let clients: Vec<_> =
            (0..4).map(|client| tokio::task::spawn_local(Rc::clone(&proxy).load(client))).collect();
        let (mut written, mut seen, mut here) = (Vec::new(), Vec::new(), 0);
        let mut stream = cluster.at(here, &ann).subscribe(&format!("topics={TOPIC}")).await;
        for node in 0..NODES {
            written.extend(write(&cluster.at(node + 1, &ann), 2).await);
            seen.extend(read(&mut stream, 2).await);
            let closing = async {
                if node == here {
                    assert_eq!(stream.until("closing").await.data["reason"], "shutdown");
                }
            };
            tokio::join!(cluster.stop(node), closing);
            written.extend(write(&cluster.at(node + 1, &ann), 2).await);
            if node == here {
                here = (node + 1) % NODES;
                let last = seen.last().expect("some");
                let query = format!("topics={TOPIC}&last_event_id={last}");
                stream = cluster.at(here, &ann).subscribe(&query).await;
            }
            seen.extend(read(&mut stream, 2).await);
            cluster.start_node(node).await;
            proxy.nodes.replace(cluster.urls());
            eventually("the proxy has found it", async || {
                (proxy.ready.borrow().len() == NODES).then_some(())
            })
            .await;
        }
        proxy.busy.set(false);
        join_all(clients).await.into_iter().for_each(|client| client.expect("no request has failed"));
        checking.await.expect("the proxy has ended");
        assert_eq!(seen, written);
        println!("{} requests, none failed", 2 * proxy.requests.get());
    });
}
