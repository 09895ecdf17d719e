//! What every test stands on: a server of its own, people who use it, and a reader of its streams.

mod answer;
mod app;
mod call;
mod decoder;
mod events;
mod node;
mod persona;
mod process;
mod storage;

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

pub use answer::{Answer, Problem};
pub use app::TestApp;
pub use call::Call;
pub use events::EventStream;
pub use node::Node;
pub use persona::{PASSWORD, Persona, path_of};
pub use process::{Process, run_to_its_end};
pub use storage::Database;

/// Runs each of the named functions twice, as `sqlite::name` and as `postgres::name`, with a server of its own.
///
/// A function that needs other settings than the usual ones says so: `name with ["--rate-limit", "20"]`.
macro_rules! on_both_databases {
    (@settings) => { &[] };
    (@settings $settings:expr) => { &$settings };
    ($($test:ident $(with $settings:expr)?),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                let settings = crate::support::on_both_databases!(@settings $($settings)?);
                crate::support::run(crate::support::Database::Sqlite, settings, super::$test);
            })+
        }

        mod postgres {
            $(#[test]
            #[ignore = "needs PostgreSQL: tests/run starts one"]
            fn $test() {
                let settings = crate::support::on_both_databases!(@settings $($settings)?);
                crate::support::run(crate::support::Database::Postgres, settings, super::$test);
            })+
        }
    };
}
pub(crate) use on_both_databases;

/// Runs a statement on the PostgreSQL server that all tests share, as no server of a test would.
pub async fn as_admin(statement: &str) {
    storage::execute(&storage::usual_server(), statement).await;
}

/// Runs one test against a server of its own, and takes the server down however the test ends.
pub fn run(database: Database, settings: &[&str], test: impl AsyncFnOnce(&TestApp)) {
    actix_web::rt::System::new().block_on(async {
        let app = TestApp::with_settings(database, settings).await;
        let outcome = AssertUnwindSafe(test(&app)).catch_unwind().await;
        app.remove().await;
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
