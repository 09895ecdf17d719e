//! A node without HTTP, whose hub lives on the thread of the test.

use std::{rc::Rc, sync::Arc, time::Duration};

use snippetbox::clock::Clock;
use snippetbox::db::Db;
use snippetbox::id::Ids;
use snippetbox::realtime::{Bus, Hub, Realtime, Rules, Tuning};
use tokio::task::JoinHandle;

use super::TestApp;

pub struct Node {
    pub db: Db,
    pub clock: Clock,
    pub ids: Arc<Ids>,
    pub realtime: Arc<Realtime>,
    pub hub: Rc<Hub>,
    following: JoinHandle<()>,
}

impl Node {
    pub async fn on(app: &TestApp, clock: Clock, ring_bytes: usize, grace: Duration) -> Self {
        let db = Db::open(&app.database_url(), 4).await.expect("the database");
        let ids = Arc::new(Ids::new(clock.clone()));
        let tuning = Tuning {
            heartbeat: Duration::from_secs(15),
            drain: Duration::ZERO,
            ring_bytes,
            max_streams: 10_000,
            roster: Rules { grace, limit: 250 },
        };
        let (name, of_node) = ("test".to_owned(), Arc::clone(&ids));
        let realtime = Realtime::open(db.clone(), name, clock.clone(), of_node, tuning, Bus::Local);
        let realtime = realtime.await.expect("a node");
        let following = tokio::task::spawn_local({
            let realtime = Arc::clone(&realtime);
            async move { realtime.run().await }
        });
        let hub = Hub::start(&realtime);
        Self { db, clock, ids, realtime, hub, following }
    }

    pub async fn stop(self) {
        self.following.abort();
        self.db.close().await;
    }
}
