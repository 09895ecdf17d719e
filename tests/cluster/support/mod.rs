//! Three nodes, the servers that they share, and people who use whichever node.

// The people and their streams are those of the other tests.
#[path = "../../api/support/answer.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod answer;
#[path = "../../api/support/call.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod call;
mod chance;
mod cluster;
#[path = "../../api/support/decoder.rs"]
pub mod decoder;
#[path = "../../api/support/events.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod events;
mod nats;
#[path = "../../api/support/persona.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod persona;
mod postgres;
#[path = "../../api/support/process.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod process;
mod proxy;
#[path = "../../api/support/storage.rs"]
#[expect(dead_code, reason = "the tests of one node use the rest")]
mod storage;

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

pub use chance::{Random, setting};
pub use cluster::{Cluster, NODES};
pub use events::EventStream;
pub use persona::{Persona, new_client, path_of};
pub use postgres::Postgres;

/// Runs one test against a cluster of its own, and takes it down however the test ends.
pub fn run(settings: &[&str], test: impl AsyncFnOnce(&mut Cluster)) {
    run_with(NODES, settings, None, test);
}

/// The same with so many nodes, on a PostgreSQL server that no other test uses, where one is given.
pub fn run_with(
    count: usize,
    settings: &[&str],
    postgres: Option<Postgres>,
    test: impl AsyncFnOnce(&mut Cluster),
) {
    actix_web::rt::System::new().block_on(async {
        let mut cluster = Cluster::start(count, settings, postgres).await;
        let outcome = AssertUnwindSafe(test(&mut cluster)).catch_unwind().await;
        cluster.remove().await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
}

/// Asks again and again until the probe finds what it looks for: for effects which no event announces.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "this did not happen within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that must come soon, and otherwise fails with what the caller knows by then.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}
