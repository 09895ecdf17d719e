//! A client beside the load. The one that reads ten thousand streams sees an answer only behind what has come on them.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    support::{Result, histogram::Histogram, http::exchange},
    target::Target,
};

/// How long it waits behind each answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Publishes to a topic of its own, one event at a time, until it is told to end.
pub struct Aside {
    over: Arc<AtomicBool>,
    thread: JoinHandle<std::result::Result<Histogram, String>>,
}

impl Aside {
    pub fn start(target: &Target) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (address, mut request) = (target.address, Vec::new());
        target.publish(&mut request, "custom:aside", "aside");
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            publish(address, &request, &is_over).map_err(|error| error.to_string())
        });
        Self { over, thread }
    }

    /// The time from each request to its answer.
    pub fn end(self) -> Result<Histogram> {
        self.over.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "the client beside the load has panicked")??)
    }
}

fn publish(address: SocketAddr, request: &[u8], is_over: &AtomicBool) -> Result<Histogram> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut took = Histogram::default();
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let (status, _) = exchange(&mut stream, request)?;
        took.record(asked.elapsed());
        if status != 202 {
            return Err(format!("the answer is {status}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(took)
}
